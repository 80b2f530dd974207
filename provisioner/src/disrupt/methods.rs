//! Emptiness and drift.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    BudgetBook, Candidate, Cluster, Command, Method, NodeFacts, Outcome, RefusedKind, Urgency,
    candidate::{refuse_candidate, unconsolidatable},
    candidates,
};
use crate::{
    karpenter::DisruptionReason,
    schedule::{Budget, Overlay, Plan, PodFacts, PodKey},
};

pub(super) fn facts_by_node<'a>(cluster: &Cluster<'a>) -> BTreeMap<&'a str, &'a NodeFacts> {
    cluster
        .nodes
        .iter()
        .map(|facts| (facts.node.as_str(), facts))
        .collect()
}

/// Deletes nodes without pods, as many as budgets allow, the dearest first.
#[must_use]
pub fn emptiness(cluster: &Cluster<'_>) -> Outcome {
    let facts = facts_by_node(cluster);
    let mut book = BudgetBook::new(cluster, DisruptionReason::Empty);
    let (mut candidates, mut refused) = candidates(cluster, Urgency::Graceful);
    candidates.retain(Candidate::is_empty);
    candidates.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()).then_with(|| a.node.cmp(&b.node)));
    let mut going = Vec::new();
    for candidate in candidates {
        let policy = &cluster.pools[&candidate.pool];
        if let Some(waiting) = unconsolidatable(cluster, facts[candidate.node.as_str()], policy) {
            refused.push(waiting);
        } else if book.take(&candidate.pool) {
            going.push(candidate);
        } else {
            refused.push(refuse_candidate(&candidate, RefusedKind::Blocked, book.refusal()));
        }
    }
    let command = (!going.is_empty()).then(|| Command {
        method: Method::Emptiness,
        reason: DisruptionReason::Empty,
        text: describe(&going, 0, "has no pods"),
        savings_per_hour: going.iter().filter_map(|candidate| candidate.price).sum(),
        candidates: going,
        replacements: Vec::new(),
    });
    Outcome { command, refused }
}

/// Replaces the node that drifted first, empty ones before others. What would leave pods without a place is passed over.
#[must_use]
pub fn drift(cluster: &Cluster<'_>) -> Outcome {
    let facts = facts_by_node(cluster);
    let mut book = BudgetBook::new(cluster, DisruptionReason::Drifted);
    let (mut candidates, refused) = candidates(cluster, Urgency::Eventual);
    let drifted = |candidate: &Candidate| facts[candidate.node.as_str()].drifted.as_ref();
    candidates.retain(|candidate| drifted(candidate).is_some());
    // Refusals matter here only for nodes that are drifted at all.
    let mut refused: Vec<_> = refused
        .into_iter()
        .filter(|r| r.nodes.iter().all(|node| facts[node.as_str()].drifted.is_some()))
        .collect();
    candidates.sort_by(|a, b| {
        let since = |candidate: &Candidate| drifted(candidate).map(|(since, _)| *since);
        b.pods
            .is_empty()
            .cmp(&a.pods.is_empty())
            .then(since(a).cmp(&since(b)))
            .then_with(|| a.node.cmp(&b.node))
    });
    for candidate in candidates {
        if !book.take(&candidate.pool) {
            refused.push(refuse_candidate(&candidate, RefusedKind::Blocked, book.refusal()));
            continue;
        }
        let why = drifted(&candidate)
            .map(|(_, reason)| reason.clone())
            .unwrap_or_default();
        let pods = pods_to_place(cluster, std::slice::from_ref(&candidate));
        let overlay = Overlay::without([candidate.node.as_str()]);
        let stranded = |plan: &Plan| {
            let moved = |key: &PodKey| candidate.pods.iter().any(|pod| pod.key == *key);
            plan.unschedulable.iter().find(|(key, _)| moved(key)).cloned()
        };
        let plan = cluster.prepared.solve(&pods, &overlay, Budget::default());
        if let Some((key, reason)) = stranded(&plan) {
            let text = format!("pod {key} would not find a place: {reason}");
            refused.push(refuse_candidate(&candidate, RefusedKind::Blocked, text));
            book.give_back(&candidate.pool);
            continue;
        }
        let plan = if plan.new.is_empty() {
            plan
        } else {
            // What is bought should be what is cheapest.
            let cheapest = cluster.prepared.solve(&pods, &overlay, Budget::auto(pods.len()));
            if stranded(&cheapest).is_none() {
                cheapest
            } else {
                plan
            }
        };
        let replacements: Vec<_> = plan
            .new
            .into_iter()
            .filter(|node| holds_any(&node.pods, &candidate.pods))
            .collect();
        let price: f64 = replacements.iter().map(crate::schedule::PlannedNode::price).sum();
        let command = Command {
            method: Method::Drift,
            reason: DisruptionReason::Drifted,
            text: describe(
                std::slice::from_ref(&candidate),
                replacements.len(),
                &format!("is drifted ({why})"),
            ),
            savings_per_hour: candidate.price.unwrap_or(0.0) - price,
            candidates: vec![candidate],
            replacements,
        };
        return Outcome {
            command: Some(command),
            refused,
        };
    }
    Outcome {
        command: None,
        refused,
    }
}

/// The pods that a simulation places: those of the candidates, and those that wait anyway.
pub(super) fn pods_to_place(cluster: &Cluster<'_>, candidates: &[Candidate]) -> Vec<Arc<PodFacts>> {
    let moved = candidates
        .iter()
        .flat_map(|candidate| candidate.pods.iter().map(Arc::clone));
    let mut pods: BTreeMap<PodKey, Arc<PodFacts>> = moved.map(|pod| (pod.key.clone(), pod)).collect();
    for pod in cluster.pending {
        pods.entry(pod.key.clone()).or_insert_with(|| Arc::clone(pod));
    }
    pods.into_values().collect()
}

pub(super) fn holds_any(keys: &[PodKey], pods: &[Arc<PodFacts>]) -> bool {
    keys.iter().any(|key| pods.iter().any(|pod| pod.key == *key))
}

pub(super) fn describe(candidates: &[Candidate], replacements: usize, why: &str) -> String {
    let names: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            let capacity_type = candidate
                .capacity_type
                .map_or("unknown", crate::CapacityType::as_str);
            format!("{}/{}/{capacity_type}", candidate.node, candidate.instance_type)
        })
        .collect();
    let verb = if replacements == 0 { "delete" } else { "replace" };
    let with = match replacements {
        0 => String::new(),
        count => format!(", with {count} new"),
    };
    format!("{verb} {} ({}){with}: {why}", candidates.len(), names.join(", "))
}
