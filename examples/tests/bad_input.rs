//! What the binary says of wrong input, and how it exits.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a binary that does not run fails the test")]

use std::{path::Path, process::Command};

const SCENARIO: &str = "apiVersion: simulation.autoscaler.dev/v1alpha1\nkind: Scenario\nmetadata: {name: mine}\nspec: {duration: 1m}\n";

/// Runs `simulate` over files; gives the exit code and what was said.
fn simulate(files: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let scenario = folder.path().join("scenario.yaml");
    if !scenario.exists() {
        std::fs::write(&scenario, SCENARIO).unwrap();
    }
    run(&[
        "simulate",
        "--quiet",
        "-f",
        text(folder.path()),
        "--scenario",
        text(&scenario),
    ])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), said)
}

fn assert_says(files: &[(&str, &str)], expected: &[&str]) {
    let (code, said) = simulate(files);
    assert_eq!(code, 2, "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is missing in\n{said}");
    }
}

#[test]
fn yaml_that_is_no_object() {
    assert_says(
        &[("a.yaml", "- 1\n- 2\n")],
        &[
            "a.yaml",
            "is no Kubernetes object",
            "expected a map with apiVersion, kind and metadata",
        ],
    );
}

#[test]
fn an_unknown_kind() {
    let object = "apiVersion: apps/v1\nkind: Deploiment\nmetadata: {name: web, namespace: default}\n";
    assert_says(
        &[("a.yaml", object)],
        &["a.yaml", "Deploiment default/web", "apps/v1"],
    );
}

#[test]
fn an_unknown_trigger_type_a_missing_target_and_malformed_metadata_all_at_once() {
    let object = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: mine, namespace: default}\nspec:\n  scaleTargetRef: {name: web}\n  triggers:\n  - {type: aws-sqs, metadata: {}}\n  - {type: aws-sqs-queue, metadata: {queueURL: q, awsRegion: r, queueLength: many}}\n";
    assert_says(
        &[("a.yaml", object)],
        &[
            "5 problems",
            "a.yaml: ScaledObject default/mine: spec.triggers[0].type",
            "aws-sqs-queue",
            "spec.triggers[1].metadata.queueLength",
            "many",
            "spec.scaleTargetRef.name",
            "\"web\"",
        ],
    );
}

#[test]
fn a_value_that_the_schema_refuses() {
    let object = "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: mine}\nspec:\n  weight: 1000\n  template: {spec: {requirements: [], nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}}}\n";
    assert_says(
        &[("a.yaml", object)],
        &["a.yaml", "NodePool mine", "spec.weight", "1000", "100"],
    );
}

#[test]
fn a_scenario_with_an_unknown_field() {
    let scenario = SCENARIO.replace("duration: 1m", "duration: 1m, producer: []");
    assert_says(
        &[("scenario.yaml", &scenario)],
        &["scenario.yaml", "unknown field", "producer", "producers"],
    );
}

#[test]
fn an_unknown_story_and_a_folder_that_is_not_there() {
    let (code, said) = run(&["demo", "sqs"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("\"sqs\"") && said.contains("sqs-consumer, tutorial, night-shift"),
        "{said}"
    );
    let (code, said) = run(&[
        "simulate",
        "-f",
        "/nowhere/at/all",
        "--scenario",
        "/nowhere/scenario.yaml",
    ]);
    assert_eq!(code, 2);
    assert!(
        said.contains("/nowhere/at/all") && said.contains("/nowhere/scenario.yaml"),
        "{said}"
    );
}

#[test]
fn a_folder_with_nothing_but_the_scenario_is_said_so() {
    let (code, said) = simulate(&[("other.yaml", SCENARIO)]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("no Kubernetes object here, expected manifests besides the scenario"),
        "{said}"
    );
}

#[test]
fn nobody_reading_the_lines_neither_panics_nor_loses_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record.json");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .args(["demo", "tutorial", "--json", text(&record)])
        .stdout(writer)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("panicked"), "{said}");
    assert!(record.exists());
}
