//! From pending pods to nodes that run them.

use super::*;

#[tokio::test(start_paused = true)]
async fn pending_pods_get_a_node_and_are_bound_to_it() {
    let world = World::new();
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    let nodes = world.nodes();
    assert_eq!(nodes.len(), 1, "one node is enough");
    let node = &nodes[0];
    for (key, value) in [
        (labels::NODEPOOL, "default"),
        (labels::REGISTERED, "true"),
        (labels::INITIALIZED, "true"),
        (labels::CAPACITY_TYPE, "on-demand"),
        (labels::INSTANCE_TYPE, "m5.xlarge"),
    ] {
        assert_eq!(node.labels().get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(node.finalizers(), [labels::TERMINATION_FINALIZER]);
    assert!(
        node.spec
            .as_ref()
            .unwrap()
            .taints
            .as_ref()
            .is_none_or(Vec::is_empty)
    );
    world.settle().await;
    let claims = world.claims();
    assert_eq!(claims.len(), 1);
    let conditions: Vec<_> = claims[0]
        .conditions()
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect();
    for kind in ["Launched", "Registered", "Initialized", "Ready", "Consolidatable"] {
        assert!(
            conditions.contains(&(kind, "True", kind)),
            "{kind}: {conditions:?}"
        );
    }
    assert_eq!(claims[0].status.as_ref().unwrap().node_name, node.metadata.name);
    assert!(claims[0].name_any().starts_with("default-"));
    assert_eq!(claims[0].owner_references()[0].kind, "NodePool");
    let pool = world.pool("default").status.unwrap();
    assert_eq!(pool.nodes, Some(1));
    assert_eq!(pool.resources.unwrap().get("cpu").value(), 4);
    assert!(world.has_event("Nominated"));
}

#[tokio::test(start_paused = true)]
async fn one_batch_makes_one_plan_and_a_late_pod_uses_what_is_coming() {
    let world = World::new();
    world.apply(deployment("web", 2, "1"));
    world
        .wait_for("a claim is there", |api| {
            !api.objects("karpenter.sh", "nodeclaims", None).is_empty()
        })
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.apply(deployment("late", 1, "1"));
    world.wait_for("all pods are bound", |api| bound(api) == 3).await;
    assert_eq!(world.cloud.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_buys_nothing_and_says_why() {
    let world = World::new();
    world
        .patch_pool("default", json!({"spec": {"limits": {"cpu": "0"}}}))
        .await;
    world.apply(deployment("web", 1, "1"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(world.claims().is_empty());
    let words = "Failed to schedule pod, all available instance types exceed limits for nodepool (NodePool=\"default\")";
    let said: Vec<_> = world
        .events()
        .into_iter()
        .filter(|(reason, _, _)| reason == "FailedScheduling")
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].2, words);
    let decisions = world.decisions();
    let decision = decisions
        .iter()
        .find(|decision| decision.controller == "provisioning")
        .unwrap();
    assert_eq!(
        (decision.from.as_str(), decision.to.as_str()),
        ("pending", "no node")
    );
    assert!(decision.reason.contains("exceed limits"), "{}", decision.reason);
    world
        .patch_pool("default", json!({"spec": {"limits": {"cpu": "100"}}}))
        .await;
    world.wait_for("the limit is lifted", |api| bound(api) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn without_capacity_another_offering_is_bought() {
    let world = World::new();
    world
        .cloud
        .limit(|offering| offering.instance_type == "m5.xlarge", 0);
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    let running = world.running().await;
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].instance_type, "m5.2xlarge");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_had_goes_and_is_planned_again() {
    let world = World::new();
    world
        .patch_pool(
            "default",
            json!({"spec": {"template": {"spec": {"requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge"]},
            ]}}}}),
        )
        .await;
    world
        .cloud
        .limit(|offering| offering.instance_type == "m5.xlarge", 0);
    world.apply(deployment("web", 1, "1"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        world.has_event("InsufficientCapacityError"),
        "{:?}",
        world.events()
    );
    assert!(world.claims().is_empty());
    world.cloud.unlimited();
    world.wait_for("capacity is back", |api| bound(api) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_its_class_is_not_ready_and_buys_nothing() {
    let world = World::new();
    let mut lost = pool("lost", &json!({"weight": 50}));
    lost["spec"]["template"]["spec"]["nodeClassRef"]["name"] = json!("missing");
    world.apply(lost);
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    let ready = world
        .pool("lost")
        .status
        .unwrap()
        .conditions
        .into_iter()
        .find(|c| c.type_ == "NodeClassReady")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "NodeClassNotFound")
    );
    assert_eq!(world.claims()[0].pool(), Some("default"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_join_is_given_up_and_another_is_bought() {
    let world = World::with(|settings| FakeSettings {
        boot_delay: Duration::from_secs(3600),
        ..settings
    });
    world.apply(deployment("web", 1, "1"));
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    let given_up = world
        .decisions()
        .into_iter()
        .find(|decision| decision.to == "deleted")
        .unwrap();
    assert!(given_up.reason.contains("did not join"), "{}", given_up.reason);
    assert_eq!(
        (
            world.cloud.launched(),
            world.claims().len(),
            world.running().await.len()
        ),
        (2, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_fails_now_and_then_is_asked_again() {
    let world = World::with(|settings| FakeSettings {
        error_rate: 0.5,
        ..settings
    });
    world.apply(deployment("web", 3, "1"));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    assert_eq!(world.cloud.launched(), 1);
}
