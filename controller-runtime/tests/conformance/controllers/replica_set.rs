//! ReplicaSets: how many pods there are, whose they are, and which go first.

use std::time::Duration;

use serde_json::{Value, json};

use super::play::{
    LIMIT, bind, condition, created, list, make, make_ready, merge, name, now, owned_by, pods, quiet, ready,
    remain, set_status, spec, unready, wait, wait_count, wait_pods, wait_status, with,
};
use crate::harness::{Cluster, cases, contains, same, text};

const APPS: &str = "apps/v1";
const SET: &str = "replicasets/web";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

cases![
    pods_are_made_from_the_template,
    pods_without_a_node_go_first,
    pending_pods_go_before_running_ones,
    unready_pods_go_before_ready_ones,
    cheap_pods_go_before_dear_ones,
    a_cost_is_a_whole_number,
    pods_on_the_fullest_node_go_first,
    nodes_do_not_matter_to_a_set_without_an_owner,
    pods_ready_for_a_shorter_time_go_first,
    pods_with_more_restarts_go_first,
    newer_pods_go_first,
    readiness_counts_more_than_cost,
    a_deleted_pod_is_replaced,
    a_pod_that_still_stops_is_replaced_at_once,
    a_failed_pod_is_replaced,
    an_orphan_is_adopted,
    an_orphan_too_many_is_adopted_and_one_goes,
    a_pod_that_ended_is_not_adopted,
    a_pod_with_other_labels_is_let_go,
    a_pod_of_another_owner_stays_with_it,
    the_status_counts_ready_and_available_pods,
    fully_labelled_pods_are_counted,
    a_failure_to_make_pods_is_a_condition,
    a_set_of_none_has_none,
];

async fn make_set(c: &Cluster, replicas: i32) -> anyhow::Result<Value> {
    make(c, APPS, "replicasets", "web", spec(replicas, "web:1")).await
}

/// The pods of a new set.
async fn make_pods<const N: usize>(c: &Cluster) -> anyhow::Result<[String; N]> {
    make_set(c, i32::try_from(N)?).await?;
    let names = wait_count(c, N).await?;
    names
        .try_into()
        .map_err(|names| anyhow::anyhow!("other pods: {names:?}"))
}

/// Scales to as many pods as are to stay; those stay.
async fn stay(c: &Cluster, names: &[&String]) -> anyhow::Result<()> {
    // What the pods look like reaches the controller apart from the size.
    tokio::time::sleep(Duration::from_millis(300)).await;
    merge(c, APPS, SET, json!({"spec": {"replicas": names.len()}})).await?;
    let mut left = wait_count(c, names.len()).await?;
    let mut wanted: Vec<String> = names.iter().copied().cloned().collect();
    left.sort();
    wanted.sort();
    same(left, wanted)
}

async fn pods_are_made_from_the_template(c: &Cluster) -> anyhow::Result<()> {
    let annotated = json!({"template": {"metadata": {"annotations": {"note": "yes"}, "finalizers": ["example.com/stay"]}}});
    let set = make(c, APPS, "replicasets", "web", with(spec(2, "web:1"), annotated)).await?;
    let names = wait_count(c, 2).await?;
    for pod in pods(c).await? {
        contains(
            &pod,
            json!({
                "metadata": {
                    "generateName": "web-",
                    "labels": {"app": "web"},
                    "annotations": {"note": "yes"},
                    "finalizers": ["example.com/stay"],
                    "ownerReferences": owned_by(APPS, "ReplicaSet", &set),
                },
                "spec": {"containers": [{"name": "main", "image": "web:1"}]},
                "status": {"phase": "Pending"},
            }),
        )?;
        same(name(&pod).len(), "web-".len() + 5)?;
    }
    let status = json!({"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1, "readyReplicas": null,
        "availableReplicas": null, "terminatingReplicas": 0, "conditions": null});
    wait_status(c, APPS, SET, status).await?;
    for pod in names {
        merge(
            c,
            "v1",
            &format!("pods/{pod}"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await?;
    }
    Ok(())
}

async fn pods_without_a_node_go_first(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third, fourth] = make_pods(c).await?;
    let now = now(c).await?;
    bind(c, &second, "nowhere").await?;
    // Not even being ready, and dear, outweighs it.
    for pod in [&first, &third, &fourth] {
        set_status(c, pod, ready(now, -600)).await?;
        merge(
            c,
            "v1",
            &format!("pods/{pod}"),
            json!({"metadata": {"annotations": {COST: "100"}}}),
        )
        .await?;
    }
    stay(c, &[&second]).await
}

async fn pending_pods_go_before_running_ones(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third, fourth] = make_pods(c).await?;
    for pod in [&first, &second, &third, &fourth] {
        bind(c, pod, "nowhere").await?;
    }
    set_status(c, &second, json!({"phase": "Unknown"})).await?;
    set_status(c, &third, unready()).await?;
    stay(c, &[&second, &third]).await?;
    stay(c, &[&third]).await
}

