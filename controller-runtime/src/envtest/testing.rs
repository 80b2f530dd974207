//! For tests that need a control plane, on machines that may not have one.

use super::{ControlPlane, Options, Programs};

/// If set, tests must not skip: what they drive has to be there.
const REQUIRE: &str = "AUTOSCALER_TESTS_REQUIRE_TOOLS";

/// The programs, or nothing, and a line on stdout that says why the test is skipped. Nothing is built.
///
/// # Panics
/// If they are missing and `AUTOSCALER_TESTS_REQUIRE_TOOLS` is set.
#[must_use]
pub fn programs_or_skip(options: &Options) -> Option<Programs> {
    let reason = match Programs::find(options) {
        Ok(Some(programs)) => return Some(programs),
        Ok(None) => "there is no control plane here; `cargo xtask test` builds one".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{REQUIRE} is set, but the control plane cannot be started: {reason}"
    );
    println!("skipped: {reason}");
    None
}

/// A control plane, or nothing, and a line on stdout that says why the test is skipped.
///
/// # Panics
/// If it cannot be started although its programs are there, or if they are missing and
/// `AUTOSCALER_TESTS_REQUIRE_TOOLS` is set.
#[expect(clippy::panic, reason = "this is for tests, whose failure it is")]
pub async fn start_or_skip(options: Options) -> Option<ControlPlane> {
    programs_or_skip(&options)?;
    match ControlPlane::start(options).await {
        Ok(control_plane) => Some(control_plane),
        Err(error) => panic!("the control plane cannot be started: {error}"),
    }
}
