//! Custom objects: subresources, patches, apply, watches, owners.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Kind, anything, fields, list_map, owned};
use crate::{
    api::objects::{config_map, create},
    harness::{Cluster, cases, contains, same, text},
};

cases![
    a_custom_object_is_created_and_read,
    a_custom_object_needs_a_kind,
    a_status_of_a_custom_object_is_apart,
    the_generation_of_a_custom_object_counts_everything_but_metadata,
    a_custom_object_without_a_status_subresource_has_a_plain_status,
    a_custom_scale_follows_its_paths,
    a_custom_object_is_patched,
    a_custom_object_takes_no_strategic_patch,
    custom_fields_are_applied_by_owner,
    a_custom_list_is_merged_by_its_keys,
    a_custom_object_owns_and_is_collected,
    a_custom_object_is_watched,
    a_version_that_no_history_reaches_is_gone,
    a_cluster_scoped_custom_object_has_no_namespace,
    an_update_of_a_custom_object_needs_its_version,
];

async fn a_custom_object_is_created_and_read(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let made = kind.create(c, "a", json!({"x": 1})).await?;
    contains(
        &made,
        json!({"apiVersion": kind.version(), "kind": "Gadget", "metadata": {"name": "a", "generation": 1}, "spec": {"x": 1}}),
    )?;
    same(c.get(&kind.path(c, "gadgets/a")).await?.with_code(200)?, made)?;
    let list = c.get(&kind.path(c, "gadgets")).await?.with_code(200)?;
    contains(
        &list,
        json!({"kind": "GadgetList", "apiVersion": kind.version(), "items": [{"kind": "Gadget", "apiVersion": kind.version()}]}),
    )?;
    c.get(&kind.path(c, "gadgets/b")).await?.refused(
        404,
        "NotFound",
        &format!("gadgets.{} \"b\" not found", kind.group),
    )?;
    let status = c.delete(&kind.path(c, "gadgets/a")).await?.with_code(200)?;
    contains(
        &status,
        json!({"kind": "Status", "status": "Success", "details": {"name": "a", "group": kind.group, "kind": "gadgets"}}),
    )
}

async fn a_custom_object_needs_a_kind(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    c.post(&kind.path(c, "gadgets"), &json!({"metadata": {"name": "a"}}))
        .await?
        .refused_with(400, "BadRequest", "Object 'Kind' is missing in")?;
    let mut object = kind.object("a", json!({}));
    object["kind"] = json!("Widget");
    c.post(&kind.path(c, "gadgets"), &object).await?.refused(
        422,
        "Invalid",
        &format!(
            "Widget.{} \"a\" is invalid: kind: Invalid value: \"Widget\": must be Gadget",
            kind.group
        ),
    )?;
    let mut object = kind.object("a", json!({}));
    object["apiVersion"] = json!("other.example.com/v1");
    c.post(&kind.path(c, "gadgets"), &object).await?.refused(
        400,
        "BadRequest",
        &format!(
            "the API version in the data (other.example.com/v1) does not match the expected API version ({})",
            kind.version()
        ),
    )?;
    Ok(())
}

async fn a_status_of_a_custom_object_is_apart(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything())
        .with("subresources", json!({"status": {}}))
        .establish(c)
        .await?;
    let mut object = kind.object("a", json!({"x": 1}));
    object["status"] = json!({"phase": "mine"});
    let made = c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    contains(&made, json!({"status": null, "metadata": {"generation": 1}}))?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a/status"),
            &json!({"spec": {"x": 2}, "metadata": {"labels": {"a": "b"}}, "status": {"phase": "Ready"}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"x": 1}, "status": {"phase": "Ready"}, "metadata": {"generation": 1, "labels": null}}),
    )?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": 3}, "status": {"phase": "other"}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"x": 3}, "status": {"phase": "Ready"}, "metadata": {"generation": 2}}),
    )
}

