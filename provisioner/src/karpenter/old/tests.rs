//! The published walk-throughs, and every field of the old kinds.

use super::*;
use crate::karpenter::{Ec2NodeClass, NodeClaim, NodePool, validate};

fn read(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Converts documents together; what comes out can be read as today's kinds, and nothing else was said.
fn converted(text: &str) -> Vec<Converted> {
    let objects = read(text);
    let all: Vec<_> = objects
        .iter()
        .flat_map(|object| convert(object, &objects))
        .collect();
    for one in &all {
        let again = match one.object["kind"].as_str().unwrap() {
            "NodePool" => {
                let pool: NodePool = serde_json::from_value(one.object.clone()).unwrap();
                assert_eq!(validate::node_pool(&pool), [], "{}", one.object);
                serde_json::to_value(pool).unwrap()
            }
            "NodeClaim" => {
                serde_json::to_value(serde_json::from_value::<NodeClaim>(one.object.clone()).unwrap())
                    .unwrap()
            }
            _ => serde_json::to_value(serde_json::from_value::<Ec2NodeClass>(one.object.clone()).unwrap())
                .unwrap(),
        };
        for field in one.object["spec"].as_object().unwrap().keys() {
            assert!(
                again["spec"].get(field).is_some(),
                "{field} is no field today: {}",
                one.object
            );
        }
    }
    all
}

fn notes(converted: &Converted) -> Vec<String> {
    converted.notes.iter().map(ToString::to_string).collect()
}

/// Walk-through B.
#[test]
fn a_pool_and_its_class_of_v1beta1() {
    let all = converted(
        r#"
apiVersion: karpenter.sh/v1beta1
kind: NodePool
metadata: {name: default}
spec:
  template:
    spec:
      requirements:
      - {key: karpenter.sh/capacity-type, operator: NotIn, values: ["spot"]}
      - {key: node.kubernetes.io/instance-type, operator: In, values: ["m5.xlarge", "m5.2xlarge"]}
      nodeClassRef: {name: default}
  limits: {cpu: 1000}
  disruption: {consolidationPolicy: WhenUnderutilized, expireAfter: 720h}
---
apiVersion: karpenter.k8s.aws/v1beta1
kind: EC2NodeClass
metadata: {name: default}
spec:
  amiFamily: AL2
  role: KarpenterNodeRole-eks-demo-scale
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
"#,
    );
    let expected = read(
        r#"
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: default}
spec:
  template:
    spec:
      requirements:
      - {key: karpenter.sh/capacity-type, operator: NotIn, values: ["spot"]}
      - {key: node.kubernetes.io/instance-type, operator: In, values: ["m5.xlarge", "m5.2xlarge"]}
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      expireAfter: 720h
  limits: {cpu: 1000}
  disruption: {consolidationPolicy: WhenEmptyOrUnderutilized, consolidateAfter: 0s}
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: default}
spec:
  amiFamily: AL2
  amiSelectorTerms: [{alias: al2@latest}]
  role: KarpenterNodeRole-eks-demo-scale
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
  metadataOptions: {httpEndpoint: enabled, httpProtocolIPv6: disabled, httpTokens: required, httpPutResponseHopLimit: 2}
"#,
    );
    let objects: Vec<_> = all.iter().map(|one| one.object.clone()).collect();
    assert_eq!(objects, expected);
    assert_eq!(notes(&all[0]), [""; 0]);
    assert_eq!(
        notes(&all[1]),
        [
            "spec.metadataOptions.httpPutResponseHopLimit: was missing and meant 2, which is written out; today's default is 1"
        ]
    );
}

