//! From nodes that are not needed to none.

use kube::ResourceExt;

use super::*;

fn bought(api: &ApiServer) -> usize {
    api.objects("karpenter.sh", "nodeclaims", None).len()
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_is_returned() {
    let world = World::new();
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    world.scale("web", 0).await;
    world
        .wait_for("nothing is left", |api| {
            bought(api) == 0 && api.objects("", "nodes", None).is_empty()
        })
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.running().await.is_empty());
    let decisions = world.decisions();
    let decision = decisions
        .iter()
        .find(|decision| decision.controller == "disruption")
        .unwrap();
    assert!(decision.reason.starts_with("Empty"), "{}", decision.reason);
    assert!(world.has_event("DisruptionTerminating"));
}

#[tokio::test(start_paused = true)]
async fn the_last_pod_of_a_bought_node_is_moved_where_it_fits() {
    let world = World::new();
    world.apply(fixed("fixed", "2"));
    world.apply(deployment("web", 4, "1"));
    world.wait_for("four pods are bound", |api| bound(api) == 4).await;
    assert_eq!(bought(world.cluster.api()), 1);
    world.scale("web", 1).await;
    world
        .wait_for("the bought node is gone", |api| bought(api) == 0)
        .await;
    world.settle().await;
    let names: Vec<_> = world.nodes().iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["fixed"]);
    assert_eq!(world.bound(), 1);
    assert!(world.running().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_replaced_by_a_cheaper_one_that_is_there_first() {
    let world = World::new();
    world.apply(deployment("web", 6, "1"));
    world.wait_for("six pods are bound", |api| bound(api) == 6).await;
    assert_eq!(world.running().await[0].instance_type, "m5.2xlarge");
    world.scale("web", 2).await;
    world
        .wait_for("the smaller one is alone", |api| {
            let claims: Vec<NodeClaim> = list(api, "karpenter.sh", "nodeclaims");
            matches!(claims.as_slice(), [claim] if claim.label(labels::INSTANCE_TYPE) == Some("m5.xlarge"))
        })
        .await;
    world.settle().await;
    assert_eq!((world.bound(), world.cloud.launched()), (2, 2));
    assert!(world.has_event("DisruptionLaunching"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pool_drains_and_returns_its_nodes() {
    let world = World::new();
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    world
        .api::<NodePool>()
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    world
        .wait_for("its nodes are gone", |api| {
            bought(api) == 0 && api.objects("", "nodes", None).is_empty()
        })
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.running().await.is_empty());
    let pending = world
        .pods()
        .iter()
        .filter(|pod| pod::node_name(pod).is_none())
        .count();
    assert_eq!(pending, 3, "the pods wait for the morning");
    assert!(world.has_event("Evicted"));
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_pods_holds_a_drain_until_it_allows_it() {
    let world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.apply(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world.settle().await;
    let claim = world.claims()[0].name_any();
    world
        .api::<NodeClaim>()
        .delete(&claim, &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(world.has_event("FailedDraining"), "{:?}", world.events());
    let held = world
        .claims()
        .into_iter()
        .find(|found| found.name_any() == claim)
        .unwrap();
    let drained = held
        .conditions()
        .iter()
        .find(|condition| condition.type_ == "Drained")
        .unwrap();
    assert_eq!(
        (drained.status.as_str(), drained.reason.as_str()),
        ("Unknown", "Draining")
    );
    let node = world
        .nodes()
        .into_iter()
        .find(|node| Some(node.name_any()) == held.status.clone().unwrap().node_name)
        .unwrap();
    let taints = node.spec.clone().unwrap().taints.unwrap_or_default();
    assert!(
        taints.iter().any(|taint| taint.key == labels::DISRUPTED_TAINT),
        "{taints:?}"
    );
    assert_eq!(node.labels()[labels::EXCLUDE_BALANCERS], "karpenter");
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        Api::namespaced(world.cluster.client("default"), "default");
    budgets
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"minAvailable": 0}})),
        )
        .await
        .unwrap();
    world
        .wait_for("the claim is gone", |api| {
            let claims: Vec<NodeClaim> = list(api, "karpenter.sh", "nodeclaims");
            claims.iter().all(|found| found.name_any() != claim)
        })
        .await;
    world.wait_for("the pod is back", |api| bound(api) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_takes_its_claim_and_its_instance_along() {
    let world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    let node = world.nodes()[0].name_any();
    let instance = world.running().await[0].id.clone();
    world
        .api::<Node>()
        .delete(&node, &DeleteParams::default())
        .await
        .unwrap();
    world
        .wait_for("the node is gone", |api| {
            let nodes: Vec<Node> = list(api, "", "nodes");
            nodes.iter().all(|found| found.name_any() != node)
        })
        .await;
    world.settle().await;
    assert!(world.running().await.iter().all(|running| running.id != instance));
    assert_eq!(
        (world.bound(), world.claims().len()),
        (1, 1),
        "another node took its place"
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_vanishes_is_replaced() {
    let world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    let instance = world.running().await[0].id.clone();
    world.cloud.lose(&instance);
    tokio::time::sleep(Duration::from_secs(1200)).await;
    world.settle().await;
    assert_eq!(
        (world.bound(), world.claims().len(), world.running().await.len()),
        (1, 1, 1)
    );
    assert_ne!(world.running().await[0].id, instance);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_at_rest_is_written_to_by_nobody() {
    let world = World::new();
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    world.settle().await;
    // What can be said about why a node stays was said.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let before = world.cluster.api().resource_version();
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!(world.cluster.api().resource_version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_replaces_nodes_one_after_the_other() {
    let world = World::new();
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    let before = world.claims()[0].name_any();
    world
        .patch_pool(
            "default",
            json!({"spec": {"template": {"metadata": {"labels": {"team": "a"}}}}}),
        )
        .await;
    world
        .wait_for("another claim has its place", |api| {
            let claims: Vec<NodeClaim> = list(api, "karpenter.sh", "nodeclaims");
            matches!(claims.as_slice(), [claim] if claim.name_any() != before)
        })
        .await;
    world.wait_for("the pods are back", |api| bound(api) == 3).await;
    assert_eq!(world.nodes()[0].labels()["team"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_too_old_is_replaced() {
    let world = World::new();
    world
        .patch_pool(
            "default",
            json!({"spec": {"template": {"spec": {"expireAfter": "1h"}}}}),
        )
        .await;
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    let before = world.claims()[0].name_any();
    tokio::time::sleep(Duration::from_secs(3700)).await;
    world
        .wait_for("the pod is back", |api| bound(api) == 1 && bought(api) == 1)
        .await;
    assert_ne!(world.claims()[0].name_any(), before);
}

#[tokio::test(start_paused = true)]
async fn a_protected_pod_is_ended_only_by_the_grace_period() {
    let world = World::new();
    world
        .patch_pool(
            "default",
            json!({"spec": {"template": {"spec": {"terminationGracePeriod": "10m"}}}}),
        )
        .await;
    let mut web = deployment("web", 1, "1");
    web["spec"]["template"]["metadata"]["annotations"] = json!({"karpenter.sh/do-not-disrupt": "true"});
    web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(60);
    world.apply(web);
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world.settle().await;
    let (claim, pod) = (world.claims()[0].name_any(), world.pods()[0].name_any());
    world
        .api::<NodeClaim>()
        .delete(&claim, &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(8 * 60 + 50)).await;
    let there = |world: &World| {
        world
            .pods()
            .iter()
            .any(|found| found.name_any() == pod && pod::is_active(found))
    };
    assert!(there(&world), "a minute of its own grace is kept for it");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(!there(&world));
    assert!(world.has_event("TerminationGracePeriodExpiring"));
    world
        .wait_for("the claim is gone", |api| {
            let claims: Vec<NodeClaim> = list(api, "karpenter.sh", "nodeclaims");
            claims.iter().all(|found| found.name_any() != claim)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_announced_interruption_drains_before_the_machine_is_taken() {
    let world = World::new();
    world
        .patch_pool(
            "default",
            json!({"spec": {"template": {"spec": {"requirements": [
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge"]},
            ]}}}}),
        )
        .await;
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world.settle().await;
    let instance = world.running().await[0].clone();
    assert_eq!(instance.capacity_type, provisioner::CapacityType::Spot);
    world
        .cloud
        .interrupt(&instance.id, InterruptionKind::SpotInterrupted);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(world.has_event("SpotInterrupted"));
    assert!(
        world
            .running()
            .await
            .iter()
            .all(|running| running.id != instance.id),
        "it was returned in time"
    );
    world.wait_for("the pod is back", |api| bound(api) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_class_stays_until_nothing_bought_by_it_is_left() {
    let world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world
        .api::<Ec2NodeClass>()
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let classes = |api: &ApiServer| api.objects("karpenter.k8s.aws", "ec2nodeclasses", None).len();
    assert_eq!(classes(world.cluster.api()), 1);
    assert!(world.has_event("WaitingOnNodeClaimTermination"));
    world.scale("web", 0).await;
    world
        .wait_for("the class is gone", |api| bought(api) == 0 && classes(api) == 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_none_keeps_every_node() {
    let world = World::new();
    world
        .patch_pool(
            "default",
            json!({"spec": {"disruption": {"budgets": [{"nodes": "0"}]}}}),
        )
        .await;
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world.scale("web", 0).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bought(world.cluster.api()), 1);
    world
        .patch_pool(
            "default",
            json!({"spec": {"disruption": {"budgets": [{"nodes": "1"}]}}}),
        )
        .await;
    world.wait_for("the node is gone", |api| bought(api) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_waits_for_pods_that_a_budget_holds_back() {
    let world = World::new();
    world.apply(deployment("web", 6, "1"));
    world.apply(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    world.wait_for("six pods are bound", |api| bound(api) == 6).await;
    world.scale("web", 2).await;
    world
        .wait_for("the large one is going", |api| {
            let claims: Vec<NodeClaim> = list(api, "karpenter.sh", "nodeclaims");
            claims
                .iter()
                .any(|claim| claim.metadata.deletion_timestamp.is_some())
        })
        .await;
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        Api::namespaced(world.cluster.client("default"), "default");
    let none = Patch::Merge(json!({"spec": {"maxUnavailable": 0}}));
    budgets
        .patch("web", &PatchParams::default(), &none)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(
        (bought(world.cluster.api()), world.cloud.launched()),
        (2, 2),
        "it is kept for them"
    );
    let one = Patch::Merge(json!({"spec": {"maxUnavailable": 1}}));
    budgets.patch("web", &PatchParams::default(), &one).await.unwrap();
    world
        .wait_for("one is left", |api| bound(api) == 2 && bought(api) == 1)
        .await;
    assert_eq!(world.cloud.launched(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_grows_with_its_pods_and_is_gone_when_they_are() {
    let world = World::new();
    world.apply(fixed("fixed-a", "2"));
    world.apply(fixed("fixed-b", "2"));
    world.apply(deployment("web", 1, "250m"));
    for step in 1..=20 {
        world.scale("web", step * 4).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    world.wait_for("all are bound", |api| bound(api) == 80).await;
    assert_eq!(bought(world.cluster.api()), 5);
    for step in (0..8).rev() {
        world.scale("web", (step * 10).max(1)).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    let start = tokio::time::Instant::now();
    world
        .wait_for("nothing bought is left", |api| bought(api) == 0)
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(300),
        "{:?}",
        start.elapsed()
    );
    world.settle().await;
    assert_eq!(
        (world.bound(), world.nodes().len(), world.running().await.len()),
        (1, 2, 0)
    );
    let returned = world
        .decisions()
        .into_iter()
        .filter(|decision| decision.reason.contains(" returned: "));
    assert_eq!(returned.count(), 5, "each is said once");
}
