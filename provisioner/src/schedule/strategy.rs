//! Ways to choose a place, and the choice among the plans that they make.

use std::sync::Arc;

use super::{
    Budget, Overlay, Plan, PodFacts, Prepared,
    finish::finish,
    solve::{Solver, Stuck},
};

/// A way to choose a place among planned nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The node with the fewest pods that takes a pod, as Karpenter does it.
    FirstFit,
    /// Where a pod adds least to the price.
    LeastCost,
}

impl Strategy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FirstFit => "first-fit-decreasing",
            Self::LeastCost => "least-cost",
        }
    }
}

/// The best plan that the strategies within the budget make: never one that places fewer pods, gives up more wishes, or
/// is dearer than first fit.
pub(super) fn solve(prepared: &Prepared, pods: &[Arc<PodFacts>], overlay: &Overlay, budget: Budget) -> Plan {
    let base = Solver::new(prepared, pods, overlay);
    let work = budget.effort.units(pods.len());
    if work == 0 {
        let first = run(base, Strategy::FirstFit, budget, u64::MAX);
        return finish(first.solver, &first.stuck);
    }
    let mut best = run(base.clone(), Strategy::FirstFit, budget, u64::MAX);
    // One node cannot be had for less by placing its pods otherwise.
    if best.solver.claims.all.len() > 1 {
        let other = run(base, Strategy::LeastCost, budget, work);
        if other.beats(&best) {
            best = other;
        }
    }
    finish(best.solver, &best.stuck)
}

/// What a strategy came to.
struct Outcome<'a> {
    solver: Solver<'a>,
    stuck: Vec<Stuck>,
    price: f64,
}

fn run(mut solver: Solver<'_>, strategy: Strategy, budget: Budget, most_work: u64) -> Outcome<'_> {
    solver.strategy = strategy;
    solver.most_work = most_work;
    let stuck = solver.run(budget);
    let price = solver.price();
    Outcome { solver, stuck, price }
}

impl Outcome<'_> {
    /// More pods have a place; or as many for less, or for as much on fewer nodes, without giving up more wishes.
    fn beats(&self, other: &Self) -> bool {
        if self.stuck.len() != other.stuck.len() {
            return self.stuck.len() < other.stuck.len();
        }
        let nodes = |outcome: &Self| outcome.solver.claims.all.len();
        let cheaper = self.price < other.price - 1e-9;
        let fewer = self.price <= other.price && nodes(self) < nodes(other);
        self.solver.given_up <= other.solver.given_up && (cheaper || fewer)
    }
}
