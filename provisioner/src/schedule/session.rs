//! Planning bit by bit: so many pods at a time, and more pods when they come.
//!
//! A question that must not take longer than it may is asked in slices ([`Session::run`], [`Session::run_until`]); in
//! whatever slices, the answer is the same to the byte. In between [`Session::plan`] says what is decided so far. A pod
//! that was not looked at yet comes before those that found no place, also in the next question, if that is told
//! ([`Batch::after`]): no pod starves.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Budget, Overlay, Plan, PodFacts, PodKey, Prepared, Reason,
    finish::finish,
    settings,
    solve::{Placement, Solver, Target},
    strategy,
};

/// Pods to plan for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pods: Vec<Arc<PodFacts>>,
    /// Those that come first.
    waiting: BTreeSet<PodKey>,
}

/// A question on its way to an answer.
#[derive(Clone, Debug)]
pub struct Session<'p> {
    prepared: &'p Prepared,
    overlay: &'p Overlay,
    batches: Vec<&'p Batch>,
    solver: Solver<'p>,
}

impl Prepared {
    /// Pods as the world's settings have them.
    #[must_use]
    pub fn batch(&self, pods: &[Arc<PodFacts>]) -> Batch {
        Batch {
            pods: settings::settled(self.world(), pods).into_owned(),
            waiting: BTreeSet::new(),
        }
    }

    /// Begins to place a batch in the world as `overlay` has it.
    #[must_use]
    pub fn start<'p>(&'p self, batch: &'p Batch, overlay: &'p Overlay) -> Session<'p> {
        let batches = vec![batch];
        Session {
            solver: fresh(self, &batches, overlay),
            prepared: self,
            overlay,
            batches,
        }
    }
}

impl Batch {
    /// Pods that an earlier plan did not get to come first.
    #[must_use]
    pub fn after(mut self, plan: &Plan) -> Self {
        let untried = plan.unschedulable.iter();
        let untried = untried.filter(|(_, reason)| *reason == Reason::NotTried);
        self.waiting.extend(untried.map(|(pod, _)| pod.clone()));
        self
    }
}

impl<'p> Session<'p> {
    /// Tries so many pods more, those that come round again counted again. Whether that was all there is to do.
    pub fn run(&mut self, pods: u64) -> bool {
        let mut left = pods;
        self.run_until(|| {
            let is_over = left == 0;
            left = left.saturating_sub(1);
            is_over
        })
    }

    /// Goes on until `is_over` says, which is asked before every pod, that time is up. Whether that was all there is to do.
    pub fn run_until(&mut self, mut is_over: impl FnMut() -> bool) -> bool {
        self.solver.run_while(|_| !is_over())
    }

    /// What is decided so far; pods that were not looked at yet are [`Reason::NotTried`].
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut solver = self.solver.clone();
        solver.settle_reserved();
        let stuck = solver.stuck();
        finish(solver, &stuck)
    }

    /// Takes in pods that came later. Those that have a place keep it; the new ones are next after those that were not
    /// looked at yet, and those that found no place are tried again.
    pub fn join(&mut self, batch: &'p Batch) {
        self.batches.push(batch);
        let pods: Vec<&PodFacts> = batch.pods.iter().map(Arc::as_ref).collect();
        let (before, log) = (self.solver.queue(), self.solver.log.clone());
        if !self.solver.take_in(&pods) {
            // They bring constraints that count pods which have a place already: all is worked out anew, but for the places.
            self.solver = Solver::new(self.prepared, pods_of(&self.batches), self.overlay);
            self.solver.replay(&log);
        }
        self.solver.requeue(&before);
    }

    /// Does what is left to do, then spends the budget on a lower price. Without pods that joined, this is what
    /// [`Prepared::solve`] answers; with them, a plan that is made anew for all pods competes with the one that grew.
    #[must_use]
    pub fn finish(mut self, budget: Budget) -> Plan {
        let stuck = self.solver.run(budget);
        if budget.price_units.is_none_or(|units| units == 0) {
            return finish(self.solver, &stuck);
        }
        let base = fresh(self.prepared, &self.batches, self.overlay);
        strategy::improve(&base, self.solver, stuck, budget)
    }
}

fn pods_of<'p>(batches: &[&'p Batch]) -> Vec<&'p PodFacts> {
    let pods = batches.iter().flat_map(|batch| &batch.pods);
    pods.map(Arc::as_ref).collect()
}

/// Nothing is placed yet.
fn fresh<'p>(prepared: &'p Prepared, batches: &[&'p Batch], overlay: &'p Overlay) -> Solver<'p> {
    let mut solver = Solver::new(prepared, pods_of(batches), overlay);
    let waits = |pod: &PodFacts| batches.iter().any(|batch| batch.waiting.contains(&pod.key));
    if batches.iter().any(|batch| !batch.waiting.is_empty()) {
        solver.put_first(waits);
    }
    solver
}

impl<'a> Solver<'a> {
    /// The pods without a place: those that were not tried yet, and those that were.
    fn queue(&self) -> (Vec<usize>, Vec<usize>) {
        self.order.iter().partition(|pod| self.seen[**pod].is_none())
    }

    fn put_first(&mut self, waits: impl Fn(&PodFacts) -> bool) {
        let (mut first, rest): (Vec<usize>, Vec<usize>) =
            self.order.iter().partition(|pod| waits(self.pod(**pod)));
        first.extend(rest);
        self.order = first.into();
    }

    /// Puts pods that joined between those that were not tried yet and those that were, which may be tried again.
    fn requeue(&mut self, (untried, tried): &(Vec<usize>, Vec<usize>)) {
        let known: BTreeSet<usize> = untried.iter().chain(tried).copied().collect();
        let joined: Vec<usize> = self
            .order
            .iter()
            .copied()
            .filter(|pod| !known.contains(pod))
            .collect();
        self.order = untried
            .iter()
            .copied()
            .chain(joined)
            .chain(tried.iter().copied())
            .collect();
        tried.iter().for_each(|pod| self.seen[*pod] = Some(usize::MAX));
    }

    /// Puts pods where they were put before, in the same order. One that cannot go there any more stays in the queue.
    fn replay(&mut self, log: &[Placement]) {
        let mut placed = BTreeSet::new();
        for placement in log {
            if self.put_again(*placement) {
                self.given_up += placement.step;
                self.log.push(*placement);
                placed.insert(placement.pod);
            }
        }
        self.order.retain(|pod| !placed.contains(pod));
    }

    fn put_again(&mut self, placement: Placement) -> bool {
        let Placement { pod, step, target } = placement;
        let class = self.class_of(pod);
        while self.classes.all[class].steps.len() <= step {
            let preferred = self.prepared.has_preferred_taint;
            if !self
                .classes
                .next_step(class, preferred, &mut self.asks, &self.topology)
            {
                return false;
            }
        }
        let wishes = self.wishes(class, step);
        match target {
            _ if wishes.is_empty() => false,
            Target::Node(rank) => {
                self.put_on(rank, pod, class);
                true
            }
            Target::Claim(index) if index < self.claims.all.len() => {
                let of_step = self.classes.all[class].steps[step].clone();
                let added = self.trial_on(index, class, &of_step, &wishes);
                added.is_some_and(|added| {
                    self.add(index, pod, class, added);
                    true
                })
            }
            Target::Claim(_) => self.place_new(pod, class, step, &wishes),
        }
    }
}