/// Walk-through C.
#[test]
fn a_provisioner_that_says_next_to_nothing() {
    let all = converted(
        r#"
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata: {name: test-provisioner}
spec: {limits: {resources: {cpu: "0"}}}
"#,
    );
    let [pool] = &all[..] else { panic!("{all:?}") };
    let spec = &pool.object["spec"];
    assert_eq!(spec["limits"], json!({"cpu": "0"}));
    assert_eq!(
        spec["disruption"],
        json!({"consolidationPolicy": "WhenEmpty", "consolidateAfter": "Never"})
    );
    let node = &spec["template"]["spec"];
    assert_eq!(node["expireAfter"], "Never");
    assert_eq!(node["nodeClassRef"]["name"], "default");
    let keys: Vec<_> = node["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["key"])
        .collect();
    assert_eq!(
        keys,
        [
            "kubernetes.io/os",
            "kubernetes.io/arch",
            "karpenter.sh/capacity-type",
            "karpenter.k8s.aws/instance-category",
            "karpenter.k8s.aws/instance-generation",
        ]
    );
    assert_eq!(pool.notes.len(), 5, "{:?}", pool.notes);
}

const PROVISIONER: &str = r#"
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata: {name: general, annotations: {karpenter.sh/provisioner-hash: "1"}}
spec:
  labels: {team: a}
  annotations: {note: b}
  taints: [{key: special, effect: NoSchedule}]
  startupTaints: [{key: starting, effect: NoExecute}]
  requirements:
  - {key: kubernetes.io/os, operator: In, values: [linux]}
  - {key: kubernetes.io/arch, operator: In, values: [arm64]}
  - {key: karpenter.sh/capacity-type, operator: In, values: [spot, on-demand]}
  - {key: karpenter.k8s.aws/instance-family, operator: In, values: [m6g]}
  kubeletConfiguration: {maxPods: 20, containerRuntime: containerd}
  consolidation: {enabled: true}
  ttlSecondsUntilExpired: 86400
  weight: 10
  limits: {resources: {cpu: "100", memory: 400Gi}}
  providerRef: {name: general}
"#;

const TEMPLATE: &str = r#"
apiVersion: karpenter.k8s.aws/v1alpha1
kind: AWSNodeTemplate
metadata: {name: general}
spec:
  subnetSelector: {zone: "a, b", karpenter.sh/discovery: mine}
  securityGroupSelector: {aws-ids: "sg-1,sg-2"}
  amiSelector: {aws::name: "one,two", aws::owners: self, team: a}
  amiFamily: Bottlerocket
  instanceProfile: profile
  launchTemplate: old
  tags: {team: a}
  userData: data
  detailedMonitoring: true
  metadataOptions: {httpTokens: optional, httpPutResponseHopLimit: 3, httpEndpoint: enabled, httpProtocolIPv6: disabled}
  blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 20Gi, volumeType: gp3}}]
"#;

#[test]
fn every_field_of_a_provisioner_and_its_template_has_its_place() {
    let all = converted(&format!("{PROVISIONER}---{TEMPLATE}"));
    let [pool, class] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(pool.object["metadata"], json!({"name": "general"}));
    assert_eq!(
        pool.object["spec"],
        json!({
            "template": {
                "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
                "spec": {
                    "taints": [{"key": "special", "effect": "NoSchedule"}],
                    "startupTaints": [{"key": "starting", "effect": "NoExecute"}],
                    "requirements": [
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "on-demand"]},
                        {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m6g"]},
                    ],
                    "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "general"},
                    "expireAfter": "86400s",
                },
            },
            "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s"},
            "weight": 10,
            "limits": {"cpu": "100", "memory": "400Gi"},
        })
    );
    assert_eq!(
        notes(pool),
        [
            "spec.kubeletConfiguration: the kubelet's settings stand in the node class today: moved to the EC2NodeClass \"general\""
        ]
    );
    let spec = &class.object["spec"];
    assert_eq!(
        spec["subnetSelectorTerms"],
        json!([
            {"tags": {"karpenter.sh/discovery": "mine", "zone": "a"}},
            {"tags": {"karpenter.sh/discovery": "mine", "zone": "b"}},
        ])
    );
    assert_eq!(
        spec["securityGroupSelectorTerms"],
        json!([{"id": "sg-1"}, {"id": "sg-2"}])
    );
    assert_eq!(
        spec["amiSelectorTerms"],
        json!([
            {"name": "one", "owner": "self", "tags": {"team": "a"}},
            {"name": "two", "owner": "self", "tags": {"team": "a"}},
        ])
    );
    assert_eq!(spec["kubelet"], json!({"maxPods": 20}));
    assert_eq!(spec["metadataOptions"]["httpPutResponseHopLimit"], 3);
    let said = notes(class);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("spec.launchTemplate: was \"old\": launch templates"),
        "{said:?}"
    );
    assert!(
        said[1].contains("containerRuntime: was \"containerd\""),
        "{said:?}"
    );
}

#[test]
fn a_provider_inline_becomes_a_class_of_its_own() {
    let all = converted(
        r#"
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata: {name: inline}
spec:
  ttlSecondsAfterEmpty: 30
  kubeletConfiguration: {maxPods: 5}
  provider:
    apiVersion: extensions.karpenter.sh/v1alpha1
    kind: AWS
    subnetSelector: {aws::ids: subnet-1}
    securityGroupSelector: {a: b}
"#,
    );
    let [pool, class] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(
        pool.object["spec"]["disruption"],
        json!({"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"})
    );
    assert_eq!(
        pool.object["spec"]["template"]["spec"]["nodeClassRef"]["name"],
        "inline"
    );
    assert_eq!(class.object["metadata"], json!({"name": "inline"}));
    assert_eq!(class.object["spec"]["kubelet"], json!({"maxPods": 5}));
    assert_eq!(
        class.object["spec"]["amiSelectorTerms"],
        json!([{"alias": "al2@latest"}])
    );
    assert_eq!(class.object["spec"]["role"], PLACEHOLDER_ROLE_OF_TESTS);
    assert!(
        notes(class)
            .iter()
            .any(|note| note.starts_with("spec.instanceProfile: was a setting of the cluster"))
    );
}

