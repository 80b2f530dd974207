//! For tests that need a control plane, on machines that may not have one.

use tokio::sync::OnceCell;

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

/// One control plane for all tests of a process, with the default options; it ends with the process.
///
/// # Panics
/// As [`start_or_skip`].
pub async fn shared_or_skip() -> Option<&'static ControlPlane> {
    static SHARED: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
    SHARED
        .get_or_init(|| start_or_skip(Options::default()))
        .await
        .as_ref()
}
