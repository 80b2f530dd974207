//! Carries a command out: taint, buy what replaces, wait for it, let go; or leave everything as it was.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use provisioner::{
    Provisioner,
    disrupt::Command,
    karpenter::{
        ConditionValue, NodeClaim,
        condition::{clear_condition, is_true, set_condition},
        labels,
        node_claim::conditions,
    },
    taints,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{self, Precondition},
    events::EventType,
    node_autoscaler::Context,
    node_claim::{Error, remove, write_status},
    provisioning,
};

/// How often it is looked whether replacements are ready.
const PERIOD: Duration = Duration::from_secs(1);
/// How often a write is tried again that others were faster than.
const TRIES: u32 = 5;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Write(#[from] Error),
    #[error("replacement {0} was not created")]
    NotCreated(String),
    #[error("replacement {0} is gone")]
    Lost(String),
    #[error("replacements were not ready in time")]
    Late,
    #[error("claim {0} is gone")]
    Gone(String),
}

/// Names of the claims that go.
fn claims(command: &Command) -> impl Iterator<Item = &str> {
    command
        .candidates
        .iter()
        .map(|candidate| candidate.claim.as_str())
}

/// Carries out a command whose machines are marked; they are until they are gone or stay after all.
pub(super) async fn carry_out<P: Provisioner>(cx: &Context<P>, command: Command) {
    record(cx, &command);
    let Err(failure) = replace(cx, &command).await else {
        return;
    };
    for claim in claims(&command) {
        tracing::warn!(%failure, claim, "disruption is given up");
        let why = format!("disruption given up: {failure}");
        cx.runtime.decisions.record(
            "disruption",
            format!("NodeClaim/{claim}"),
            "leaving",
            "stays",
            why,
        );
        restore(cx, claim).await;
    }
}

fn record<P: Provisioner>(cx: &Context<P>, command: &Command) {
    let to = match command.replacements.as_slice() {
        [] => "removed".to_owned(),
        bought => {
            let types = bought.iter().map(|node| node.choice.instance_type.clone());
            format!("replaced by {}", types.collect::<Vec<_>>().join(", "))
        }
    };
    // The text of a consolidation ends with what it saves.
    let reason = if command.text.contains("(savings: ") {
        format!("{}: {}", command.reason, command.text)
    } else {
        format!(
            "{}: {}; saves ${:.4}/h",
            command.reason, command.text, command.savings_per_hour
        )
    };
    for candidate in &command.candidates {
        let way = candidate
            .capacity_type
            .map(|capacity_type| capacity_type.to_string())
            .unwrap_or_default();
        let from = format!("{} {way}", candidate.instance_type);
        let object = format!("NodeClaim/{}", candidate.claim);
        cx.runtime
            .decisions
            .record("disruption", object, from.trim(), &to, reason.as_str());
    }
}

async fn replace<P: Provisioner>(cx: &Context<P>, command: &Command) -> Result<(), Failure> {
    for claim in claims(command) {
        taint(cx, claim, command).await?;
    }
    let mut replacements = Vec::new();
    for node in &command.replacements {
        let going: Vec<_> = claims(command).collect();
        let why = format!("replaces {}: {}", going.join(", "), command.text);
        let created = provisioning::create(cx, node, &why).await;
        let name = created.ok_or_else(|| Failure::NotCreated(node.choice.instance_type.clone()))?;
        if let Some(claim) = cx.cluster.with(|state| state.claim(&name)) {
            let message = format!("Launching NodeClaim: {}", command.reason);
            cx.announce(&*claim, EventType::Normal, "DisruptionLaunching", message);
            let message = "Waiting on readiness to continue disruption";
            cx.announce(&*claim, EventType::Normal, "DisruptionWaitingReadiness", message);
        }
        replacements.push(name);
    }
    // Their pods need a place now.
    cx.queues.batcher.trigger_again();
    wait(cx, &replacements).await?;
    for claim in claims(command) {
        let_go(cx, claim, command).await?;
    }
    Ok(())
}

async fn wait<P: Provisioner>(cx: &Context<P>, replacements: &[String]) -> Result<(), Failure> {
    let end = Instant::now() + cx.config.replacement_timeout;
    for name in replacements {
        loop {
            let claim = cx
                .cluster
                .with(|state| state.claim(name))
                .ok_or_else(|| Failure::Lost(name.clone()))?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(Failure::Lost(name.clone()));
            }
            // It is empty until the pods have moved: nobody may take it away meanwhile.
            let until = cx
                .now()
                .saturating_add(cx.config.nomination())
                .unwrap_or(Timestamp::MAX);
            cx.cluster
                .with(|state| replacements.iter().for_each(|name| state.nominate(name, until)));
            if is_true(claim.conditions(), conditions::INITIALIZED) {
                break;
            }
            if Instant::now() >= end {
                return Err(Failure::Late);
            }
            sleep(PERIOD).await;
        }
    }
    Ok(())
}

