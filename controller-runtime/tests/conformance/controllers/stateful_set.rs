//! StatefulSets: pods with names and an order.

use serde_json::{Value, json};

use super::play::{
    LIMIT, image, list, make, make_ready, merge, name, now, owned_by, pods, quiet, ready, remain, run_until,
    set_status, spec, unready, wait, wait_count, wait_pods, wait_status, with,
};
use crate::harness::{Cluster, cases, contains, same, text};

pub(super) const APPS: &str = "apps/v1";
pub(super) const SET: &str = "statefulsets/db";
const HASH: &str = "controller-revision-hash";

cases![
    pods_have_names_and_numbers,
    pods_come_one_after_the_other,
    the_last_pod_goes_first_and_one_at_a_time,
    a_set_with_an_unready_pod_does_not_grow,
    parallel_pods_come_and_go_at_once,
    numbers_can_start_anywhere,
    a_deleted_pod_comes_again_under_its_name,
    a_failed_pod_comes_again_under_its_name,
    an_update_goes_from_the_last_to_the_first,
    an_update_stops_at_a_pod_that_does_not_become_ready,
    an_update_stops_at_the_partition,
    below_the_partition_a_pod_comes_again_as_it_was,
    an_update_on_delete_waits_for_deletions,
    templates_are_kept_as_revisions,
    a_template_of_the_past_is_used_again,
    the_status_counts_pods_by_revision,
    a_pod_is_available_after_its_time,
    an_orphan_of_the_right_name_is_adopted,
    its_deletion_takes_its_pods,
];

pub(super) async fn make_set(c: &Cluster, replicas: i32, more: Value) -> anyhow::Result<Value> {
    let spec = with(spec(replicas, "db:1"), json!({"serviceName": "db"}));
    make(c, APPS, "statefulsets", "db", with(spec, more)).await
}

/// A set all of whose pods are ready.
pub(super) async fn make_complete(c: &Cluster, replicas: i32, more: Value) -> anyhow::Result<Value> {
    make_set(c, replicas, more).await?;
    let status = json!({"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas, "currentReplicas": replicas});
    run_until(c, APPS, SET, status).await
}

async fn set_image(c: &Cluster, image: &str) -> anyhow::Result<()> {
    let containers = json!([{"name": "main", "image": image}]);
    merge(
        c,
        APPS,
        SET,
        json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    )
    .await?;
    Ok(())
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Waits for exactly these pods, and that it stays so.
pub(super) async fn wait_names(c: &Cluster, names: &[&str]) -> anyhow::Result<()> {
    let wanted = words(names);
    wait_pods(c, &format!("pods are {names:?}"), |pods| {
        pods.iter().map(name).collect::<Vec<_>>() == wanted
    })
    .await?;
    remain(c, &wanted).await
}

/// Waits until pods `db-0`, `db-1`, ... have these images, and that it stays so.
async fn wait_images(c: &Cluster, images: &[&str]) -> anyhow::Result<()> {
    let wanted = words(images);
    let found = |pods: &[Value]| pods.iter().map(|pod| image(pod).to_owned()).collect::<Vec<_>>();
    let reached = wait_pods(c, &format!("images are {images:?}"), |pods| found(pods) == wanted).await;
    if let Err(error) = reached {
        return Err(error.context(format!("they are {:?}", found(&pods(c).await?))));
    }
    quiet().await;
    same(found(&pods(c).await?), wanted)
}

async fn pods_have_names_and_numbers(c: &Cluster) -> anyhow::Result<()> {
    let set = make_set(c, 1, json!({})).await?;
    let pods = wait_pods(c, "there is a pod", |pods| pods.len() == 1).await?;
    let seen = wait_status(c, APPS, SET, json!({"replicas": 1})).await?;
    let revision = text(&seen, "/status/updateRevision");
    contains(
        &pods[0],
        json!({
            "metadata": {
                "name": "db-0", "generateName": "db-",
                "labels": {
                    "app": "web", "statefulset.kubernetes.io/pod-name": "db-0",
                    "apps.kubernetes.io/pod-index": "0", HASH: revision,
                },
                "ownerReferences": owned_by(APPS, "StatefulSet", &set),
            },
            "spec": {"hostname": "db-0", "subdomain": "db"},
        }),
    )
}

async fn pods_come_one_after_the_other(c: &Cluster) -> anyhow::Result<()> {
    make_set(c, 3, json!({})).await?;
    wait_names(c, &["db-0"]).await?;
    set_status(c, "db-0", unready()).await?;
    wait_names(c, &["db-0"]).await?;
    make_ready(c, &words(&["db-0"])).await?;
    wait_names(c, &["db-0", "db-1"]).await?;
    make_ready(c, &words(&["db-1"])).await?;
    wait_names(c, &["db-0", "db-1", "db-2"]).await?;
    wait_status(c, APPS, SET, json!({"replicas": 3, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 3, "updatedReplicas": 3, "observedGeneration": 1})).await?;
    Ok(())
}

async fn the_last_pod_goes_first_and_one_at_a_time(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 3, json!({})).await?;
    super::play::bind(c, "db-2", "nowhere").await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 1}})).await?;
    wait_names(c, &["db-0", "db-1"]).await?;
    // The last still stops.
    same(list(c, "v1", "pods").await?.len(), 3)?;
    c.delete_with(&c.at("v1", "pods/db-2"), &json!({"gracePeriodSeconds": 0}))
        .await?
        .with_code(200)?;
    wait_names(c, &["db-0"]).await?;
    wait_status(c, APPS, SET, json!({"replicas": 1, "readyReplicas": 1})).await?;
    Ok(())
}

