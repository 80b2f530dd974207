//! What a program pays for that depends on this crate and uses none, or one, of its features.

use std::{path::Path, process::Command};

/// The crates that a build with `features` compiles.
fn crates(features: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--features", features, "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs, it has built this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).expect("names of crates are UTF-8");
    lines
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn holds(crates: &[String], unwanted: &[&str]) -> Vec<String> {
    crates
        .iter()
        .filter(|name| unwanted.iter().any(|word| name.starts_with(word)))
        .cloned()
        .collect()
}

#[test]
fn without_features_there_is_no_tls_no_http_no_cloud_and_no_kubernetes() {
    let unwanted = [
        "rustls", "ring", "aws", "hyper", "reqwest", "kube", "k8s", "openssl", "croner", "gjson",
    ];
    for features in ["", "cron,kubernetes-workload"] {
        let unwanted = if features.is_empty() {
            &unwanted[..]
        } else {
            &unwanted[..8]
        };
        assert_eq!(
            holds(&crates(features), unwanted),
            [""; 0],
            "features {features:?}"
        );
    }
}

#[test]
fn one_tls_provider_serves_everything() {
    let all = crates("full,sqs-fake");
    assert!(!holds(&all, &["ring"]).is_empty(), "the listing works");
    assert_eq!(holds(&all, &["aws-lc", "native-tls", "openssl-sys"]), [""; 0]);
}

#[test]
fn http_scalers_pull_no_cloud() {
    assert_eq!(holds(&crates("prometheus,metrics-api"), &["aws"]), [""; 0]);
}
