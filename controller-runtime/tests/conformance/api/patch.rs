//! JSON, merge and strategic merge patches.

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_merge_patch_sets_and_removes_members,
    a_merge_patch_replaces_lists,
    a_merge_patch_with_an_old_version_conflicts,
    a_patch_without_a_version_does_not_conflict,
    a_json_patch_applies_its_operations_in_order,
    a_json_patch_whose_test_fails_is_refused,
    a_json_patch_of_a_missing_path_is_refused,
    a_json_patch_must_be_a_list,
    a_strategic_patch_merges_containers_by_name,
    a_strategic_patch_orders_what_it_names,
    a_strategic_patch_deletes_by_directive,
    a_strategic_patch_replaces_by_directive,
    a_strategic_patch_merges_finalizers,
    a_strategic_patch_of_environment_keeps_its_order,
    a_patch_of_an_unknown_type_is_refused,
    a_patch_that_makes_the_object_invalid_is_refused,
    a_patch_may_not_rename,
    a_patch_with_a_wrong_type_is_refused,
    a_malformed_patch_is_refused,
];

const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

async fn a_merge_patch_sets_and_removes_members(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["labels"] = json!({"one": "1", "two": "2"});
    create(c, "v1", "configmaps", &map).await?;
    let patch = json!({"metadata": {"labels": {"one": null, "three": "3"}}, "data": {"k": null, "l": "w"}});
    let after = c
        .merge(&c.at("v1", "configmaps/a"), &patch)
        .await?
        .with_code(200)?;
    same(
        after["metadata"]["labels"].clone(),
        json!({"two": "2", "three": "3"}),
    )?;
    same(after["data"].clone(), json!({"l": "w"}))
}

async fn a_merge_patch_replaces_lists(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "other", "image": "redis:7"}]}}}});
    let after = c
        .merge(&c.at("apps/v1", "deployments/a"), &patch)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "other", "image": "redis:7", "imagePullPolicy": "IfNotPresent"}]}}}}),
    )
}

async fn a_merge_patch_with_an_old_version_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    c.merge(&c.at("v1", "configmaps/a"), &json!({"data": {"k": "w"}}))
        .await?
        .with_code(200)?;
    let patch =
        json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"k": "x"}});
    c.merge(&c.at("v1", "configmaps/a"), &patch).await?.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    )?;
    Ok(())
}

async fn a_patch_without_a_version_does_not_conflict(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    for value in ["1", "2", "3"] {
        let after = c
            .merge(&c.at("v1", "configmaps/a"), &json!({"data": {value: value}}))
            .await?
            .with_code(200)?;
        contains(&after, json!({"data": {"k": "v", value: value}}))?;
    }
    Ok(())
}

async fn a_json_patch_applies_its_operations_in_order(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let patch = json!([
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "add", "path": "/data/a~1b", "value": "slash"},
        {"op": "copy", "from": "/data/k", "path": "/data/copy"},
        {"op": "move", "from": "/data/k", "path": "/data/moved"},
        {"op": "replace", "path": "/data/copy", "value": "replaced"},
        {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}},
        {"op": "remove", "path": "/data/a~1b"},
    ]);
    let after = c
        .patch(JSON, &c.at("v1", "configmaps/a"), &patch)
        .await?
        .with_code(200)?;
    same(after["data"].clone(), json!({"copy": "replaced", "moved": "v"}))?;
    contains(&after, json!({"metadata": {"labels": {"x": "y"}}}))
}

async fn a_json_patch_whose_test_fails_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let patch = json!([{"op": "replace", "path": "/data/k", "value": "w"}, {"op": "test", "path": "/data/k", "value": "v"}]);
    let status = c
        .patch(JSON, &c.at("v1", "configmaps/a"), &patch)
        .await?
        .refused(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )?;
    same(status["details"].clone(), json!({}))?;
    same(c.get(&c.at("v1", "configmaps/a")).await?.ok()?, made)
}

async fn a_json_patch_of_a_missing_path_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let patch = json!([{"op": "remove", "path": "/data/none"}]);
    c.patch(JSON, &c.at("v1", "configmaps/a"), &patch)
        .await?
        .refused(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )?;
    Ok(())
}

async fn a_json_patch_must_be_a_list(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.patch(JSON, &c.at("v1", "configmaps/a"), &json!({"data": {}}))
        .await?
        .refused_with(
            400,
            "BadRequest",
            "json: cannot unmarshal object into Go value of type",
        )?;
    Ok(())
}

