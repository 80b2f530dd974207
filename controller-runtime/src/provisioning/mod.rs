//! Pods that wait for a machine, and the claims that they get.
//!
//! Pods gather into a [batch](Batcher); one pass then plans for all of them together, counting machines that are on
//! their way, and creates what the plan buys. Nothing is remembered between passes but what was said: the next pass
//! finds the claims of the last one in the cluster and plans the same pods onto them.

mod batcher;
mod create;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource as _, ResourceExt as _};
use provisioner::{
    Provisioner,
    schedule::{Budget, Overlay, Plan, PodFacts, PodKey, Prepared, Reason},
};
use tokio::time::Instant;

use crate::{
    cluster::{Catalogs, Snapshot, may_buy, pod},
    events::EventType,
    node_autoscaler::Context,
    store::ObjectKey,
    work::Depth,
};

pub use batcher::Batcher;
pub(crate) use create::create;

/// What a pass remembers for the next one, so as not to repeat itself.
#[derive(Debug, Default)]
struct Memo {
    /// The world of the last pass: its version, and those of the catalogues.
    seen: Option<(u64, Vec<(String, u64)>)>,
    at: Option<Timestamp>,
    /// Why pods had no place in the last pass.
    refused: BTreeSet<String>,
    /// The machines that the last plan counts on.
    nominated: Vec<String>,
    nominations: Limiter,
}

/// Lets through five a second, and ten at once.
#[derive(Debug)]
struct Limiter {
    tokens: f64,
    at: Option<Instant>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            tokens: Self::BURST,
            at: None,
        }
    }
}

impl Limiter {
    const PER_SECOND: f64 = 5.0;
    const BURST: f64 = 10.0;

    fn allow(&mut self) -> bool {
        let now = Instant::now();
        let passed = self.at.map_or(Duration::ZERO, |at| now.duration_since(at));
        self.at = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * Self::PER_SECOND).min(Self::BURST);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Plans and buys until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    let mut memo = Memo::default();
    let mut until = None;
    let batcher = cx.queues.batcher.clone();
    let passes = cx.runtime.work.add_work("provisioning", move || Depth {
        waiting: batcher.len(),
        ..Depth::default()
    });
    loop {
        cx.queues.batcher.next(until).await;
        let since = Instant::now();
        let waiting = pass(&cx, &mut memo).await;
        passes.observe(since.elapsed(), true);
        until = waiting.then(|| Instant::now() + cx.config.pending_recheck);
    }
}

/// What can be bought now, by pool.
pub(crate) async fn catalogs<P: Provisioner>(cx: &Context<P>) -> Catalogs {
    let pools: Vec<_> = cx
        .cluster
        .with(|state| state.pools().filter(|pool| may_buy(pool)).cloned().collect());
    let mut catalogs = Catalogs::new();
    for pool in pools {
        let Some(class) = cx.class(&pool.spec.template.spec.node_class_ref) else {
            continue;
        };
        match cx.provisioner.catalog(&pool, &class).await {
            Ok(catalog) => {
                catalogs.insert(pool.name_any(), catalog);
            }
            Err(error) => {
                tracing::warn!(pool = pool.name_any(), %error, "nothing is known of what can be bought")
            }
        }
    }
    catalogs
}

/// The versions of catalogues, by pool.
pub(crate) fn versions(catalogs: &Catalogs) -> Vec<(String, u64)> {
    catalogs
        .iter()
        .map(|(pool, catalog)| (pool.clone(), catalog.version))
        .collect()
}

/// One pass; says whether pods still wait or machines still have to be emptied.
async fn pass<P: Provisioner>(cx: &Context<P>, memo: &mut Memo) -> bool {
    if cx.cluster.with(|state| state.to_place().is_empty()) {
        memo.refused.clear();
        return false;
    }
    let catalogs = catalogs(cx).await;
    let now = cx.now();
    let until = now
        .saturating_add(cx.config.nomination())
        .unwrap_or(Timestamp::MAX);
    let seen = (cx.cluster.with(|state| state.version()), versions(&catalogs));
    let again = cx.config.failed_scheduling_silence;
    let recent = memo
        .at
        .is_some_and(|at| at.saturating_add(again).is_ok_and(|due| now < due));
    if recent && memo.seen.as_ref() == Some(&seen) {
        // The plan is what it was: what it counts on must not go.
        cx.cluster
            .with(|state| memo.nominated.iter().for_each(|name| state.nominate(name, until)));
        return true;
    }
    let (mut snapshot, pods, facts) = cx.cluster.with(|state| {
        let pods = state.to_place();
        let facts: Vec<Arc<PodFacts>> = pods
            .iter()
            .filter_map(|pod| state.facts(&ObjectKey::of(&**pod)))
            .collect();
        (state.snapshot(&catalogs), pods, facts)
    });
    let mut world = std::mem::take(&mut snapshot.world);
    cx.config.settle(&mut world);
    let plan = Prepared::new(world).solve(&facts, &Overlay::default(), Budget::auto(facts.len()));
    let pods: BTreeMap<PodKey, Arc<Pod>> = pods.into_iter().map(|pod| (key(&pod), pod)).collect();
    let done = carry_out(cx, memo, &snapshot, &plan, &pods, until).await;
    memo.seen = done.then_some(seen);
    memo.at = Some(now);
    true
}

