//! The choice among plans: the cheapest that places most pods and gives up fewest wishes.

use std::sync::Arc;

use super::{
    Budget, Overlay, Plan, PodFacts, Prepared,
    finish::finish,
    market::{Insist, Market},
    planned::Choice,
    price::{self, bound, fleets},
    solve::{Solver, Stuck},
};

/// This close to the bound a plan is good enough.
const ENOUGH: f64 = 0.005;

/// What a strategy came to.
struct Outcome<'a> {
    solver: Solver<'a>,
    stuck: Vec<Stuck>,
    strategy: &'static str,
    price: f64,
}

/// The cheapest plan that the strategies within the budget make.
pub(super) fn solve(prepared: &Prepared, pods: &[Arc<PodFacts>], overlay: &Overlay, budget: Budget) -> Plan {
    let base = Solver::new(prepared, pods, overlay);
    let Some(units) = budget.price_units.filter(|units| *units > 0) else {
        let mut solver = base;
        let stuck = solver.run(budget);
        return finish(solver, &stuck);
    };
    let mut work = price::Budget::units(units);
    let mut best = run(base.clone(), "first-fit-decreasing", budget);
    let lower_bound = lower_bound(base.clone(), &best, &mut work);
    if best.price > lower_bound * (1.0 + ENOUGH) {
        let others = least_cost(&base, budget, &mut work).into_iter();
        for other in others.chain(guided(&base, &best, lower_bound, budget, &mut work)) {
            if other.beats(&best) {
                best = other;
            }
        }
    }
    debug_assert!(
        !best.stuck.is_empty() || lower_bound <= best.price * (1.0 + 1e-9),
        "the bound {lower_bound} is above the price {} of a plan",
        best.price
    );
    let strategy = best.strategy;
    let mut plan = finish(best.solver, &best.stuck);
    plan.strategy = strategy;
    plan.lower_bound_per_hour = lower_bound.min(plan.price_per_hour);
    plan
}

fn run<'a>(mut solver: Solver<'a>, strategy: &'static str, budget: Budget) -> Outcome<'a> {
    let stuck = solver.run(budget);
    let price = solver.price();
    Outcome {
        solver,
        stuck,
        strategy,
        price,
    }
}

/// Puts every pod where it adds least to the price; nothing if that takes more than half of the budget.
fn least_cost<'a>(base: &Solver<'a>, budget: Budget, work: &mut price::Budget) -> Option<Outcome<'a>> {
    let mut solver = base.clone();
    solver.choice = Choice::LeastCost;
    solver.most_work = work.left() / 2;
    let outcome = run(solver, "least-cost", budget);
    *work = price::Budget::units(work.left().saturating_sub(outcome.solver.work));
    (outcome.solver.work <= outcome.solver.most_work).then_some(outcome)
}

/// What no plan that places the same pods can cost less than.
fn lower_bound(mut base: Solver<'_>, outcome: &Outcome<'_>, work: &mut price::Budget) -> f64 {
    let mut placed = vec![true; base.order.len()];
    outcome.stuck.iter().for_each(|stuck| placed[stuck.pod] = false);
    let pods: Vec<usize> = (0..placed.len()).filter(|pod| placed[*pod]).collect();
    let market = Market::new(&mut base, &pods, Insist::Needs);
    let mut share = price::Budget::units(work.left() / 3);
    let bound = bound(&market.problem, &mut share);
    bound.lower_bound
}

/// Runs along the fleets for the pods that have new nodes so far.
fn guided<'a>(
    base: &Solver<'a>,
    first: &Outcome<'a>,
    lower_bound: f64,
    budget: Budget,
    work: &mut price::Budget,
) -> Vec<Outcome<'a>> {
    let pods: Vec<usize> = first
        .solver
        .claims
        .all
        .iter()
        .flat_map(|claim| claim.pods.iter().copied())
        .collect();
    let market = Market::new(&mut base.clone(), &pods, Insist::All);
    let candidates = fleets(&market.problem, lower_bound, ENOUGH, work);
    let follow = |candidate: price::Candidate| {
        let advice = market.advice(candidate.strategy, &candidate.fleet);
        let mut solver = base.clone();
        solver.choice = Choice::LeastCost;
        solver.follow(&advice);
        let opened = solver.claims.all.len();
        let mut outcome = run(solver, candidate.strategy, budget);
        outcome.solver.widen(0..opened);
        outcome
    };
    candidates.into_iter().take(1).map(follow).collect()
}

impl Outcome<'_> {
    /// More pods have a place; or as many at a lower price, or on fewer nodes, without giving up more wishes.
    fn beats(&self, other: &Self) -> bool {
        if self.stuck.len() != other.stuck.len() {
            return self.stuck.len() < other.stuck.len();
        }
        let nodes = |outcome: &Self| outcome.solver.claims.all.len();
        let cheaper = self.price < other.price - 1e-9;
        let equal = self.price <= other.price && nodes(self) < nodes(other);
        self.solver.given_up <= other.solver.given_up && (cheaper || equal)
    }
}
