//! What kubectl says before the rounds: the adapter is available, the metric can be read, the HPA shows it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use controller_runtime::envtest::{ControlPlane, Program};
use serde::Serialize;
use serde_json::Value;

use super::{
    followed::Followed,
    workload::{NAME, NAMESPACE, Source},
};
use crate::cluster::eventually;

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// A value below one replica's share.
const VALUE: u64 = 3;
/// How `kubectl get hpa` shows it.
const SHOWN: &str = "3/5 (avg)";

/// kubectl with the administrator's kubeconfig.
#[derive(Debug)]
pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What was asked and answered.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) command: String,
    pub(super) output: String,
}

impl Kubectl {
    pub(super) fn of(plane: &ControlPlane) -> anyhow::Result<Self> {
        let program = plane.programs().path(Program::Kubectl);
        Ok(Self {
            program: program.context("there is no kubectl")?.to_owned(),
            kubeconfig: plane.kubeconfig().to_owned(),
        })
    }

    /// Its output, if it succeeds.
    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", std::env::temp_dir())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        output.status.success().then_some(text)
    }

    /// Asks until the answer is as wanted.
    async fn check(
        &self,
        what: &str,
        arguments: &[&str],
        is_wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Check> {
        let ask = async || self.ask(arguments).filter(|output| is_wanted(output));
        Ok(Check {
            command: format!("kubectl {}", arguments.join(" ")),
            output: eventually(what, ask).await?,
        })
    }
}

/// Checks from one end to the other, and leaves everything at rest.
pub(super) async fn run(
    kubectl: &Kubectl,
    source: &Source,
    replicas: &mut Followed,
) -> anyhow::Result<Vec<Check>> {
    let arguments = ["get", "apiservice", API_SERVICE];
    let is_true = |output: &str| output.contains(" True ");
    let available = kubectl
        .check("the APIService is available", &arguments, is_true)
        .await?;

    let hpa = format!("keda-hpa-{NAME}");
    let name = "jsonpath={.spec.metrics[0].external.metric.name}";
    let arguments = ["get", "hpa", hpa.as_str(), "-o", name];
    let is_there = |name: &str| !name.is_empty();
    let metric = kubectl
        .check("the HPA is there", &arguments, is_there)
        .await?
        .output;

    source.set(VALUE);
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{metric}?labelSelector=scaledobject.keda.sh/name={NAME}"
    );
    let expected = VALUE.to_string();
    let says_value = |output: &str| {
        let answer: Option<Value> = serde_json::from_str(output).ok();
        answer.is_some_and(|answer| answer["items"][0]["value"] == expected.as_str())
    };
    let arguments = ["get", "--raw", path.as_str()];
    let value = kubectl
        .check("the metric has its value", &arguments, says_value)
        .await?;
    let arguments = ["get", "hpa", hpa.as_str()];
    let shows = |output: &str| output.contains(SHOWN);
    let targets = kubectl
        .check("the HPA shows the metric", &arguments, shows)
        .await?;

    source.set(0);
    replicas.until(|seen| seen.wanted == 1).await?;
    replicas
        .until(|seen| seen.wanted == 0 && seen.existing == 0)
        .await?;
    Ok(vec![available, value, targets])
}
