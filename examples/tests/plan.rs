//! `autoscaler plan` as a program: what it prints, and how it exits.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a binary that does not run fails the test")]

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const POD: &str = "metadata: {name: web}\nspec: {containers: [{name: web, resources: {requests: {cpu: 1500m, memory: 2Gi}}}]}\n";

/// Plans for the pods on standard input.
fn plan(pods: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .args(["plan", "--pods", "-", "--instance-types", "builtin:ec2"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(pods.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_plan_as_json_has_these_keys_and_no_others() {
    let output = plan(POD, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&plan),
        "existing gapPercent lowerBoundPerHour nodes pricePerHour solveSeconds strategy unschedulable"
    );
    assert_eq!(
        keys(&plan["nodes"][0]),
        "capacityType instanceType instanceTypeOptions name nodePool pods pricePerHour zone"
    );
    assert_eq!(plan["nodes"][0]["pods"], serde_json::json!(["default/web"]));
}

#[test]
fn a_pod_without_a_place_is_told_with_its_reason_and_code_3() {
    let pod = POD.replace("1500m", "9000");
    let output = plan(&pod, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("no place for default/web"), "{table}");
    assert!(table.contains("no instance type has enough resources"), "{table}");
    let output = plan(&pod, &["--explain", "web"]);
    assert!(
        text(&output.stdout).starts_with("default/web has no place\n  pool default"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn bad_input_is_told_at_once_with_code_2() {
    let pods = format!(
        "{}---\n{}",
        POD.replace("1500m", "-1"),
        POD.replace("2Gi", "512").replace("name: web}", "name: api}")
    );
    let output = plan(&pods, &["--nodes", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in [
        "nowhere.yaml: cannot be read",
        "-:1: Pod default/web: spec.containers[0].resources.requests.cpu: is -1, expected zero or more",
        "-:2: Pod default/api: spec.containers[0].resources.requests.memory: is 512, that many bytes",
    ] {
        assert!(said.contains(part), "{part:?} is missing in\n{said}");
    }
}
