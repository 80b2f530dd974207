//! The dependency arrows of the workspace, held against `cargo metadata`.

#![allow(clippy::unwrap_used, reason = "metadata that cannot be read fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// What each crate may depend on in this workspace.
const ARROWS: [(&str, &[&str]); 6] = [
    ("scaler-api", &[]),
    ("scalers", &["scaler-api"]),
    ("provisioner", &["scaler-api"]),
    ("metrics-adapter", &["scaler-api"]),
    (
        "controller-runtime",
        &["scaler-api", "provisioner", "metrics-adapter"],
    ),
    (
        "examples",
        &[
            "scaler-api",
            "scalers",
            "provisioner",
            "metrics-adapter",
            "controller-runtime",
        ],
    ),
];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Direct dependencies by package, those for tests only left out.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let direct = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), direct)
        })
        .collect()
}

#[test]
fn crates_of_the_workspace_depend_on_each_other_only_along_the_arrows() {
    let dependencies = dependencies(&metadata());
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let found: BTreeSet<&str> = dependencies[name]
            .iter()
            .map(String::as_str)
            .filter(|dependency| ours.contains(dependency))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            found.is_subset(&allowed),
            "{name} depends on {found:?}, allowed are {allowed:?}"
        );
    }
}

#[test]
fn the_foundation_knows_no_client_no_http_and_no_cloud() {
    let dependencies = dependencies(&metadata());
    for (name, forbidden) in [
        (
            "scaler-api",
            &[
                "reqwest",
                "hyper",
                "tower",
                "kube-client",
                "kube-runtime",
                "aws-config",
            ][..],
        ),
        (
            "provisioner",
            &["reqwest", "hyper", "tower", "kube-client", "kube-runtime"][..],
        ),
        (
            "controller-runtime",
            &["aws-config", "aws-sdk-sqs", "aws-sdk-ec2", "redis", "krafka"][..],
        ),
    ] {
        for dependency in forbidden {
            assert!(
                !dependencies[name].contains(*dependency),
                "{name} depends on {dependency}"
            );
        }
    }
}

/// Everything that a build of `package` with `features` compiles.
fn build_of(package: &str, features: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--no-default-features",
        ])
        .args(["--package", package, "--features", features, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

#[test]
fn a_controller_with_one_scaler_pulls_neither_the_simulator_nor_a_cloud() {
    let build = build_of("scalers", "cron");
    for absent in [
        "controller-runtime",
        "provisioner",
        "kube-client",
        "aws-config",
        "aws-sdk-sqs",
        "reqwest",
        "rustls",
        "hyper",
    ] {
        assert!(
            !build.contains(absent),
            "scalers with the feature cron pulls {absent}"
        );
    }
    assert!(build.contains("scaler-api") && build.contains("croner"));
}

#[test]
fn scalers_without_features_pull_no_tls_and_no_cloud() {
    let build = build_of("scalers", "");
    for absent in ["rustls", "ring", "aws-config", "aws-sdk-sqs", "reqwest", "hyper"] {
        assert!(!build.contains(absent), "scalers without features pulls {absent}");
    }
}
