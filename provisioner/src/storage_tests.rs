//! §8.5 Volumes: what the caller reads of them.

use serde_json::{Value, json};

use super::*;
use crate::schedule::VolumeNeeds;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn claim(name: &str, patch: Value) -> StorageObject {
    let mut claim = json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "storageClassName": "late" },
    });
    crate::testing::merge(&mut claim, patch);
    StorageObject::Claim(read(claim))
}

fn bound(name: &str, volume: &str) -> StorageObject {
    claim(
        name,
        json!({ "metadata": { "annotations": { BIND_COMPLETED: "yes" } }, "spec": { "volumeName": volume, "storageClassName": "gone" } }),
    )
}

fn class(name: &str, provisioner: &str, patch: Value) -> StorageObject {
    let mut class = json!({
        "metadata": { "name": name },
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    crate::testing::merge(&mut class, patch);
    StorageObject::Class(read(class))
}

fn zonal(zones: &[&str]) -> Value {
    let expressions = json!([{ "key": "topology.kubernetes.io/zone", "values": zones }]);
    json!({ "allowedTopologies": [{ "matchLabelExpressions": expressions }] })
}

/// A volume in one of some zones, each an alternative.
fn volume(name: &str, zones: &[&str], patch: Value) -> StorageObject {
    let term = |zone: &&str| {
        json!({ "matchExpressions": [
            { "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] },
            { "key": "kubernetes.io/hostname", "operator": "In", "values": ["n"] },
        ] })
    };
    let terms: Vec<Value> = zones.iter().map(term).collect();
    let mut volume = json!({
        "metadata": { "name": name },
        "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": terms } } },
    });
    crate::testing::merge(&mut volume, patch);
    StorageObject::Volume(read(volume))
}

fn ephemeral(class: Option<&str>) -> Value {
    let spec = json!({ "storageClassName": class });
    json!({ "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": spec } } })
}

/// What a pod with these volumes comes to: its attachments and alternatives, or its problem.
fn resolved(objects: Vec<StorageObject>, volumes: &[Value]) -> String {
    let mut storage = Storage::default();
    for object in objects {
        assert!(storage.apply(object));
    }
    let pod = json!({
        "metadata": { "name": "p", "namespace": "default" },
        "spec": { "containers": [{ "name": "c" }], "volumes": volumes },
    });
    let pod: Arc<Pod> = read(pod);
    let facts = storage.resolve(&pod, &PodFacts::of(&pod));
    if let Some(problem) = facts.problem {
        return problem;
    }
    let VolumeNeeds::Resolved(alternatives) = facts.volumes else {
        panic!("not resolved: {:?}", facts.volumes);
    };
    let places: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
    format!("{:?} {}", facts.attachments, places.join(" | "))
}

