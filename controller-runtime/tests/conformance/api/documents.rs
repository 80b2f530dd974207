//! Discovery, OpenAPI, versions, reviews, tables, and how requests are refused before they reach an object.

use serde_json::{Value, json};

use super::objects::config_map;
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    the_version_is_told,
    it_is_healthy,
    the_core_group_has_one_version,
    groups_are_listed,
    a_group_is_described,
    core_resources_are_listed,
    resources_of_a_group_are_listed,
    aggregated_discovery_of_the_core_group,
    aggregated_discovery_of_groups,
    openapi_is_there,
    an_access_review_of_oneself_is_answered,
    a_self_subject_review_names_the_user,
    a_token_review_refuses_nonsense,
    a_malformed_body_is_refused,
    a_body_of_another_media_type_is_refused,
    a_body_may_be_yaml,
    a_collection_takes_no_put,
    an_empty_body_is_refused,
    answers_carry_json,
];

async fn the_version_is_told(c: &Cluster) -> anyhow::Result<()> {
    let version = c.get("/version").await?.with_code(200)?;
    contains(
        &version,
        json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0"}),
    )
}

async fn it_is_healthy(c: &Cluster) -> anyhow::Result<()> {
    for path in ["/healthz", "/livez", "/readyz"] {
        same(c.get(path).await?.with_code(200)?, json!("ok"))?;
    }
    Ok(())
}

async fn the_core_group_has_one_version(c: &Cluster) -> anyhow::Result<()> {
    let found = c.get("/api").await?.with_code(200)?;
    contains(&found, json!({"kind": "APIVersions", "versions": ["v1"]}))
}

async fn groups_are_listed(c: &Cluster) -> anyhow::Result<()> {
    let found = c.get("/apis").await?.with_code(200)?;
    contains(&found, json!({"kind": "APIGroupList", "apiVersion": "v1"}))?;
    let groups = found["groups"].as_array().cloned().unwrap_or_default();
    for (name, version) in [
        ("apps", "v1"),
        ("batch", "v1"),
        ("autoscaling", "v2"),
        ("policy", "v1"),
        ("apiextensions.k8s.io", "v1"),
        ("apiregistration.k8s.io", "v1"),
        ("coordination.k8s.io", "v1"),
        ("events.k8s.io", "v1"),
        ("storage.k8s.io", "v1"),
        ("rbac.authorization.k8s.io", "v1"),
        ("authorization.k8s.io", "v1"),
        ("authentication.k8s.io", "v1"),
        ("networking.k8s.io", "v1"),
        ("scheduling.k8s.io", "v1"),
        ("admissionregistration.k8s.io", "v1"),
        ("discovery.k8s.io", "v1"),
    ] {
        let group = groups
            .iter()
            .find(|group| group["name"] == name)
            .cloned()
            .unwrap_or_default();
        contains(
            &group,
            json!({"name": name, "preferredVersion": {"groupVersion": format!("{name}/{version}"), "version": version}}),
        )?;
    }
    Ok(())
}

async fn a_group_is_described(c: &Cluster) -> anyhow::Result<()> {
    let found = c.get("/apis/autoscaling").await?.with_code(200)?;
    same(
        found,
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": "autoscaling",
            "versions": [{"groupVersion": "autoscaling/v2", "version": "v2"}, {"groupVersion": "autoscaling/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"}}),
    )
}

fn resource<'a>(list: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let found = list["resources"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == name));
    found.ok_or_else(|| anyhow::anyhow!("{name} is not listed"))
}