async fn a_strategic_patch_merges_containers_by_name(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "image": "nginx:2"}, {"name": "side", "image": "envoy:1"},
    ]}}}});
    let after = c
        .patch(STRATEGIC, &c.at("apps/v1", "deployments/a"), &patch)
        .await?
        .with_code(200)?;
    let containers = &after["spec"]["template"]["spec"]["containers"];
    same(containers.as_array().map_or(0, Vec::len), 2)?;
    let of = |name: &str| {
        containers
            .as_array()
            .and_then(|list| list.iter().find(|one| one["name"] == name))
            .cloned()
            .unwrap_or_default()
    };
    contains(
        &of("main"),
        json!({"image": "nginx:2", "terminationMessagePath": "/dev/termination-log"}),
    )?;
    contains(&of("side"), json!({"image": "envoy:1"}))
}

async fn a_strategic_patch_orders_what_it_names(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let path = c.at("apps/v1", "deployments/a");
    let names = |object: &Value| -> Vec<String> {
        let containers = object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        containers
            .iter()
            .map(|one| text(one, "/name").to_owned())
            .collect()
    };
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "x"}]}}}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    same(names(&after), vec!["side".to_owned(), "main".to_owned()])?;
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "main"}, {"name": "third"}], "containers": [{"name": "third", "image": "x"}],
    }}}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    same(
        names(&after),
        vec!["side".to_owned(), "main".to_owned(), "third".to_owned()],
    )
}

async fn a_strategic_patch_deletes_by_directive(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "main", "image": "a:1"}, {"name": "side", "image": "b:1"}]);
    create(c, "apps/v1", "deployments", &object).await?;
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}});
    let after = c
        .patch(STRATEGIC, &c.at("apps/v1", "deployments/a"), &patch)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}}),
    )
}

async fn a_strategic_patch_replaces_by_directive(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let path = c.at("apps/v1", "deployments/a");
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"$patch": "replace"}, {"name": "only", "image": "x:1"}]}}}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    contains(
        &after,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "only"}]}}}}),
    )?;
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    same(after["spec"]["strategy"].clone(), json!({"type": "Recreate"}))
}

async fn a_strategic_patch_merges_finalizers(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["example.com/one"]);
    create(c, "v1", "configmaps", &map).await?;
    let path = c.at("v1", "configmaps/a");
    let patch = json!({"metadata": {"finalizers": ["example.com/two"]}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    let mut found = after["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    found.sort_by_key(ToString::to_string);
    same(found, vec![json!("example.com/one"), json!("example.com/two")])?;
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/one"]}});
    let after = c.patch(STRATEGIC, &path, &patch).await?.with_code(200)?;
    same(
        after["metadata"]["finalizers"].clone(),
        json!(["example.com/two"]),
    )?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    Ok(())
}

async fn a_strategic_patch_of_environment_keeps_its_order(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]);
    create(c, "apps/v1", "deployments", &object).await?;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "9"}, {"name": "D", "value": "4"}, {"name": "A", "$patch": "delete"}]}]}}}});
    let after = c
        .patch(STRATEGIC, &c.at("apps/v1", "deployments/a"), &patch)
        .await?
        .with_code(200)?;
    let env = after["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    same(
        env,
        json!([{"name": "B", "value": "9"}, {"name": "D", "value": "4"}, {"name": "C", "value": "3"}]),
    )
}

async fn a_patch_of_an_unknown_type_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.patch("application/json", &c.at("v1", "configmaps/a"), &json!({}))
        .await?
        .refused(415, "UnsupportedMediaType", "415: Unsupported Media Type")?;
    Ok(())
}

async fn a_patch_that_makes_the_object_invalid_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    c.merge(&c.at("apps/v1", "deployments/a"), &json!({"spec": {"replicas": -1}})).await?.refused(
        422,
        "Invalid",
        "Deployment.apps \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    )?;
    Ok(())
}

async fn a_patch_may_not_rename(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.merge(&c.at("v1", "configmaps/a"), &json!({"metadata": {"name": "b"}}))
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        )?;
    c.merge(
        &c.at("v1", "configmaps/a"),
        &json!({"metadata": {"namespace": "other"}}),
    )
    .await?
    .refused(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    )?;
    Ok(())
}

async fn a_patch_with_a_wrong_type_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    c.merge(
        &c.at("apps/v1", "deployments/a"),
        &json!({"spec": {"replicas": "many"}}),
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    )?;
    Ok(())
}

async fn a_malformed_patch_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let path = c.at("v1", "configmaps/a");
    let headers = [("content-type", "application/merge-patch+json")];
    c.ask("PATCH", &path, &headers, "{\"data\": ".to_owned())
        .await?
        .refused_with(400, "BadRequest", "error decoding patch")?;
    Ok(())
}
