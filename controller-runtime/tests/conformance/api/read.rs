//! Get and list: selectors of labels and fields, partial metadata, refusals.

use serde_json::json;

use super::objects::{config_map, create, deployment, names, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_missing_object_is_not_found,
    a_missing_object_of_a_group_is_named_with_it,
    an_unknown_resource_of_a_served_group_is_not_found,
    what_nothing_serves_is_a_plain_404,
    a_cluster_scoped_resource_is_not_found_in_a_namespace,
    a_list_has_its_kind_and_a_version_and_items_without_kinds,
    an_empty_list_has_no_items_but_a_list,
    a_list_of_all_namespaces_holds_every_namespace,
    label_selectors_select,
    an_invalid_label_selector_is_refused,
    pods_are_selected_by_their_fields,
    any_kind_is_selected_by_name_and_namespace,
    events_are_selected_by_their_involved_object,
    an_unknown_field_label_is_refused,
    an_invalid_field_selector_is_refused,
    jobs_are_selected_by_success,
    a_name_by_field_selector_may_miss,
    partial_metadata_of_an_object,
    partial_metadata_of_a_list,
    an_unservable_accept_header_is_refused,
    a_head_request_is_not_allowed,
];

async fn a_missing_object_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    let status = c.get(&c.at("v1", "configmaps/nope")).await?.refused(
        404,
        "NotFound",
        "configmaps \"nope\" not found",
    )?;
    contains(
        &status,
        json!({"apiVersion": "v1", "metadata": {}, "details": {"name": "nope", "kind": "configmaps", "group": null}}),
    )
}

async fn a_missing_object_of_a_group_is_named_with_it(c: &Cluster) -> anyhow::Result<()> {
    let status = c.get(&c.at("apps/v1", "deployments/nope")).await?.refused(
        404,
        "NotFound",
        "deployments.apps \"nope\" not found",
    )?;
    contains(
        &status,
        json!({"details": {"name": "nope", "group": "apps", "kind": "deployments"}}),
    )
}

const NO_RESOURCE: &str = "the server could not find the requested resource";

async fn an_unknown_resource_of_a_served_group_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    for path in [
        c.at("v1", "gadgets"),
        c.at("v1", "pods/a/gadget"),
        c.at("apps/v1", "deployments/a/gadget"),
        "/apis/apps/v7/deployments".to_owned(),
        "/apis/apps/v7".to_owned(),
        "/api/v2/pods".to_owned(),
    ] {
        let status = c.get(&path).await?.refused(404, "NotFound", NO_RESOURCE)?;
        contains(
            &status,
            json!({"apiVersion": "v1", "metadata": {}, "details": {}}),
        )?;
    }
    Ok(())
}

async fn what_nothing_serves_is_a_plain_404(c: &Cluster) -> anyhow::Result<()> {
    for path in [
        "/apis/nobody.example.com/v1/things",
        "/apis/nobody.example.com",
        "/nothing",
    ] {
        let answer = c.get(path).await?;
        same(
            answer.headers["content-type"].to_str()?,
            "text/plain; charset=utf-8",
        )?;
        same(answer.with_code(404)?, json!("404 page not found\n"))?;
    }
    Ok(())
}

async fn a_cluster_scoped_resource_is_not_found_in_a_namespace(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "nodes"))
        .await?
        .refused(404, "NotFound", NO_RESOURCE)?;
    Ok(())
}

async fn a_list_has_its_kind_and_a_version_and_items_without_kinds(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("b")).await?;
    let last = create(c, "v1", "configmaps", &config_map("a")).await?;
    let list = c
        .get(&c.at("v1", "configmaps?fieldSelector=metadata.name!=kube-root-ca.crt"))
        .await?
        .with_code(200)?;
    contains(&list, json!({"apiVersion": "v1", "kind": "ConfigMapList"}))?;
    same(names(&list), vec!["a", "b"])?;
    contains(
        &list["items"][0],
        json!({"apiVersion": null, "kind": null, "data": {"k": "v"}}),
    )?;
    let (list, last) = (
        text(&list, "/metadata/resourceVersion"),
        text(&last, "/metadata/resourceVersion"),
    );
    anyhow::ensure!(list.parse::<u64>()? >= last.parse::<u64>()?);
    Ok(())
}

