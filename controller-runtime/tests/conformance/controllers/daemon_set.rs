//! DaemonSets: a pod on every node that wants one.

use serde_json::{Value, json};

use super::play::{
    LIMIT, image, list, make, merge, name, owned_by, pods, quiet, remain, wait_count, wait_pods, wait_status,
    with,
};
use crate::harness::{Cluster, cases, contains, same, text};

const APPS: &str = "apps/v1";
const SET: &str = "daemonsets/agent";

cases![
    a_pod_is_meant_for_its_node,
    pods_tolerate_what_happens_to_nodes,
    every_node_gets_one_pod,
    a_new_node_gets_a_pod,
    a_node_selector_chooses_nodes,
    a_taint_that_is_not_tolerated_keeps_pods_away,
    a_node_that_takes_no_more_pods_gets_one,
    a_deleted_pod_comes_again,
    a_failed_pod_is_replaced,
    an_update_replaces_one_pod_after_the_other,
    an_update_on_delete_waits_for_deletions,
    an_update_may_surge,
    templates_are_kept_as_revisions,
    an_orphan_is_adopted,
    its_deletion_takes_its_pods,
];

fn spec(c: &Cluster, image: &str, more: Value) -> Value {
    let pod = c.place(json!({"containers": [{"name": "main", "image": image}]}));
    let template = json!({"metadata": {"labels": {"app": "agent"}}, "spec": pod});
    let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template});
    with(spec, more)
}

async fn make_set(c: &Cluster, more: Value) -> anyhow::Result<Value> {
    make(c, APPS, "daemonsets", "agent", spec(c, "agent:1", more)).await
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

/// Waits until a pod runs on each of these nodes, and nowhere else.
async fn wait_on(c: &Cluster, nodes: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut wanted = nodes.to_vec();
    wanted.sort();
    wait_pods(c, &format!("a pod runs on each of {wanted:?}"), |pods| {
        let mut on: Vec<_> = pods
            .iter()
            .map(|pod| text(pod, "/spec/nodeName").to_owned())
            .collect();
        on.sort();
        on == wanted && pods.iter().all(|pod| text(pod, "/status/phase") == "Running")
    })
    .await
}

async fn a_pod_is_meant_for_its_node(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    // Somebody else's terms are kept out: a DaemonSet's pod is for one node.
    let set = make_set(c, json!({})).await?;
    let pods = wait_on(c, &nodes).await?;
    contains(
        &pods[0],
        json!({
            "metadata": {
                "generateName": "agent-",
                "labels": {"app": "agent", "pod-template-generation": "1"},
                "ownerReferences": owned_by(APPS, "DaemonSet", &set),
            },
            "spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [nodes[0]]}]},
            ]}}}},
        }),
    )?;
    anyhow::ensure!(!text(&pods[0], "/metadata/labels/controller-revision-hash").is_empty());
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1,
            "updatedNumberScheduled": 1, "numberMisscheduled": 0, "numberUnavailable": null, "observedGeneration": 1}),
    )
    .await?;
    Ok(())
}

async fn pods_tolerate_what_happens_to_nodes(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    let pods = wait_on(c, &nodes).await?;
    let tolerations = pods[0]["spec"]["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut found: Vec<_> = tolerations
        .iter()
        .filter(|one| one["operator"] == "Exists")
        .map(|one| {
            format!(
                "{}:{} {}",
                text(one, "/key"),
                text(one, "/effect"),
                one["tolerationSeconds"]
            )
        })
        .collect();
    found.sort();
    same(
        found,
        [
            "node.kubernetes.io/disk-pressure:NoSchedule null",
            "node.kubernetes.io/memory-pressure:NoSchedule null",
            "node.kubernetes.io/not-ready:NoExecute null",
            "node.kubernetes.io/pid-pressure:NoSchedule null",
            "node.kubernetes.io/unreachable:NoExecute null",
            "node.kubernetes.io/unschedulable:NoSchedule null",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

async fn every_node_gets_one_pod(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(3, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    wait_on(c, &nodes).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3}),
    )
    .await?;
    Ok(())
}

async fn a_new_node_gets_a_pod(c: &Cluster) -> anyhow::Result<()> {
    let mut nodes = c.add_nodes(1, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    wait_on(c, &nodes).await?;
    nodes.push(c.add_node(&c.node("later", "4", "8Gi")).await?);
    wait_on(c, &nodes).await?;
    let gone = nodes.remove(0);
    c.delete(&format!("/api/v1/nodes/{gone}")).await?.ok()?;
    // Nothing is to be done for it, so it may be counted only with the next change.
    quiet().await;
    merge(c, APPS, SET, json!({"metadata": {"labels": {"look": "again"}}})).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1}),
    )
    .await?;
    Ok(())
}