async fn unready_pods_go_before_ready_ones(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third] = make_pods(c).await?;
    let now = now(c).await?;
    for pod in [&first, &second] {
        set_status(c, pod, unready()).await?;
    }
    set_status(c, &third, ready(now, 0)).await?;
    stay(c, &[&third]).await
}

async fn cheap_pods_go_before_dear_ones(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third, fourth] = make_pods(c).await?;
    for (pod, cost) in [(&first, "-5"), (&second, "7")] {
        merge(
            c,
            "v1",
            &format!("pods/{pod}"),
            json!({"metadata": {"annotations": {COST: cost}}}),
        )
        .await?;
    }
    // No cost is zero.
    stay(c, &[&second, &third, &fourth]).await?;
    stay(c, &[&second]).await
}

async fn a_cost_is_a_whole_number(c: &Cluster) -> anyhow::Result<()> {
    let pod = with(
        super::play::template("web:1"),
        json!({"metadata": {"name": "a", "annotations": {COST: "many"}}}),
    );
    c.post(&c.at("v1", "pods"), &pod).await?.refused(
        422,
        "Invalid",
        "Pod \"a\" is invalid: metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"many\": \
         must be a 32bit integer",
    )?;
    Ok(())
}

async fn pods_on_the_fullest_node_go_first(c: &Cluster) -> anyhow::Result<()> {
    // Nodes count only among the pods of one owner, such as a Deployment.
    let owner = json!({"metadata": {"name": "owner"}});
    let owner = c.post(&c.at("v1", "configmaps"), &owner).await?.with_code(201)?;
    let set = json!({"metadata": {"name": "web", "ownerReferences": owned_by("v1", "ConfigMap", &owner)}, "spec": spec(4, "web:1")});
    c.post(&c.at(APPS, "replicasets"), &set).await?.with_code(201)?;
    let names = wait_count(c, 4).await?;
    let second = spread_out(c, &names).await?;
    stay(c, &[&second]).await
}

async fn nodes_do_not_matter_to_a_set_without_an_owner(c: &Cluster) -> anyhow::Result<()> {
    let names: [String; 4] = make_pods(c).await?;
    let second = spread_out(c, &names).await?;
    let others: Vec<_> = names.iter().filter(|name| **name != second).collect();
    stay(c, &others).await
}

/// All pods but one are on one node; that one is ready for the shortest time.
async fn spread_out(c: &Cluster, names: &[String]) -> anyhow::Result<String> {
    let now = now(c).await?;
    for (index, pod) in names.iter().enumerate() {
        let (node, seconds) = if index == 1 { ("empty", 0) } else { ("full", -3000) };
        bind(c, pod, node).await?;
        set_status(c, pod, ready(now, seconds)).await?;
    }
    Ok(names[1].clone())
}

async fn pods_ready_for_a_shorter_time_go_first(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third] = make_pods(c).await?;
    let now = now(c).await?;
    for (pod, seconds) in [(&first, -60), (&second, -6000), (&third, -600)] {
        set_status(c, pod, ready(now, seconds)).await?;
    }
    stay(c, &[&second, &third]).await?;
    stay(c, &[&second]).await
}

async fn pods_with_more_restarts_go_first(c: &Cluster) -> anyhow::Result<()> {
    let [first, second, third] = make_pods(c).await?;
    let now = now(c).await?;
    for (pod, restarts) in [(&first, 3), (&second, 1), (&third, 2)] {
        let container =
            json!({"name": "main", "image": "web:1", "imageID": "", "ready": true, "restartCount": restarts});
        set_status(
            c,
            pod,
            with(ready(now, 0), json!({"containerStatuses": [container]})),
        )
        .await?;
    }
    stay(c, &[&second, &third]).await?;
    stay(c, &[&second]).await
}

async fn newer_pods_go_first(c: &Cluster) -> anyhow::Result<()> {
    let [old] = make_pods(c).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    merge(c, APPS, SET, json!({"spec": {"replicas": 3}})).await?;
    wait_count(c, 3).await?;
    stay(c, &[&old]).await
}