async fn an_empty_list_has_no_items_but_a_list(c: &Cluster) -> anyhow::Result<()> {
    let list = c.get(&c.at("apps/v1", "deployments")).await?.with_code(200)?;
    contains(
        &list,
        json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [], "metadata": {"continue": null, "remainingItemCount": null}}),
    )?;
    let list = c.get("/api/v1/namespaces/nowhere/pods").await?.with_code(200)?;
    same(list["items"].clone(), json!([]))
}

async fn a_list_of_all_namespaces_holds_every_namespace(c: &Cluster) -> anyhow::Result<()> {
    let other = c.unique("other");
    c.post("/api/v1/namespaces", &json!({"metadata": {"name": other}}))
        .await?
        .with_code(201)?;
    c.delete_at_end(format!("/api/v1/namespaces/{other}"));
    let mut map = config_map("a");
    map["metadata"]["labels"] = json!({"of": c.namespace()});
    create(c, "v1", "configmaps", &map).await?;
    c.post(&format!("/api/v1/namespaces/{other}/configmaps"), &map)
        .await?
        .with_code(201)?;
    let list = c
        .get(&format!("/api/v1/configmaps?labelSelector=of={}", c.namespace()))
        .await?
        .with_code(200)?;
    let mut namespaces: Vec<&str> = vec![
        text(&list, "/items/0/metadata/namespace"),
        text(&list, "/items/1/metadata/namespace"),
    ];
    namespaces.sort_unstable();
    same(namespaces, vec![c.namespace(), other.as_str()])
}

async fn label_selectors_select(c: &Cluster) -> anyhow::Result<()> {
    for (name, labels) in [
        ("a", json!({"app": "web", "tier": "front"})),
        ("b", json!({"app": "web", "tier": "back"})),
        ("c", json!({"app": "db"})),
    ] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = labels;
        create(c, "v1", "configmaps", &map).await?;
    }
    for (selector, expected) in [
        ("app=web", vec!["a", "b"]),
        ("app==web,tier!=back", vec!["a"]),
        ("app,tier!=back", vec!["a", "c"]),
        ("app%20in%20(web,db),!tier", vec!["c"]),
        ("tier%20notin%20(front)%2Capp", vec!["b", "c"]),
        ("tier", vec!["a", "b"]),
        ("app=none", vec![]),
    ] {
        let list = c
            .get(&c.at("v1", &format!("configmaps?labelSelector={selector}")))
            .await?
            .with_code(200)?;
        same(names(&list), expected)?;
    }
    Ok(())
}

async fn an_invalid_label_selector_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "configmaps?labelSelector=a%20in"))
        .await?
        .refused(
            400,
            "BadRequest",
            "unable to parse requirement: found '' expected: '('",
        )?;
    c.get(&c.at("v1", "configmaps?labelSelector==x"))
        .await?
        .refused_with(400, "BadRequest", "found '='")?;
    c.get(&c.at("v1", "configmaps?labelSelector=a=b%20c"))
        .await?
        .refused_with(400, "BadRequest", "found 'c'")?;
    Ok(())
}

async fn pods_are_selected_by_their_fields(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let mut bound = pod("b");
    bound["spec"]["nodeName"] = json!("no-such-node");
    bound["spec"]["restartPolicy"] = json!("Never");
    create(c, "v1", "pods", &bound).await?;
    for (selector, expected) in [
        ("metadata.name=a", vec!["a"]),
        ("spec.nodeName=no-such-node", vec!["b"]),
        ("spec.nodeName=", vec!["a"]),
        ("status.phase=Pending", vec!["a", "b"]),
        ("status.phase!=Pending", vec![]),
        ("spec.restartPolicy=Never,status.phase=Pending", vec!["b"]),
        ("spec.schedulerName=nobody", vec!["a", "b"]),
        ("spec.serviceAccountName=default", vec!["a", "b"]),
        ("spec.hostNetwork=false", vec!["a", "b"]),
        ("status.podIP=", vec!["a", "b"]),
        ("status.nominatedNodeName=", vec!["a", "b"]),
    ] {
        let list = c
            .get(&c.at("v1", &format!("pods?fieldSelector={selector}")))
            .await?
            .with_code(200)?;
        anyhow::ensure!(names(&list) == expected, "{selector}: {:?}", names(&list));
    }
    Ok(())
}