/// `Delete` or `Replace`, as events say it.
fn word(command: &Command) -> &'static str {
    if command.replacements.is_empty() {
        "Delete"
    } else {
        "Replace"
    }
}

async fn let_go<P: Provisioner>(cx: &Context<P>, name: &str, command: &Command) -> Result<(), Failure> {
    let Some(claim) = cx.cluster.with(|state| state.claim(name)) else {
        return Ok(());
    };
    let message = format!("Disrupting NodeClaim: {}/{}", command.reason, word(command));
    cx.announce(&*claim, EventType::Normal, "DisruptionTerminating", message);
    for node in cx.cluster.with(|state| state.nodes_of(&claim)) {
        let message = format!("Disrupting Node: {}/{}", command.reason, word(command));
        cx.announce(&*node, EventType::Normal, "DisruptionTerminating", message);
    }
    Ok(remove(cx, &claim).await?)
}

/// Keeps new pods away from a machine and says why it goes.
async fn taint<P: Provisioner>(cx: &Context<P>, name: &str, command: &Command) -> Result<(), Failure> {
    again(|| async {
        let Some(claim) = cx.cluster.with(|state| state.claim(name)) else {
            return Ok(false);
        };
        for node in cx.cluster.with(|state| state.nodes_of(&claim)) {
            let own = node_taints(&node);
            set_taints(cx, &node, taints::merge(&own, &[labels::disrupted_taint()])).await?;
        }
        let mut status = claim.status.clone().unwrap_or_default();
        let reason = command.reason.as_str();
        let value = ConditionValue {
            reason,
            ..ConditionValue::is_true(conditions::DISRUPTION_REASON)
        };
        set_condition(
            &mut status.conditions,
            &value,
            claim.metadata.generation,
            cx.now(),
        );
        write_status(cx, &claim, &status).await?;
        Ok(true)
    })
    .await?
    .then_some(())
    .ok_or_else(|| Failure::Gone(name.to_owned()))
}

/// A machine stays: takes back what [`taint`] wrote.
pub(super) async fn restore<P: Provisioner>(cx: &Context<P>, name: &str) {
    let done = again(|| async {
        let Some(claim) = cx.cluster.with(|state| state.claim(name)) else {
            return Ok(false);
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        for node in cx.cluster.with(|state| state.nodes_of(&claim)) {
            let mut own = node_taints(&node);
            own.retain(|taint| taint.key != labels::DISRUPTED_TAINT);
            set_taints(cx, &node, own).await?;
        }
        let mut status = claim.status.clone().unwrap_or_default();
        if clear_condition(&mut status.conditions, conditions::DISRUPTION_REASON) {
            write_status(cx, &claim, &status).await?;
        }
        Ok(true)
    })
    .await;
    if let Err(error) = done {
        // The next look at the cluster finds it tainted and tries again.
        tracing::warn!(%error, claim = name, "node was not untainted");
    }
    cx.cluster.with(|state| state.unmark(name));
}

/// Whether a machine carries traces of a disruption.
pub(super) fn is_tainted(node: &Node, claim: &NodeClaim) -> bool {
    node_taints(node)
        .iter()
        .any(|taint| taint.key == labels::DISRUPTED_TAINT)
        || is_true(claim.conditions(), conditions::DISRUPTION_REASON)
}

fn node_taints(node: &Node) -> Vec<Taint> {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default()
}

async fn set_taints<P: Provisioner>(
    cx: &Context<P>,
    node: &Arc<Node>,
    wanted: Vec<Taint>,
) -> Result<(), Error> {
    if node_taints(node) == wanted {
        return Ok(());
    }
    let patch = json!({ "spec": { "taints": wanted } });
    let written = cluster::merge_patch(&cx.nodes(), &Precondition::of(&**node), patch).await?;
    cx.cluster.with(|state| state.update_node(written));
    Ok(())
}

/// Tries again what others were faster than, after the watch has had time to say so.
async fn again<F: Future<Output = Result<bool, Error>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<bool, Error> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(error) if error.is_stale() && tries < TRIES => tries += 1,
            other => return other,
        }
        sleep(PERIOD).await;
    }
}