async fn core_resources_are_listed(c: &Cluster) -> anyhow::Result<()> {
    let list = c.get("/api/v1").await?.with_code(200)?;
    contains(&list, json!({"kind": "APIResourceList", "groupVersion": "v1"}))?;
    let all = json!([
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch"
    ]);
    contains(
        resource(&list, "pods")?,
        json!({"kind": "Pod", "namespaced": true, "singularName": "pod", "shortNames": ["po"], "categories": ["all"], "verbs": all}),
    )?;
    contains(
        resource(&list, "nodes")?,
        json!({"kind": "Node", "namespaced": false, "shortNames": ["no"], "verbs": all}),
    )?;
    contains(
        resource(&list, "pods/eviction")?,
        json!({"kind": "Eviction", "group": "policy", "version": "v1", "verbs": ["create"]}),
    )?;
    contains(
        resource(&list, "pods/binding")?,
        json!({"kind": "Binding", "verbs": ["create"]}),
    )?;
    contains(
        resource(&list, "pods/status")?,
        json!({"kind": "Pod", "verbs": ["get", "patch", "update"]}),
    )?;
    contains(
        resource(&list, "serviceaccounts/token")?,
        json!({"kind": "TokenRequest", "group": "authentication.k8s.io", "version": "v1", "verbs": ["create"]}),
    )?;
    contains(
        resource(&list, "namespaces")?,
        json!({"verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}),
    )
}

async fn resources_of_a_group_are_listed(c: &Cluster) -> anyhow::Result<()> {
    let list = c.get("/apis/apps/v1").await?.with_code(200)?;
    contains(
        &list,
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1"}),
    )?;
    contains(
        resource(&list, "deployments")?,
        json!({"kind": "Deployment", "namespaced": true, "singularName": "deployment", "shortNames": ["deploy"]}),
    )?;
    contains(
        resource(&list, "deployments/scale")?,
        json!({"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]}),
    )?;
    contains(
        resource(&list, "statefulsets/status")?,
        json!({"kind": "StatefulSet", "group": null}),
    )
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn aggregated_discovery_of_the_core_group(c: &Cluster) -> anyhow::Result<()> {
    let answer = c
        .ask("GET", "/api", &[("accept", AGGREGATED)], String::new())
        .await?;
    same(
        answer.headers["content-type"].to_str()?.to_owned(),
        AGGREGATED.to_owned(),
    )?;
    let found = answer.with_code(200)?;
    contains(
        &found,
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}),
    )?;
    let resources = found["items"][0]["versions"][0]["resources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let pods = resources
        .iter()
        .find(|one| one["resource"] == "pods")
        .cloned()
        .unwrap_or_default();
    contains(
        &pods,
        json!({"scope": "Namespaced", "singularResource": "pod", "shortNames": ["po"], "categories": ["all"],
            "responseKind": {"group": "", "version": "", "kind": "Pod"},
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}),
    )
}

async fn aggregated_discovery_of_groups(c: &Cluster) -> anyhow::Result<()> {
    let found = c
        .ask("GET", "/apis", &[("accept", AGGREGATED)], String::new())
        .await?
        .with_code(200)?;
    let groups = found["items"].as_array().cloned().unwrap_or_default();
    let apps = groups
        .iter()
        .find(|group| group["metadata"]["name"] == "apps")
        .cloned()
        .unwrap_or_default();
    let resources = apps["versions"][0]["resources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let deployments = resources
        .iter()
        .find(|one| one["resource"] == "deployments")
        .cloned()
        .unwrap_or_default();
    contains(
        &apps["versions"][0],
        json!({"version": "v1", "freshness": "Current"}),
    )?;
    contains(
        &deployments,
        json!({"responseKind": {"group": "", "version": "", "kind": "Deployment"}, "scope": "Namespaced",
        "subresources": [
            {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get", "patch", "update"]},
            {"subresource": "status", "responseKind": {"group": "", "version": "", "kind": "Deployment"}, "verbs": ["get", "patch", "update"]},
        ]}),
    )
}

async fn openapi_is_there(c: &Cluster) -> anyhow::Result<()> {
    let index = c.get("/openapi/v3").await?.with_code(200)?;
    anyhow::ensure!(
        text(&index, "/paths/apis~1apps~1v1/serverRelativeURL").starts_with("/openapi/v3/apis/apps/v1?hash=")
    );
    let document = c.get("/openapi/v3/apis/apps/v1").await?.with_code(200)?;
    anyhow::ensure!(text(&document, "/openapi").starts_with("3.0"));
    let document = c.get("/openapi/v2").await?.with_code(200)?;
    same(text(&document, "/swagger"), "2.0")
}

async fn an_access_review_of_oneself_is_answered(c: &Cluster) -> anyhow::Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": c.namespace(), "verb": "create", "resource": "pods"}}});
    let answer = c
        .post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review)
        .await?
        .with_code(201)?;
    contains(
        &answer,
        json!({"kind": "SelfSubjectAccessReview", "status": {"allowed": true}, "spec": {"resourceAttributes": {"resource": "pods"}}}),
    )
}

async fn a_self_subject_review_names_the_user(c: &Cluster) -> anyhow::Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = c
        .post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)
        .await?
        .with_code(201)?;
    anyhow::ensure!(!text(&answer, "/status/userInfo/username").is_empty(), "{answer}");
    let groups = answer["status"]["userInfo"]["groups"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    anyhow::ensure!(groups.contains(&json!("system:authenticated")), "{answer}");
    Ok(())
}

async fn a_token_review_refuses_nonsense(c: &Cluster) -> anyhow::Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "nonsense"}});
    let answer = c
        .post("/apis/authentication.k8s.io/v1/tokenreviews", &review)
        .await?
        .with_code(201)?;
    anyhow::ensure!(answer["status"]["authenticated"] != true, "{answer}");
    Ok(())
}

