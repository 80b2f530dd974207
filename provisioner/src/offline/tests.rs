use super::*;
use crate::schedule::{PreferencePolicy, VolumeNeeds};

fn build(role: Role, text: &str) -> Result<Inputs, Vec<String>> {
    let (found, problems) = documents("f.yaml", text.as_bytes());
    let mut inputs = Collector::default();
    inputs.add(role, found);
    inputs.add_problems(problems);
    inputs
        .build()
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// A pod whose only container has these resources.
fn pod(resources: &str) -> String {
    format!("{{metadata: {{name: a}}, spec: {{containers: [{{name: a, resources: {resources}}}]}}}}")
}

#[test]
fn amounts_that_cannot_be_meant_are_named_with_file_document_field_and_value() {
    let field = "f.yaml:1: Pod default/a: spec.containers[0].resources.requests";
    for (resources, expected) in [
        ("{requests: {cpu: -1}}", ".cpu: is -1, expected zero or more"),
        (
            "{requests: {cpu: 5M}}",
            ".cpu: is 5M, expected less than 1000000 processors; M is mega, m is milli",
        ),
        (
            "{requests: {memory: 9e30}}",
            ".memory: is 9e+30, expected less than 1Ei",
        ),
        (
            "{requests: {memory: 512}}",
            ".memory: is 512, that many bytes; expected a quantity with its unit such as 512Mi",
        ),
        (
            "{requests: {memory: 100m}}",
            ".memory: is 100m, less than a byte; expected a quantity such as 512Mi (m is milli, M is mega)",
        ),
        (
            "{requests: {cpu: two}}",
            ".cpu: is \"two\", expected a quantity such as 500m or 2",
        ),
        (
            "{requests: {cpu: [1]}}",
            ".cpu: is [1], expected a quantity such as 500m or 2",
        ),
        (
            "{requests: {cpu: 2}, limits: {cpu: 1}}",
            ".cpu: is 2, above the 1 of limits, expected requests to be at most as much",
        ),
        (
            "{requests: [1]}",
            ": is [1], expected a map of amounts by resource",
        ),
    ] {
        assert_eq!(
            build(Role::Pods, &pod(resources)).unwrap_err(),
            [format!("{field}{expected}")],
            "{resources}"
        );
    }
}

#[test]
fn a_request_of_zero_is_noted_and_amounts_may_be_numbers() {
    let inputs = build(
        Role::Pods,
        &pod("{requests: {cpu: 0, memory: 134217728, x/y: 0.5}}"),
    )
    .unwrap();
    assert_eq!(inputs.pods[0].requests.get("memory").to_string(), "134217728");
    assert_eq!(inputs.pods[0].requests.get("x/y").to_string(), "500m");
    assert_eq!(
        inputs.notes[0],
        "f.yaml:1: Pod default/a: spec.containers[0].resources.requests.cpu: is 0: it takes no room of this, and any node has that"
    );
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    let text = format!(
        "{}\n---\n{}\n---\nkind: Node\nmetadata: {{name: b}}\n---\n7\n---\nmetadata: {{}}\n",
        pod("{}"),
        pod("{}")
    );
    assert_eq!(
        build(Role::Pods, &text).unwrap_err(),
        [
            "f.yaml:4: is 7, expected an object",
            "f.yaml:2: Pod default/a: metadata.name: is \"a\", which f.yaml:1 has, expected a name of its own",
            "f.yaml:3: Node b: kind: is \"Node\", expected Pod",
            "f.yaml:5: Pod default/without a name: metadata.name: is null, expected a non-empty string",
        ]
    );
}

#[test]
fn lists_arrays_streams_and_compressed_files_are_their_objects() {
    let one = r#"{"metadata":{"name":"a"}}"#;
    for (text, count) in [
        (one.to_owned(), 1),
        (format!("[{one},{one}]"), 2),
        (format!("{one}\n{one}"), 2),
        (format!(r#"{{"kind":"List","items":[{one}]}}"#), 1),
        (format!(r#"{{"kind":"PodList","items":[{one},{one}]}}"#), 2),
        (
            "metadata: {name: a}\n---\n- metadata: {name: b}\n- metadata: {name: c}\n---\n".to_owned(),
            3,
        ),
        ("[]".to_owned(), 0),
    ] {
        let (found, problems) = documents("f", text.as_bytes());
        assert_eq!((found.len(), problems), (count, Vec::new()), "{text}");
        let mut encoder = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::default());
        let mut compressed = Vec::new();
        std::io::Read::read_to_end(&mut encoder, &mut compressed).unwrap();
        assert_eq!(documents("f", &compressed).0, found, "{text}");
    }
    assert_eq!(
        documents("f", br#"{"kind":"PodList","items":[{}]}"#).0[0].kind(),
        "Pod"
    );
}

#[test]
fn what_is_empty_or_unreadable_is_refused() {
    for (content, expected) in [
        (
            &b""[..],
            "f: is empty, expected at least one object ([] for none)",
        ),
        (
            b"# nothing\n---\n",
            "f: is empty, expected at least one object ([] for none)",
        ),
        (
            b"\xff\xfe",
            "f: is no text: the byte at 0 is not UTF-8, expected YAML or JSON, or either compressed by gzip",
        ),
        (b"\x1f\x8bnothing", "f: cannot be decompressed: "),
        (b"{\"a\": ", "f: is neither JSON (EOF while parsing"),
        (b"a: [1", "f: is not YAML: "),
    ] {
        let (_, problems) = documents("f", content);
        assert!(problems[0].to_string().starts_with(expected), "{}", problems[0]);
    }
}

const TYPE: &str = "{name: m, requirements: [{key: topology.kubernetes.io/zone, operator: In, values: [a, b]}], capacity: {cpu: 2, memory: 4Gi, pods: 10}, allocatable: {cpu: 1900m, memory: 3Gi, pods: 10}, offerings: [{price: 1, requirements: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}]}";

#[test]
fn an_offering_without_a_zone_is_one_for_each_zone_of_its_type() {
    let (found, _) = documents("f", TYPE.as_bytes());
    let catalog = catalog(found).unwrap();
    let it = &catalog.instance_types[0];
    let zones: Vec<_> = it
        .offerings
        .iter()
        .map(|offering| offering.zone.as_str())
        .collect();
    assert_eq!(zones, ["a", "b"]);
    assert_eq!(it.allocatable().get("cpu").to_string(), "1900m");
}

#[test]
fn types_that_make_no_sense_are_refused() {
    for (from, to, expected) in [
        (
            "price: 1",
            "price: -1",
            "offerings[0].price: is -1, expected zero or more",
        ),
        (
            "price: 1",
            "price: free",
            "offerings[0].price: invalid type: string \"free\", expected f64",
        ),
        (
            "{cpu: 2,",
            "{cpu: 0,",
            "capacity.cpu: is 0, expected more than zero: no pod would ever fit",
        ),
        (
            "{cpu: 1900m,",
            "{cpu: 19,",
            "allocatable.cpu: is 19, above the 2 of capacity, expected allocatable to be at most as much",
        ),
        (
            "capacity: {cpu: 2, memory: 4Gi, pods: 10},",
            "capacity: {cpu: 2, memory: 4Gi},",
            "capacity.pods: is missing, expected more than zero: no pod would ever fit",
        ),
        (
            "[spot]",
            "[cheap]",
            "offerings[0].requirements: capacity type \"cheap\" is not one of on-demand, spot, reserved",
        ),
        (
            "karpenter.sh/capacity-type, operator: In",
            "color, operator: In",
            "offerings[0].requirements: say color In [spot], expected topology.kubernetes.io/zone, karpenter.sh/capacity-type and karpenter.k8s.aws/capacity-reservation-id only, or what the type says",
        ),
    ] {
        let text = TYPE.replace(from, to);
        assert_ne!(text, TYPE);
        let (found, _) = documents("f", text.as_bytes());
        let problems = catalog(found).unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            format!("f:1: InstanceType m: {expected}")
        );
    }
    let (found, _) = documents("f", format!("[{TYPE}, {TYPE}]").as_bytes());
    let problems = catalog(found).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "f:2: InstanceType m: name: is \"m\", which f:1 has, expected a name of its own"
    );
}

#[test]
fn a_pool_may_leave_out_its_class_and_its_requirements() {
    let pool = "{kind: NodePool, metadata: {name: p}, spec: {template: {spec: {}}, limits: {cpu: 1000}, weight: 10}}";
    let inputs = build(Role::NodePools, pool).unwrap();
    assert_eq!(inputs.world.pools[0].weight, 10);
    assert_eq!(inputs.notes, ["NodePool p names no node class: any sells for it"]);
    for (from, to, expected) in [
        (
            "1000",
            "-1",
            "spec.limits.cpu: is \"-1\", expected a quantity from zero, such as 100",
        ),
        (
            "weight: 10",
            "weight: 0",
            "spec.weight: is 0, expected a number from 1 to 100",
        ),
    ] {
        let problems = build(Role::NodePools, &pool.replace(from, to)).unwrap_err();
        assert_eq!(problems, [format!("f.yaml:1: NodePool p: {expected}")]);
    }
}

#[test]
fn without_pools_there_is_one_that_buys_anything() {
    let inputs = build(Role::Pods, "[]").unwrap();
    assert_eq!(inputs.world.pools[0].name, "default");
    assert_eq!(
        inputs.notes,
        ["no pools are given: one named default buys anything"]
    );
}

#[test]
fn pods_on_nodes_count_there_and_those_on_unknown_nodes_are_noted() {
    let mut inputs = Collector::default();
    let pods = "[{metadata: {name: a}, spec: {nodeName: n-1, containers: [{name: a}]}}, {metadata: {name: b}, spec: {nodeName: m, containers: [{name: a}]}}]";
    inputs.add(Role::Pods, documents("p", pods.as_bytes()).0);
    let node = "{kind: Node, metadata: {name: n-1}, status: {capacity: {cpu: 4}, allocatable: {cpu: 3}}}";
    inputs.add(Role::Nodes, documents("n", node.as_bytes()).0);
    let inputs = inputs.build().unwrap();
    assert_eq!(inputs.world.nodes[0].pods[0].key.name, "a");
    assert!(inputs.pods.is_empty());
    assert!(
        inputs
            .notes
            .contains(&"1 pods run on nodes that are not given, such as m: they are left out".to_owned())
    );
}

const VOLUME: &str = "
kind: Pod
metadata: {name: a, labels: {app: web}, ownerReferences: [{kind: ReplicaSet, name: web, controller: true, apiVersion: apps/v1, uid: u}]}
spec:
  containers: [{name: a}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
---
kind: ReplicaSet
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}}
---
kind: Service
metadata: {name: all}
spec: {selector: {app: web}}
---
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: late}
---
kind: StorageClass
metadata: {name: late}
provisioner: csi
volumeBindingMode: WaitForFirstConsumer
allowedTopologies: [{matchLabelExpressions: [{key: topology.kubernetes.io/zone, values: [b]}]}]
---
kind: CSINode
metadata: {name: node-1}
spec: {drivers: [{name: csi, nodeID: node-1, allocatable: {count: 3}}]}
---
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: PodTopologySpread
    args: {defaultConstraints: [{maxSkew: 2, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]}
";

#[test]
fn volumes_owners_and_default_spreads_are_read_wherever_they_are_given() {
    let node = "{kind: Node, metadata: {name: node-1}, status: {allocatable: {cpu: 1}}}";
    let mut inputs = Collector::default();
    inputs.add(Role::Pods, documents("f.yaml", VOLUME.as_bytes()).0);
    inputs.add(Role::Nodes, documents("n.yaml", node.as_bytes()).0);
    inputs.prefer(PreferencePolicy::Ignore);
    let Inputs { world, pods, .. } = inputs.build().unwrap();
    let VolumeNeeds::Resolved(alternatives) = &pods[0].volumes else {
        panic!("{:?}", pods[0].volumes);
    };
    assert_eq!(alternatives[0].to_string(), "topology.kubernetes.io/zone In [b]");
    assert!(pods[0].attachments["csi"].contains("default/data"));
    assert_eq!(world.nodes[0].volume_limits["csi"], 3);
    assert_eq!(world.workloads.len(), 2);
    assert_eq!(world.default_spreads[0].max_skew, 2);
    assert_eq!(world.preferences, PreferencePolicy::Ignore);
}

#[test]
fn surroundings_that_cannot_be_read_are_problems() {
    let problems = build(
        Role::Pods,
        "{kind: StorageClass, metadata: {name: a}, provisioner: [1]}",
    )
    .unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("f.yaml:1: StorageClass a: provisioner: "),
        "{problems:?}"
    );
}
