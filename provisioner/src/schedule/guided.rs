//! A run that follows advice: nodes are opened as a fleet has them, with every constraint checked.

use super::{
    MinValuesPolicy,
    claims::Added,
    market::{Advice, AdvisedNode},
    solve::Solver,
    trial::Trial,
    wishes::Wishes,
};

/// So many classes of the same size are tried for one place.
const MOST_TRIES: u32 = 12;

impl Solver<'_> {
    /// Opens nodes as advised and puts on them those of their pods that may go there without giving up a wish, or else
    /// others of the same size; the rest stays in the queue.
    pub(super) fn follow(&mut self, advice: &Advice) {
        let mut placed = vec![false; self.order.len()];
        let mut left = advice.pods.clone();
        for node in &advice.nodes {
            let mut claim = None;
            for &(class, number) in &node.pods {
                let mut wanted = number;
                let alike = &advice.alike[class];
                let from = alike.iter().position(|other| *other == class).unwrap_or(0);
                let others = alike.iter().cycle().skip(from).take(alike.len());
                let mut tries = MOST_TRIES;
                for &other in others {
                    while wanted > 0
                        && let Some(&pod) = left[other].last()
                    {
                        if !self.send(pod, node, &mut claim) {
                            tries -= 1;
                            break;
                        }
                        placed[pod] = true;
                        left[other].pop();
                        wanted -= 1;
                    }
                    if wanted == 0 || tries == 0 {
                        break;
                    }
                }
            }
        }
        self.order.retain(|pod| !placed[*pod]);
    }

    /// Puts a pod on an advised node, which is opened for the first.
    fn send(&mut self, pod: usize, node: &AdvisedNode, claim: &mut Option<usize>) -> bool {
        let class = self.class_of(pod);
        if self.classes.all[class].steps.is_empty() {
            let preferred = self.prepared.has_preferred_taint;
            self.classes
                .next_step(class, preferred, &mut self.asks, &self.topology);
        }
        let wishes = self.wishes(class, 0);
        if let Some(index) = *claim {
            let here = |wishes: &Wishes| {
                let only = wishes.only_claims.as_ref();
                !wishes.refused_claims.has(index) && only.is_none_or(|only| only.has(index))
            };
            let Some(added) = self.tried(class, Some(index), node, wishes, here) else {
                return false;
            };
            self.add(index, pod, class, added);
            return true;
        }
        let Some(added) = self.tried(class, None, node, wishes, |wishes| wishes.new_host) else {
            return false;
        };
        let Some(mut empty) = self.opened(node.template) else {
            return false;
        };
        empty.options.keep(&node.options);
        let index = self.claims.push(empty);
        self.add(index, pod, class, added);
        self.take(node.template, index);
        *claim = Some(index);
        true
    }

    fn tried(
        &mut self,
        class: usize,
        claim: Option<usize>,
        node: &AdvisedNode,
        mut wishes: Vec<(usize, Wishes)>,
        possible: impl Fn(&Wishes) -> bool,
    ) -> Option<Added> {
        wishes.retain(|(_, wishes)| possible(wishes));
        let empty = match claim {
            Some(_) => None,
            None => {
                let mut empty = self.opened(node.template)?;
                empty.options.keep(&node.options);
                Some(empty)
            }
        };
        let of_class = &self.classes.all[class];
        if wishes.is_empty() || of_class.is_impossible() {
            return None;
        }
        let mut trial = Trial {
            prepared: self.prepared,
            topology: &self.topology,
            asks: &self.asks,
            states: &mut self.states,
            policy: MinValuesPolicy::Strict,
            ledger: &self.ledger,
        };
        let onto = match (claim, &empty) {
            (Some(index), _) => &self.claims.all[index],
            (None, Some(empty)) => empty,
            (None, None) => return None,
        };
        let ports = &of_class.facts.host_ports;
        trial
            .add(onto, &of_class.steps[0], &of_class.amounts, ports, &wishes)
            .ok()
    }

    /// Lets nodes be whatever holds their pods in the same places, so that the launch can choose.
    pub(super) fn widen(&mut self, claims: std::ops::Range<usize>) {
        for index in claims {
            let claim = &self.claims.all[index];
            if self.limits[claim.template].is_some() {
                continue;
            }
            let template = &self.prepared.templates[claim.template];
            let mut options = self.empty[claim.template].options.clone();
            options.keep(&self.states.get(claim.state).types);
            template.keep_fitting(&claim.requests, &mut options);
            template.drop_port_conflicts(&claim.host_ports, &mut options);
            let templates = &self.prepared.templates;
            let (state, keys) = (claim.state, &self.topology.keys);
            let states = &mut self.states;
            let same = keys.iter().enumerate().all(|(number, key)| {
                let before = states.domains(state, templates, number, key, &claim.options);
                before.trimmed() == states.domains(state, templates, number, key, &options).trimmed()
            });
            if same {
                self.claims.all[index].options = options;
            }
        }
    }
}
