//! Watches: from where they begin, what they tell, how they end.

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_watch_tells_what_happens,
    a_watch_from_a_version_begins_after_it,
    a_watch_without_a_version_begins_with_what_is_there,
    a_watch_from_zero_begins_with_what_is_there,
    an_object_that_enters_a_selection_is_added_and_one_that_leaves_is_deleted,
    an_object_that_leaves_a_field_selection_is_deleted,
    a_deleted_object_carries_the_version_of_its_deletion,
    a_write_without_a_change_is_no_event,
    a_watch_ends_after_its_timeout,
    a_bookmark_comes_at_the_end_of_a_watch_that_wants_them,
    a_streamed_list_ends_with_a_bookmark,
    a_streamed_list_of_nothing_is_a_bookmark,
    a_streamed_list_without_initial_events_begins_with_now,
    streaming_needs_a_match,
    a_match_needs_streaming,
    streaming_needs_not_older_than,
    a_watch_of_one_object_by_its_name,
    a_named_path_is_read_not_watched,
    a_watch_of_partial_metadata,
    a_watch_of_a_table,
    a_watch_of_all_namespaces_tells_of_every_one,
    a_watch_by_the_deprecated_path,
    a_watch_from_a_version_must_be_a_number,
];

fn version(object: &Value) -> String {
    text(object, "/metadata/resourceVersion").to_owned()
}

/// The version of an empty list of secrets.
async fn begin(c: &Cluster) -> anyhow::Result<String> {
    Ok(version(&c.get(&c.at("v1", "secrets")).await?.ok()?))
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}})
}

async fn a_watch_tells_what_happens(c: &Cluster) -> anyhow::Result<()> {
    let from = begin(c).await?;
    let mut watch = c
        .watch(&c.at("v1", &format!("secrets?resourceVersion={from}")))
        .await?;
    let made = create(c, "v1", "secrets", &secret("a")).await?;
    let added = watch.expect_name("ADDED", "a").await?;
    same(&added, &made)?;
    contains(&added, json!({"kind": "Secret", "apiVersion": "v1"}))?;
    let after = c
        .merge(&c.at("v1", "secrets/a"), &json!({"stringData": {"k": "v"}}))
        .await?
        .ok()?;
    same(watch.expect_name("MODIFIED", "a").await?, after)?;
    c.delete(&c.at("v1", "secrets/a")).await?.ok()?;
    watch.expect_name("DELETED", "a").await?;
    Ok(())
}

async fn a_watch_from_a_version_begins_after_it(c: &Cluster) -> anyhow::Result<()> {
    let first = create(c, "v1", "secrets", &secret("a")).await?;
    create(c, "v1", "secrets", &secret("b")).await?;
    c.merge(
        &c.at("v1", "secrets/a"),
        &json!({"metadata": {"labels": {"x": "y"}}}),
    )
    .await?
    .ok()?;
    c.delete(&c.at("v1", "secrets/b")).await?.ok()?;
    let mut watch = c
        .watch(&c.at("v1", &format!("secrets?resourceVersion={}", version(&first))))
        .await?;
    watch.expect_name("ADDED", "b").await?;
    let modified = watch.expect_name("MODIFIED", "a").await?;
    contains(&modified, json!({"metadata": {"labels": {"x": "y"}}}))?;
    watch.expect_name("DELETED", "b").await?;
    Ok(())
}

async fn a_watch_without_a_version_begins_with_what_is_there(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("a")).await?;
    create(c, "v1", "secrets", &secret("b")).await?;
    let mut watch = c.watch(&c.at("v1", "secrets")).await?;
    watch.expect_name("ADDED", "a").await?;
    watch.expect_name("ADDED", "b").await?;
    create(c, "v1", "secrets", &secret("c")).await?;
    watch.expect_name("ADDED", "c").await?;
    Ok(())
}

async fn a_watch_from_zero_begins_with_what_is_there(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("a")).await?;
    let path = c.at("v1", "secrets?resourceVersion=0");
    // The cache that answers may be behind, but not for ever.
    let mut watch = c.watch(&path).await?;
    watch.expect_name("ADDED", "a").await?;
    c.delete(&c.at("v1", "secrets/a")).await?.ok()?;
    watch.expect_name("DELETED", "a").await?;
    Ok(())
}