async fn a_node_selector_chooses_nodes(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(2, "4", "8Gi").await?;
    let label = |node: &str, value: Value| {
        let (path, patch) = (
            format!("/api/v1/nodes/{node}"),
            json!({"metadata": {"labels": {"disk": value}}}),
        );
        async move { c.merge(&path, &patch).await?.with_code(200) }
    };
    label(&nodes[0], json!("fast")).await?;
    make_set(
        c,
        json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}}),
    )
    .await?;
    wait_on(c, &nodes[..1]).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "numberMisscheduled": 0}),
    )
    .await?;
    label(&nodes[1], json!("fast")).await?;
    wait_on(c, &nodes).await?;
    label(&nodes[0], Value::Null).await?;
    wait_on(c, &nodes[1..]).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1}),
    )
    .await?;
    Ok(())
}

fn taint(node: &Value, effect: &str) -> Value {
    let mut node = node.clone();
    if let Some(taints) = node["spec"]["taints"].as_array_mut() {
        taints.push(json!({"key": "special", "value": "yes", "effect": effect}));
    }
    node
}

async fn a_taint_that_is_not_tolerated_keeps_pods_away(c: &Cluster) -> anyhow::Result<()> {
    let plain = c.node("plain", "4", "8Gi");
    let nodes = [
        c.add_node(&plain).await?,
        c.add_node(&taint(&c.node("tainted", "4", "8Gi"), "NoSchedule"))
            .await?,
        c.add_node(&taint(&c.node("rather", "4", "8Gi"), "PreferNoSchedule"))
            .await?,
    ];
    make_set(c, json!({})).await?;
    wait_on(c, &[nodes[0].clone(), nodes[2].clone()]).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 2, "numberReady": 2}),
    )
    .await?;
    // A pod that runs stays with a taint that comes later, unless that is for what runs.
    let path = format!("/api/v1/nodes/{}", nodes[0]);
    let taints = |effect: &str| json!({"spec": {"taints": taint(&plain, effect)["spec"]["taints"]}});
    c.merge(&path, &taints("NoSchedule")).await?.with_code(200)?;
    quiet().await;
    wait_on(c, &[nodes[0].clone(), nodes[2].clone()]).await?;
    // Nothing is to be done for it, so it may be counted only with the next change.
    merge(c, APPS, SET, json!({"metadata": {"labels": {"look": "again"}}})).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 1}),
    )
    .await?;
    c.merge(&path, &taints("NoExecute")).await?.with_code(200)?;
    wait_on(c, &nodes[2..]).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"desiredNumberScheduled": 1, "numberMisscheduled": 0}),
    )
    .await?;
    Ok(())
}

async fn a_node_that_takes_no_more_pods_gets_one(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let cordon = json!({"spec": {"unschedulable": true}});
    c.merge(&format!("/api/v1/nodes/{}", nodes[0]), &cordon)
        .await?
        .with_code(200)?;
    make_set(c, json!({})).await?;
    wait_on(c, &nodes).await?;
    Ok(())
}

async fn a_deleted_pod_comes_again(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    let first = name(&wait_on(c, &nodes).await?[0]);
    c.delete(&c.at("v1", &format!("pods/{first}")))
        .await?
        .with_code(200)?;
    wait_pods(c, "another runs", |pods| {
        pods.len() == 1 && name(&pods[0]) != first && text(&pods[0], "/status/phase") == "Running"
    })
    .await?;
    Ok(())
}

async fn a_failed_pod_is_replaced(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    // Nobody runs them.
    make_set(c, json!({"template": {"spec": {"schedulerName": "nobody"}}})).await?;
    let names = wait_count(c, 1).await?;
    super::play::set_status(c, &names[0], json!({"phase": "Failed"})).await?;
    wait_pods(c, "another is there, and the failed one is not", |pods| {
        pods.len() == 1 && name(&pods[0]) != names[0]
    })
    .await?;
    same(nodes.len(), 1)
}

/// How many pods there are of an image.
async fn count(c: &Cluster, of: &str) -> anyhow::Result<usize> {
    Ok(pods(c).await?.iter().filter(|pod| image(pod) == of).count())
}

async fn an_update_replaces_one_pod_after_the_other(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(3, "4", "8Gi").await?;
    make_set(c, json!({"template": {"spec": {"schedulerName": "nobody"}}})).await?;
    let names = wait_count(c, 3).await?;
    super::play::make_ready(c, &names).await?;
    wait_status(c, APPS, SET, json!({"numberAvailable": 3})).await?;
    set_image(c, "agent:2").await?;
    for done in 1..=3 {
        let what = format!("{done} are replaced");
        c.wait_until(&what, LIMIT, async || Ok(count(c, "agent:2").await? == done))
            .await?;
        quiet().await;
        same(
            (count(c, "agent:1").await?, count(c, "agent:2").await?),
            (3 - done, done),
        )?;
        wait_status(
            c,
            APPS,
            SET,
            json!({"updatedNumberScheduled": done, "numberUnavailable": 1, "observedGeneration": 2}),
        )
        .await?;
        let pods = pods(c).await?;
        let fresh = pods.iter().filter(|pod| text(pod, "/status/phase") == "Pending");
        super::play::make_ready(c, &fresh.map(name).collect::<Vec<_>>()).await?;
    }
    wait_status(
        c,
        APPS,
        SET,
        json!({"updatedNumberScheduled": 3, "numberAvailable": 3, "numberUnavailable": null}),
    )
    .await?;
    Ok(())
}

