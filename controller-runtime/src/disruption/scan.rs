//! One look at the cluster for something to take away.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kube::ResourceExt as _;
use provisioner::{
    Catalog, Provisioner,
    disrupt::{BudgetUsage, allowed},
    karpenter::{DisruptionReason, condition::is_true, labels, node_claim::conditions},
    schedule::{PodFacts, Prepared},
};
use tokio::time::sleep;

use super::{
    candidates::{self, Blocked, Class},
    methods::{self, Allowed, Candidate, Question},
    orchestration::{self, Command},
};
use crate::{
    cluster::{Catalogs, ClusterState, Member, pod},
    events::EventType,
    node_autoscaler::Context,
    provisioning::catalogs,
    store::ObjectKey,
};

/// Why machines stay is said again after this time at the earliest.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(3600);

/// What scans remember: a cluster in which nothing has changed need not be looked at.
#[derive(Debug, Default)]
pub(super) struct Scan {
    seen: Option<(u64, Vec<(String, u64)>)>,
    /// When to look although nothing has changed.
    due: Option<Timestamp>,
}

/// The cluster as a scan sees it.
struct View {
    seen: (u64, Vec<(String, u64)>),
    prepared: Prepared,
    waiting: Vec<Arc<PodFacts>>,
    graceful: Vec<Candidate>,
    eventual: Vec<Candidate>,
    blocked: Vec<(Member, String)>,
    usage: BTreeMap<String, BudgetUsage>,
}

impl View {
    fn question(&self) -> Question<'_> {
        Question { prepared: &self.prepared, waiting: &self.waiting }
    }
}

impl Scan {
    /// The next thing to do, if there is one and it stayed right for a while.
    pub(super) async fn next<P: Provisioner>(&mut self, cx: &Context<P>) -> Option<Command> {
        untaint_leftovers(cx).await;
        let catalogs = catalogs(cx).await;
        let seen = (cx.cluster.with(|state| state.version()), versions(&catalogs));
        let now = cx.now();
        if self.seen.as_ref() == Some(&seen) && self.due.is_some_and(|due| now < due) {
            return None;
        }
        let view = cx.cluster.with(|state| view(state, &catalogs, now));
        let (command, stay) = decide(cx, &view);
        say(cx, &view, &stay);
        let Some(command) = command else {
            self.due = cx.cluster.with(|state| due(state, now, now.saturating_add(cx.config.disruption_recheck).unwrap_or(now)));
            self.seen = Some(view.seen);
            return None;
        };
        self.seen = None;
        if command.reason == DisruptionReason::Drifted {
            return Some(command);
        }
        drop(view);
        sleep(cx.config.validation_delay).await;
        validate(cx, command).await
    }
}

fn versions(catalogs: &Catalogs) -> Vec<(String, u64)> {
    catalogs.iter().map(|(pool, catalog)| (pool.clone(), catalog.version)).collect()
}

/// When the next nomination ends, or `latest`.
fn due(state: &ClusterState, now: Timestamp, latest: Timestamp) -> Option<Timestamp> {
    Some(state.nominations_end(now).map_or(latest, |end| end.min(latest)))
}

