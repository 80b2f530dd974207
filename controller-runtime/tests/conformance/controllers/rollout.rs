//! Deployments: the way from one template to the next.

use serde_json::{Value, json};

use super::{
    deployment::{
        APPS, REVISION, WEB, complete, make_complete, make_deployment, replica_set, set_image, wait_sizes,
    },
    play::{
        condition, has_condition, image, list, make_ready, merge, name, pods, wait, wait_count, wait_pods,
        wait_status,
    },
};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    an_update_grows_and_shrinks_as_far_as_it_may,
    an_update_without_surge_makes_room_first,
    an_update_without_unavailability_waits_for_new_pods,
    unready_old_pods_go_first,
    an_update_in_an_update_takes_over_from_both,
    templates_are_numbered_and_few_are_kept,
    a_template_of_the_past_is_used_again,
    a_paused_deployment_does_not_roll,
    recreate_waits_for_the_old_pods_to_go,
    scaling_in_an_update_is_in_proportion,
    a_rollout_that_gets_nowhere_is_said_to_have_failed,
];

/// Makes this many pods of an image ready that are not.
async fn ready_some(c: &Cluster, of: &str, count: usize) -> anyhow::Result<()> {
    let waiting = |pods: &[Value]| -> Vec<String> {
        let pods = pods
            .iter()
            .filter(|pod| image(pod) == of && text(pod, "/status/phase") == "Pending");
        pods.map(name).collect()
    };
    let pods = wait_pods(c, "there are enough pods", |pods| waiting(pods).len() >= count).await?;
    make_ready(c, &waiting(&pods)[..count]).await
}

/// Rolls to an image and waits until that is done.
async fn roll(c: &Cluster, image: &str) -> anyhow::Result<Value> {
    set_image(c, image).await?;
    complete(c, 1).await
}

async fn an_update_grows_and_shrinks_as_far_as_it_may(c: &Cluster) -> anyhow::Result<()> {
    // A quarter of ten: three more, two fewer.
    make_complete(c, 10, json!({})).await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 8), ("web:2", 5)]).await?;
    wait_status(
        c,
        APPS,
        WEB,
        json!({"replicas": 13, "updatedReplicas": 5, "readyReplicas": 8, "availableReplicas": 8,
            "unavailableReplicas": 5, "observedGeneration": 2}),
    )
    .await?;
    ready_some(c, "web:2", 2).await?;
    wait_sizes(c, &[("web:1", 6), ("web:2", 7)]).await?;
    ready_some(c, "web:2", 5).await?;
    wait_sizes(c, &[("web:1", 1), ("web:2", 10)]).await?;
    complete(c, 10).await?;
    wait_sizes(c, &[("web:1", 0), ("web:2", 10)]).await?;
    same(
        pods(c).await?.iter().filter(|pod| image(pod) == "web:2").count(),
        10,
    )
}

async fn an_update_without_surge_makes_room_first(c: &Cluster) -> anyhow::Result<()> {
    make_complete(
        c,
        3,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
    )
    .await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 2), ("web:2", 1)]).await?;
    ready_some(c, "web:2", 1).await?;
    wait_sizes(c, &[("web:1", 1), ("web:2", 2)]).await?;
    ready_some(c, "web:2", 1).await?;
    wait_sizes(c, &[("web:1", 0), ("web:2", 3)]).await
}

async fn an_update_without_unavailability_waits_for_new_pods(c: &Cluster) -> anyhow::Result<()> {
    make_complete(
        c,
        2,
        json!({"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "0%"}}}),
    )
    .await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 2), ("web:2", 1)]).await?;
    ready_some(c, "web:2", 1).await?;
    wait_sizes(c, &[("web:1", 1), ("web:2", 2)]).await?;
    ready_some(c, "web:2", 1).await?;
    wait_sizes(c, &[("web:1", 0), ("web:2", 2)]).await
}

async fn unready_old_pods_go_first(c: &Cluster) -> anyhow::Result<()> {
    make_deployment(
        c,
        4,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}}),
    )
    .await?;
    let names = wait_count(c, 4).await?;
    make_ready(c, &names[..3]).await?;
    wait_status(c, APPS, WEB, json!({"availableReplicas": 3})).await?;
    set_image(c, "web:2").await?;
    // One that is not available anyway, and one more.
    wait_sizes(c, &[("web:1", 2), ("web:2", 2)]).await?;
    let old = pods(c).await?;
    let old: Vec<_> = old.iter().filter(|pod| image(pod) == "web:1").map(name).collect();
    anyhow::ensure!(!old.contains(&names[3]), "{old:?} has {}", names[3]);
    Ok(())
}

async fn an_update_in_an_update_takes_over_from_both(c: &Cluster) -> anyhow::Result<()> {
    make_complete(
        c,
        4,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
    )
    .await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 3), ("web:2", 2)]).await?;
    set_image(c, "web:3").await?;
    // The pods of the second template never worked: they make room at once.
    wait_sizes(c, &[("web:1", 3), ("web:2", 0), ("web:3", 2)]).await?;
    complete(c, 4).await?;
    wait_sizes(c, &[("web:1", 0), ("web:2", 0), ("web:3", 4)]).await
}

