use serde_json::json;

use super::*;

fn node(name: &str, version: u64) -> Arc<Node> {
    let node = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()},
        "spec": {"providerID": format!("fake:///{name}")},
        "status": {"capacity": {"cpu": "4"}},
    });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn claim(name: &str, version: u64, provider_id: Option<&str>) -> Arc<NodeClaim> {
    let claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {
            "name": name, "uid": name, "resourceVersion": version.to_string(),
            "labels": {"karpenter.sh/nodepool": "default"},
        },
        "spec": {
            "requirements": [],
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
        },
        "status": {"providerID": provider_id, "capacity": {"cpu": "2", "memory": "4Gi"}},
    });
    Arc::new(serde_json::from_value(claim).unwrap())
}

fn pod(name: &str, version: u64, node: Option<&str>) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": version.to_string()},
        "spec": {"containers": [], "nodeName": node},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn nodes_join_claims_by_provider_id_in_any_order() {
    let mut state = ClusterState::default();
    state.apply_node(&node("n1", 1));
    state.apply_claim(&claim("c1", 2, None));
    assert_eq!(state.members().len(), 2);
    state.apply_claim(&claim("c1", 3, Some("fake:///n1")));
    let members = state.members();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (members[0].node_name(), members[0].claim_name()),
        (Some("n1"), Some("c1"))
    );
    assert_eq!(state.claim_of(&node("n1", 1)).unwrap().name_any(), "c1");
    state.delete_node("n1");
    assert!(state.member("c1").unwrap().node.is_none());
    state.delete_claim("c1");
    assert!(state.members().is_empty());
}

#[test]
fn what_a_watch_says_late_does_not_undo_what_was_written() {
    let mut state = ClusterState::default();
    state.apply_claim(&claim("c1", 2, None));
    state.update_claim((*claim("c1", 5, Some("fake:///n1"))).clone());
    assert!(!state.apply_claim(&claim("c1", 3, None)));
    assert_eq!(state.claim("c1").unwrap().provider_id(), Some("fake:///n1"));
}

#[test]
fn an_own_write_does_not_bring_a_deleted_claim_back() {
    let mut state = ClusterState::default();
    state.update_claim((*claim("c1", 5, None)).clone());
    assert!(state.claim("c1").is_none());
}

#[test]
fn pods_move_from_unbound_to_their_node_and_away() {
    let mut state = ClusterState::default();
    state.apply_pod(&pod("p", 1, None));
    assert_eq!(state.provisionable().len(), 1);
    state.apply_pod(&pod("p", 2, Some("n1")));
    assert!(state.provisionable().is_empty());
    assert_eq!(state.pods_on("n1").len(), 1);
    state.delete_pod(&ObjectKey::new("default", "p"));
    assert!(state.pods_on("n1").is_empty());
}

#[test]
fn heartbeats_do_not_make_a_new_version() {
    let mut state = ClusterState::default();
    state.apply_node(&node("n1", 1));
    let version = state.version();
    state.apply_node(&node("n1", 2));
    assert_eq!(state.version(), version);
    let mut cordoned = (*node("n1", 3)).clone();
    cordoned.spec.as_mut().unwrap().unschedulable = Some(true);
    state.apply_node(&Arc::new(cordoned));
    assert!(state.version() > version);
}

#[test]
fn usage_counts_every_machine_of_a_pool() {
    let mut state = ClusterState::default();
    state.apply_claim(&claim("c1", 1, Some("fake:///n1")));
    state.apply_claim(&claim("c2", 2, None));
    state.apply_node(&node("n1", 3));
    let usage = state.usage("default");
    // What a young node reports counts before what was expected of it.
    assert_eq!(usage.get("cpu").value(), 6);
    assert_eq!(usage.get("nodes").value(), 2);
    assert_eq!(state.usage("other").get("nodes").value(), 0);
}

#[test]
fn a_nomination_ends_by_itself_and_a_mark_with_its_claim() {
    let mut state = ClusterState::default();
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let until = now.saturating_add(std::time::Duration::from_secs(20)).unwrap();
    state.apply_claim(&claim("c1", 1, None));
    state.nominate("c1", until);
    assert!(state.is_nominated("c1", now));
    assert!(!state.is_nominated("c1", until));
    state.mark("c1");
    assert!(state.is_leaving(&state.member("c1").unwrap()));
    state.delete_claim("c1");
    state.apply_claim(&claim("c1", 2, None));
    assert!(!state.is_leaving(&state.member("c1").unwrap()));
}

#[test]
fn a_snapshot_says_what_volumes_ask_for_and_how_many_a_node_takes() {
    use provisioner::{schedule::VolumeNeeds, storage::StorageObject};

    fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }
    let mut state = ClusterState::default();
    state.apply_node(&node("n1", 1));
    let mut with_claim = (*pod("p", 1, None)).clone();
    with_claim.spec.as_mut().unwrap().volumes = serde_json::from_value(json!([
        {"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
    ]))
    .unwrap();
    state.apply_pod(&Arc::new(with_claim));
    let key = ObjectKey::new("default", "p");
    assert!(matches!(
        state.facts(&key).unwrap().volumes,
        VolumeNeeds::Unresolved(_)
    ));
    let version = state.version();
    let class = StorageObject::Class(read(json!({
        "metadata": {"name": "late"}, "provisioner": "csi", "volumeBindingMode": "WaitForFirstConsumer",
    })));
    let claim = json!({
        "metadata": {"name": "data", "namespace": "default"}, "spec": {"storageClassName": "late"},
    });
    let csi_node = json!({
        "metadata": {"name": "n1"},
        "spec": {"drivers": [{"name": "csi", "nodeID": "n1", "allocatable": {"count": 7}}]},
    });
    state.apply_storage(class.clone());
    state.apply_storage(StorageObject::Claim(read(claim)));
    state.apply_storage(StorageObject::Node(read(csi_node)));
    assert!(state.version() > version, "a plan may come out otherwise");
    let facts = state.facts(&key).unwrap();
    assert!(facts.attachments["csi"].contains("default/data"));
    assert_eq!(facts.problem, None);
    let snapshot = state.snapshot(&Catalogs::default());
    assert_eq!(snapshot.world.nodes[0].volume_limits["csi"], 7);
    state.delete_storage(&class);
    let problem = state.facts(&key).unwrap().problem.clone().unwrap();
    assert!(problem.ends_with("storageclass \"late\" not found"), "{problem}");
}

#[test]
fn a_snapshot_knows_what_pods_belong_to() {
    use provisioner::schedule::Workload;

    let service = json!({
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}},
    });
    let workload = Workload::of_service(&serde_json::from_value(service).unwrap());
    let mut state = ClusterState::default();
    let key = ObjectKey::new("default", "web");
    state.apply_workload("Service", key.clone(), workload.clone());
    let version = state.version();
    state.apply_workload("Service", key.clone(), workload);
    assert_eq!(state.version(), version, "nothing is different");
    assert_eq!(state.snapshot(&Catalogs::default()).world.workloads.len(), 1);
    state.apply_workload("Service", key, None);
    assert!(state.snapshot(&Catalogs::default()).world.workloads.is_empty());
}
