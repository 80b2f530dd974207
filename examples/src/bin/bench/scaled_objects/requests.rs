//! How many requests the API server was asked, as it counts them itself: its priority and fairness counts by
//! FlowSchema, and here the process under measurement has FlowSchemas of its own. Watches count when they begin.

use std::{ops::Sub, time::Duration};

use anyhow::{Context as _, bail};
use examples::install::apply::apply;
use http::Request;
use kube::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Who the process is.
pub(super) const USER: &str = "autoscaler";
/// What is counted of the process, beside its lease.
pub(super) const USERS: &[&str] = &[READS, WRITES];
/// What everybody asks.
pub(super) const EVERYBODY: &[&str] = &[""];
const READS: &str = "autoscaler-reads";
const WRITES: &str = "autoscaler-writes";
const LEASES: &str = "autoscaler-leases";
const REVIEWS: &str = "autoscaler-reviews";
const METRIC: &str = "apiserver_flowcontrol_dispatched_requests_total{";
const PROCESSOR: &str = "process_cpu_seconds_total ";
/// How long the API server must have been asked nothing.
const QUIET: Duration = Duration::from_secs(6);
/// And how long that may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Requests of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// `get`, `list`, and the beginnings of `watch`.
    pub(super) reads: u64,
    /// Everything else.
    pub(super) writes: u64,
    /// Of its lease, both.
    pub(super) leases: u64,
    /// Whether somebody else who asks the metrics adapter may do so; nothing is stored.
    pub(super) reviews: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            leases: self.leases.saturating_sub(earlier.leases),
            reviews: self.reviews.saturating_sub(earlier.reviews),
        }
    }
}

/// Makes the FlowSchemas. The process has the priority of a service account.
pub(super) async fn define(client: &Client) -> anyhow::Result<()> {
    let any = json!(["*"]);
    let reviewers = json!(["authentication.k8s.io", "authorization.k8s.io"]);
    let schemas = [
        schema(REVIEWS, 99, &any, &reviewers),
        schema(LEASES, 100, &any, &json!(["coordination.k8s.io"])),
        schema(READS, 101, &json!(["get", "list", "watch"]), &any),
        schema(WRITES, 102, &any, &any),
    ];
    apply(client, &schemas, &|_| {}).await
}

fn schema(name: &str, precedence: u32, verbs: &Value, groups: &Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": { "name": name },
        "spec": {
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": { "name": "workload-low" },
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{ "kind": "User", "user": { "name": USER } }],
                "resourceRules": [{
                    "verbs": verbs, "apiGroups": groups, "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
                }],
            }],
        },
    })
}

/// Reads the API server's counts.
#[derive(Clone)]
pub(super) struct Counter(Client);

impl Counter {
    pub(super) fn of(client: Client) -> Self {
        Self(client)
    }

    async fn page(&self) -> anyhow::Result<String> {
        let request = Request::get("/metrics").body(Vec::new())?;
        self.0
            .request_text(request)
            .await
            .context("the API server's metrics")
    }

    /// The processor time that the API server itself has used.
    pub(super) async fn processor_time(&self) -> anyhow::Result<Duration> {
        let page = self.page().await?;
        let line = page.lines().find_map(|line| line.strip_prefix(PROCESSOR));
        let seconds = line.context("no process_cpu_seconds_total among the API server's metrics")?;
        Ok(Duration::from_secs_f64(seconds.trim().parse()?))
    }

    pub(super) async fn read(&self) -> anyhow::Result<Counts> {
        let page = self.page().await?;
        Ok(Counts {
            reads: sum(&page, READS),
            writes: sum(&page, WRITES),
            leases: sum(&page, LEASES),
            reviews: sum(&page, REVIEWS),
        })
    }

    /// Waits until nothing is asked any more under these FlowSchemas, or next to nothing under all of them.
    pub(super) async fn quiet(&self, schemas: &[&str]) -> anyhow::Result<()> {
        // What everybody asks includes heartbeats, and these questions.
        let allowed = if schemas == EVERYBODY { 200 } else { 0 };
        let deadline = Instant::now() + PATIENCE;
        let count = async || -> anyhow::Result<u64> {
            let page = self.page().await?;
            Ok(schemas.iter().map(|schema| sum(&page, schema)).sum())
        };
        let mut known = count().await?;
        while Instant::now() < deadline {
            sleep(QUIET).await;
            let now = count().await?;
            if now - known <= allowed {
                return Ok(());
            }
            known = now;
        }
        bail!("the API server was still asked after {PATIENCE:?}")
    }
}

/// The sum over a FlowSchema's lines of a page of metrics; over all of them if none is named.
fn sum(page: &str, schema: &str) -> u64 {
    let label = format!("flow_schema=\"{schema}\"");
    let lines = page
        .lines()
        .filter(|line| line.starts_with(METRIC) && (schema.is_empty() || line.contains(&label)));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_flow_schema() {
        let page = "# TYPE apiserver_flowcontrol_dispatched_requests_total counter\n\
            apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"autoscaler-reads\",priority_level=\"workload-low\"} 12\n\
            apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"autoscaler-writes\",priority_level=\"workload-low\"} 1.5e+06\n\
            apiserver_flowcontrol_rejected_requests_total{flow_schema=\"autoscaler-reads\",priority_level=\"workload-low\"} 7\n";
        assert_eq!(sum(page, READS), 12);
        assert_eq!(sum(page, WRITES), 1_500_000);
        assert_eq!(sum(page, LEASES), 0);
        assert_eq!(sum(page, ""), 1_500_012);
    }
}
