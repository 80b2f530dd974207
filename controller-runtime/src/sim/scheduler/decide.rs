//! Where one pod goes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    filter::{Filters, Plugin},
    node_affinity,
    preempt::{self, Budget, Preemption},
    score,
    snapshot::{NodeInfo, PodInfo, Snapshot},
};

/// Why a pod goes nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Unschedulable {
    /// As the condition and the event have it.
    pub(crate) message: String,
    /// Whose change may help.
    pub(crate) plugins: BTreeSet<Plugin>,
    /// Where pods of lesser priority make room.
    pub(crate) preemption: Option<Preemption>,
    /// Whether room may still be made for it where it was being made.
    pub(crate) keeps_nomination: bool,
}

/// Below this many nodes all are looked at.
const MIN_NODES: usize = 100;

/// The best node for a pod. `workload` selects the pods of its service or workload, which are spread by default;
/// `budgets` protect pods; `start` is where to begin among many nodes; `seed` breaks ties.
pub(crate) fn place(
    pod: &PodInfo,
    workload: &[LabelSelector],
    snapshot: &Snapshot,
    budgets: &[Budget],
    start: usize,
    seed: u64,
) -> Result<(String, usize), Unschedulable> {
    if snapshot.nodes.is_empty() {
        return Err(Unschedulable {
            message: "no nodes available to schedule pods".to_owned(),
            plugins: BTreeSet::new(),
            preemption: None,
            keeps_nomination: false,
        });
    }
    let named = pod.spec().and_then(node_affinity::named_nodes);
    let filters = Filters::new(pod, snapshot);
    // Where room was made is looked at first.
    if let Some(node) = snapshot
        .nominated_node(&pod.uid)
        .and_then(|node| snapshot.nodes.get(node))
        && filters.check_with_nominated(node, snapshot).is_ok()
    {
        return Ok((node.name().to_owned(), start));
    }
    let all: Vec<&NodeInfo> = snapshot
        .nodes
        .values()
        .filter(|node| named.as_ref().is_none_or(|named| named.contains(node.name())))
        .collect();
    let enough = enough_nodes(all.len());
    let mut refusals = Refusals::new(snapshot.nodes.len());
    let mut feasible = Vec::new();
    let mut looked_at = 0;
    for index in 0..all.len() {
        let node = all[(start + index) % all.len()];
        looked_at += 1;
        match filters.check_with_nominated(node, snapshot) {
            Ok(()) => feasible.push(node),
            Err(refusal) => {
                if refusal.resolvable {
                    refusals.resolvable.push(node.name().to_owned());
                }
                refusals.add(refusal.plugin, &refusal.reasons);
            }
        }
        if feasible.len() == enough {
            break;
        }
    }
    let next = if all.is_empty() {
        0
    } else {
        (start + looked_at) % all.len()
    };
    match feasible.as_slice() {
        [] => {
            for _ in all.len()..snapshot.nodes.len() {
                refusals.add(
                    Plugin::NodeAffinity,
                    &["node(s) didn't satisfy plugin(s) [NodeAffinity]".to_owned()],
                );
            }
            Err(refusals.explain(pod, snapshot, budgets))
        }
        [only] => Ok((only.name().to_owned(), next)),
        _ => {
            feasible.sort_by_key(|node| node.name());
            let scores = score::scores(pod, workload, &feasible, &filters.inter_pod, snapshot);
            let best = feasible
                .iter()
                .zip(scores)
                .max_by_key(|(node, score)| (*score, lot(seed, &pod.uid, node.name())))
                .map(|(node, _)| node.name().to_owned());
            best.map(|name| (name, next))
                .ok_or_else(|| refusals.explain(pod, snapshot, budgets))
        }
    }
}

fn enough_nodes(all: usize) -> usize {
    if all < MIN_NODES {
        return all;
    }
    let percentage = 50_usize.saturating_sub(all / 125).max(5);
    (all * percentage / 100).max(MIN_NODES)
}

/// What chance says about a pod and a node: the same for the same seed.
fn lot(seed: u64, pod: &str, node: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in pod.bytes().chain([b'/']).chain(node.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 27)
}

struct Refusals {
    nodes: usize,
    by_reason: BTreeMap<String, usize>,
    plugins: BTreeSet<Plugin>,
    /// Where fewer pods might help.
    resolvable: Vec<String>,
}

impl Refusals {
    fn new(nodes: usize) -> Self {
        Self {
            nodes,
            by_reason: BTreeMap::new(),
            plugins: BTreeSet::new(),
            resolvable: Vec::new(),
        }
    }

    fn add(&mut self, plugin: Plugin, reasons: &[String]) {
        self.plugins.insert(plugin);
        for reason in reasons {
            *self.by_reason.entry(reason.clone()).or_default() += 1;
        }
    }

    /// The real scheduler's words: why not, and what making room by force does about it.
    fn explain(self, pod: &PodInfo, snapshot: &Snapshot, budgets: &[Budget]) -> Unschedulable {
        let nodes = self.nodes;
        let reasons = format!("0/{nodes} nodes are available: {}", histogram(self.by_reason));
        let objection = preempt::objection(pod, snapshot);
        let outcome = match objection {
            Some(objection) => Err(objection.to_owned()),
            None => preempt::find(pod, snapshot, &self.resolvable, budgets).map_err(|mut counts| {
                let hopeless = nodes - self.resolvable.len();
                counts.insert("Preemption is not helpful for scheduling".to_owned(), hopeless);
                format!("0/{nodes} nodes are available: {}", histogram(counts))
            }),
        };
        let (message, preemption) = match outcome {
            Ok(preemption) => (reasons, Some(preemption)),
            Err(why) => (
                format!("{reasons} no new claims to deallocate, preemption: {why}"),
                None,
            ),
        };
        Unschedulable {
            message,
            plugins: self.plugins,
            keeps_nomination: objection.is_some(),
            preemption,
        }
    }
}

fn histogram(counts: impl IntoIterator<Item = (String, usize)>) -> String {
    let mut words: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    words.sort();
    format!("{}.", words.join(", "))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
