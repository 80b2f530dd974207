//! Deployments: a ReplicaSet per template, and what is said of it.

use serde_json::{Value, json};

use super::play::{
    LIMIT, condition, has_condition, list, make, make_ready, merge, name, now, owned_by, quiet, run_until,
    set_status, spec, unready, wait, wait_count, wait_pods, wait_status, with,
};
use crate::harness::{Cluster, cases, contains, same, text};

pub(super) const APPS: &str = "apps/v1";
pub(super) const WEB: &str = "deployments/web";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

cases![
    a_replica_set_is_named_after_the_hash_of_the_template,
    conditions_tell_of_progress_and_availability,
    a_paused_deployment_scales,
    scaling_makes_no_revision,
    a_pod_is_available_after_its_time,
    changes_other_than_the_template_reach_the_replica_set,
    an_orphaned_replica_set_is_adopted,
    a_replica_set_with_other_labels_is_let_go,
    a_replica_set_scaled_by_somebody_is_scaled_back,
    a_replica_set_that_is_deleted_comes_again,
    a_refused_pod_is_a_replica_failure,
    its_deletion_takes_everything_along,
];

pub(super) async fn make_deployment(c: &Cluster, replicas: i32, more: Value) -> anyhow::Result<Value> {
    make(c, APPS, "deployments", "web", with(spec(replicas, "web:1"), more)).await
}

/// A Deployment all of whose pods are ready.
pub(super) async fn make_complete(c: &Cluster, replicas: i32, more: Value) -> anyhow::Result<Value> {
    make_deployment(c, replicas, more).await?;
    complete(c, replicas).await
}

