//! `autoscaler validate`: what it says of files, and how it exits.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The exit code, what was printed, and what was said beside it.
fn validate(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .arg("validate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const RIGHT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web, namespace: shop}
spec:
  scaleTargetRef: {name: web}
  triggers:
  - {type: cron, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: "5"}}
"#;

/// One of each kind of problem.
const WRONG: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: keda.sh/v1alpha1
  kind: ScaledObject
  metadata: {name: first, namespace: shop}
  spec:
    scaleTargetRef: {name: web}
    minReplicaCount: 5
    maxReplicaCount: 3
    triggers:
    - {type: cron, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplica: "5"}}
- apiVersion: keda.sh/v1alpha1
  kind: ScaledObject
  metadata: {name: second, namespace: shop}
  spec:
    scaleTargetRef: {name: web}
    pollingIntervall: 5
    triggers:
    - {type: corn, metadata: {}}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: a}
spec: {podIdentity: {provider: aws, externalID: x}}
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: pool}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements: [{key: kubernetes.io/arch, operator: Within, values: [amd64]}]
---
apiVersion: eventing.keda.sh/v1alpha1
kind: CloudEventSource
metadata: {name: sink}
spec:
  destination: {http: {uri: http://sink}}
  eventSubscription: {includedEventTypes: [keda.scaledobject.red.v1]}
"#;

#[test]
fn what_is_right_is_said_nothing_of() {
    let (code, out, said) = validate(&["-f", "-"], RIGHT);
    assert_eq!((code, out.as_str()), (0, ""), "{said}");
    assert_eq!(said, "1 object, 0 errors, 0 warnings\n");
}

#[test]
fn every_problem_has_a_line_with_file_document_object_field_and_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, WRONG).unwrap();
    std::fs::write(folder.path().join("right.yml"), RIGHT).unwrap();
    let (code, out, said) = validate(&["-f", folder.path().to_str().unwrap()], "");
    assert_eq!(code, 2, "{out}{said}");
    let at = file.display();
    for line in [
        format!(
            "{at}:1 ScaledObject shop/first: spec: Invalid value: minReplicaCount must be less than or equal to maxReplicaCount"
        ),
        format!(
            "{at}:1 ScaledObject shop/first: spec.minReplicaCount: is 5, expected at most maxReplicaCount, which is 3"
        ),
        format!(
            "{at}:1 ScaledObject shop/first: warning: spec.triggers[0].metadata.desiredReplica: parameter \"desiredReplica\" is unknown (did you mean \"desiredReplicas\"?)"
        ),
        format!(
            "{at}:1 ScaledObject shop/first: spec.scaleTargetRef: the workload web of type apps/v1.Deployment is already scaled by the ScaledObject \"web\""
        ),
        format!(
            "{at}:1 ScaledObject shop/second: warning: spec.pollingIntervall: is no field of the kind and is dropped (did you mean \"pollingInterval\"?)"
        ),
        format!(
            "{at}:1 ScaledObject shop/second: spec.scaleTargetRef: the workload web of type apps/v1.Deployment is already scaled by the ScaledObject \"first\""
        ),
        format!(
            "{at}:2 TriggerAuthentication a: spec.podIdentity.roleArn: is missing, which externalID needs: it is a condition for assuming a role"
        ),
    ] {
        assert!(
            out.lines().any(|said| said == line),
            "{line}\nis missing in\n{out}"
        );
    }
    for part in [
        format!("{at}:1 ScaledObject shop/first: spec.triggers[0].metadata.desiredReplicas: "),
        format!(
            "{at}:1 ScaledObject shop/second: spec.triggers[0].type: no scaler found for type: corn (did you mean \"cron\"?)"
        ),
        format!(
            "{at}:3 NodePool pool: spec.template.spec.requirements[0].operator: Unsupported value: \"Within\""
        ),
        format!(
            "{at}:4 CloudEventSource sink: spec.eventSubscription.includedEventTypes[0]: Unsupported value"
        ),
    ] {
        assert!(
            out.lines().any(|said| said.starts_with(&part)),
            "{part}\nis missing in\n{out}"
        );
    }
    assert!(said.starts_with("6 objects, "), "{said}");
}

