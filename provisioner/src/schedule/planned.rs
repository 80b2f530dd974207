//! Nodes that are being planned: on which of them a pod goes, and when there is one more.

use super::{
    MinValuesPolicy, amounts,
    bits::Bits,
    claims::{Added, Claim},
    classes::Step,
    cost::LOOKS,
    solve::{Solver, Target},
    topology::Site,
    trial::{Refused, Trial},
    wishes::Wishes,
};

/// How a place among planned nodes is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The one with the fewest pods that takes a pod, as Karpenter does it.
    FewestPods,
    /// Where a pod adds least to the price.
    LeastCost,
}

/// What a look at a planned node takes, in the units of [`Budget`](super::Budget::price_units).
const WORK_OF_A_LOOK: u64 = 4;
/// What it takes to see what some planned nodes would become.
const WORK_OF_A_TRIAL: u64 = 4_000;

/// What a new node would be.
struct Opening {
    template: usize,
    empty: Claim,
    added: Added,
}

impl Solver<'_> {
    /// Places a pod on a node that is being planned, or on a new one.
    pub(super) fn place_planned(
        &mut self,
        pod: usize,
        class: usize,
        step: usize,
        wishes: &[(usize, Wishes)],
    ) -> bool {
        if self.classes.all[class].is_impossible() {
            return false;
        }
        match self.choice {
            Choice::FewestPods => {
                self.place_first(pod, class, step, wishes) || self.place_new(pod, class, step, wishes)
            }
            Choice::LeastCost => {
                self.place_cheapest(pod, class, step, wishes)
                    || self.place_first(pod, class, step, wishes)
                    || self.place_new(pod, class, step, wishes)
            }
        }
    }

    /// Planned nodes that may take a pod, as far as can be told without looking at each.
    fn candidates(&self, shape: usize, wishes: &[(usize, Wishes)]) -> Bits {
        let mut candidates = Bits::new();
        for (_, wishes) in wishes {
            let mut possible = Bits::below(self.claims.all.len());
            possible.drop_all(&wishes.refused_claims);
            if let Some(only) = &wishes.only_claims {
                possible.keep(only);
            }
            for wish in &wishes.keys {
                possible.keep(&self.claims.in_domains(wish.key, &wish.allowed));
            }
            candidates.join(&possible);
        }
        candidates.drop_all(&self.classes.shapes[shape].refused_claims);
        candidates
    }

    /// The node with the fewest pods that takes it.
    fn place_first(&mut self, pod: usize, class: usize, step: usize, wishes: &[(usize, Wishes)]) -> bool {
        if self.claims.all.is_empty() {
            return false;
        }
        let of_class = &self.classes.all[class];
        let of_step = &of_class.steps[step];
        let candidates = self.candidates(of_step.shape, wishes);
        let mut refused = Bits::new();
        let mut trial = Trial {
            prepared: self.prepared,
            topology: &self.topology,
            asks: &self.asks,
            states: &mut self.states,
            policy: MinValuesPolicy::Strict,
            ledger: &self.ledger,
        };
        let ports = &of_class.facts.host_ports;
        let found = self.claims.find(&candidates, |index, claim| {
            match trial.add(claim, of_step, &of_class.amounts, ports, wishes) {
                Ok(added) => Some(added),
                Err(Refused::Forever) => {
                    refused.insert(index);
                    None
                }
                Err(Refused::Now | Refused::Reserved) => None,
            }
        });
        let shape = of_step.shape;
        self.classes.shapes[shape].refused_claims.join(&refused);
        found.is_some_and(|(index, added)| {
            self.add(index, pod, class, added);
            true
        })
    }

    /// The node, new or not, that becomes least dearer by it.
    fn place_cheapest(&mut self, pod: usize, class: usize, step: usize, wishes: &[(usize, Wishes)]) -> bool {
        let of_class = &self.classes.all[class];
        let of_step = of_class.steps[step].clone();
        let candidates = self.candidates(of_step.shape, wishes);
        self.work += (candidates.len().min(LOOKS) as u64) * WORK_OF_A_LOOK + WORK_OF_A_TRIAL;
        let (is_free, promising) = self
            .costs
            .promising(&candidates, &self.claims.all, &of_class.amounts);
        let mut best: Option<(f64, usize, Added)> = None;
        for index in promising {
            let Some(added) = self.trial_on(index, class, &of_step, wishes) else {
                continue;
            };
            let template = &self.prepared.templates[self.claims.all[index].template];
            let price = self.costs.price(&added, self.states.get(added.state), template);
            let more = price - self.costs.of(index);
            if best.as_ref().is_none_or(|(least, ..)| more < *least) {
                best = Some((more, index, added));
            }
            if is_free && more <= 0.0 {
                break;
            }
        }
        let Some((more, index, added)) = best else {
            return false;
        };
        if more > 0.0
            && let Some(opening) = self.opening(class, &of_step, wishes)
        {
            let template = &self.prepared.templates[opening.template];
            let state = self.states.get(opening.added.state);
            if self.costs.price(&opening.added, state, template) < more {
                self.open(opening, pod, class, step);
                return true;
            }
        }
        self.add(index, pod, class, added);
        true
    }

    /// What a planned node would become with a pod.
    pub(super) fn trial_on(
        &mut self,
        index: usize,
        class: usize,
        step: &Step,
        wishes: &[(usize, Wishes)],
    ) -> Option<Added> {
        let of_class = &self.classes.all[class];
        let mut trial = Trial {
            prepared: self.prepared,
            topology: &self.topology,
            asks: &self.asks,
            states: &mut self.states,
            policy: MinValuesPolicy::Strict,
            ledger: &self.ledger,
        };
        let ports = &of_class.facts.host_ports;
        let tried = trial.add(&self.claims.all[index], step, &of_class.amounts, ports, wishes);
        if matches!(tried, Err(Refused::Forever)) {
            self.classes.shapes[step.shape].refused_claims.insert(index);
        }
        tried.ok()
    }

    pub(super) fn place_new(
        &mut self,
        pod: usize,
        class: usize,
        step: usize,
        wishes: &[(usize, Wishes)],
    ) -> bool {
        let of_step = self.classes.all[class].steps[step].clone();
        self.opening(class, &of_step, wishes).is_some_and(|opening| {
            self.open(opening, pod, class, step);
            true
        })
    }

    /// A new node of the first template that can take a pod.
    fn opening(&mut self, class: usize, step: &Step, wishes: &[(usize, Wishes)]) -> Option<Opening> {
        let on_new: Vec<(usize, Wishes)> = wishes
            .iter()
            .filter(|(_, wishes)| wishes.new_host)
            .cloned()
            .collect();
        if on_new.is_empty() {
            return None;
        }
        for index in self.asks.all[step.ask].templates.clone().iter() {
            let Some(empty) = self.opened(index) else {
                continue;
            };
            let of_class = &self.classes.all[class];
            let mut trial = Trial {
                prepared: self.prepared,
                topology: &self.topology,
                asks: &self.asks,
                states: &mut self.states,
                policy: self.prepared.world.min_values,
                ledger: &self.ledger,
            };
            let ports = &of_class.facts.host_ports;
            match trial.add(&empty, step, &of_class.amounts, ports, &on_new) {
                Ok(added) => {
                    return Some(Opening {
                        template: index,
                        empty,
                        added,
                    });
                }
                // No lighter pool buys what a reservation is kept for.
                Err(Refused::Reserved) => {
                    self.is_out_of_reserved = true;
                    return None;
                }
                Err(Refused::Forever | Refused::Now) => {}
            }
        }
        None
    }

    fn open(&mut self, opening: Opening, pod: usize, class: usize, step: usize) {
        let prepared = self.prepared;
        let mut claim = opening.empty;
        claim.passed_over = (0..opening.template)
            .map(|passed| {
                let pool = &prepared.world.pools[prepared.templates[passed].pool];
                (pool.name.clone(), self.refusal(passed, class, step))
            })
            .collect();
        let number = self.claims.push(claim);
        self.add(number, pod, class, opening.added);
        self.take(opening.template, number);
    }

    /// An empty node of a template with the types that its pool's limits leave, if any.
    pub(super) fn opened(&self, index: usize) -> Option<Claim> {
        let mut claim = self.empty[index].clone();
        if let Some(limits) = &self.limits[index] {
            if limits.is_out_of_nodes() {
                return None;
            }
            limits.keep_affordable(&mut claim.options);
        }
        (!claim.options.is_empty()).then_some(claim)
    }

    /// Puts a pod onto a planned node.
    pub(super) fn add(&mut self, index: usize, pod: usize, class: usize, added: Added) {
        let of_class = &self.classes.all[class];
        let claim = &mut self.claims.all[index];
        amounts::add(&mut claim.requests, &of_class.amounts);
        claim.host_ports.extend(of_class.facts.host_ports.iter().cloned());
        claim.min_values_relaxed |= added.min_values_relaxed;
        claim.state = added.state;
        claim.options = added.options;
        self.ledger.exchange(&claim.reserved, &added.reserved);
        claim.reserved = added.reserved;
        self.claims.add_pod(index, pod);
        self.last = Some(Target::Claim(index));
        let templates = &self.prepared.templates;
        for (number, key) in self.topology.keys.iter().enumerate() {
            let claim = &self.claims.all[index];
            let domains = self
                .states
                .domains(claim.state, templates, number, key, &claim.options);
            self.claims.set_domains(index, number, domains);
        }
        let claim = &self.claims.all[index];
        let site = Site::Claim(index, claim.state, &claim.domains);
        self.topology
            .place(of_class.label_set, &of_class.own, site, &self.states);
        if self.choice == Choice::LeastCost {
            let state = self.states.get(claim.state);
            self.costs.update(index, claim, state, &templates[claim.template]);
        }
    }

    /// Takes what a new node may use at most from its pool's limits.
    pub(super) fn take(&mut self, template: usize, claim: usize) {
        let pool = self.prepared.templates[template].pool;
        let options = &self.claims.all[claim].options;
        let Some(greatest) = self.limits[template]
            .as_ref()
            .map(|limits| limits.greatest_of(options))
        else {
            return;
        };
        for (other, limits) in self.prepared.templates.iter().zip(&mut self.limits) {
            if let Some(limits) = limits.as_mut().filter(|_| other.pool == pool) {
                limits.take(&greatest);
            }
        }
    }
}