async fn an_update_on_delete_waits_for_deletions(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(2, "4", "8Gi").await?;
    make_set(c, json!({"updateStrategy": {"type": "OnDelete"}})).await?;
    let names: Vec<_> = wait_on(c, &nodes).await?.iter().map(name).collect();
    set_image(c, "agent:2").await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"observedGeneration": 2, "updatedNumberScheduled": null}),
    )
    .await?;
    remain(c, &names).await?;
    c.delete(&c.at("v1", &format!("pods/{}", names[0])))
        .await?
        .with_code(200)?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"updatedNumberScheduled": 1, "numberAvailable": 2}),
    )
    .await?;
    same((count(c, "agent:1").await?, count(c, "agent:2").await?), (1, 1))
}

async fn an_update_may_surge(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(2, "4", "8Gi").await?;
    let more = json!({
        "updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"spec": {"schedulerName": "nobody"}},
    });
    make_set(c, more).await?;
    let names = wait_count(c, 2).await?;
    super::play::make_ready(c, &names).await?;
    wait_status(c, APPS, SET, json!({"numberAvailable": 2})).await?;
    set_image(c, "agent:2").await?;
    wait_count(c, 3).await?;
    quiet().await;
    same((count(c, "agent:1").await?, count(c, "agent:2").await?), (2, 1))?;
    // The old pod goes when the new one is there.
    let fresh = |pods: &[Value]| -> Vec<String> {
        pods.iter()
            .filter(|pod| text(pod, "/status/phase") == "Pending")
            .map(name)
            .collect()
    };
    super::play::make_ready(c, &fresh(&pods(c).await?)).await?;
    wait_pods(c, "the next is on its way", |pods| {
        let new = pods.iter().filter(|pod| image(pod) == "agent:2").count();
        (pods.len(), new) == (3, 2)
    })
    .await?;
    super::play::make_ready(c, &fresh(&pods(c).await?)).await?;
    wait_count(c, 2).await?;
    same(count(c, "agent:2").await?, 2)
}

async fn templates_are_kept_as_revisions(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let set = make_set(c, json!({"revisionHistoryLimit": 1})).await?;
    let pods = wait_on(c, &nodes).await?;
    let hash = text(&pods[0], "/metadata/labels/controller-revision-hash");
    let revision = c
        .get(&c.at(APPS, &format!("controllerrevisions/agent-{hash}")))
        .await?
        .with_code(200)?;
    contains(
        &revision,
        json!({
            "metadata": {
                "labels": {"app": "agent", "controller-revision-hash": hash},
                "ownerReferences": owned_by(APPS, "DaemonSet", &set),
            },
            "revision": 1,
            "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "agent"}}}}},
        }),
    )?;
    for (image, number) in [("agent:2", 2), ("agent:3", 3)] {
        set_image(c, image).await?;
        wait_status(
            c,
            APPS,
            SET,
            json!({"updatedNumberScheduled": 1, "numberAvailable": 1, "observedGeneration": number}),
        )
        .await?;
    }
    let numbers = async || -> anyhow::Result<Vec<i64>> {
        let revisions = list(c, APPS, "controllerrevisions").await?;
        let mut numbers: Vec<_> = revisions
            .iter()
            .filter_map(|one| one["revision"].as_i64())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    };
    c.wait_until("one of the past is kept", LIMIT, async || {
        Ok(numbers().await? == [2, 3])
    })
    .await?;
    // What is used again gets a new number.
    set_image(c, "agent:2").await?;
    c.wait_until("it is numbered anew", LIMIT, async || {
        Ok(numbers().await? == [3, 4])
    })
    .await
}

async fn an_orphan_is_adopted(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    let first = name(&wait_on(c, &nodes).await?[0]);
    c.delete_with(&c.at(APPS, SET), &json!({"propagationPolicy": "Orphan"}))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &c.at(APPS, SET)).await?;
    let pod = c
        .get(&c.at("v1", &format!("pods/{first}")))
        .await?
        .with_code(200)?;
    contains(&pod, json!({"metadata": {"ownerReferences": null}}))?;
    let set = make_set(c, json!({})).await?;
    wait_status(
        c,
        APPS,
        SET,
        json!({"updatedNumberScheduled": 1, "numberAvailable": 1}),
    )
    .await?;
    let pod = c
        .get(&c.at("v1", &format!("pods/{first}")))
        .await?
        .with_code(200)?;
    contains(
        &pod,
        json!({"metadata": {"ownerReferences": owned_by(APPS, "DaemonSet", &set)}}),
    )
}

async fn its_deletion_takes_its_pods(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    make_set(c, json!({})).await?;
    wait_on(c, &nodes).await?;
    c.delete(&c.at(APPS, SET)).await?.with_code(200)?;
    c.wait_until("they are gone", LIMIT, async || {
        Ok(list(c, "v1", "pods").await?.is_empty() && list(c, APPS, "controllerrevisions").await?.is_empty())
    })
    .await
}