/// Takes back what an earlier run began and did not finish.
async fn untaint_leftovers<P: Provisioner>(cx: &Context<P>) {
    let leftovers: Vec<String> = cx.cluster.with(|state| {
        let members = state.members().into_iter().filter(|member| !state.is_leaving(member));
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

fn view(state: &ClusterState, catalogs: &Catalogs, now: Timestamp) -> View {
    let snapshot = state.snapshot(catalogs);
    let names: BTreeMap<&str, &str> = snapshot
        .members
        .iter()
        .filter_map(|(node, member)| Some((member.claim_name()?, node.as_str())))
        .collect();
    let mut blocked = Vec::new();
    let mut of = |class: Class| -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (claim, (member, checked)) in candidates::all(state, class, now) {
            match checked {
                Ok(()) => {
                    let node = names.get(claim.as_str()).copied().unwrap_or_default();
                    candidates.extend(candidate(state, &member, node, catalogs, now));
                }
                Err(Blocked::Because(why)) if class == Class::Graceful => blocked.push((member, why)),
                Err(_) => {}
            }
        }
        candidates
    };
    let (graceful, eventual) = (of(Class::Graceful), of(Class::Eventual));
    let waiting = state.to_place().iter().filter_map(|pod| state.facts(&ObjectKey::of(&**pod))).collect();
    let usage = state.pools().map(|pool| (pool.name_any(), usage(state, &pool.name_any()))).collect();
    let seen = (snapshot.version, versions(catalogs));
    View { seen, prepared: Prepared::new(snapshot.world), waiting, graceful, eventual, blocked, usage }
}

fn usage(state: &ClusterState, pool: &str) -> BudgetUsage {
    let mut usage = BudgetUsage::default();
    for member in state.members_of(pool).filter(Member::is_initialized) {
        let terminating = member.claim.as_ref().is_some_and(|claim| is_true(claim.conditions(), conditions::INSTANCE_TERMINATING));
        if terminating {
            continue;
        }
        usage.total += 1;
        usage.disrupting += u32::from(!member.is_ready() || state.is_leaving(&member));
    }
    usage
}

fn candidate(
    state: &ClusterState,
    member: &Member,
    node: &str,
    catalogs: &Catalogs,
    now: Timestamp,
) -> Option<Candidate> {
    let claim = member.claim.as_ref()?;
    let pool = state.pool(claim.pool()?)?;
    let pods = state.pods_on(member.node_name()?);
    let moved = pods.iter().filter(|pod| pod::is_reschedulable(pod) && !pod::is_protected(pod, now));
    let drifted = member.condition(conditions::DRIFTED).filter(|drifted| drifted.status == "True");
    Some(Candidate {
        claim: claim.name_any(),
        node: node.to_owned(),
        policy: pool.spec.disruption.consolidation_policy,
        instance_type: member.label(labels::INSTANCE_TYPE).unwrap_or_default().to_owned(),
        capacity_type: claim.capacity_type(),
        price: catalogs.get(&pool.name_any()).and_then(|catalog| price(catalog, member)),
        pods: moved.filter_map(|pod| state.facts(&ObjectKey::of(&**pod))).collect(),
        consolidatable: is_true(claim.conditions(), conditions::CONSOLIDATABLE),
        drifted_at: drifted.map(|drifted| drifted.last_transition_time.0),
        pool: pool.name_any(),
    })
}

/// What a machine costs per hour by the catalogue of now.
fn price(catalog: &Catalog, member: &Member) -> Option<f64> {
    let (name, zone) = (member.label(labels::INSTANCE_TYPE)?, member.label(labels::ZONE)?);
    let capacity_type = member.label(labels::CAPACITY_TYPE)?;
    let instance_type = catalog.instance_types.iter().find(|instance_type| instance_type.name == name)?;
    let offerings = instance_type.offerings.iter();
    let mut same = offerings.filter(|offering| offering.zone == zone && offering.capacity_type.as_str() == capacity_type);
    same.next().map(|offering| offering.price)
}

/// How many machines of each pool may go for a reason.
fn allowances<P: Provisioner>(cx: &Context<P>, view: &View, reason: DisruptionReason) -> Allowed {
    let now = cx.now();
    cx.cluster.with(|state| {
        let pools = state.pools().filter_map(|pool| {
            let name = pool.name_any();
            let usage = view.usage.get(&name).copied().unwrap_or_default();
            Some((name, allowed(&pool.spec.disruption.budgets, reason, usage, now)?))
        });
        pools.collect()
    })
}

/// The methods in their order; the first that finds something ends it.
fn decide<P: Provisioner>(cx: &Context<P>, view: &View) -> (Option<Command>, Vec<(String, String)>) {
    let question = view.question();
    if let Some(command) = methods::emptiness(&view.graceful, &allowances(cx, view, DisruptionReason::Empty)) {
        return (Some(command), Vec::new());
    }
    let drifted = allowances(cx, view, DisruptionReason::Drifted);
    if let Some(command) = methods::drift(question, &view.eventual, &drifted) {
        return (Some(command), Vec::new());
    }
    let underutilized = allowances(cx, view, DisruptionReason::Underutilized);
    if let Some(command) = methods::several(question, &view.graceful, &underutilized) {
        return (Some(command), Vec::new());
    }
    methods::single(question, &view.graceful, &underutilized)
}

/// Whether a command is still right, on a new view of the cluster.
async fn validate<P: Provisioner>(cx: &Context<P>, command: Command) -> Option<Command> {
    let catalogs = catalogs(cx).await;
    let view = cx.cluster.with(|state| view(state, &catalogs, cx.now()));
    let allowed = allowances(cx, &view, command.reason);
    methods::still_right(view.question(), command, &view.graceful, &allowed)
}

/// Says why machines stay.
fn say<P: Provisioner>(cx: &Context<P>, view: &View, stay: &[(String, String)]) {
    for (member, why) in &view.blocked {
        announce(cx, member, "DisruptionBlocked", why);
    }
    for (claim, why) in stay {
        if let Some(member) = cx.cluster.with(|state| state.member(claim)) {
            announce(cx, &member, "Unconsolidatable", why);
        }
    }
}

fn announce<P: Provisioner>(cx: &Context<P>, member: &Member, reason: &str, why: &str) {
    use kube::Resource as _;
    let node = member.node.as_ref().map(|node| node.object_ref(&()));
    let claim = member.claim.as_ref().map(|claim| claim.object_ref(&()));
    for object in [node, claim].into_iter().flatten() {
        cx.announce_once_in(SILENCE, object, EventType::Normal, reason, why.to_owned());
    }
}