async fn an_object_that_enters_a_selection_is_added_and_one_that_leaves_is_deleted(
    c: &Cluster,
) -> anyhow::Result<()> {
    let from = begin(c).await?;
    let mut watch = c
        .watch(&c.at(
            "v1",
            &format!("secrets?resourceVersion={from}&labelSelector=on=yes"),
        ))
        .await?;
    create(c, "v1", "secrets", &secret("a")).await?;
    let path = c.at("v1", "secrets/a");
    for (labels, kind) in [
        (json!({"on": "yes"}), Some("ADDED")),
        (json!({"more": "x"}), Some("MODIFIED")),
        (json!({"on": "no"}), Some("DELETED")),
        (json!({"more": "y"}), None),
        (json!({"on": "yes"}), Some("ADDED")),
    ] {
        let after = c
            .merge(&path, &json!({"metadata": {"labels": labels}}))
            .await?
            .ok()?;
        if let Some(kind) = kind {
            let object = watch.expect_name(kind, "a").await?;
            same(version(&object), version(&after))?;
            if kind == "DELETED" {
                // The last state that was selected.
                contains(&object, json!({"metadata": {"labels": {"on": "yes"}}}))?;
            }
        }
    }
    Ok(())
}

async fn an_object_that_leaves_a_field_selection_is_deleted(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &super::objects::pod("a")).await?;
    let list = c.get(&c.at("v1", "pods")).await?.ok()?;
    let path = c.at(
        "v1",
        &format!(
            "pods?resourceVersion={}&fieldSelector=status.phase=Pending",
            version(&list)
        ),
    );
    let mut watch = c.watch(&path).await?;
    let after = c
        .merge(
            &c.at("v1", "pods/a/status"),
            &json!({"status": {"phase": "Failed"}}),
        )
        .await?
        .ok()?;
    let object = watch.expect_name("DELETED", "a").await?;
    same(version(&object), version(&after))?;
    contains(&object, json!({"status": {"phase": "Pending"}}))
}

async fn a_deleted_object_carries_the_version_of_its_deletion(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "secrets", &secret("a")).await?;
    let mut watch = c
        .watch(&c.at("v1", &format!("secrets?resourceVersion={}", version(&made))))
        .await?;
    c.delete(&c.at("v1", "secrets/a")).await?.ok()?;
    let gone = watch.expect_name("DELETED", "a").await?;
    anyhow::ensure!(version(&gone).parse::<u64>()? > version(&made).parse()?);
    let list = begin(c).await?;
    anyhow::ensure!(list.parse::<u64>()? >= version(&gone).parse()?);
    Ok(())
}

async fn a_write_without_a_change_is_no_event(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "secrets", &secret("a")).await?;
    let mut watch = c
        .watch(&c.at("v1", &format!("secrets?resourceVersion={}", version(&made))))
        .await?;
    c.merge(
        &c.at("v1", "secrets/a"),
        &json!({"metadata": {"labels": {"app": "a"}}}),
    )
    .await?
    .ok()?;
    create(c, "v1", "secrets", &secret("b")).await?;
    watch.expect_name("ADDED", "b").await?;
    Ok(())
}

async fn a_watch_ends_after_its_timeout(c: &Cluster) -> anyhow::Result<()> {
    let from = begin(c).await?;
    let start = tokio::time::Instant::now();
    let mut watch = c
        .watch(&c.at("v1", &format!("secrets?resourceVersion={from}&timeoutSeconds=1")))
        .await?;
    watch.expect_end().await?;
    let took = start.elapsed().as_millis();
    anyhow::ensure!((900..5000).contains(&took), "{took}");
    Ok(())
}

async fn a_bookmark_comes_at_the_end_of_a_watch_that_wants_them(c: &Cluster) -> anyhow::Result<()> {
    let from = begin(c).await?;
    let path = format!("secrets?resourceVersion={from}&timeoutSeconds=4&allowWatchBookmarks=true");
    let mut watch = c.watch(&c.at("v1", &path)).await?;
    let made = create(c, "v1", "secrets", &secret("a")).await?;
    watch.expect_name("ADDED", "a").await?;
    let mark = watch.expect("BOOKMARK").await?;
    contains(
        &mark,
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": null, "annotations": null}}),
    )?;
    anyhow::ensure!(version(&mark).parse::<u64>()? >= version(&made).parse()?);
    while let Some((kind, object)) = watch.next().await? {
        anyhow::ensure!(kind == "BOOKMARK", "{kind} {object}");
    }
    Ok(())
}

const STREAM: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