fn named(claim: &str) -> Value {
    json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } })
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn volumes_say_where_their_pod_may_be_and_what_is_attached() {
    let late = || class("late", "csi.example.com", json!({}));
    let default = |name: &str, year: u32| {
        let made = format!("{year}-01-01T00:00:00Z");
        class(
            name,
            name,
            json!({ "metadata": { "annotations": { IS_DEFAULT: "true" }, "creationTimestamp": made } }),
        )
    };
    let one = |name: &str| format!(r#"{{"{name}": {{"default/data"}}}} "#);
    let zone = |zone: &str| format!("topology.kubernetes.io/zone In [{zone}]");
    let host = "kubernetes.io/hostname In [n], ";
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    let table: Vec<(&str, Vec<StorageObject>, Vec<Value>, String)> = vec![
        ("no volumes", vec![], vec![json!({ "name": "e", "emptyDir": {} })], "{} ".into()),
        ("unbound", vec![claim("data", json!({})), late()], vec![named("data")], one("csi.example.com")),
        (
            "allowedTopologies",
            vec![claim("data", json!({})), class("late", "csi", zonal(&["a", "b"]))],
            vec![named("data")],
            one("csi") + &zone("a b"),
        ),
        (
            "zone from bound PV, missing class OK when bound",
            vec![bound("data", "v"), volume("v", &["a", "b"], json!({ "spec": { "csi": { "driver": "csi", "volumeHandle": "h" } } }))],
            vec![named("data")],
            format!("{}{host}{} | {host}{}", one("csi"), zone("a"), zone("b")),
        ),
        (
            "local/hostPath hostname ignored",
            vec![bound("data", "v"), volume("v", &["a"], json!({ "spec": { "hostPath": { "path": "/" } } }))],
            vec![named("data")],
            "{} ".to_owned() + &zone("a"),
        ),
        (
            "NFS fine",
            vec![bound("data", "v"), volume("v", &[], json!({ "spec": { "nfs": { "path": "/", "server": "s" } } }))],
            vec![named("data")],
            "{} ".into(),
        ),
        (
            "CSI migration in-tree names, of a class",
            vec![claim("data", json!({})), class("late", "kubernetes.io/aws-ebs", json!({}))],
            vec![named("data")],
            one("ebs.csi.aws.com"),
        ),
        (
            "CSI migration in-tree names, of a volume",
            vec![bound("data", "v"), volume("v", &[], json!({ "spec": { "gcePersistentDisk": { "pdName": "d" } } }))],
            vec![named("data")],
            one("pd.csi.storage.gke.io"),
        ),
        (
            "alternatives pruned",
            vec![
                bound("data", "v"),
                claim("more", json!({})),
                volume("v", &["a", "b"], json!({ "spec": { "local": { "path": "/" } } })),
                class("late", "csi", zonal(&["b", "c"])),
            ],
            vec![named("data"), named("more")],
            r#"{"csi": {"default/more"}} "#.to_owned() + &zone("b"),
        ),
        (
            "alternatives that exclude each other",
            vec![
                bound("data", "v"),
                claim("more", json!({})),
                volume("v", &["a"], json!({})),
                class("late", "csi", zonal(&["c"])),
            ],
            vec![named("data"), named("more")],
            "its volumes are in places that exclude each other".into(),
        ),
        ("ephemeral volumes with given class", vec![late(), default("other", 2026)], vec![ephemeral(Some("late"))], r#"{"csi.example.com": {"default/p-scratch"}} "#.into()),
        ("ephemeral volumes with newest class", vec![default("old", 2020), default("new", 2025), late()], vec![ephemeral(None)], r#"{"new": {"default/p-scratch"}} "#.into()),
        ("ephemeral volumes without a class", vec![late()], vec![ephemeral(None)], r#"unbound persistentvolumeclaim "p-scratch": it names no storage class, and there is no default one"#.into()),
        ("not there", vec![late()], vec![named("data")], r#"persistentvolumeclaim "data" not found"#.into()),
        ("PVC deleting", vec![claim("data", going.clone())], vec![named("data")], r#"persistentvolumeclaim "data" is being deleted"#.into()),
        ("PVC Lost", vec![claim("data", json!({ "status": { "phase": "Lost" } }))], vec![named("data")], r#"persistentvolumeclaim "data" lost its persistentvolume"#.into()),
        ("PV deleting", vec![bound("data", "v"), volume("v", &[], going)], vec![named("data")], r#"persistentvolume "v" is being deleted"#.into()),
        ("PV not there", vec![bound("data", "v")], vec![named("data")], r#"persistentvolume "v" not found"#.into()),
        (
            "binding not completed",
            vec![claim("data", json!({ "spec": { "volumeName": "v" } })), volume("v", &[], json!({}))],
            vec![named("data")],
            r#"persistentvolumeclaim "data" is bound to "v" without the annotation "pv.kubernetes.io/bind-completed""#.into(),
        ),
        ("class not there", vec![claim("data", json!({}))], vec![named("data")], r#"unbound persistentvolumeclaim "data": storageclass "late" not found"#.into()),
        (
            "Immediate unbound",
            vec![claim("data", json!({})), class("late", "csi", json!({ "volumeBindingMode": "Immediate" }))],
            vec![named("data")],
            r#"unbound persistentvolumeclaim "data" uses Immediate binding"#.into(),
        ),
    ];
    for (title, objects, volumes, expected) in table {
        assert_eq!(resolved(objects, &volumes), expected, "{title}");
    }
}

#[test]
fn csi_nodes_say_how_many_volumes_a_node_takes() {
    let node = StorageObject::Node(read(json!({
        "metadata": { "name": "n" },
        "spec": { "drivers": [
            { "name": "csi", "nodeID": "n", "allocatable": { "count": 2 } },
            { "name": "nfs", "nodeID": "n" },
        ] },
    })));
    let mut storage = Storage::default();
    assert!(storage.apply(node.clone()));
    assert!(!storage.apply(node.clone()), "it is no news any more");
    assert_eq!(storage.limits("n"), BTreeMap::from([("csi".to_owned(), 2)]));
    assert!(storage.limits("m").is_empty());
    assert!(storage.delete(&node) && storage.is_empty());
}
