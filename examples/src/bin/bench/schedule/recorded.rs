//! What Karpenter took and paid.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// One recorded run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Figure {
    catalog: String,
    workload: String,
    pods: usize,
    pub nodes: usize,
    pub price_per_hour: f64,
    pub pods_per_second: f64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Recorded(Vec<Figure>);

impl Recorded {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("Karpenter's figures in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        Ok(Self(serde_json::from_str(&text).with_context(what)?))
    }

    pub(super) fn of(&self, workload: &str, catalog: &str, pods: usize) -> Option<Figure> {
        let is = |figure: &&Figure| {
            figure.workload == workload && figure.catalog == catalog && figure.pods == pods
        };
        self.0.iter().find(is).cloned()
    }
}