async fn a_set_with_an_unready_pod_does_not_grow(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    set_status(c, "db-0", unready()).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 1})).await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 3}})).await?;
    wait_names(c, &["db-0", "db-1"]).await?;
    // Nor does it shrink.
    merge(c, APPS, SET, json!({"spec": {"replicas": 1}})).await?;
    wait_status(c, APPS, SET, json!({"observedGeneration": 3})).await?;
    wait_names(c, &["db-0", "db-1"]).await?;
    make_ready(c, &words(&["db-0"])).await?;
    wait_names(c, &["db-0"]).await
}

async fn parallel_pods_come_and_go_at_once(c: &Cluster) -> anyhow::Result<()> {
    make_set(c, 3, json!({"podManagementPolicy": "Parallel"})).await?;
    wait_names(c, &["db-0", "db-1", "db-2"]).await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 0}})).await?;
    wait_names(c, &[]).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 0, "readyReplicas": null, "availableReplicas": 0, "currentReplicas": null}),
    )
    .await?;
    Ok(())
}

async fn numbers_can_start_anywhere(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({"ordinals": {"start": 5}})).await?;
    wait_names(c, &["db-5", "db-6"]).await?;
    merge(c, APPS, SET, json!({"spec": {"ordinals": {"start": 6}}})).await?;
    wait_pods(c, "the next comes first", |pods| {
        pods.iter().map(name).collect::<Vec<_>>() == ["db-5", "db-6", "db-7"]
    })
    .await?;
    make_ready(c, &words(&["db-7"])).await?;
    wait_names(c, &["db-6", "db-7"]).await
}

async fn a_deleted_pod_comes_again_under_its_name(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    let before = c.get(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    c.delete(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    wait(c, "v1", "pods/db-0", "another is there", |pod| {
        pod["metadata"]["uid"] != before["metadata"]["uid"]
    })
    .await?;
    wait_names(c, &["db-0", "db-1"]).await
}

async fn a_failed_pod_comes_again_under_its_name(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let before = c.get(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    set_status(c, "db-0", json!({"phase": "Failed"})).await?;
    wait(c, "v1", "pods/db-0", "another is there", |pod| {
        pod["metadata"]["uid"] != before["metadata"]["uid"]
    })
    .await?;
    wait_names(c, &["db-0"]).await
}

async fn an_update_goes_from_the_last_to_the_first(c: &Cluster) -> anyhow::Result<()> {
    let before = make_complete(c, 3, json!({})).await?;
    let old = before["status"]["updateRevision"].clone();
    same(before["status"]["currentRevision"].clone(), old.clone())?;
    set_image(c, "db:2").await?;
    wait_images(c, &["db:1", "db:1", "db:2"]).await?;
    let during = wait_status(
        c,
        APPS,
        SET,
        json!({"updatedReplicas": 1, "currentReplicas": 2, "currentRevision": old, "observedGeneration": 2}),
    )
    .await?;
    anyhow::ensure!(during["status"]["updateRevision"] != old);
    make_ready(c, &words(&["db-2"])).await?;
    wait_images(c, &["db:1", "db:2", "db:2"]).await?;
    make_ready(c, &words(&["db-1"])).await?;
    wait_images(c, &["db:2", "db:2", "db:2"]).await?;
    make_ready(c, &words(&["db-0"])).await?;
    let new = during["status"]["updateRevision"].clone();
    wait_status(
        c,
        APPS,
        SET,
        json!({"updatedReplicas": 3, "currentReplicas": 3, "currentRevision": new, "updateRevision": new}),
    )
    .await?;
    Ok(())
}

async fn an_update_stops_at_a_pod_that_does_not_become_ready(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    set_image(c, "broken:1").await?;
    wait_images(c, &["db:1", "broken:1"]).await?;
    set_status(c, "db-1", unready()).await?;
    // Even a template that would work has to wait until somebody deletes the pod.
    set_image(c, "db:2").await?;
    wait_status(c, APPS, SET, json!({"observedGeneration": 3})).await?;
    wait_images(c, &["db:1", "broken:1"]).await?;
    c.delete(&c.at("v1", "pods/db-1")).await?.with_code(200)?;
    wait_images(c, &["db:1", "db:2"]).await
}

fn partition(number: i32) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}})
}