const PLACEHOLDER_ROLE_OF_TESTS: &str = "KarpenterNodeRole-CLUSTER";

#[test]
fn the_kubelet_of_a_pool_whose_class_is_elsewhere_is_written_down() {
    let all = converted(PROVISIONER);
    assert_eq!(
        notes(&all[0]),
        [
            "spec.kubeletConfiguration: the kubelet's settings stand in the node class today, and \"general\" is not among \
          the objects: put {\"containerRuntime\":\"containerd\",\"maxPods\":20} into its spec.kubelet"
        ]
    );
}

#[test]
fn pools_with_different_kubelets_need_two_classes() {
    let other = PROVISIONER
        .replace("{name: general, annotations", "{name: other, annotations")
        .replace("maxPods: 20", "maxPods: 9");
    let all = converted(&format!("{PROVISIONER}---{other}---{TEMPLATE}"));
    let said = notes(&all[2]);
    assert!(
        said.iter()
            .any(|note| note.contains("\"other\" has other settings")),
        "{said:?}"
    );
    assert_eq!(all[2].object["spec"]["kubelet"], json!({"maxPods": 20}));
}

#[test]
fn families_that_are_no_more_and_images_that_nobody_knows_are_noted() {
    let class = |family: &str| {
        format!(
            "{{apiVersion: karpenter.k8s.aws/v1beta1, kind: EC2NodeClass, metadata: {{name: a}}, spec: {{amiFamily: {family}, \
             role: r, subnetSelectorTerms: [{{id: subnet-1}}], securityGroupSelectorTerms: [{{id: sg-1}}]}}}}"
        )
    };
    for (family, term, count, now) in [
        ("AL2023", json!({"alias": "al2023@latest"}), 1, "AL2023"),
        ("Ubuntu", json!({"id": "ami-placeholder"}), 3, "AL2"),
        ("Custom", json!({"id": "ami-placeholder"}), 2, "Custom"),
    ] {
        let all = converted(&class(family));
        assert_eq!(
            all[0].object["spec"]["amiSelectorTerms"],
            json!([term]),
            "{family}"
        );
        assert_eq!(all[0].object["spec"]["amiFamily"], now);
        assert_eq!(all[0].notes.len(), count, "{family} {:?}", all[0].notes);
    }
}

#[test]
fn a_claim_takes_its_age_from_its_pool() {
    let claim = r#"
apiVersion: karpenter.sh/v1beta1
kind: NodeClaim
metadata: {name: default-x, labels: {karpenter.sh/nodepool: default}}
spec:
  nodeClassRef: {apiVersion: karpenter.k8s.aws/v1beta1, kind: EC2NodeClass, name: default}
  requirements: [{key: kubernetes.io/arch, operator: In, values: [amd64]}]
  resources: {requests: {cpu: "1"}}
"#;
    let pool = r#"
apiVersion: karpenter.sh/v1beta1
kind: NodePool
metadata: {name: default}
spec:
  template: {spec: {nodeClassRef: {name: default}, requirements: []}}
  disruption: {consolidationPolicy: WhenEmpty, consolidateAfter: 30s, expireAfter: Never}
"#;
    let alone = converted(claim);
    assert_eq!(alone[0].notes.len(), 1);
    let all = converted(&format!("{claim}---{pool}"));
    assert_eq!(all[0].object["spec"]["expireAfter"], "Never");
    assert_eq!(
        all[0].object["spec"]["resources"],
        json!({"requests": {"cpu": "1"}})
    );
    assert_eq!(all[0].notes, []);
    assert_eq!(
        all[1].object["spec"]["disruption"],
        json!({"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"})
    );
}

#[test]
fn what_is_of_today_is_left_alone() {
    for (api_version, kind) in [
        ("karpenter.sh/v1", "NodePool"),
        ("karpenter.k8s.aws/v1", "EC2NodeClass"),
        ("karpenter.sh/v1alpha1", "NodeOverlay"),
        ("v1", "Node"),
    ] {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": {}});
        assert_eq!(convert(&object, std::slice::from_ref(&object)), []);
    }
}
