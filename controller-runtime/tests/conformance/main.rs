//! One suite, two clusters: what Kubernetes' API and controllers do, asserted on the embedded cluster in virtual time
//! and on a real control plane, by the same code.
//!
//! ```sh
//! cargo test -p controller-runtime --all-features --test conformance                        # everything
//! cargo test -p controller-runtime --all-features --test conformance -- embedded::api::patch # one topic, one cluster
//! ```
//!
//! A case is an `async fn(&Cluster) -> anyhow::Result<()>` in a topic's table. The expectation is what the real control
//! plane does; where the two differ, the embedded one is mended, or the case is one of at most five entries of
//! [`DIFFERENCES`].
//!
//! - `AUTOSCALER_TEST_KUBECONFIG=FILE` runs the `real::` cases on that cluster (they create namespaces, nodes and CRDs).
//! - `AUTOSCALER_TEST_TRANSCRIPTS=FOLDER` writes what every case asked and was answered, so that `diff -r
//!   FOLDER/embedded FOLDER/real` shows differences beyond what is asserted.

#![allow(
    clippy::needless_pass_by_value,
    reason = "cases hand over the JSON that they write where they use it"
)]

mod api;
mod controllers;
mod harness;

use harness::{Difference, Topic};

/// Cases in which the embedded cluster is known to differ, with upstream's reason. A case that is listed must fail there.
const DIFFERENCES: &[Difference] = &[
    Difference {
        case: "api::defaults::a_pod_mounts_the_token_of_its_account",
        reason: "admission gives every container a token to call the API with; embedded pods run no program that could, and \
                 a volume in each pod would double the size of a story",
    },
    Difference {
        case: "api::defaults::a_pod_needs_its_account",
        reason: "admission looks the account up because its token has to be mounted; simulated manifests name accounts that \
                 are made elsewhere",
    },
];

fn main() -> std::process::ExitCode {
    let topics: Vec<Topic> = [api::TOPICS, controllers::TOPICS].concat();
    harness::main(&topics, DIFFERENCES)
}
