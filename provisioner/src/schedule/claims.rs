//! Nodes that are being planned.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HostPort, Refusal,
    amounts::{self, Amounts},
    bits::Bits,
    states::StateId,
};

/// A node that is being planned: what it may still be, and the pods on it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Index of its template.
    pub template: usize,
    pub state: StateId,
    /// The template's types that it may still be.
    pub options: Bits,
    /// What pods ask for.
    pub requests: Amounts,
    /// Indexes of the question's pods.
    pub pods: Vec<usize>,
    pub host_ports: BTreeSet<HostPort>,
    /// By key: the domains that it may end up in.
    pub domains: Vec<Bits>,
    pub min_values_relaxed: bool,
    /// Numbers of the reservations of which it holds one.
    pub reserved: Bits,
    pub passed_over: Vec<(String, Refusal)>,
}

/// What a planned node becomes with one more pod.
#[derive(Clone, Debug)]
pub(super) struct Added {
    pub state: StateId,
    pub options: Bits,
    pub min_values_relaxed: bool,
    pub reserved: Bits,
}

/// All planned nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    pub all: Vec<Claim>,
    /// By number of pods.
    by_pods: BTreeMap<usize, Bits>,
    /// By key and domain.
    in_domain: Vec<Vec<Bits>>,
}

impl Claim {
    /// An empty one.
    pub(super) fn new(template: usize, state: StateId, options: Bits, resources: usize) -> Self {
        Self {
            template,
            state,
            options,
            requests: vec![0; resources].into_boxed_slice(),
            pods: Vec::new(),
            host_ports: BTreeSet::new(),
            domains: Vec::new(),
            min_values_relaxed: false,
            reserved: Bits::new(),
            passed_over: Vec::new(),
        }
    }

    /// What its pods would ask for with one more.
    pub(super) fn requests_with(&self, pod: &[i128]) -> Amounts {
        let mut sum = self.requests.clone();
        amounts::add(&mut sum, pod);
        sum
    }
}

impl Claims {
    /// Takes in a node with its first pods.
    pub(super) fn push(&mut self, claim: Claim) -> usize {
        let index = self.all.len();
        self.by_pods.entry(claim.pods.len()).or_default().insert(index);
        self.all.push(claim);
        index
    }

    /// One more pod is on a node.
    pub(super) fn add_pod(&mut self, index: usize, pod: usize) {
        let claim = &mut self.all[index];
        let before = claim.pods.len();
        claim.pods.push(pod);
        if let Some(same) = self.by_pods.get_mut(&before) {
            same.remove(index);
            if same.is_empty() {
                self.by_pods.remove(&before);
            }
        }
        self.by_pods.entry(before + 1).or_default().insert(index);
    }

    /// A node may now end up in these domains of a key, and in no others.
    pub(super) fn set_domains(&mut self, index: usize, key: usize, domains: Bits) {
        let claim = &mut self.all[index];
        if claim.domains.len() <= key {
            claim.domains.resize(key + 1, Bits::new());
        }
        if self.in_domain.len() <= key {
            self.in_domain.resize(key + 1, Vec::new());
        }
        let of_key = &mut self.in_domain[key];
        if claim.domains[key] == domains {
            return;
        }
        for gone in claim.domains[key].iter().filter(|domain| !domains.has(*domain)) {
            of_key[gone].remove(index);
        }
        for domain in domains.iter() {
            if of_key.len() <= domain {
                of_key.resize(domain + 1, Bits::new());
            }
            of_key[domain].insert(index);
        }
        claim.domains[key] = domains;
    }

    /// Nodes that may end up in one of some domains of a key.
    pub(super) fn in_domains(&self, key: usize, domains: &Bits) -> Bits {
        let mut found = Bits::new();
        for domain in domains.iter() {
            if let Some(nodes) = self.in_domain.get(key).and_then(|of_key| of_key.get(domain)) {
                found.join(nodes);
            }
        }
        found
    }

    /// The first of `among` that `take` takes, fewest pods first, then in the order in which they were opened.
    pub(super) fn find<T>(
        &self,
        among: &Bits,
        mut take: impl FnMut(usize, &Claim) -> Option<T>,
    ) -> Option<(usize, T)> {
        for same in self.by_pods.values() {
            for word in 0..same.words().min(among.words()) {
                let mut rest = same.word(word) & among.word(word);
                while rest != 0 {
                    let index = word * 64 + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    if let Some(taken) = take(index, &self.all[index]) {
                        return Some((index, taken));
                    }
                }
            }
        }
        None
    }
}
