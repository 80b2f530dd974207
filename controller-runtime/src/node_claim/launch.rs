//! Buys the machine of a claim.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::ResourceExt as _;
use provisioner::{
    ErrorKind, Instance, LaunchRequest, NodeClass as _, Provisioner, Requirements,
    karpenter::{
        ConditionValue, NodeClaim, labels,
        node_claim::{NodeClaimStatus, conditions},
    },
};
use serde_json::json;
use tokio::time::Instant;

use super::{Error, lifecycle, remove};
use crate::{
    cluster,
    events::EventType,
    node_autoscaler::Context,
    queue::{Action, Backoff},
};

/// When launches that failed may be tried again. A failure changes the claim's status, and that change must not cut
/// the back-off short.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: Mutex<BTreeMap<String, (u32, Instant)>>,
}

impl Attempts {
    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        last: Duration::from_secs(60),
    };

    fn with<T>(&self, with: impl FnOnce(&mut BTreeMap<String, (u32, Instant)>) -> T) -> T {
        with(&mut self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long is still to be waited.
    fn wait(&self, uid: &str) -> Option<Duration> {
        let due = self.with(|failed| failed.get(uid).map(|(_, due)| *due))?;
        Some(due.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// A failure; how long to wait, at least `least`.
    fn failed(&self, uid: &str, least: Option<Duration>) -> Duration {
        self.with(|failed| {
            let (failures, due) = failed.entry(uid.to_owned()).or_insert((0, Instant::now()));
            *failures += 1;
            let wait = Self::BACKOFF.after(*failures).max(least.unwrap_or_default());
            *due = Instant::now() + wait;
            wait
        })
    }

    fn forget(&self, uid: &str) {
        self.with(|failed| failed.remove(uid));
    }
}

/// Messages of conditions are cut to this many characters.
const MESSAGE_LENGTH: usize = 300;

/// Buys a machine for a claim that has none, and writes down what was bought.
///
/// A crash at any point is harmless: the token makes the next try find the same instance.
pub(super) async fn launch<P: Provisioner>(
    cx: &Context<P>,
    attempts: &Attempts,
    claim: &Arc<NodeClaim>,
) -> Result<Action, Error> {
    let Some(class) = cx.class(&claim.spec.node_class_ref) else {
        let message = format!("node class {:?} not found", claim.spec.node_class_ref.name);
        return give_up(cx, claim, "NodeClassNotReady", &message).await;
    };
    let token = claim.uid().unwrap_or_default();
    if let Some(wait) = attempts.wait(&token) {
        return Ok(Action::RequeueAfter(wait));
    }
    let request = LaunchRequest {
        claim,
        class: &*class,
        token: &token,
    };
    let error = match cx.provisioner.launch(&request).await {
        Ok(instance) => {
            attempts.forget(&token);
            return launched(cx, claim, &class, &instance).await;
        }
        Err(error) => error,
    };
    let given_up = match error.kind() {
        ErrorKind::InsufficientCapacity => "InsufficientCapacityError",
        ErrorKind::ClassNotReady => "NodeClassNotReady",
        _ => {
            let wait = attempts.failed(&token, error.retry_after());
            failed(cx, claim, &error).await?;
            return Ok(Action::RequeueAfter(wait));
        }
    };
    attempts.forget(&token);
    give_up(cx, claim, given_up, &error.to_string()).await
}

/// Writes down why a launch failed that is tried again.
async fn failed<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    error: &provisioner::Error,
) -> Result<(), Error> {
    let message: String = error.to_string().chars().take(MESSAGE_LENGTH).collect();
    let mut status = lifecycle::initial(claim, cx.now());
    let reason = error.reason().unwrap_or("LaunchFailed");
    let value = ConditionValue::unknown(conditions::LAUNCHED, reason, &message);
    lifecycle::set(&mut status, claim, &value, cx.now());
    super::write_status(cx, claim, &status).await
}

/// The claim cannot be had: it goes, and its pods are planned for again.
async fn give_up<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    reason: &str,
    message: &str,
) -> Result<Action, Error> {
    let text = format!("NodeClaim {} event: {message}", claim.name_any());
    cx.announce(&**claim, EventType::Warning, reason, text);
    let object = format!("NodeClaim/{}", claim.name_any());
    cx.runtime.decisions.record(
        "node-claim",
        object,
        "launching",
        "given up",
        format!("{reason}: {message}"),
    );
    remove(cx, claim).await?;
    Ok(Action::Await)
}

async fn launched<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    class: &P::Class,
    instance: &Instance,
) -> Result<Action, Error> {
    let mut known = claim.labels().clone();
    let own = known.clone();
    if let Ok(requirements) = Requirements::from_specs(&claim.spec.requirements) {
        known.extend(requirements.single_values());
    }
    known.extend(instance.labels.clone());
    known.extend(own);
    let mut annotations = claim.annotations().clone();
    let (hash, version) = class.drift_hash();
    let label = labels::class_label(&claim.spec.node_class_ref.group, &claim.spec.node_class_ref.kind);
    annotations.entry(format!("{label}-hash")).or_insert(hash);
    annotations
        .entry(format!("{label}-hash-version"))
        .or_insert_with(|| version.to_owned());
    let patch = json!({ "metadata": { "labels": known, "annotations": annotations } });
    let written = cluster::merge_patch(&cx.claims(), &cluster::Precondition::of(&**claim), patch).await?;
    let status = bought(&written, instance, cx.now());
    let written = Arc::new(written);
    cx.cluster.with(|state| state.update_claim((*written).clone()));
    super::write_status(cx, &written, &status).await?;
    let object = format!("NodeClaim/{}", claim.name_any());
    let what = format!(
        "{} {} in {} at ${:.4}/h",
        instance.instance_type, instance.capacity_type, instance.zone, instance.price
    );
    cx.runtime.decisions.record(
        "node-claim",
        object,
        "",
        what,
        format!("launched as {}", instance.id),
    );
    Ok(Action::RequeueAfter(std::time::Duration::ZERO))
}

fn bought(claim: &NodeClaim, instance: &Instance, now: jiff::Timestamp) -> NodeClaimStatus {
    let mut status = lifecycle::initial(claim, now);
    status.provider_id = Some(instance.id.to_string());
    status.image_id.clone_from(&instance.image_id);
    status.capacity = Some(instance.capacity.clone());
    status.allocatable = Some(instance.allocatable.clone());
    lifecycle::set(
        &mut status,
        claim,
        &ConditionValue::is_true(conditions::LAUNCHED),
        now,
    );
    status
}