async fn a_streamed_list_ends_with_a_bookmark(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("b")).await?;
    let last = create(c, "v1", "secrets", &secret("a")).await?;
    let mut watch = c.watch(&c.at("v1", &format!("secrets?{STREAM}"))).await?;
    watch.expect_name("ADDED", "a").await?;
    watch.expect_name("ADDED", "b").await?;
    let mark = watch.expect("BOOKMARK").await?;
    contains(
        &mark,
        json!({"kind": "Secret", "metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}),
    )?;
    anyhow::ensure!(version(&mark).parse::<u64>()? >= version(&last).parse()?);
    create(c, "v1", "secrets", &secret("c")).await?;
    watch.expect_name("ADDED", "c").await?;
    Ok(())
}

async fn a_streamed_list_of_nothing_is_a_bookmark(c: &Cluster) -> anyhow::Result<()> {
    let mut watch = c.watch(&c.at("v1", &format!("secrets?{STREAM}"))).await?;
    let mark = watch.expect("BOOKMARK").await?;
    contains(
        &mark,
        json!({"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}),
    )
}

async fn a_streamed_list_without_initial_events_begins_with_now(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("a")).await?;
    let from = begin(c).await?;
    let query = format!("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={from}");
    let mut watch = c.watch(&c.at("v1", &format!("secrets?{query}"))).await?;
    create(c, "v1", "secrets", &secret("b")).await?;
    watch.expect_name("ADDED", "b").await?;
    Ok(())
}

async fn streaming_needs_a_match(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?watch=true&sendInitialEvents=true")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    )?;
    Ok(())
}

async fn a_match_needs_streaming(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?watch=true&resourceVersion=5&resourceVersionMatch=NotOlderThan")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    )?;
    Ok(())
}

async fn streaming_needs_not_older_than(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?watch=true&sendInitialEvents=true&resourceVersion=5&resourceVersionMatch=Exact")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
         resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
    )?;
    Ok(())
}

async fn a_watch_of_one_object_by_its_name(c: &Cluster) -> anyhow::Result<()> {
    let from = begin(c).await?;
    let path = format!("secrets?resourceVersion={from}&fieldSelector=metadata.name=b");
    let mut watch = c.watch(&c.at("v1", &path)).await?;
    create(c, "v1", "secrets", &secret("a")).await?;
    create(c, "v1", "secrets", &secret("b")).await?;
    watch.expect_name("ADDED", "b").await?;
    Ok(())
}

async fn a_named_path_is_read_not_watched(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("b")).await?;
    let found = c.get(&c.at("v1", "secrets/b?watch=true")).await?.with_code(200)?;
    contains(&found, json!({"kind": "Secret", "metadata": {"name": "b"}}))
}

async fn a_watch_of_partial_metadata(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut watch = c
        .watch_as(&c.at("apps/v1", "deployments?timeoutSeconds=2"), accept)
        .await?;
    let object = watch.expect_name("ADDED", "a").await?;
    contains(
        &object,
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "spec": null}),
    )
}

async fn a_watch_of_a_table(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let path = c.at("v1", "configmaps?fieldSelector=metadata.name!=kube-root-ca.crt");
    let mut watch = c.watch_as(&path, accept).await?;
    let first = watch.expect("ADDED").await?;
    contains(
        &first,
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": [{"object": {"metadata": {"name": "a"}}}]}),
    )?;
    same(first["columnDefinitions"].as_array().map_or(0, Vec::len), 3)?;
    create(c, "v1", "configmaps", &config_map("b")).await?;
    let second = watch.expect("ADDED").await?;
    // Columns are described once.
    contains(
        &second,
        json!({"kind": "Table", "columnDefinitions": null, "rows": [{"object": {"metadata": {"name": "b"}}}]}),
    )
}

async fn a_watch_of_all_namespaces_tells_of_every_one(c: &Cluster) -> anyhow::Result<()> {
    let from = version(&c.get("/api/v1/secrets").await?.ok()?);
    let path = format!(
        "/api/v1/secrets?resourceVersion={from}&labelSelector=of={}",
        c.namespace()
    );
    let mut watch = c.watch(&path).await?;
    let other = c.unique("other");
    c.post("/api/v1/namespaces", &json!({"metadata": {"name": other}}))
        .await?
        .with_code(201)?;
    c.delete_at_end(format!("/api/v1/namespaces/{other}"));
    let secret = json!({"metadata": {"name": "a", "labels": {"of": c.namespace()}}});
    c.post(&format!("/api/v1/namespaces/{other}/secrets"), &secret)
        .await?
        .with_code(201)?;
    let object = watch.expect_name("ADDED", "a").await?;
    same(text(&object, "/metadata/namespace"), &other)?;
    create(c, "v1", "secrets", &secret).await?;
    let object = watch.expect_name("ADDED", "a").await?;
    same(text(&object, "/metadata/namespace"), c.namespace())
}

async fn a_watch_by_the_deprecated_path(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "secrets", &secret("a")).await?;
    let path = format!(
        "/api/v1/watch/namespaces/{}/secrets?timeoutSeconds=1",
        c.namespace()
    );
    let mut watch = c.watch(&path).await?;
    watch.expect_name("ADDED", "a").await?;
    watch.expect_end().await
}

async fn a_watch_from_a_version_must_be_a_number(c: &Cluster) -> anyhow::Result<()> {
    let status = c
        .get(&c.at("v1", "secrets?watch=true&resourceVersion=latest"))
        .await?
        .with_code(500)?;
    contains(
        &status,
        json!({"kind": "Status", "reason": null,
        "message": "resourceVersion: Invalid value: \"latest\": strconv.ParseUint: parsing \"latest\": invalid syntax"}),
    )
}
