use super::*;

#[tokio::test(start_paused = true)]
async fn pods_wait_with_the_real_message_and_go_to_a_node_that_comes() {
    let world = World::new();
    let mut tainted = node("b", "8");
    tainted["spec"] = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    world.apply(node("a", "1"));
    world.apply(tainted);
    world.settle().await;
    world.apply(deployment("web", 2, "600m"));
    world.settle().await;
    let pending = world.pods_in("Pending");
    assert_eq!(pending.len(), 1);
    let message = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to \
                   deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, \
                   1 Preemption is not helpful for scheduling.";
    let condition = pods::condition(&pending[0], "PodScheduled").unwrap();
    assert_eq!(
        (
            condition.status.as_str(),
            condition.reason.as_deref(),
            condition.message.as_deref()
        ),
        ("False", Some("Unschedulable"), Some(message))
    );
    assert_eq!(world.messages("FailedScheduling"), [message]);
    world.apply(node("c", "1"));
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 2);
    let name = pending[0].name_any();
    assert!(
        world
            .messages("Scheduled")
            .contains(&format!("Successfully assigned default/{name} to c"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_where_another_made_room() {
    let world = World::new();
    world.apply(node("a", "1"));
    world.apply(deployment("first", 1, "1"));
    world.settle().await;
    world.apply(deployment("second", 1, "1"));
    world.settle().await;
    assert_eq!(world.pods_in("Pending").len(), 1);
    world.scale("first", 0).await;
    world.settle().await;
    let running = world.pods_in("Running");
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].labels()["app"], "second");
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_deployment_are_spread_over_nodes() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.apply(node(name, "4"));
    }
    world.apply(deployment("web", 6, "100m"));
    world.settle().await;
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    for pod in world.pods() {
        *on.entry(pods::node_name(&pod).unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(on.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn gated_and_foreign_pods_are_left_alone() {
    let world = World::new();
    world.apply(node("a", "4"));
    let pod = |name: &str, spec: Value| {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "app"}]},
        });
        json_patch::merge(&mut pod["spec"], &spec);
        pod
    };
    world.apply(pod("gated", json!({"schedulingGates": [{"name": "wait"}]})));
    world.apply(pod("foreign", json!({"schedulerName": "another"})));
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 0);
    world
        .patch::<Pod>("gated", json!({"spec": {"schedulingGates": null}}))
        .await;
    world.settle().await;
    assert_eq!(
        world
            .pods_in("Running")
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["gated"]
    );
}