async fn an_update_stops_at_the_partition(c: &Cluster) -> anyhow::Result<()> {
    let before = make_complete(c, 3, partition(2)).await?;
    set_image(c, "db:2").await?;
    wait_images(c, &["db:1", "db:1", "db:2"]).await?;
    make_ready(c, &words(&["db-2"])).await?;
    wait_images(c, &["db:1", "db:1", "db:2"]).await?;
    let old = before["status"]["updateRevision"].clone();
    wait_status(
        c,
        APPS,
        SET,
        json!({"updatedReplicas": 1, "currentReplicas": 2, "readyReplicas": 3, "currentRevision": old}),
    )
    .await?;
    merge(c, APPS, SET, json!({"spec": partition(1)})).await?;
    wait_images(c, &["db:1", "db:2", "db:2"]).await
}

async fn below_the_partition_a_pod_comes_again_as_it_was(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, partition(1)).await?;
    set_image(c, "db:2").await?;
    wait_images(c, &["db:1", "db:2"]).await?;
    make_ready(c, &words(&["db-1"])).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 2})).await?;
    let before = c.get(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    c.delete(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    let what = "another is there";
    let after = wait(c, "v1", "pods/db-0", what, |pod| {
        pod["metadata"]["uid"] != before["metadata"]["uid"]
    })
    .await?;
    same(image(&after), "db:1")?;
    same(
        after["metadata"]["labels"][HASH].clone(),
        before["metadata"]["labels"][HASH].clone(),
    )
}

async fn an_update_on_delete_waits_for_deletions(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({"updateStrategy": {"type": "OnDelete"}})).await?;
    set_image(c, "db:2").await?;
    wait_status(c, APPS, SET, json!({"observedGeneration": 2})).await?;
    wait_images(c, &["db:1", "db:1"]).await?;
    c.delete(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    wait_images(c, &["db:2", "db:1"]).await
}

async fn revisions(c: &Cluster) -> anyhow::Result<Vec<Value>> {
    let mut revisions = list(c, APPS, "controllerrevisions").await?;
    revisions.sort_by_key(|revision| revision["revision"].as_i64());
    Ok(revisions)
}

async fn wait_revisions(c: &Cluster, numbers: &[i64]) -> anyhow::Result<Vec<Value>> {
    c.wait_for(&format!("revisions are {numbers:?}"), LIMIT, async || {
        let revisions = revisions(c).await?;
        let found: Vec<_> = revisions
            .iter()
            .filter_map(|one| one["revision"].as_i64())
            .collect();
        Ok((found == numbers).then_some(revisions))
    })
    .await
}

async fn roll(c: &Cluster, image: &str) -> anyhow::Result<Value> {
    set_image(c, image).await?;
    wait_images(c, &[image]).await?;
    make_ready(c, &words(&["db-0"])).await?;
    let status = json!({"updatedReplicas": 1, "currentReplicas": 1, "readyReplicas": 1});
    wait(c, APPS, SET, "it is complete", |set| {
        contains(&set["status"], status.clone()).is_ok()
            && set["status"]["currentRevision"] == set["status"]["updateRevision"]
    })
    .await
}

async fn templates_are_kept_as_revisions(c: &Cluster) -> anyhow::Result<()> {
    let set = make_complete(c, 1, json!({"revisionHistoryLimit": 1})).await?;
    let found = wait_revisions(c, &[1]).await?;
    same(name(&found[0]), text(&set, "/status/currentRevision").to_owned())?;
    let hash = name(&found[0]).trim_start_matches("db-").to_owned();
    contains(
        &found[0],
        json!({
            "metadata": {
                "labels": {"app": "web", "controller.kubernetes.io/hash": hash},
                "ownerReferences": owned_by(APPS, "StatefulSet", &set),
            },
            "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"image": "db:1"}]}}}},
        }),
    )?;
    for image in ["db:2", "db:3"] {
        roll(c, image).await?;
    }
    wait_revisions(c, &[2, 3]).await?;
    Ok(())
}

async fn a_template_of_the_past_is_used_again(c: &Cluster) -> anyhow::Result<()> {
    let first = make_complete(c, 1, json!({})).await?["status"]["updateRevision"].clone();
    roll(c, "db:2").await?;
    let again = roll(c, "db:1").await?["status"]["updateRevision"].clone();
    same(again, first.clone())?;
    let found = wait_revisions(c, &[2, 3]).await?;
    same(json!(name(&found[1])), first)?;
    // Sizes and strategies are no templates.
    merge(
        c,
        APPS,
        SET,
        json!({"spec": {"replicas": 0, "minReadySeconds": 1}}),
    )
    .await?;
    wait_count(c, 0).await?;
    wait_revisions(c, &[2, 3]).await?;
    Ok(())
}

async fn the_status_counts_pods_by_revision(c: &Cluster) -> anyhow::Result<()> {
    make_set(c, 2, json!({"podManagementPolicy": "Parallel"})).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 2, "readyReplicas": null, "availableReplicas": 0, "currentReplicas": 2, "updatedReplicas": 2,
            "observedGeneration": 1, "collisionCount": 0}),
    )
    .await?;
    make_ready(c, &words(&["db-0", "db-1"])).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 2, "availableReplicas": 2})).await?;
    set_image(c, "db:2").await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 2, "readyReplicas": 1, "currentReplicas": 1, "updatedReplicas": 1}),
    )
    .await?;
    Ok(())
}

