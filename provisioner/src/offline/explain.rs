//! Why a pod goes where it goes, or nowhere.

use std::fmt::Write as _;

use super::Report;
use crate::{
    Offering,
    schedule::{Place, Plan, PlannedNode, PodKey, Prepared, Reason},
};

/// Why a pod has the place that it has in a plan, or none, in lines; nothing if the plan does not know it. `report` is
/// the plan's own, for the names of new nodes.
#[must_use]
pub fn explain(plan: &Plan, prepared: &Prepared, report: &Report, pod: &PodKey) -> Option<String> {
    match plan.place_of(pod) {
        Some(Place::Node(name)) => Some(on_existing(prepared, name, pod)),
        Some(Place::New(index)) => {
            let name = &report.nodes.get(index)?.name;
            Some(on_new(plan.new.get(index)?, name, pod))
        }
        None => {
            let (_, reason) = plan.unschedulable.iter().find(|(key, _)| key == pod)?;
            Some(nowhere(reason, pod))
        }
    }
}

/// `name value` as the lines of an explanation begin.
fn line(text: &mut String, name: &str, value: &str) {
    let _written = writeln!(text, "  {name:<15}{value}");
}

fn on_existing(prepared: &Prepared, name: &str, pod: &PodKey) -> String {
    let mut text = format!("{pod} goes to {name}, which is there: nothing is bought for it\n");
    if let Some(node) = prepared.node(name) {
        let pool = node.pool.as_deref().unwrap_or("none, it is not of any pool");
        line(&mut text, "pool", pool);
        for (word, label) in [
            ("type", crate::karpenter::labels::INSTANCE_TYPE),
            ("zone", crate::karpenter::labels::ZONE),
            ("capacity type", crate::karpenter::labels::CAPACITY_TYPE),
        ] {
            if let Some(value) = node.label(label) {
                line(&mut text, word, value);
            }
        }
    }
    if let Some(left) = prepared.remaining(name) {
        line(&mut text, "free before", &left.to_string());
    }
    text
}

fn on_new(node: &PlannedNode, name: &str, pod: &PodKey) -> String {
    let choice = &node.choice;
    let with = match node.pods.len().saturating_sub(1) {
        0 => String::new(),
        1 => " and another pod".to_owned(),
        others => format!(" and {others} other pods"),
    };
    let mut text = format!(
        "{pod} goes to {name}, which is to be bought for it{with}: {} {} in {} at {:.4} an hour\n",
        choice.capacity_type, choice.instance_type, choice.zone, choice.price
    );
    line(
        &mut text,
        "pool",
        &format!("{}, the first by weight that can take it", node.pool),
    );
    for (pool, refusal) in &node.passed_over {
        line(&mut text, "", &format!("not {pool}: {refusal}"));
    }
    let why = format!(
        "{} is the cheapest of {} that have room for all of it: {}",
        choice.instance_type,
        types(node.options.len()),
        node.requests
    );
    line(&mut text, "type", &why);
    let next = node
        .options
        .iter()
        .find(|option| option.instance_type.name != choice.instance_type);
    let next = next.map(|option| (option.instance_type.name.clone(), option.price));
    line(&mut text, "", &next_best(choice.price, next));
    line(&mut text, "zone", &choice.zone);
    let next = cheapest(node, |offering| offering.zone != choice.zone);
    let next = next.map(|(it, offering)| (format!("{} ({it})", offering.zone), offering.price));
    line(&mut text, "", &next_best(choice.price, next));
    line(&mut text, "capacity type", choice.capacity_type.as_str());
    let next = cheapest(node, |offering| offering.capacity_type != choice.capacity_type);
    let next = next.map(|(it, offering)| (format!("{} ({it})", offering.capacity_type), offering.price));
    line(&mut text, "", &next_best(choice.price, next));
    line(&mut text, "asks for", &node.requirements.to_string());
    text
}

fn types(count: usize) -> String {
    if count == 1 {
        "the one type".to_owned()
    } else {
        format!("{count} types")
    }
}

/// What the runner-up would have cost.
fn next_best(price: f64, next: Option<(String, f64)>) -> String {
    match next {
        None => "nothing else would do".to_owned(),
        Some((name, other)) if price > 0.0 => format!(
            "next best {name} at {other:.4} an hour ({:+.1} %)",
            (other / price - 1.0) * 100.0
        ),
        Some((name, other)) => format!("next best {name} at {other:.4} an hour"),
    }
}

/// The cheapest offering of the node's options that `suits`, with its type.
fn cheapest(node: &PlannedNode, suits: impl Fn(&Offering) -> bool) -> Option<(&str, &Offering)> {
    let offerings = node.options.iter().flat_map(|option| {
        let it = &option.instance_type;
        it.available_offerings(&node.requirements)
            .map(|offering| (it.name.as_str(), offering))
    });
    offerings
        .filter(|(_, offering)| suits(offering))
        .min_by(|(_, one), (_, other)| one.price.total_cmp(&other.price))
}

fn nowhere(reason: &Reason, pod: &PodKey) -> String {
    let mut text = format!("{pod} has no place\n");
    match reason {
        Reason::Pools(refusals) => {
            for (pool, refusal) in refusals {
                line(&mut text, &format!("pool {pool}"), &refusal.to_string());
            }
            if refusals.is_empty() {
                line(&mut text, "pools", "none was tried");
            }
        }
        other => line(&mut text, "why", &other.to_string()),
    }
    text
}
