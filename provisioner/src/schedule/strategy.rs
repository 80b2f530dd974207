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

/// This far from the bound a plan is worth the rest of the budget.
const FAR: f64 = 0.12;

/// What the bound takes at most, and what it may take for each pod more.
const BOUND_WORK: (u64, u64) = (1_500_000, 1_000);
/// The same of fleets at first.
const FLEET_WORK: (u64, u64) = (500_000, 4_000);

/// What a strategy came to.
struct Outcome<'a> {
    solver: Solver<'a>,
    stuck: Vec<Stuck>,
    strategy: &'static str,
    price: f64,
}

/// The cheapest plan that the strategies within the budget make.
pub(super) fn solve(prepared: &Prepared, pods: &[Arc<PodFacts>], overlay: &Overlay, budget: Budget) -> Plan {
    let base = Solver::new(prepared, pods.iter().map(Arc::as_ref).collect(), overlay);
    if budget.price_units.is_none_or(|units| units == 0) {
        let mut solver = base;
        let stuck = solver.run(budget);
        return finish(solver, &stuck);
    }
    let mut first = base.clone();
    let stuck = first.run(budget);
    improve(&base, first, stuck, budget)
}

/// The cheapest of a plan by first fit and those that the strategies within the budget make; nothing is placed in `base`.
pub(super) fn improve<'a>(base: &Solver<'a>, first: Solver<'a>, stuck: Vec<Stuck>, budget: Budget) -> Plan {
    let pods = base.order.len();
    let mut work = price::Budget::units(budget.price_units.unwrap_or(0));
    let mut best = outcome(first, stuck, "first-fit-decreasing");
    let lower_bound = lower_bound(base.clone(), &best, &mut work);
    let is_within = |best: &Outcome<'_>, gap: f64| best.price <= lower_bound * (1.0 + gap);
    let mut by_fleet = None;
    if !is_within(&best, ENOUGH) {
        let mut share = share(&mut work, pods, FLEET_WORK);
        by_fleet = guided(base, &best, lower_bound, budget, &mut share);
        work = price::Budget::units(work.left().saturating_add(share.left()));
        by_fleet = by_fleet.filter(|other| other.beats(&best));
    }
    let fleets_fail = by_fleet.is_none();
    best = by_fleet.unwrap_or(best);
    // Where fleets get nowhere the pods are choosy about each other, which this minds.
    if !is_within(&best, if fleets_fail { ENOUGH } else { FAR }) {
        let other = least_cost(base, budget, &mut work);
        best = other.filter(|other| other.beats(&best)).unwrap_or(best);
    }
    if !fleets_fail && !is_within(&best, FAR) {
        let other = guided(base, &best, lower_bound, budget, &mut work);
        best = other.filter(|other| other.beats(&best)).unwrap_or(best);
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
    outcome(solver, stuck, strategy)
}

fn outcome<'a>(mut solver: Solver<'a>, stuck: Vec<Stuck>, strategy: &'static str) -> Outcome<'a> {
    let price = solver.price();
    Outcome {
        solver,
        stuck,
        strategy,
        price,
    }
}

/// Takes what one task may spend: so much, and so much for each pod, but no more than half of what is left.
fn share(work: &mut price::Budget, pods: usize, (base, per_pod): (u64, u64)) -> price::Budget {
    let most = base.saturating_add(per_pod.saturating_mul(pods as u64));
    let share = price::Budget::units(most.min(work.left() / 2));
    *work = price::Budget::units(work.left() - share.left());
    share
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
    let mut share = share(work, pods.len(), BOUND_WORK);
    let bound = bound(&market.problem, &mut share);
    *work = price::Budget::units(work.left().saturating_add(share.left()));
    bound.lower_bound
}

/// Runs along the fleets for the pods that have new nodes so far.
fn guided<'a>(
    base: &Solver<'a>,
    first: &Outcome<'a>,
    lower_bound: f64,
    budget: Budget,
    work: &mut price::Budget,
) -> Option<Outcome<'a>> {
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
    candidates.into_iter().next().map(follow)
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