/// Plays the kubelet until the rollout is over.
pub(super) async fn complete(c: &Cluster, replicas: i32) -> anyhow::Result<Value> {
    // It has seen the change.
    wait(c, APPS, WEB, "it is observed", |web| {
        web["status"]["observedGeneration"] == web["metadata"]["generation"]
    })
    .await?;
    let status = json!({"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas, "unavailableReplicas": null});
    run_until(c, APPS, WEB, status).await
}

pub(super) async fn set_image(c: &Cluster, image: &str) -> anyhow::Result<()> {
    let containers = json!([{"name": "main", "image": image}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    merge(c, APPS, WEB, patch).await?;
    Ok(())
}

/// The sizes of the ReplicaSets by image.
async fn sizes(c: &Cluster) -> anyhow::Result<Vec<(String, i64)>> {
    let mut sizes: Vec<_> = list(c, APPS, "replicasets")
        .await?
        .iter()
        .map(|set| {
            let image = text(set, "/spec/template/spec/containers/0/image").to_owned();
            (image, set["spec"]["replicas"].as_i64().unwrap_or(-1))
        })
        .collect();
    sizes.sort();
    Ok(sizes)
}

/// Waits for these sizes of ReplicaSets, and that they last.
pub(super) async fn wait_sizes(c: &Cluster, wanted: &[(&str, i64)]) -> anyhow::Result<()> {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(image, size)| ((*image).to_owned(), *size))
        .collect();
    let what = format!("replica sets are {wanted:?}");
    let reached = c
        .wait_until(&what, LIMIT, async || Ok(sizes(c).await? == wanted))
        .await;
    if let Err(error) = reached {
        return Err(error.context(format!("they are {:?}", sizes(c).await?)));
    }
    quiet().await;
    same(sizes(c).await?, wanted)
}

pub(super) async fn replica_set(c: &Cluster, of: &str) -> anyhow::Result<Value> {
    let sets = list(c, APPS, "replicasets").await?;
    let found = sets
        .into_iter()
        .find(|set| text(set, "/spec/template/spec/containers/0/image") == of);
    found.ok_or_else(|| anyhow::anyhow!("there is no replica set of {of}"))
}

async fn a_replica_set_is_named_after_the_hash_of_the_template(c: &Cluster) -> anyhow::Result<()> {
    let made = json!({"metadata": {"name": "web", "annotations": {"note": "yes"}}, "spec": with(spec(3, "web:1"), json!({"minReadySeconds": 2}))});
    let web = c.post(&c.at(APPS, "deployments"), &made).await?.with_code(201)?;
    let pods = wait_pods(c, "there are three pods", |pods| pods.len() == 3).await?;
    let set = replica_set(c, "web:1").await?;
    let hash = text(&set, &format!("/metadata/labels/{HASH}")).to_owned();
    same(name(&set), format!("web-{hash}"))?;
    anyhow::ensure!((8..=10).contains(&hash.len()), "{hash}");
    let labels = json!({"app": "web", HASH: hash});
    contains(
        &set,
        json!({
            "metadata": {
                "labels": labels,
                "annotations": {
                    REVISION: "1", "note": "yes",
                    "deployment.kubernetes.io/desired-replicas": "3",
                    "deployment.kubernetes.io/max-replicas": "4",
                },
                "ownerReferences": owned_by(APPS, "Deployment", &web),
            },
            "spec": {
                "replicas": 3, "minReadySeconds": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}},
            },
        }),
    )?;
    for pod in &pods {
        contains(
            pod,
            json!({"metadata": {"generateName": format!("web-{hash}-"), "labels": labels,
                "ownerReferences": owned_by(APPS, "ReplicaSet", &set)}}),
        )?;
    }
    wait(c, APPS, WEB, "it has a revision", |web| {
        web["metadata"]["annotations"][REVISION] == "1"
    })
    .await?;
    Ok(())
}

async fn conditions_tell_of_progress_and_availability(c: &Cluster) -> anyhow::Result<()> {
    make_deployment(
        c,
        2,
        json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
    )
    .await?;
    let unavailable = json!({"replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2, "readyReplicas": null,
        "availableReplicas": null, "observedGeneration": 1, "terminatingReplicas": 0});
    let web = wait_status(c, APPS, WEB, unavailable).await?;
    let set = name(&replica_set(c, "web:1").await?);
    contains(
        condition(&web, "Available").unwrap_or(&Value::Null),
        json!({"status": "False", "reason": "MinimumReplicasUnavailable",
            "message": "Deployment does not have minimum availability."}),
    )?;
    contains(
        condition(&web, "Progressing").unwrap_or(&Value::Null),
        json!({"status": "True", "reason": "ReplicaSetUpdated", "message": format!("ReplicaSet \"{set}\" is progressing.")}),
    )?;
    let names = wait_count(c, 2).await?;
    make_ready(c, &names[..1]).await?;
    let web = wait_status(
        c,
        APPS,
        WEB,
        json!({"readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": 1}),
    )
    .await?;
    anyhow::ensure!(
        has_condition(&web, "Available", "False", "MinimumReplicasUnavailable"),
        "{web}"
    );
    make_ready(c, &names[1..]).await?;
    let web = wait_status(
        c,
        APPS,
        WEB,
        json!({"readyReplicas": 2, "availableReplicas": 2, "unavailableReplicas": null}),
    )
    .await?;
    contains(
        condition(&web, "Available").unwrap_or(&Value::Null),
        json!({"status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability."}),
    )?;
    let web = wait(c, APPS, WEB, "it has progressed", |web| {
        has_condition(web, "Progressing", "True", "NewReplicaSetAvailable")
    })
    .await?;
    same(
        text(condition(&web, "Progressing").unwrap_or(&Value::Null), "/message"),
        &format!("ReplicaSet \"{set}\" has successfully progressed."),
    )?;
    // A pod lost later ends the availability, not the progress.
    set_status(c, &names[0], unready()).await?;
    let web = wait_status(
        c,
        APPS,
        WEB,
        json!({"availableReplicas": 1, "unavailableReplicas": 1}),
    )
    .await?;
    anyhow::ensure!(
        has_condition(&web, "Available", "False", "MinimumReplicasUnavailable"),
        "{web}"
    );
    anyhow::ensure!(
        has_condition(&web, "Progressing", "True", "NewReplicaSetAvailable"),
        "{web}"
    );
    Ok(())
}

async fn a_paused_deployment_scales(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    merge(c, APPS, WEB, json!({"spec": {"paused": true}})).await?;
    wait_status(c, APPS, WEB, json!({"observedGeneration": 2})).await?;
    merge(c, APPS, WEB, json!({"spec": {"replicas": 3}})).await?;
    wait_sizes(c, &[("web:1", 3)]).await?;
    wait_count(c, 3).await?;
    // Made paused, it makes nothing.
    let still = with(spec(2, "still:1"), json!({"paused": true}));
    make(c, APPS, "deployments", "still", still).await?;
    wait_status(c, APPS, "deployments/still", json!({"observedGeneration": 1})).await?;
    wait_sizes(c, &[("web:1", 3)]).await
}

async fn scaling_makes_no_revision(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    c.merge(
        &c.at(APPS, "deployments/web/scale"),
        &json!({"spec": {"replicas": 4}}),
    )
    .await?
    .with_code(200)?;
    wait_sizes(c, &[("web:1", 4)]).await?;
    let web = complete(c, 4).await?;
    contains(
        &web,
        json!({"metadata": {"generation": 2, "annotations": {REVISION: "1"}}, "status": {"observedGeneration": 2}}),
    )?;
    c.merge(
        &c.at(APPS, "deployments/web/scale"),
        &json!({"spec": {"replicas": 0}}),
    )
    .await?
    .with_code(200)?;
    wait_count(c, 0).await?;
    let status = json!({"replicas": null, "updatedReplicas": null, "readyReplicas": null, "availableReplicas": null,
        "unavailableReplicas": null, "observedGeneration": 3});
    let web = wait_status(c, APPS, WEB, status).await?;
    anyhow::ensure!(
        has_condition(&web, "Available", "True", "MinimumReplicasAvailable"),
        "{web}"
    );
    Ok(())
}

async fn a_pod_is_available_after_its_time(c: &Cluster) -> anyhow::Result<()> {
    make_deployment(c, 1, json!({"minReadySeconds": 3})).await?;
    let names = wait_count(c, 1).await?;
    let since = now(c).await?;
    set_status(c, &names[0], super::play::ready(since, 0)).await?;
    let web = wait_status(c, APPS, WEB, json!({"readyReplicas": 1})).await?;
    contains(
        &web["status"],
        json!({"availableReplicas": null, "unavailableReplicas": 1}),
    )?;
    wait_status(
        c,
        APPS,
        WEB,
        json!({"readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": null}),
    )
    .await?;
    let elapsed = now(c).await?.duration_since(since).as_secs();
    anyhow::ensure!((3..10).contains(&elapsed), "after {elapsed} s");
    wait(c, APPS, WEB, "it has progressed", |web| {
        has_condition(web, "Progressing", "True", "NewReplicaSetAvailable")
    })
    .await?;
    Ok(())
}

async fn changes_other_than_the_template_reach_the_replica_set(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let patch = json!({
        "metadata": {"annotations": {"note": "yes", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {"minReadySeconds": 1},
    });
    merge(c, APPS, WEB, patch).await?;
    wait_status(c, APPS, WEB, json!({"observedGeneration": 2})).await?;
    let set = replica_set(c, "web:1").await?;
    contains(
        &set,
        json!({"metadata": {"annotations": {"note": "yes", "kubectl.kubernetes.io/last-applied-configuration": null,
            REVISION: "1"}}, "spec": {"minReadySeconds": 1}}),
    )?;
    wait_sizes(c, &[("web:1", 1)]).await
}

async fn an_orphaned_replica_set_is_adopted(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    let before = replica_set(c, "web:1").await?;
    let names = wait_count(c, 2).await?;
    c.delete_with(&c.at(APPS, WEB), &json!({"propagationPolicy": "Orphan"}))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &c.at(APPS, WEB)).await?;
    contains(
        &replica_set(c, "web:1").await?,
        json!({"metadata": {"ownerReferences": null}}),
    )?;
    let web = make_deployment(c, 2, json!({})).await?;
    wait_status(
        c,
        APPS,
        WEB,
        json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
    )
    .await?;
    let after = replica_set(c, "web:1").await?;
    same(
        after["metadata"]["uid"].clone(),
        before["metadata"]["uid"].clone(),
    )?;
    same(
        after["metadata"]["ownerReferences"].clone(),
        owned_by(APPS, "Deployment", &web),
    )?;
    wait_sizes(c, &[("web:1", 2)]).await?;
    super::play::remain(c, &names).await
}

async fn a_replica_set_with_other_labels_is_let_go(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let before = name(&replica_set(c, "web:1").await?);
    let path = format!("replicasets/{before}");
    merge(c, APPS, &path, json!({"metadata": {"labels": {"app": "mine"}}})).await?;
    wait(c, APPS, &path, "it is let go", |set| {
        set["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    // Its name is taken: the next has another hash.
    wait_sizes(c, &[("web:1", 1), ("web:1", 1)]).await?;
    wait_status(c, APPS, WEB, json!({"collisionCount": 1})).await?;
    Ok(())
}

async fn a_replica_set_scaled_by_somebody_is_scaled_back(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    let set = name(&replica_set(c, "web:1").await?);
    merge(
        c,
        APPS,
        &format!("replicasets/{set}"),
        json!({"spec": {"replicas": 5}}),
    )
    .await?;
    wait(
        c,
        APPS,
        &format!("replicasets/{set}"),
        "it is scaled back",
        |set| set["spec"]["replicas"] == 2 && set["metadata"]["generation"] == 3,
    )
    .await?;
    wait_count(c, 2).await?;
    Ok(())
}

async fn a_replica_set_that_is_deleted_comes_again(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let before = replica_set(c, "web:1").await?;
    c.delete(&c.at(APPS, &format!("replicasets/{}", name(&before))))
        .await?
        .with_code(200)?;
    let what = "there is another of the same name";
    wait(c, APPS, &format!("replicasets/{}", name(&before)), what, |set| {
        set["metadata"]["uid"] != before["metadata"]["uid"]
    })
    .await?;
    wait_sizes(c, &[("web:1", 1)]).await?;
    wait_count(c, 1).await?;
    Ok(())
}

async fn a_refused_pod_is_a_replica_failure(c: &Cluster) -> anyhow::Result<()> {
    let refused = json!({"template": {"spec": {"priorityClassName": c.unique("absent")}}});
    make_deployment(c, 1, refused).await?;
    let web = wait(c, APPS, WEB, "it says so", |web| {
        has_condition(web, "ReplicaFailure", "True", "FailedCreate")
    })
    .await?;
    let message = format!("no PriorityClass with name {} was found", c.unique("absent"));
    let failure = condition(&web, "ReplicaFailure").unwrap_or(&Value::Null);
    anyhow::ensure!(text(failure, "/message").ends_with(&message), "{failure}");
    let containers = json!([{"name": "main", "image": "web:2"}]);
    let fixed =
        json!({"spec": {"template": {"spec": {"priorityClassName": null, "containers": containers}}}});
    merge(c, APPS, WEB, fixed).await?;
    complete(c, 1).await?;
    wait(c, APPS, WEB, "it says so no more", |web| {
        condition(web, "ReplicaFailure").is_none()
    })
    .await?;
    Ok(())
}

async fn its_deletion_takes_everything_along(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 2), ("web:2", 1)]).await?;
    c.delete(&c.at(APPS, WEB)).await?.with_code(200)?;
    c.wait_until("everything is gone", LIMIT, async || {
        Ok(list(c, APPS, "replicasets").await?.is_empty() && list(c, "v1", "pods").await?.is_empty())
    })
    .await
}