fn key(pod: &Pod) -> PodKey {
    PodKey::new(pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Does what a plan says; says whether all of it could be done.
async fn carry_out<P: Provisioner>(
    cx: &Context<P>,
    memo: &mut Memo,
    snapshot: &Snapshot,
    plan: &Plan,
    pods: &BTreeMap<PodKey, Arc<Pod>>,
    until: Timestamp,
) -> bool {
    memo.nominated.clear();
    for (node, placed) in &plan.existing {
        let name = snapshot.nomination_of(node);
        cx.cluster.with(|state| state.nominate(&name, until));
        memo.nominated.push(name);
        let member = snapshot.members.get(node);
        let claim = member
            .and_then(|member| member.claim_name())
            .map(|claim| format!("nodeclaim/{claim}"));
        let node = member
            .and_then(|member| member.node_name())
            .map(|node| format!("node/{node}"));
        let place = [claim, node].into_iter().flatten().collect::<Vec<_>>().join(", ");
        nominated(cx, memo, placed, pods, &place);
    }
    let mut done = true;
    for node in &plan.new {
        let Some(claim) = create(cx, node, &why(node, pods)).await else {
            done = false;
            continue;
        };
        cx.cluster.with(|state| state.nominate(&claim, until));
        memo.nominated.push(claim.clone());
        nominated(cx, memo, &node.pods, pods, &format!("nodeclaim/{claim}"));
    }
    refused(cx, memo, plan, pods);
    done
}

/// Why a machine is bought, in words.
fn why(node: &provisioner::schedule::PlannedNode, pods: &BTreeMap<PodKey, Arc<Pod>>) -> String {
    const NAMED: usize = 3;
    let waiting = node
        .pods
        .iter()
        .filter(|key| pods.get(*key).is_some_and(|pod| pod::node_name(pod).is_none()))
        .count();
    let mut names: Vec<_> = node.pods.iter().take(NAMED).map(ToString::to_string).collect();
    if node.pods.len() > NAMED {
        names.push(format!("{} more", node.pods.len() - NAMED));
    }
    let what = match (waiting, node.pods.len() - waiting) {
        (waiting, 0) => plural(waiting, "pending pod"),
        (0, moved) => format!("{} of leaving nodes", plural(moved, "pod")),
        (waiting, moved) => format!("{} and {moved} of leaving nodes", plural(waiting, "pending pod")),
    };
    let verb = if node.pods.len() == 1 { "has" } else { "have" };
    format!("{what} {verb} no place: {}", names.join(", "))
}

/// `1 pod`, `2 pods`.
fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Says where pods are expected.
fn nominated<P: Provisioner>(
    cx: &Context<P>,
    memo: &mut Memo,
    placed: &[PodKey],
    pods: &BTreeMap<PodKey, Arc<Pod>>,
    place: &str,
) {
    for pod in placed
        .iter()
        .filter_map(|key| pods.get(key))
        .filter(|pod| pod::node_name(pod).is_none())
    {
        if memo.nominations.allow() {
            cx.announce(
                &**pod,
                EventType::Normal,
                "Nominated",
                format!("Pod should schedule on: {place}"),
            );
        }
    }
}

/// Says which pods cannot have a place, and why.
fn refused<P: Provisioner>(cx: &Context<P>, memo: &mut Memo, plan: &Plan, pods: &BTreeMap<PodKey, Arc<Pod>>) {
    let mut by_reason: BTreeMap<String, Vec<&PodKey>> = BTreeMap::new();
    for (key, reason) in &plan.unschedulable {
        let Some(pod) = pods.get(key).filter(|pod| pod::node_name(pod).is_none()) else {
            continue;
        };
        if *reason == Reason::NotTried || is_none_of_ours(reason) {
            continue;
        }
        let message = format!("Failed to schedule pod, {reason}");
        let silence = cx.config.failed_scheduling_silence;
        cx.announce_once_in(
            silence,
            pod.object_ref(&()),
            EventType::Warning,
            "FailedScheduling",
            message,
        );
        by_reason.entry(reason.to_string()).or_default().push(key);
    }
    for (reason, keys) in &by_reason {
        if memo.refused.contains(reason) {
            continue;
        }
        let more = if keys.len() > 1 {
            format!(" and {} more", keys.len() - 1)
        } else {
            String::new()
        };
        let object = format!("Pod/{}{more}", keys[0]);
        cx.runtime
            .decisions
            .record("provisioning", object, "pending", "no node", reason.as_str());
    }
    memo.refused = by_reason.into_keys().collect();
}

/// A pod that says itself that it is not to run on bought machines.
fn is_none_of_ours(reason: &Reason) -> bool {
    matches!(reason, Reason::Rejected(text) if text == "configured to not run on a Karpenter provisioned node")
}
