//! `--print-config`: the effective configuration as a file that gives the same, with the origin of each value.

use std::fmt::Write as _;

use super::{Effective, setting::settings};

/// The effective configuration as YAML.
#[must_use]
pub fn print(effective: &Effective) -> String {
    let mut text = format!(
        "# Effective configuration of autoscaler {}, each value with its origin.\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut section = "";
    for setting in settings() {
        let Some(held) = effective.get(setting.path) else {
            continue;
        };
        let (above, name) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if above != section {
            section = above;
            writeln!(text, "{section}:").ok();
        }
        let indent = if above.is_empty() { "" } else { "  " };
        writeln!(text, "{indent}{name}: {} # {}", held.value, held.origin).ok();
    }
    text
}
