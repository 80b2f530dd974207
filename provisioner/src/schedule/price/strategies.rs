//! Candidates: fleets that hold all pods, made in different ways.

use super::{
    Budget, PatternNode, Problem,
    dive::{self, Purchase, dive},
    greedy::greedy,
    model::Model,
    packing::{Node, Packing, fold},
    polish::{downsize_all, polish_nodes},
    price_of,
    realise::realise,
};

/// See [`Candidate::strategy`]: every time the column that covers most for its price.
pub const PRICE_PER_BOTTLENECK: &str = "price-per-bottleneck";

/// See [`Candidate::strategy`]: a linear program over patterns, rounded.
pub const PATTERN_GENERATION: &str = "pattern-generation";

/// A fleet is polished where it is so many times as far from the bound as is enough.
const WORTH_POLISHING: f64 = 3.0;

/// A fleet and how it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The name of the strategy.
    pub strategy: &'static str,
    /// Nodes that hold every pod that fits a column without limit.
    pub fleet: Vec<PatternNode>,
    /// Per hour.
    pub price: f64,
}

/// Fleets for `problem` by every strategy that the budget reaches, cheapest first. Columns with a limit are not used.
///
/// Stops early when one is within `enough` (0.005 is half a percent) of `lower_bound`.
#[must_use]
pub fn fleets(problem: &Problem, lower_bound: f64, enough: f64, budget: &mut Budget) -> Vec<Candidate> {
    let packing = Packing::new(problem);
    let model = Model::endless(problem);
    let counts: Vec<u32> = model.groups.iter().map(|group| group.count).collect();
    let nodes_of = |bought: Vec<Purchase>, budget: &mut Budget| {
        let mut nodes = realise(&packing, &model, bought, &mut pods(&packing, &model), budget);
        downsize_all(&packing, &mut nodes, budget);
        nodes
    };
    let bought = greedy(&model, &mut counts.clone(), budget);
    let mut made = vec![(PRICE_PER_BOTTLENECK, nodes_of(bought, budget))];
    let close = |nodes: &[Node], gap: f64| packing.price_of(nodes) <= lower_bound * (1.0 + gap);
    if !close(&made[0].1, enough) && model.groups.len() <= dive::MOST_GROUPS && !budget.is_spent() {
        let mut share = budget.share(2);
        let bought = dive(&model, &counts, &mut share);
        budget.give_back(share);
        let nodes = nodes_of(bought, budget);
        made.push((PATTERN_GENERATION, nodes));
    }
    made.sort_by(|a, b| packing.price_of(&a.1).total_cmp(&packing.price_of(&b.1)));
    let good = enough * WORTH_POLISHING;
    if !close(&made[0].1, good) {
        let target = lower_bound * (1.0 + good);
        polish_nodes(&packing, &model, &mut made[0].1, target, budget);
    }
    let candidate = |(strategy, nodes)| {
        let fleet = fold(&packing, nodes);
        let price = price_of(problem, &fleet);
        Candidate {
            strategy,
            fleet,
            price,
        }
    };
    made.into_iter().map(candidate).collect()
}

/// By class, how many pods there are to place.
fn pods(packing: &Packing<'_>, model: &Model) -> Vec<u32> {
    let mut pods: Vec<u32> = packing.problem.classes.iter().map(|class| class.count).collect();
    model.unplaceable.iter().for_each(|class| pods[*class] = 0);
    pods
}
