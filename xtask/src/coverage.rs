//! KEDA's keys against ours: the test that holds them together, with its table.

use crate::{cargo, run as execute};

/// Prints the table; fails on a gap that has no reason.
pub(crate) fn run() -> anyhow::Result<()> {
    execute(cargo().args([
        "test",
        "--quiet",
        "--package",
        "scalers",
        "--all-features",
        "--locked",
        "--test",
        "coverage",
        "--",
        "--nocapture",
    ]))
}