async fn the_generation_of_a_custom_object_counts_everything_but_metadata(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything()).with("subresources", json!({"status": {}}));
    kind.definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["extra"] =
        json!({"type": "string"});
    let kind = kind.establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    for (patch, generation) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (json!({"extra": "more"}), 2),
        (json!({"spec": {"x": 2}}), 3),
        (json!({"spec": {"x": 2}}), 3),
    ] {
        let after = c
            .merge(&kind.path(c, "gadgets/a"), &patch)
            .await?
            .with_code(200)?;
        contains(&after, json!({"metadata": {"generation": generation}}))?;
    }
    Ok(())
}

async fn a_custom_object_without_a_status_subresource_has_a_plain_status(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut object = kind.object("a", json!({}));
    object["status"] = json!({"phase": "mine"});
    let made = c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    contains(&made, json!({"status": {"phase": "mine"}}))?;
    let after = c
        .merge(&kind.path(c, "gadgets/a"), &json!({"status": {"phase": "other"}}))
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"status": {"phase": "other"}, "metadata": {"generation": 2}}),
    )?;
    c.get(&kind.path(c, "gadgets/a/status")).await?.refused(
        404,
        "NotFound",
        &format!("gadgets.{} \"a\" not found", kind.group),
    )?;
    Ok(())
}

async fn a_custom_scale_follows_its_paths(c: &Cluster) -> anyhow::Result<()> {
    let subresources = json!({"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}});
    let kind = Kind::new(c, anything())
        .with("subresources", subresources)
        .establish(c)
        .await?;
    let made = kind.create(c, "a", json!({"size": 2})).await?;
    c.merge(
        &kind.path(c, "gadgets/a/status"),
        &json!({"status": {"size": 1, "selector": "app=a"}}),
    )
    .await?
    .with_code(200)?;
    let scale = c.get(&kind.path(c, "gadgets/a/scale")).await?.with_code(200)?;
    contains(
        &scale,
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "uid": made["metadata"]["uid"]}, "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=a"}}),
    )?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a/scale"),
            &json!({"spec": {"replicas": 5}}),
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"replicas": 5}}))?;
    let object = c.get(&kind.path(c, "gadgets/a")).await?.ok()?;
    contains(
        &object,
        json!({"spec": {"size": 5}, "metadata": {"generation": 2}}),
    )
}

async fn a_custom_object_is_patched(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1, "list": [1, 2]})).await?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": null, "list": [3]}}),
        )
        .await?
        .with_code(200)?;
    same(after["spec"].clone(), json!({"list": [3]}))?;
    let patch = json!([{"op": "add", "path": "/spec/list/-", "value": 4}]);
    let after = c
        .patch("application/json-patch+json", &kind.path(c, "gadgets/a"), &patch)
        .await?
        .with_code(200)?;
    same(after["spec"].clone(), json!({"list": [3, 4]}))
}

async fn a_custom_object_takes_no_strategic_patch(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({})).await?;
    let answer = c
        .patch(
            "application/strategic-merge-patch+json",
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": 1}}),
        )
        .await?;
    answer.refused(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )?;
    Ok(())
}

async fn custom_fields_are_applied_by_owner(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(json!({"one": {"type": "string"}, "two": {"type": "string"}})),
    )
    .establish(c)
    .await?;
    let path = kind.path(c, "gadgets/a");
    let made = c
        .apply(
            &format!("{path}?fieldManager=me"),
            &kind.object("a", json!({"one": "1"})),
        )
        .await?
        .with_code(201)?;
    same(owned(&made, "me"), json!({"f:spec": {"f:one": {}}}))?;
    let both = c
        .apply(
            &format!("{path}?fieldManager=you"),
            &kind.object("a", json!({"two": "2"})),
        )
        .await?
        .with_code(200)?;
    same(both["spec"].clone(), json!({"one": "1", "two": "2"}))?;
    c.apply(
        &format!("{path}?fieldManager=you"),
        &kind.object("a", json!({"one": "x"})),
    )
    .await?
    .refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"me\": .spec.one",
    )?;
    Ok(())
}