/// The names of a table's columns of the first priority, and the cells of the row of this name.
/// Whether the last cells but the age are these; `null` stands for anything.
async fn a_malformed_body_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let headers = [("content-type", "application/json")];
    c.ask(
        "POST",
        &c.at("v1", "configmaps"),
        &headers,
        "{\"metadata\": ".to_owned(),
    )
    .await?
    .refused_with(
        400,
        "BadRequest",
        "couldn't get version/kind; json parse error: unexpected end of JSON input",
    )?;
    Ok(())
}

async fn a_body_of_another_media_type_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let headers = [("content-type", "text/plain")];
    c.ask("POST", &c.at("v1", "configmaps"), &headers, config_map("a").to_string()).await?.refused(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )?;
    Ok(())
}

async fn a_body_may_be_yaml(c: &Cluster) -> anyhow::Result<()> {
    let headers = [("content-type", "application/yaml")];
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let made = c
        .ask("POST", &c.at("v1", "configmaps"), &headers, body.to_owned())
        .await?
        .with_code(201)?;
    contains(&made, json!({"data": {"k": "v"}}))?;
    let patch = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{}?fieldManager=me", c.at("v1", "configmaps/b"));
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata:\n  k: v\n";
    c.ask("PATCH", &path, &patch, body.to_owned())
        .await?
        .with_code(201)?;
    Ok(())
}

async fn a_collection_takes_no_put(c: &Cluster) -> anyhow::Result<()> {
    const MESSAGE: &str = "the server does not allow this method on the requested resource";
    let status = c
        .put(&c.at("v1", "configmaps"), &config_map("a"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    contains(&status, json!({"details": {}}))?;
    c.post(&c.at("v1", "configmaps/a"), &config_map("a"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    Ok(())
}

async fn an_empty_body_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let headers = [("content-type", "application/json")];
    c.ask("POST", &c.at("v1", "configmaps"), &headers, String::new())
        .await?
        .with_code(400)?;
    Ok(())
}

async fn answers_carry_json(c: &Cluster) -> anyhow::Result<()> {
    for path in [c.at("v1", "configmaps"), c.at("v1", "configmaps/none")] {
        same(
            c.get(&path).await?.headers["content-type"].to_str()?.to_owned(),
            "application/json".to_owned(),
        )?;
    }
    Ok(())
}
