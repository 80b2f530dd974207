//! One look at the cluster for something to take away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use provisioner::{
    Provisioner,
    disrupt::{self, Command, NodeFacts, PodBudget, PoolPolicy, Refused, Settings},
    schedule::{PodFacts, Prepared},
};
use tokio::time::sleep;

use super::orchestration;
use crate::{
    cluster::{Catalogs, ClusterState, Member},
    events::EventType,
    node_autoscaler::Context,
    provisioning::{catalogs, versions},
    store::ObjectKey,
};

/// Why a machine stays is said again after this time at the earliest.
const SILENCE: Duration = Duration::from_secs(3600);

/// What scans remember: a cluster in which nothing has changed need not be looked at.
#[derive(Debug, Default)]
pub(super) struct Scan {
    seen: Option<Seen>,
    /// When to look although nothing has changed.
    due: Option<Timestamp>,
}

/// Versions of the cluster and of what can be bought.
type Seen = (u64, Vec<(String, u64)>);

/// The cluster as a scan sees it.
struct View {
    seen: Seen,
    prepared: Prepared,
    pools: BTreeMap<String, PoolPolicy>,
    nodes: Vec<NodeFacts>,
    pod_budgets: Vec<PodBudget>,
    pending: Vec<Arc<PodFacts>>,
    settings: Settings,
    now: Timestamp,
}

impl View {
    fn of<P: Provisioner>(cx: &Context<P>, state: &ClusterState, catalogs: &Catalogs) -> Self {
        let now = cx.now();
        let mut snapshot = state.snapshot(catalogs);
        let pools: BTreeMap<_, _> = state
            .pools()
            .map(|pool| (pool.name_any(), PoolPolicy::from(&**pool)))
            .collect();
        let nodes: Vec<_> = snapshot
            .members
            .values()
            .filter(|member| is_ours(cx, member))
            .filter_map(|member| facts(state, member, now))
            .collect();
        cx.config.settle(&mut snapshot.world);
        disrupt::mark_destinations(&mut snapshot.world.nodes, &nodes, &pools, now);
        let pending = state
            .to_place()
            .iter()
            .filter_map(|pod| state.facts(&ObjectKey::of(&**pod)))
            .collect();
        Self {
            seen: (snapshot.version, versions(catalogs)),
            prepared: Prepared::new(snapshot.world),
            pools,
            nodes,
            pod_budgets: state.budgets().map(|budget| PodBudget::of(budget)).collect(),
            pending,
            settings: Settings {
                spot_to_spot: cx.config.spot_to_spot,
                ..Settings::default()
            },
            now,
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&disrupt::Cluster<'_>) -> T) -> T {
        question(&disrupt::Cluster {
            prepared: &self.prepared,
            pools: &self.pools,
            nodes: &self.nodes,
            pod_budgets: &self.pod_budgets,
            pending: &self.pending,
            leaving: &BTreeSet::new(),
            settings: self.settings,
            now: self.now,
        })
    }

    /// When the passing of time alone may change the answer.
    fn due(&self, state: &ClusterState, latest: Timestamp) -> Timestamp {
        let quiet = self.nodes.iter().filter_map(|facts| {
            let policy = self.pools.get(facts.pool.as_ref()?)?;
            facts.consolidatable_at(policy).filter(|at| *at > self.now)
        });
        quiet
            .chain(state.nominations_end(self.now))
            .min()
            .map_or(latest, |next| next.min(latest))
    }
}

/// Whether a machine was bought through this provisioner.
fn is_ours<P: Provisioner>(cx: &Context<P>, member: &Member) -> bool {
    member
        .claim
        .as_ref()
        .is_some_and(|claim| cx.is_ours(&claim.spec.node_class_ref))
}

fn facts(state: &ClusterState, member: &Member, now: Timestamp) -> Option<NodeFacts> {
    let claim = member.claim.as_ref()?;
    let mut facts = NodeFacts::of(claim, member.node.as_deref());
    facts.is_nominated = state.is_nominated(&claim.name_any(), now);
    facts.is_queued = state.is_marked(&claim.name_any());
    facts.is_deleting |= facts.is_queued;
    Some(facts)
}

impl Scan {
    /// The next thing to do, if there is one and it stayed right for a while.
    pub(super) async fn next<P: Provisioner>(&mut self, cx: &Context<P>) -> Option<Command> {
        let seen = cx.cluster.with(|state| state.version());
        let catalogs = catalogs(cx).await;
        let now = cx.now();
        if self.seen == Some((seen, versions(&catalogs))) && self.due.is_some_and(|due| now < due) {
            return None;
        }
        untaint_leftovers(cx).await;
        let view = cx.cluster.with(|state| View::of(cx, state, &catalogs));
        let outcome = view.ask(disrupt::decide);
        say(cx, &outcome.refused);
        let Some(command) = outcome.command else {
            let latest = now.saturating_add(cx.config.disruption_recheck).unwrap_or(now);
            self.due = Some(cx.cluster.with(|state| view.due(state, latest)));
            self.seen = Some(view.seen);
            return None;
        };
        self.seen = None;
        if !command.is_validated() {
            return Some(command);
        }
        drop(view);
        sleep(cx.config.validation_delay).await;
        validate(cx, &command).await
    }
}

/// The command as it still holds, on a new view of the cluster.
async fn validate<P: Provisioner>(cx: &Context<P>, command: &Command) -> Option<Command> {
    let catalogs = catalogs(cx).await;
    let view = cx.cluster.with(|state| View::of(cx, state, &catalogs));
    match view.ask(|cluster| disrupt::still_valid(command, cluster)) {
        Ok(command) => Some(command),
        Err(why) => {
            tracing::debug!(why, text = command.text, "a disruption did not stay right");
            None
        }
    }
}

/// Takes back what an earlier run began and did not finish.
async fn untaint_leftovers<P: Provisioner>(cx: &Context<P>) {
    let leftovers: Vec<String> = cx.cluster.with(|state| {
        let members = state
            .members()
            .into_iter()
            .filter(|member| is_ours(cx, member) && !state.is_leaving(member));
        let tainted = members.filter_map(|member| {
            let (node, claim) = (member.node.as_ref()?, member.claim.as_ref()?);
            let deleting = node.metadata.deletion_timestamp.is_some();
            (!deleting && orchestration::is_tainted(node, claim)).then(|| claim.name_any())
        });
        tainted.collect()
    });
    for claim in leftovers {
        orchestration::restore(cx, &claim).await;
    }
}

/// Says why machines stay; not of those that are about to change by themselves.
fn say<P: Provisioner>(cx: &Context<P>, refused: &[Refused]) {
    for refused in refused {
        let Some(reason) = refused.kind.event() else {
            continue;
        };
        for name in &refused.claims {
            let member = cx
                .cluster
                .with(|state| state.member(name).filter(|member| !state.is_leaving(member)));
            let Some(member) = member.filter(Member::is_initialized) else {
                continue;
            };
            let node = member.node.as_ref().map(|node| node.object_ref(&()));
            let claim = member.claim.as_ref().map(|claim| claim.object_ref(&()));
            for object in [node, claim].into_iter().flatten() {
                cx.announce_once_in(SILENCE, object, EventType::Normal, reason, refused.text.clone());
            }
        }
    }
}
