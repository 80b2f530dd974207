//! Which domains the groups of a pod leave to it, before any place is looked at.

use super::{
    asks::Alternative,
    bits::Bits,
    groups::Kind,
    keys::Key,
    template::PLACEHOLDER,
    topology::{Counted, Topology},
};
use crate::karpenter::labels;

/// What the groups of a pod leave to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// By key, in the order in which the groups name them.
    pub keys: Vec<Wish>,
    /// Hosts that are out of the question.
    pub refused_nodes: Bits,
    pub refused_claims: Bits,
    /// The only hosts that are possible, if not all are.
    pub only_nodes: Option<Bits>,
    pub only_claims: Option<Bits>,
    /// Whether a new node is possible as far as hosts go.
    pub new_host: bool,
    /// Whether a group is about hosts.
    pub needs_host: bool,
}

/// What is left of one label.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub key: usize,
    pub allowed: Bits,
    /// Spreads: of the domains that are left, the least filled is taken.
    spreads: Vec<usize>,
    /// The first of several pods that want to be together: one domain is taken.
    is_first: bool,
}

impl Wishes {
    /// Of a pod with these groups; `Err` with the group that leaves nothing.
    pub(super) fn of(
        topology: &Topology<'_>,
        groups: &[usize],
        label_set: usize,
        alternative: &mut Alternative,
    ) -> Result<Self, usize> {
        let mut wishes = Self {
            new_host: true,
            ..Self::default()
        };
        for &index in groups {
            let group = &topology.groups[index];
            let is_member = || topology.counts(index, label_set);
            match group.key {
                None => {
                    if !wishes.add_hosts(group, alternative, is_member()) {
                        return Err(index);
                    }
                }
                Some(key) => {
                    let wish = Wish::of(group, index, key, &topology.keys[key], alternative, is_member);
                    if !wishes.add_key(wish) {
                        return Err(index);
                    }
                }
            }
        }
        Ok(wishes)
    }

    fn add_key(&mut self, wish: Wish) -> bool {
        match self.keys.iter_mut().find(|other| other.key == wish.key) {
            Some(other) => {
                other.allowed.keep(&wish.allowed);
                other.spreads.extend(wish.spreads);
                other.is_first |= wish.is_first;
                !other.allowed.is_empty()
            }
            None => {
                let possible = !wish.allowed.is_empty();
                self.keys.push(wish);
                possible
            }
        }
    }

    /// `false` if no host is possible.
    fn add_hosts(&mut self, group: &Counted, alternative: &Alternative, is_member: bool) -> bool {
        self.needs_host = true;
        let levels = &group.hosts.levels;
        match group.base.group.kind {
            Kind::Spread { max_skew, .. } => {
                let level = &levels[usize::from(!is_member)];
                self.refused_nodes.join(&level.nodes);
                self.refused_claims.join(&level.claims);
                self.new_host &= u32::from(is_member) <= max_skew;
            }
            Kind::AntiAffinity | Kind::Inverse => {
                self.refused_nodes.join(&levels[0].nodes);
                self.refused_claims.join(&levels[0].claims);
            }
            Kind::Affinity => {
                if is_populated(group, alternative) {
                    keep_only(&mut self.only_nodes, &levels[0].nodes);
                    keep_only(&mut self.only_claims, &levels[0].claims);
                    self.new_host = false;
                } else if !is_member {
                    return false;
                }
            }
        }
        true
    }
}

fn keep_only(only: &mut Option<Bits>, hosts: &Bits) {
    match only {
        Some(only) => only.keep(hosts),
        None => *only = Some(hosts.clone()),
    }
}

/// Whether a host to which the pod may go has pods of the group.
fn is_populated(group: &Counted, alternative: &Alternative) -> bool {
    if group.hosts.populated == 0 || !alternative.strict.has(labels::HOSTNAME) {
        return group.hosts.populated > 0;
    }
    let allows = |name: &str| alternative.strict.allows(labels::HOSTNAME, name);
    let index = &group.base.index;
    let nodes = (0..index.len()).any(|domain| group.in_domain(domain) > 0 && allows(index.name(domain)));
    nodes || (allows(PLACEHOLDER) && group.hosts.of_claim.iter().any(|count| *count > 0))
}

impl Wish {
    fn of(
        group: &Counted,
        index: usize,
        key_index: usize,
        key: &Key,
        alternative: &mut Alternative,
        is_member: impl Fn() -> bool,
    ) -> Self {
        let permitted = alternative.permitted(key_index, key);
        let filled = |domain: &usize| group.in_domain(*domain) > 0;
        let mut wish = Self {
            key: key_index,
            allowed: Bits::new(),
            spreads: Vec::new(),
            is_first: false,
        };
        match group.base.group.kind {
            Kind::Spread {
                max_skew,
                min_domains,
            } => {
                let most = max_skew + least(group, permitted, min_domains);
                let own = u32::from(is_member());
                let fair = |domain: &usize| group.in_domain(*domain) + own <= most;
                wish.allowed = permitted.iter().filter(fair).collect();
                wish.spreads.push(index);
            }
            Kind::Affinity => {
                wish.allowed = permitted.iter().filter(filled).collect();
                if wish.allowed.is_empty() && is_member() {
                    wish.allowed = permitted.clone();
                    wish.is_first = true;
                }
            }
            Kind::AntiAffinity | Kind::Inverse => {
                wish.allowed = permitted.iter().filter(|domain| !filled(domain)).collect();
            }
        }
        wish
    }

    /// Of the domains that a place may be in, those that the pod may go to.
    pub(super) fn choose(&self, mut domains: Bits, topology: &Topology<'_>) -> Bits {
        domains.keep(&self.allowed);
        if (self.spreads.is_empty() && !self.is_first) || domains.single().is_some() {
            return domains;
        }
        let counts = |domain: usize| {
            let spreads = self.spreads.iter();
            spreads.map(move |&group| topology.groups[group].in_domain(domain))
        };
        let key = &topology.keys[self.key];
        let better = |a: &usize, b: &usize| {
            counts(*a)
                .cmp(counts(*b))
                .then_with(|| key.name(*a).cmp(key.name(*b)))
        };
        domains.iter().min_by(better).map_or_else(Bits::new, Bits::only)
    }
}

/// The least count over the domains that the pod may go to; 0 where there are too few of them.
fn least(group: &Counted, permitted: &Bits, min_domains: Option<u32>) -> u32 {
    let mut known = 0;
    let mut least = u32::MAX;
    for domain in permitted.iter().filter(|&domain| group.knows(domain)) {
        known += 1;
        least = least.min(group.in_domain(domain));
    }
    if known == 0 || min_domains.is_some_and(|wanted| known < wanted) {
        0
    } else {
        least
    }
}
