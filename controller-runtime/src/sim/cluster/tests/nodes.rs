use super::*;

fn ready(node: &Node) -> String {
    let conditions = node.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status).unwrap_or_default()
}

pub(super) fn agent() -> Value {
    let mut agent = deployment("agent", 0, "50m");
    agent["kind"] = json!("DaemonSet");
    agent["spec"].as_object_mut().unwrap().remove("replicas");
    agent["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    agent
}

fn world(fleet: &Arc<Fleet>) -> World {
    let machines: Arc<dyn Machines> = fleet.clone();
    World::with(|options| Options { machines: Some(machines), ..options })
}

#[tokio::test(start_paused = true)]
async fn a_machine_registers_becomes_ready_and_takes_pods() {
    let fleet = Arc::new(Fleet::default());
    let world = world(&fleet);
    world.apply(deployment("web", 2, "1"));
    world.settle().await;
    assert_eq!(world.messages("FailedScheduling"), ["no nodes available to schedule pods"; 2]);
    let start = tokio::time::Instant::now();
    fleet.start("m1", "4");
    world.wait_for(|api| !api.objects("", "nodes", None).is_empty()).await;
    let node: Node = object(world.cluster.api(), "", "nodes", "m1");
    assert_eq!(ready(&node), "False");
    assert_eq!(node.spec.as_ref().unwrap().provider_id.as_deref(), Some("fake:///m1"));
    assert_eq!(node.labels()["pool"], "test");
    assert_eq!(node.labels()["kubernetes.io/hostname"], "m1");
    assert!(node.spec.unwrap().taints.unwrap().iter().any(|taint| taint.key == "node.kubernetes.io/not-ready"));
    world.wait_for(|api| ready(&object(api, "", "nodes", "m1")) == "True").await;
    assert_eq!(start.elapsed().as_secs(), 10);
    world.settle().await;
    let node: Node = object(world.cluster.api(), "", "nodes", "m1");
    assert!(node.spec.unwrap().taints.unwrap_or_default().is_empty());
    let running = world.pods_in("Running");
    assert_eq!(running.len(), 2);
    let status = running[0].status.clone().unwrap();
    assert!(status.pod_ip.is_some() && status.host_ip.is_some() && pods::is_ready(&running[0]));
    assert_ne!(running[0].status.as_ref().unwrap().pod_ip, running[1].status.as_ref().unwrap().pod_ip);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_covers_a_new_node_before_it_is_ready_and_leaves_one_that_goes() {
    let fleet = Arc::new(Fleet::default());
    let world = world(&fleet);
    world.apply(node("fixed", "2"));
    world.apply(agent());
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 1);
    fleet.start("m1", "4");
    world
        .wait_for(|api| {
            let pods: Vec<Pod> = list(api, "", "pods");
            pods.iter().any(|pod| pods::node_name(pod) == Some("m1"))
        })
        .await;
    assert_eq!(ready(&object(world.cluster.api(), "", "nodes", "m1")), "False");
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 2);
    fleet.stop("m1");
    world.settle().await;
    let nodes: Vec<Node> = list(world.cluster.api(), "", "nodes");
    assert_eq!(nodes.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>(), ["fixed"]);
    assert_eq!(world.pods().len(), 1, "the pod of the lost node was collected");
    let set: k8s_openapi::api::apps::v1::DaemonSet = object(world.cluster.api(), "apps", "daemonsets", "agent");
    let status = set.status.unwrap();
    assert_eq!((status.desired_number_scheduled, status.number_ready, status.number_available), (1, 1, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_lost_node_come_back_on_another() {
    let fleet = Arc::new(Fleet::default());
    let world = world(&fleet);
    fleet.start("m1", "4");
    world.apply(deployment("web", 2, "1"));
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 2);
    fleet.start("m2", "4");
    world.settle().await;
    fleet.stop("m1");
    world.wait_for(|api| ready(&object(api, "", "nodes", "m1")) == "Unknown").await;
    world.settle().await;
    let running = world.pods_in("Running");
    assert_eq!(running.iter().map(|pod| pods::node_name(pod).unwrap()).collect::<Vec<_>>(), ["m2", "m2"]);
    assert_eq!(world.pods().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_no_execute_taint_evicts_at_once_or_after_the_tolerated_time() {
    let world = World::new();
    world.apply(node("a", "4"));
    world.apply(node("b", "4"));
    let mut patient = deployment("patient", 1, "100m");
    patient["spec"]["template"]["spec"]["tolerations"] =
        json!([{"key": "leave", "operator": "Exists", "tolerationSeconds": 40}]);
    patient["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "a"});
    let mut hasty = deployment("hasty", 1, "100m");
    hasty["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "a"});
    world.apply(patient);
    world.apply(hasty);
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 2);
    let nodes: Api<Node> = Api::all(world.cluster.client("default"));
    let taint = json!({"spec": {"taints": [{"key": "leave", "effect": "NoExecute"}]}});
    nodes.patch("a", &PatchParams::default(), &Patch::Merge(taint)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let on_a = |world: &World| -> Vec<String> {
        let pods = world.pods_in("Running").into_iter().filter(|pod| pods::node_name(pod) == Some("a"));
        pods.map(|pod| pod.labels()["app"].clone()).collect()
    };
    assert_eq!(on_a(&world), ["patient"]);
    let first = world.pods_in("Running")[0].name_any();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.pods().iter().all(|pod| pod.name_any() != first), "its time is over");
}