async fn a_custom_list_is_merged_by_its_keys(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, list_map()).establish(c).await?;
    let path = kind.path(c, "gadgets/a");
    c.apply(
        &format!("{path}?fieldManager=me"),
        &kind.object("a", json!({"parts": [{"name": "a", "size": 1}]})),
    )
    .await?
    .with_code(201)?;
    let both = c
        .apply(
            &format!("{path}?fieldManager=you"),
            &kind.object("a", json!({"parts": [{"name": "b", "size": 2}]})),
        )
        .await?
        .with_code(200)?;
    same(
        both["spec"]["parts"].clone(),
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 2}]),
    )?;
    same(
        owned(&both, "you"),
        json!({"f:spec": {"f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:size": {}}}}}),
    )?;
    let one = c
        .apply(
            &format!("{path}?fieldManager=me"),
            &kind.object("a", json!({"parts": []})),
        )
        .await?
        .with_code(200)?;
    same(one["spec"]["parts"].clone(), json!([{"name": "b", "size": 2}]))
}

async fn a_custom_object_owns_and_is_collected(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let owner = kind.create(c, "owner", json!({})).await?;
    let reference = |owner: &Value| json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]);
    let mut map = config_map("child");
    map["metadata"]["ownerReferences"] = reference(&owner);
    create(c, "v1", "configmaps", &map).await?;
    c.delete(&kind.path(c, "gadgets/owner")).await?.with_code(200)?;
    c.wait_gone(Duration::from_secs(150), &c.at("v1", "configmaps/child"))
        .await
}

async fn a_custom_object_is_watched(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    let mut watch = c.watch(&kind.path(c, "gadgets")).await?;
    let added = watch.expect_name("ADDED", "a").await?;
    contains(&added, json!({"kind": "Gadget", "spec": {"x": 1}}))?;
    c.merge(&kind.path(c, "gadgets/a"), &json!({"spec": {"x": 2}}))
        .await?
        .ok()?;
    watch.expect_name("MODIFIED", "a").await?;
    c.delete(&kind.path(c, "gadgets/a")).await?.ok()?;
    watch.expect_name("DELETED", "a").await?;
    Ok(())
}

async fn a_version_that_no_history_reaches_is_gone(c: &Cluster) -> anyhow::Result<()> {
    // A built-in kind's history may reach back to the cluster's first day; that of a new kind does not.
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    let mut watch = c.watch(&kind.path(c, "gadgets?resourceVersion=1")).await?;
    let status = watch.expect("ERROR").await?;
    contains(
        &status,
        json!({"kind": "Status", "code": 410, "reason": "Expired", "status": "Failure"}),
    )?;
    let message = text(&status, "/message");
    anyhow::ensure!(message.starts_with("too old resource version: 1 ("), "{message}");
    watch.expect_end().await
}

async fn a_cluster_scoped_custom_object_has_no_namespace(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    kind.definition["spec"]["scope"] = json!("Cluster");
    let kind = kind.establish(c).await?;
    let path = format!("/apis/{}/v1/gadgets", kind.group);
    let made = c
        .post(&path, &kind.object("a", json!({})))
        .await?
        .with_code(201)?;
    contains(&made, json!({"metadata": {"namespace": null, "name": "a"}}))?;
    same(
        c.get(&kind.path(c, "gadgets")).await?.with_code(404)?,
        json!("404 page not found\n"),
    )
}

async fn an_update_of_a_custom_object_needs_its_version(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut made = kind.create(c, "a", json!({"x": 1})).await?;
    c.put(&kind.path(c, "gadgets/a"), &kind.object("a", json!({"x": 2}))).await?.refused(
        422,
        "Invalid",
        &format!("gadgets.{} \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update", kind.group),
    )?;
    made["spec"]["x"] = json!(3);
    let after = c.put(&kind.path(c, "gadgets/a"), &made).await?.with_code(200)?;
    contains(&after, json!({"spec": {"x": 3}, "metadata": {"generation": 2}}))?;
    anyhow::ensure!(text(&after, "/metadata/resourceVersion") != text(&made, "/metadata/resourceVersion"));
    Ok(())
}