async fn readiness_counts_more_than_cost(c: &Cluster) -> anyhow::Result<()> {
    let [first, second] = make_pods(c).await?;
    set_status(c, &first, unready()).await?;
    set_status(c, &second, ready(now(c).await?, 0)).await?;
    merge(
        c,
        "v1",
        &format!("pods/{first}"),
        json!({"metadata": {"annotations": {COST: "100"}}}),
    )
    .await?;
    stay(c, &[&second]).await
}

async fn a_deleted_pod_is_replaced(c: &Cluster) -> anyhow::Result<()> {
    let [first, second] = make_pods(c).await?;
    c.delete(&c.at("v1", &format!("pods/{first}")))
        .await?
        .with_code(200)?;
    wait_pods(c, "another pod is there", |pods| {
        pods.len() == 2
            && pods.iter().all(|pod| name(pod) != first)
            && pods.iter().any(|pod| name(pod) == second)
    })
    .await?;
    Ok(())
}

async fn a_pod_that_still_stops_is_replaced_at_once(c: &Cluster) -> anyhow::Result<()> {
    let [first] = make_pods(c).await?;
    bind(c, &first, "nowhere").await?;
    set_status(c, &first, ready(now(c).await?, 0)).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 1})).await?;
    c.delete(&c.at("v1", &format!("pods/{first}")))
        .await?
        .with_code(200)?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 1, "readyReplicas": null, "availableReplicas": null, "terminatingReplicas": 1}),
    )
    .await?;
    same(list(c, "v1", "pods").await?.len(), 2)?;
    c.delete_with(
        &c.at("v1", &format!("pods/{first}")),
        &json!({"gracePeriodSeconds": 0}),
    )
    .await?
    .with_code(200)?;
    wait_status(c, APPS, SET, json!({"replicas": 1, "terminatingReplicas": 0})).await?;
    Ok(())
}

async fn a_failed_pod_is_replaced(c: &Cluster) -> anyhow::Result<()> {
    let [first] = make_pods(c).await?;
    set_status(c, &first, json!({"phase": "Failed"})).await?;
    wait_pods(c, "there is another, and the failed one", |pods| {
        pods.len() == 2 && pods.iter().any(|pod| name(pod) == first)
    })
    .await?;
    wait_status(c, APPS, SET, json!({"replicas": 1, "fullyLabeledReplicas": 1})).await?;
    same(pods(c).await?.len(), 2)
}

/// A pod that nobody owns.
async fn make_orphan(c: &Cluster, name: &str, labels: Value) -> anyhow::Result<Value> {
    let pod = with(
        super::play::template("other:1"),
        json!({"metadata": {"name": name, "labels": labels}}),
    );
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)
}

async fn an_orphan_is_adopted(c: &Cluster) -> anyhow::Result<()> {
    make_orphan(c, "orphan", json!({"app": "web"})).await?;
    let set = make_set(c, 2).await?;
    wait_count(c, 2).await?;
    let path = c.at("v1", "pods/orphan");
    let pod = c
        .wait_object("it is adopted", LIMIT, &path, |pod| {
            !pod["metadata"]["ownerReferences"].is_null()
        })
        .await?;
    same(
        pod["metadata"]["ownerReferences"].clone(),
        owned_by(APPS, "ReplicaSet", &set),
    )?;
    quiet().await;
    same(pods(c).await?.len(), 2)
}

async fn an_orphan_too_many_is_adopted_and_one_goes(c: &Cluster) -> anyhow::Result<()> {
    let [first] = make_pods(c).await?;
    set_status(c, &first, ready(now(c).await?, 0)).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 1})).await?;
    make_orphan(c, "orphan", json!({"app": "web"})).await?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/orphan")).await?;
    remain(c, &[first]).await
}

async fn a_pod_that_ended_is_not_adopted(c: &Cluster) -> anyhow::Result<()> {
    make_orphan(c, "orphan", json!({"app": "web"})).await?;
    set_status(c, "orphan", json!({"phase": "Succeeded"})).await?;
    make_set(c, 1).await?;
    wait_count(c, 2).await?;
    quiet().await;
    let orphan = c.get(&c.at("v1", "pods/orphan")).await?.with_code(200)?;
    same(orphan["metadata"]["ownerReferences"].clone(), Value::Null)
}