async fn any_kind_is_selected_by_name_and_namespace(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    create(c, "apps/v1", "deployments", &deployment("b")).await?;
    let path = format!(
        "/apis/apps/v1/deployments?fieldSelector=metadata.name=b,metadata.namespace={}",
        c.namespace()
    );
    same(names(&c.get(&path).await?.with_code(200)?), vec!["b"])
}

async fn events_are_selected_by_their_involved_object(c: &Cluster) -> anyhow::Result<()> {
    for (name, about, kind) in [("a", "web", "Normal"), ("b", "db", "Warning")] {
        let event = json!({
            "metadata": {"name": name, "namespace": c.namespace()},
            "involvedObject": {"kind": "Deployment", "name": about, "namespace": c.namespace()},
            "reason": "Tested", "message": "m", "type": kind,
        });
        create(c, "v1", "events", &event).await?;
    }
    for (selector, expected) in [
        ("involvedObject.name=web", "a"),
        ("involvedObject.kind=Deployment,type=Warning", "b"),
        ("reason=Tested,type=Normal", "a"),
    ] {
        let list = c
            .get(&c.at("v1", &format!("events?fieldSelector={selector}")))
            .await?
            .with_code(200)?;
        same(names(&list), vec![expected])?;
    }
    Ok(())
}

async fn an_unknown_field_label_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "pods?fieldSelector=spec.hostname=x"))
        .await?
        .refused(400, "BadRequest", "field label not supported: spec.hostname")?;
    c.get(&c.at("apps/v1", "deployments?fieldSelector=spec.replicas=1"))
        .await?
        .refused(
            400,
            "BadRequest",
            "\"spec.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        )?;
    Ok(())
}

async fn an_invalid_field_selector_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "pods?fieldSelector=nonsense"))
        .await?
        .refused_with(
            400,
            "BadRequest",
            "invalid selector: 'nonsense'; can't understand 'nonsense'",
        )?;
    Ok(())
}

async fn jobs_are_selected_by_success(c: &Cluster) -> anyhow::Result<()> {
    let job = json!({"metadata": {"name": "a"}, "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}}});
    create(c, "batch/v1", "jobs", &job).await?;
    same(
        names(
            &c.get(&c.at("batch/v1", "jobs?fieldSelector=status.successful=0"))
                .await?
                .with_code(200)?,
        ),
        vec!["a"],
    )?;
    same(
        names(
            &c.get(&c.at("batch/v1", "jobs?fieldSelector=status.successful=1"))
                .await?
                .with_code(200)?,
        ),
        vec![],
    )
}

async fn a_name_by_field_selector_may_miss(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    same(
        names(
            &c.get(&c.at("v1", "configmaps?fieldSelector=metadata.name=b"))
                .await?
                .with_code(200)?,
        ),
        vec![],
    )
}

const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

async fn partial_metadata_of_an_object(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let path = c.at("apps/v1", "deployments/a");
    let found = c
        .ask("GET", &path, &[("accept", PARTIAL)], String::new())
        .await?
        .with_code(200)?;
    contains(
        &found,
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "spec": null, "status": null,
        "metadata": {"name": "a", "uid": made["metadata"]["uid"]}}),
    )
}

async fn partial_metadata_of_a_list(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let path = c.at("apps/v1", "deployments");
    let found = c
        .ask("GET", &path, &[("accept", PARTIAL_LIST)], String::new())
        .await?
        .with_code(200)?;
    contains(
        &found,
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "items": [{"metadata": {"name": "a"}, "spec": null}]}),
    )
}

async fn an_unservable_accept_header_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let path = c.at("v1", "configmaps");
    let status = c.ask("GET", &path, &[("accept", "text/html")], String::new()).await?.refused(
        406,
        "NotAcceptable",
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
    )?;
    contains(&status, json!({"metadata": {}}))
}

async fn a_head_request_is_not_allowed(c: &Cluster) -> anyhow::Result<()> {
    same(
        c.ask("HEAD", &c.at("v1", "configmaps"), &[], String::new())
            .await?
            .with_code(405)?,
        json!(""),
    )
}
