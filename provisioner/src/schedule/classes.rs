//! Pods that are alike: what one of them can and cannot do, all of them can and cannot.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher as _},
};

use super::{
    HostPort, PodFacts,
    amounts::{Amounts, Resources},
    asks::Asks,
    bits::Bits,
    map::{self, Map},
    relax::Relaxation,
    topology::{OwnGroups, Topology},
};

/// Pods that differ in nothing that planning looks at.
#[derive(Clone, Debug)]
pub(super) struct Class<'a> {
    /// One of them.
    pub facts: &'a PodFacts,
    pub amounts: Amounts,
    /// Index of its namespace and labels in the topology.
    pub label_set: usize,
    pub own: OwnGroups,
    /// What it asks for at first, and after each wish that it gives up.
    pub steps: Vec<Step>,
    /// Whether it asks for something that nothing in the world has.
    is_impossible: bool,
}

/// What a class asks for when some of its wishes are given up.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub relaxation: Relaxation,
    pub ask: usize,
    /// Who asks for the same but for other pods' places.
    pub shape: usize,
    /// The groups that constrain it.
    pub groups: Vec<usize>,
}

/// Pods that ask for the same resources, labels and ports: what refuses one for that refuses all of them, for good,
/// since planned nodes only fill up.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub refused_nodes: Bits,
    pub refused_claims: Bits,
}

/// All classes of a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes<'a> {
    pub all: Vec<Class<'a>>,
    pub shapes: Vec<Shape>,
    alike: Map<u64, Vec<usize>>,
    shape_ids: Map<(Amounts, usize, BTreeSet<HostPort>), usize>,
}

impl<'a> Classes<'a> {
    /// The class of a pod.
    pub(super) fn of(
        &mut self,
        pod: &'a PodFacts,
        resources: &Resources,
        topology: &mut Topology<'a>,
    ) -> usize {
        let same = self.alike.entry(fingerprint(pod)).or_default();
        if let Some(&class) = same.iter().find(|&&class| is_alike(self.all[class].facts, pod)) {
            return class;
        }
        let next = self.all.len();
        same.push(next);
        let (label_set, own) = topology.register(pod);
        self.all.push(Class {
            facts: pod,
            amounts: resources.amounts(&pod.requests),
            label_set,
            own,
            steps: Vec::new(),
            is_impossible: resources.is_unknown(&pod.requests),
        });
        next
    }

    /// Makes the step after the last one; `false` if there is none.
    pub(super) fn next_step(
        &mut self,
        class: usize,
        has_preferred_taint: bool,
        asks: &mut Asks<'_>,
        topology: &Topology<'_>,
    ) -> bool {
        let of_class = &self.all[class];
        let mut relaxation = Relaxation::default();
        if let Some(last) = of_class.steps.last() {
            relaxation = last.relaxation;
            if !relaxation.step(of_class.facts, has_preferred_taint) {
                return false;
            }
        }
        let ask = asks.of(of_class.facts, relaxation);
        let id = (of_class.amounts.clone(), ask, of_class.facts.host_ports.clone());
        let next = self.shapes.len();
        let shape = if of_class.is_impossible {
            next
        } else {
            *self.shape_ids.entry(id).or_insert(next)
        };
        if shape == next {
            self.shapes.push(Shape::default());
        }
        let groups = topology.groups_of(of_class.label_set, &of_class.own, relaxation);
        let step = Step {
            relaxation,
            ask,
            shape,
            groups,
        };
        self.all[class].steps.push(step);
        true
    }
}

impl Class<'_> {
    /// Whether it asks for something that nothing in the world has.
    pub(super) fn is_impossible(&self) -> bool {
        self.is_impossible
    }
}

/// The same for pods that are alike.
fn fingerprint(pod: &PodFacts) -> u64 {
    let mut hasher = map::hasher();
    pod.key.namespace.hash(&mut hasher);
    pod.labels.hash(&mut hasher);
    for (name, amount) in pod.requests.iter() {
        (name, amount).hash(&mut hasher);
    }
    pod.selector.hash(&mut hasher);
    pod.required_terms.hash(&mut hasher);
    for spread in &pod.spreads {
        (&spread.key, spread.max_skew, spread.is_hard).hash(&mut hasher);
        let selector = spread.selector.as_ref();
        if let Some(selector) = selector {
            selector.to_string().hash(&mut hasher);
        }
    }
    (
        pod.affinity.len(),
        pod.anti_affinity.len(),
        pod.preferred_terms.len(),
    )
        .hash(&mut hasher);
    hasher.finish()
}

fn is_alike(one: &PodFacts, another: &PodFacts) -> bool {
    one.key.namespace == another.key.namespace
        && one.labels == another.labels
        && one.requests == another.requests
        && one.selector == another.selector
        && one.required_terms == another.required_terms
        && one.preferred_terms == another.preferred_terms
        && one.tolerations == another.tolerations
        && one.spreads == another.spreads
        && one.affinity == another.affinity
        && one.anti_affinity == another.anti_affinity
        && one.preferred_affinity == another.preferred_affinity
        && one.preferred_anti_affinity == another.preferred_anti_affinity
        && one.host_ports == another.host_ports
        && one.volumes == another.volumes
        && one.attachments == another.attachments
        && one.problem == another.problem
}