async fn a_pod_with_other_labels_is_let_go(c: &Cluster) -> anyhow::Result<()> {
    let [first] = make_pods(c).await?;
    let path = format!("pods/{first}");
    merge(c, "v1", &path, json!({"metadata": {"labels": {"app": "debug"}}})).await?;
    wait_count(c, 2).await?;
    let what = "it has no owner";
    wait(c, "v1", &path, what, |pod| {
        pod["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    // It comes back with its labels.
    merge(c, "v1", &path, json!({"metadata": {"labels": {"app": "web"}}})).await?;
    wait_count(c, 1).await?;
    Ok(())
}

async fn a_pod_of_another_owner_stays_with_it(c: &Cluster) -> anyhow::Result<()> {
    let owner = json!({"metadata": {"name": "owner"}});
    let owner = c.post(&c.at("v1", "configmaps"), &owner).await?.with_code(201)?;
    let pod = with(
        super::play::template("other:1"),
        json!({"metadata": {"name": "theirs", "ownerReferences": owned_by("v1", "ConfigMap", &owner)}}),
    );
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    make_set(c, 1).await?;
    wait_count(c, 2).await?;
    wait_status(c, APPS, SET, json!({"replicas": 1})).await?;
    let theirs = c.get(&c.at("v1", "pods/theirs")).await?.with_code(200)?;
    same(
        theirs["metadata"]["ownerReferences"].clone(),
        owned_by("v1", "ConfigMap", &owner),
    )
}

async fn the_status_counts_ready_and_available_pods(c: &Cluster) -> anyhow::Result<()> {
    let patient = with(spec(3, "web:1"), json!({"minReadySeconds": 3}));
    make(c, APPS, "replicasets", "web", patient).await?;
    let names = wait_count(c, 3).await?;
    let since = now(c).await?;
    set_status(c, &names[0], ready(since, -60)).await?;
    set_status(c, &names[1], ready(since, 0)).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"replicas": 3, "readyReplicas": 2, "availableReplicas": 1}),
    )
    .await?;
    let status = json!({"replicas": 3, "readyReplicas": 2, "availableReplicas": 2});
    wait_status(c, APPS, SET, status).await?;
    anyhow::ensure!(
        now(c).await?.duration_since(since).as_secs() >= 3,
        "it was available too early"
    );
    set_status(c, &names[0], unready()).await?;
    wait_status(c, APPS, SET, json!({"readyReplicas": 1, "availableReplicas": 1})).await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 2}})).await?;
    wait_status(c, APPS, SET, json!({"replicas": 2, "observedGeneration": 2})).await?;
    Ok(())
}

async fn fully_labelled_pods_are_counted(c: &Cluster) -> anyhow::Result<()> {
    let labels = json!({"template": {"metadata": {"labels": {"tier": "front"}}}});
    make(c, APPS, "replicasets", "web", with(spec(2, "web:1"), labels)).await?;
    let names = wait_count(c, 2).await?;
    wait_status(c, APPS, SET, json!({"replicas": 2, "fullyLabeledReplicas": 2})).await?;
    let without = json!({"metadata": {"labels": {"tier": null}}});
    merge(c, "v1", &format!("pods/{}", names[0]), without).await?;
    wait_status(c, APPS, SET, json!({"replicas": 2, "fullyLabeledReplicas": 1})).await?;
    Ok(())
}

async fn a_failure_to_make_pods_is_a_condition(c: &Cluster) -> anyhow::Result<()> {
    let refused = json!({"template": {"spec": {"priorityClassName": c.unique("absent")}}});
    make(c, APPS, "replicasets", "web", with(spec(2, "web:1"), refused)).await?;
    let set = wait(c, APPS, SET, "there is a condition", |set| {
        condition(set, "ReplicaFailure").is_some()
    })
    .await?;
    let failure = condition(&set, "ReplicaFailure").cloned().unwrap_or_default();
    contains(&failure, json!({"status": "True", "reason": "FailedCreate"}))?;
    let message = format!("no PriorityClass with name {} was found", c.unique("absent"));
    anyhow::ensure!(text(&failure, "/message").ends_with(&message), "{failure}");
    contains(&set["status"], json!({"replicas": 0, "observedGeneration": 1}))?;
    let class = json!({"metadata": {"name": c.unique("absent")}, "value": 5});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    c.delete_at_end(format!("{classes}/{}", c.unique("absent")));
    c.post(classes, &class).await?.with_code(201)?;
    wait_count(c, 2).await?;
    wait_status(c, APPS, SET, json!({"replicas": 2, "conditions": null})).await?;
    Ok(())
}

async fn a_set_of_none_has_none(c: &Cluster) -> anyhow::Result<()> {
    let [first, _] = make_pods(c).await?;
    make_ready(c, &[first]).await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 0}})).await?;
    wait_count(c, 0).await?;
    let status =
        json!({"replicas": 0, "fullyLabeledReplicas": null, "readyReplicas": null, "observedGeneration": 2});
    wait_status(c, APPS, SET, status).await?;
    let set = c.get(&c.at(APPS, SET)).await?.with_code(200)?;
    anyhow::ensure!(created(&set).is_ok());
    remain(c, &[]).await
}