#[test]
fn warnings_fail_where_that_is_asked_for() {
    let odd = RIGHT.replace(
        "  triggers:",
        "  minReplicaCount: 1\n  cooldownPeriod: 5\n  triggers:",
    );
    let (code, out, _) = validate(&["-f", "-"], &odd);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "-:1 ScaledObject shop/web: warning: spec.cooldownPeriod: has no effect: minReplicaCount is above 0 and there \
         is no idleReplicaCount\n"
    );
    assert_eq!(validate(&["-f", "-", "--strict"], &odd).0, 2);
}

#[test]
fn programs_get_a_list() {
    let (code, out, _) = validate(&["-f", "-", "-o", "json"], WRONG);
    assert_eq!(code, 2);
    let problems: Vec<Value> = serde_json::from_str(&out).unwrap();
    let refused = problems
        .iter()
        .find(|problem| problem["reason"] == "other-scaled-object")
        .unwrap();
    assert_eq!(refused["file"], "-");
    assert_eq!(refused["document"], 1);
    assert_eq!(refused["object"], "ScaledObject shop/first");
    assert_eq!(refused["severity"], "error");
    assert_eq!(refused["field"], "spec.scaleTargetRef");
}

#[test]
fn what_only_a_cluster_knows_is_taken_to_be_right() {
    let text = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  triggers:
  - type: aws-sqs-queue
    authenticationRef: {name: elsewhere}
    metadata: {queueURLFromEnv: QUEUE, queueLength: "5", awsRegion: us-east-2}
  - type: metrics-api
    authenticationRef: {name: here}
    metadata: {url: "http://stats", valueLocation: count, targetValue: "5", authMode: basic}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: here}
spec:
  secretTargetRef:
  - {parameter: username, name: s, key: u}
  - {parameter: password, name: s, key: p}
"#;
    let (code, out, said) = validate(&["-f", "-"], text);
    assert_eq!((code, out.as_str()), (0, ""), "{said}");
    // With the target at hand it is known that there is no such variable.
    let target = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: app, image: nginx}]}}}\n";
    let (code, out, _) = validate(&["-f", "-"], &format!("{text}{target}"));
    assert_eq!(code, 2);
    assert!(
        out.contains("spec.triggers[0].metadata.queueURL: missing required parameter"),
        "{out}"
    );
}

#[test]
fn broken_files_are_problems_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "a: [1\nb: 2").unwrap();
    std::fs::write(folder.path().join("b.yaml"), WRONG).unwrap();
    let (code, out, _) = validate(
        &[
            "-f",
            folder.path().to_str().unwrap(),
            "-f",
            "/nowhere/at/all.yaml",
        ],
        "",
    );
    assert_eq!(code, 2);
    assert!(out.contains("a.yaml: is not YAML: "), "{out}");
    assert!(out.contains("/nowhere/at/all.yaml: cannot be read: "), "{out}");
    assert!(out.contains("b.yaml:2 TriggerAuthentication a: "), "{out}");
}

/// What KEDA's and Karpenter's API servers take breaks no schema here, and every field is known.
#[test]
fn the_corpus_breaks_no_schema() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/corpus");
    let folders = [corpus.join("keda/valid"), corpus.join("karpenter/valid")]
        .map(|folder| folder.display().to_string());
    let (_, out, said) = validate(&["-f", &folders[0], "-f", &folders[1], "-o", "json"], "");
    let problems: Vec<Value> = serde_json::from_str(&out).unwrap();
    let of_schemas = [
        "schema",
        "input",
        "unreadable",
        "NodePoolValidationFailed",
        "given-twice",
    ];
    let surprising: Vec<_> = problems
        .iter()
        .filter(|problem| of_schemas.contains(&problem["reason"].as_str().unwrap()))
        .collect();
    assert!(surprising.is_empty(), "{surprising:#?}\n{said}");
}