async fn a_pod_is_available_after_its_time(c: &Cluster) -> anyhow::Result<()> {
    make_set(c, 2, json!({"minReadySeconds": 3})).await?;
    wait_names(c, &["db-0"]).await?;
    let since = now(c).await?;
    set_status(c, "db-0", ready(since, 0)).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 0}),
    )
    .await?;
    // The next comes only then.
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1}),
    )
    .await?;
    let elapsed = now(c).await?.duration_since(since).as_secs();
    anyhow::ensure!((3..10).contains(&elapsed), "after {elapsed} s");
    Ok(())
}

async fn an_orphan_of_the_right_name_is_adopted(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let before = c.get(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    c.delete_with(&c.at(APPS, SET), &json!({"propagationPolicy": "Orphan"}))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &c.at(APPS, SET)).await?;
    let stranger = with(
        super::play::template("db:1"),
        json!({"metadata": {"name": "stranger"}}),
    );
    c.post(&c.at("v1", "pods"), &stranger).await?.with_code(201)?;
    let set = make_set(c, 1, json!({})).await?;
    wait_status(c, APPS, SET, json!({"replicas": 1, "readyReplicas": 1})).await?;
    let after = c.get(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    same(
        after["metadata"]["uid"].clone(),
        before["metadata"]["uid"].clone(),
    )?;
    same(
        after["metadata"]["ownerReferences"].clone(),
        owned_by(APPS, "StatefulSet", &set),
    )?;
    let stranger = c.get(&c.at("v1", "pods/stranger")).await?.with_code(200)?;
    contains(&stranger, json!({"metadata": {"ownerReferences": null}}))
}

async fn its_deletion_takes_its_pods(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    c.delete(&c.at(APPS, SET)).await?.with_code(200)?;
    c.wait_until("they are gone", LIMIT, async || {
        Ok(list(c, "v1", "pods").await?.is_empty() && revisions(c).await?.is_empty())
    })
    .await
}
