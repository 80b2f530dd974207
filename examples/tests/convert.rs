//! `autoscaler convert`: the published walk-throughs in old forms become what a cluster of today takes.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn autoscaler(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn convert(input: &str) -> String {
    let output = autoscaler(&["convert", "-f", "-"], input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn kinds(stream: &str) -> Vec<String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(stream).unwrap();
    let word = |object: &Value, field: &str| object[field].as_str().unwrap().to_owned();
    objects
        .iter()
        .map(|object| format!("{} {}", word(object, "apiVersion"), word(object, "kind")))
        .collect()
}

/// SQS on EKS with Karpenter 0.32, scale to zero with Karpenter 0.28, and KEDA in 2019.
const WALK_THROUGHS: &str = r#"# the pool of the payments
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
---
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata: {name: test-provisioner}
spec: {limits: {resources: {cpu: "0"}}}
---
apiVersion: keda.k8s.io/v1alpha1
kind: ScaledObject
metadata: {name: keda-service-bus-function, labels: {deploymentName: keda-service-bus-function}}
spec:
  scaleTargetRef: {deploymentName: keda-service-bus-function, containerName: azure-functions-container}
  pollingInterval: 30
  cooldownPeriod: 300
  minReplicaCount: 1
  maxReplicaCount: 500
  triggers:
  - {type: azure-servicebus, metadata: {queueName: my-queue, connection: SB_CONN_STRING, queueLength: '10'}}
---
apiVersion: v1
kind: ConfigMap # as it stands
metadata: {name: a}
"#;

#[test]
fn the_walk_throughs_convert_and_are_valid_then() {
    let converted = convert(WALK_THROUGHS);
    assert_eq!(
        kinds(&converted),
        [
            "karpenter.sh/v1 NodePool",
            "karpenter.k8s.aws/v1 EC2NodeClass",
            "karpenter.sh/v1 NodePool",
            "keda.sh/v1alpha1 ScaledObject",
            "v1 ConfigMap",
        ]
    );
    for part in [
        "---\n# the pool of the payments\n# Converted from karpenter.sh/v1beta1 NodePool.\napiVersion: karpenter.sh/v1\n",
        "# spec.providerRef: was missing: the NodePool names the EC2NodeClass \"default\", which has to be there\n",
        "messageCount: \"10\"\n",
        "---\napiVersion: v1\nkind: ConfigMap # as it stands\nmetadata: {name: a}\n",
    ] {
        assert!(converted.contains(part), "{part} is missing in\n{converted}");
    }
    assert_eq!(convert(&converted), converted, "what is of today stays as it is");
    let output = autoscaler(&["validate", "-f", "-", "-o", "json"], &converted);
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let errors = problems.iter().filter(|problem| {
        problem["severity"] == "error" && !problem["message"].as_str().unwrap().contains("is not built in")
    });
    assert_eq!(errors.count(), 0, "{problems:#?}");
}

#[test]
fn every_file_is_read_before_anything_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), WALK_THROUGHS).unwrap();
    std::fs::write(folder.path().join("b.yaml"), "a: [1\nb: 2").unwrap();
    let output = autoscaler(&["convert", "-f", folder.path().to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert!(
        text(&output.stderr).contains("b.yaml: is not YAML"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn validate_takes_old_forms_and_says_so() {
    let output = autoscaler(&["validate", "-f", "-"], WALK_THROUGHS);
    let out = text(&output.stdout);
    let line = "-:2 EC2NodeClass default: warning: apiVersion: karpenter.k8s.aws/v1beta1 EC2NodeClass is an old form, taken as karpenter.k8s.aws/v1 EC2NodeClass";
    assert!(out.contains(line), "{out}");
}

/// The tutorial with its ScaledObject as one would have written it in 2019 goes as it goes today.
#[test]
fn the_embedded_cluster_takes_old_forms() {
    let folder = tempfile::tempdir().unwrap();
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/tutorial");
    for file in ["00-cluster.yaml", "10-scaled-object.yaml", "scenario.yaml"] {
        let text = std::fs::read_to_string(story.join(file)).unwrap();
        let text = text.replace("apiVersion: keda.sh/v1alpha1", "apiVersion: keda.k8s.io/v1alpha1");
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let scaled_object = folder.path().join("10-scaled-object.yaml");
    let text_of_today = std::fs::read_to_string(&scaled_object).unwrap();
    let old = text_of_today.replace(
        "{apiVersion: apps/v1, kind: Deployment, name: web}",
        "{deploymentName: web}",
    );
    assert_ne!(old, text_of_today, "the target is named");
    std::fs::write(&scaled_object, old).unwrap();
    let record = folder.path().join("record.out");
    let output = autoscaler(
        &[
            "simulate",
            "-f",
            folder.path().to_str().unwrap(),
            "--scenario",
            folder.path().join("scenario.yaml").to_str().unwrap(),
            "--json",
            record.to_str().unwrap(),
        ],
        "",
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains(
            "keda.k8s.io/v1alpha1 ScaledObject is an old form, taken as keda.sh/v1alpha1 ScaledObject"
        ),
        "{said}"
    );
    let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    assert!(
        record["replicas"]["peak"].as_i64().unwrap() > 1,
        "{}",
        record["replicas"]
    );
}