async fn templates_are_numbered_and_few_are_kept(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({"revisionHistoryLimit": 1})).await?;
    for image in ["web:2", "web:3", "web:4"] {
        roll(c, image).await?;
    }
    wait_sizes(c, &[("web:3", 0), ("web:4", 1)]).await?;
    for (image, number) in [("web:3", "3"), ("web:4", "4")] {
        let set = replica_set(c, image).await?;
        contains(&set, json!({"metadata": {"annotations": {REVISION: number}}}))?;
    }
    wait(c, APPS, WEB, "it has the number", |web| {
        web["metadata"]["annotations"][REVISION] == "4"
    })
    .await?;
    merge(c, APPS, WEB, json!({"spec": {"revisionHistoryLimit": 0}})).await?;
    wait_sizes(c, &[("web:4", 1)]).await
}

async fn a_template_of_the_past_is_used_again(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 1, json!({})).await?;
    let first = replica_set(c, "web:1").await?;
    roll(c, "web:2").await?;
    roll(c, "web:1").await?;
    wait_sizes(c, &[("web:1", 1), ("web:2", 0)]).await?;
    let again = replica_set(c, "web:1").await?;
    same(again["metadata"]["uid"].clone(), first["metadata"]["uid"].clone())?;
    contains(
        &again,
        json!({"metadata": {"annotations": {REVISION: "3", "deployment.kubernetes.io/revision-history": "1"}}}),
    )?;
    wait(c, APPS, WEB, "it has the number", |web| {
        web["metadata"]["annotations"][REVISION] == "3"
    })
    .await?;
    roll(c, "web:2").await?;
    roll(c, "web:1").await?;
    let again = replica_set(c, "web:1").await?;
    contains(
        &again,
        json!({"metadata": {"annotations": {REVISION: "5", "deployment.kubernetes.io/revision-history": "1,3"}}}),
    )
}

async fn a_paused_deployment_does_not_roll(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({})).await?;
    merge(c, APPS, WEB, json!({"spec": {"paused": true}})).await?;
    let web = wait(c, APPS, WEB, "it is paused", |web| {
        has_condition(web, "Progressing", "Unknown", "DeploymentPaused")
    })
    .await?;
    same(
        text(condition(&web, "Progressing").unwrap_or(&Value::Null), "/message"),
        "Deployment is paused",
    )?;
    set_image(c, "web:2").await?;
    wait_status(
        c,
        APPS,
        WEB,
        json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": null}),
    )
    .await?;
    wait_sizes(c, &[("web:1", 2)]).await?;
    merge(c, APPS, WEB, json!({"spec": {"paused": null}})).await?;
    wait_sizes(c, &[("web:1", 2), ("web:2", 1)]).await?;
    complete(c, 2).await?;
    wait(c, APPS, WEB, "it has progressed", |web| {
        has_condition(web, "Progressing", "True", "NewReplicaSetAvailable")
    })
    .await?;
    Ok(())
}

async fn recreate_waits_for_the_old_pods_to_go(c: &Cluster) -> anyhow::Result<()> {
    make_complete(c, 2, json!({"strategy": {"type": "Recreate"}})).await?;
    let names = wait_count(c, 2).await?;
    super::play::bind(c, &names[0], "nowhere").await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 0)]).await?;
    // One still stops.
    same(
        list(c, "v1", "pods").await?.iter().map(name).collect(),
        vec![names[0].clone()],
    )?;
    let old = c.at("v1", &format!("pods/{}", names[0]));
    c.delete_with(&old, &json!({"gracePeriodSeconds": 0}))
        .await?
        .with_code(200)?;
    wait_sizes(c, &[("web:1", 0), ("web:2", 2)]).await?;
    complete(c, 2).await?;
    Ok(())
}

async fn scaling_in_an_update_is_in_proportion(c: &Cluster) -> anyhow::Result<()> {
    make_complete(
        c,
        10,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    )
    .await?;
    set_image(c, "web:2").await?;
    wait_sizes(c, &[("web:1", 8), ("web:2", 5)]).await?;
    merge(c, APPS, WEB, json!({"spec": {"replicas": 15}})).await?;
    wait_sizes(c, &[("web:1", 11), ("web:2", 7)]).await?;
    for (image, number) in [("web:1", "18"), ("web:2", "18")] {
        let set = replica_set(c, image).await?;
        contains(
            &set,
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/desired-replicas": "15",
                "deployment.kubernetes.io/max-replicas": number}}}),
        )?;
    }
    Ok(())
}

async fn a_rollout_that_gets_nowhere_is_said_to_have_failed(c: &Cluster) -> anyhow::Result<()> {
    make_deployment(c, 1, json!({"progressDeadlineSeconds": 2})).await?;
    let web = wait(c, APPS, WEB, "it has failed", |web| {
        has_condition(web, "Progressing", "False", "ProgressDeadlineExceeded")
    })
    .await?;
    let set = name(&replica_set(c, "web:1").await?);
    same(
        text(condition(&web, "Progressing").unwrap_or(&Value::Null), "/message"),
        &format!("ReplicaSet \"{set}\" has timed out progressing."),
    )?;
    let web = complete(c, 1).await?;
    anyhow::ensure!(
        has_condition(&web, "Available", "True", "MinimumReplicasAvailable"),
        "{web}"
    );
    wait(c, APPS, WEB, "it has progressed", |web| {
        has_condition(web, "Progressing", "True", "NewReplicaSetAvailable")
    })
    .await?;
    Ok(())
}
