//! A plan as it is printed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::schedule::{Plan, World};

/// A plan as JSON. Prices are per hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nodes to buy.
    pub nodes: Vec<NodeReport>,
    /// Pods that fit on nodes that are there.
    pub existing: Vec<ExistingReport>,
    /// Pods without a place.
    pub unschedulable: Vec<UnschedulableReport>,
    /// What the new nodes cost.
    pub price_per_hour: f64,
    /// What any plan costs at least.
    pub lower_bound_per_hour: f64,
    /// How much the price is above the bound, in percent of the bound; 100 where no bound is known.
    pub gap_percent: f64,
    /// From parsed inputs to the plan, in seconds of wall time.
    pub solve_seconds: f64,
    /// Which strategy made the plan.
    pub strategy: String,
}

/// A node to buy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// A name of its own; the real one is made at launch.
    pub name: String,
    /// For this pool.
    pub node_pool: String,
    /// The type that it commits to.
    pub instance_type: String,
    /// The zone.
    pub zone: String,
    /// How it is bought.
    pub capacity_type: String,
    /// At this price.
    pub price_per_hour: f64,
    /// What it may be instead, cheapest first, the type that it commits to among them.
    pub instance_type_options: Vec<String>,
    /// The pods for it, as `namespace/name`.
    pub pods: Vec<String>,
}

/// A node that is there, and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExistingReport {
    /// Its name.
    pub node: String,
    /// The pods for it, as `namespace/name`.
    pub pods: Vec<String>,
}

/// A pod without a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnschedulableReport {
    /// Which, as `namespace/name`.
    pub pod: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Of a plan for a world that took `seconds`.
    #[must_use]
    pub fn of(plan: &Plan, world: &World, seconds: f64) -> Self {
        let lower_bound = plan.lower_bound_per_hour;
        let names: BTreeSet<&str> = world.nodes.iter().map(|node| node.name.as_str()).collect();
        let mut number = 0;
        let mut nodes = Vec::with_capacity(plan.new.len());
        for node in &plan.new {
            let name = loop {
                number += 1;
                let name = format!("{}-{number}", node.pool);
                if !names.contains(name.as_str()) {
                    break name;
                }
            };
            let options = node
                .options
                .iter()
                .map(|option| option.instance_type.name.clone());
            nodes.push(NodeReport {
                name,
                node_pool: node.pool.clone(),
                instance_type: node.choice.instance_type.clone(),
                zone: node.choice.zone.clone(),
                capacity_type: node.choice.capacity_type.to_string(),
                price_per_hour: node.choice.price,
                instance_type_options: options.collect(),
                pods: node.pods.iter().map(ToString::to_string).collect(),
            });
        }
        let existing = plan.existing.iter().map(|(node, pods)| ExistingReport {
            node: node.clone(),
            pods: pods.iter().map(ToString::to_string).collect(),
        });
        let unschedulable = plan
            .unschedulable
            .iter()
            .map(|(pod, reason)| UnschedulableReport {
                pod: pod.to_string(),
                reason: reason.to_string(),
            });
        Self {
            nodes,
            existing: existing.collect(),
            unschedulable: unschedulable.collect(),
            // An empty sum is negative zero.
            price_per_hour: plan.price_per_hour + 0.0,
            lower_bound_per_hour: lower_bound,
            gap_percent: gap_percent(plan.price_per_hour, lower_bound),
            solve_seconds: seconds,
            strategy: plan.strategy.to_owned(),
        }
    }

    /// Whether every pod has a place.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unschedulable.is_empty()
    }
}

/// How much a price is above a bound, in percent of the bound.
fn gap_percent(price: f64, bound: f64) -> f64 {
    if bound > 0.0 {
        ((price - bound) / bound * 100.0).max(0.0)
    } else if price > 0.0 {
        // Nothing is known, which is not infinitely bad.
        100.0
    } else {
        0.0
    }
}
