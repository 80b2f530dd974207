//! Spread, affinity and anti-affinity in one question: counts of pods by domain, and which domains they leave.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    PodFacts, Prepared,
    bits::Bits,
    groups::{BaseGroup, Group, Kind},
    keys::Key,
    map::Map,
    relax::Relaxation,
    states::{StateId, States},
};
use crate::{AllowUndefined, karpenter::labels};

/// The groups that a pod's own constraints made.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnGroups {
    hard_spreads: Vec<usize>,
    soft_spreads: Vec<usize>,
    affinity: Vec<usize>,
    anti_affinity: Vec<usize>,
    preferred_affinity: Vec<usize>,
    preferred_anti_affinity: Vec<usize>,
    /// Inverse groups that the pod joins wherever it is placed.
    pub inverse: Vec<usize>,
}

/// A group, and what counts for it now.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub base: Arc<BaseGroup>,
    /// Index of its label among the question's keys; `None` for host names.
    pub key: Option<usize>,
    /// By domain.
    pub counts: Vec<u32>,
    pub hosts: Hosts,
    covers: Map<StateId, bool>,
}

/// Counts of a group by host.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    /// By planned node.
    pub of_claim: Vec<u32>,
    /// How many hosts have pods.
    pub populated: usize,
    pub levels: Vec<Level>,
}

/// Hosts with at least so many pods.
#[derive(Clone, Debug)]
pub(super) struct Level {
    at_least: u32,
    pub nodes: Bits,
    pub claims: Bits,
}

/// Where a pod is placed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Site<'a> {
    /// On the node of this rank.
    Node(usize),
    /// On a planned node: its index, its state, and by key the domains that it may end up in.
    Claim(usize, StateId, &'a [Bits]),
}

/// Pods of a question with the same namespace and labels.
#[derive(Clone, Debug)]
struct LabelSet<'a> {
    pod: &'a PodFacts,
    /// Groups that count it.
    member_of: Vec<usize>,
    /// Groups that keep it away.
    kept_away_by: Vec<usize>,
    /// How many groups were looked at.
    seen: usize,
}

/// All groups of one question.
#[derive(Clone, Debug)]
pub(super) struct Topology<'a> {
    prepared: &'a Prepared,
    pub keys: Vec<Key>,
    key_ids: BTreeMap<String, usize>,
    pub groups: Vec<Counted>,
    ids: Map<String, usize>,
    of_world_inverse: Map<usize, usize>,
    label_sets: Vec<LabelSet<'a>>,
    set_ids: Map<(&'a str, &'a BTreeMap<String, String>), usize>,
    /// Pods of the world that do not count: node's rank and position there.
    uncounted: Vec<(usize, usize)>,
}

impl<'a> Topology<'a> {
    pub(super) fn new(prepared: &'a Prepared, uncounted: Vec<(usize, usize)>) -> Self {
        Self {
            prepared,
            keys: Vec::new(),
            key_ids: BTreeMap::new(),
            groups: Vec::new(),
            ids: Map::default(),
            of_world_inverse: Map::default(),
            label_sets: Vec::new(),
            set_ids: Map::default(),
            uncounted,
        }
    }

    /// Makes the groups of a pod's own constraints; also the index of its namespace and labels.
    pub(super) fn register(&mut self, pod: &'a PodFacts) -> (usize, OwnGroups) {
        let mut own = OwnGroups::default();
        for spread in &pod.spreads {
            let group = self.group(Group::of_spread(pod, spread));
            if spread.is_hard {
                &mut own.hard_spreads
            } else {
                &mut own.soft_spreads
            }
            .push(group);
        }
        let namespaces = &self.prepared.world.namespaces;
        let mut term = |kind, term| self.group(Group::of_term(kind, term, namespaces));
        let affinity = Kind::Affinity;
        own.affinity = pod.affinity.iter().map(|t| term(affinity, t)).collect();
        let preferred = pod.preferred_affinity.iter();
        own.preferred_affinity = preferred.map(|t| term(affinity, &t.value)).collect();
        let away = Kind::AntiAffinity;
        own.anti_affinity = pod.anti_affinity.iter().map(|t| term(away, t)).collect();
        let preferred = pod.preferred_anti_affinity.iter();
        own.preferred_anti_affinity = preferred.map(|t| term(away, &t.value)).collect();
        own.inverse = pod.anti_affinity.iter().map(|t| term(Kind::Inverse, t)).collect();
        (self.label_set(pod), own)
    }

    fn label_set(&mut self, pod: &'a PodFacts) -> usize {
        let next = self.label_sets.len();
        let set = *self
            .set_ids
            .entry((&pod.key.namespace, &pod.labels))
            .or_insert(next);
        if set == next {
            for &index in &*self.prepared.keeping_away(&pod.key.namespace, &pod.labels) {
                self.world_inverse(index);
            }
            self.label_sets.push(LabelSet {
                pod,
                member_of: Vec::new(),
                kept_away_by: Vec::new(),
                seen: 0,
            });
        }
        set
    }

    fn group(&mut self, group: Group) -> usize {
        let id = group.id();
        if let Some(&known) = self.ids.get(&id) {
            return known;
        }
        if group.kind == Kind::Inverse {
            if let Some(&index) = self.prepared.inverse_ids.get(&id) {
                return self.world_inverse(index);
            }
            let index = self.prepared.key(&group.key);
            let base = Arc::new(BaseGroup::empty(self.prepared, group, index));
            return self.start(id, base);
        }
        let base = self.prepared.group(&id, || group);
        self.start(id, base)
    }

    /// A group with which pods of the world keep others away.
    fn world_inverse(&mut self, index: usize) -> usize {
        if let Some(&known) = self.of_world_inverse.get(&index) {
            return known;
        }
        let base = Arc::clone(&self.prepared.inverse[index]);
        let group = self.start(base.group.id(), base);
        self.of_world_inverse.insert(index, group);
        group
    }

    fn start(&mut self, id: String, base: Arc<BaseGroup>) -> usize {
        let key = (base.group.key != labels::HOSTNAME).then(|| self.key(&base.group.key));
        let next = self.groups.len();
        self.groups.push(Counted {
            counts: base.counts.clone(),
            key,
            hosts: Hosts::default(),
            covers: Map::default(),
            base,
        });
        self.ids.insert(id, next);
        next
    }

    /// The index of a label other than the host name.
    pub(super) fn key(&mut self, key: &str) -> usize {
        if let Some(&known) = self.key_ids.get(key) {
            return known;
        }
        let next = self.keys.len();
        self.keys.push(Key::new(self.prepared.key(key)));
        self.key_ids.insert(key.to_owned(), next);
        next
    }

    /// Makes new groups ready, after pods were registered: what does not count is taken away, and each set of labels is
    /// told which groups concern it.
    pub(super) fn settle(&mut self, first_new: usize) {
        for index in first_new..self.groups.len() {
            for &(rank, position) in &self.uncounted {
                let pod = self.prepared.pods.on(rank)[position];
                let joined = pod.keeping_away.map(|entry| &self.prepared.inverse_of[entry]);
                let joins = |group: usize| {
                    let as_inverse = |of_world: &usize| self.of_world_inverse.get(of_world) == Some(&group);
                    joined
                        .iter()
                        .copied()
                        .flatten()
                        .filter(|of_world| as_inverse(of_world))
                        .count()
                };
                let group = &self.groups[index];
                let base = Arc::clone(&group.base);
                let times = if base.group.kind == Kind::Inverse {
                    joins(index)
                } else {
                    let covered = base.covered.as_ref().is_none_or(|covered| covered.has(rank));
                    usize::from(pod.counts && covered && base.members.has(pod.label_set))
                };
                let group = &mut self.groups[index];
                for domain in base.counting(&base.index.of_node[rank]).iter() {
                    group.counts[domain] =
                        group.counts[domain].saturating_sub(u32::try_from(times).unwrap_or(0));
                }
            }
            self.groups[index].start_hosts();
        }
        for set in &mut self.label_sets {
            for (index, counted) in self.groups.iter().enumerate().skip(set.seen) {
                if counted
                    .base
                    .group
                    .selects(&set.pod.key.namespace, &set.pod.labels)
                {
                    if counted.base.group.kind == Kind::Inverse {
                        set.kept_away_by.push(index);
                    } else {
                        set.member_of.push(index);
                    }
                }
            }
            set.seen = self.groups.len();
        }
    }

    /// The groups that constrain a pod whose wishes are partly given up.
    pub(super) fn groups_of(&self, label_set: usize, own: &OwnGroups, relaxation: Relaxation) -> Vec<usize> {
        let open = |preferred: &'_ [usize], given_up: usize| -> Vec<usize> {
            preferred.get(given_up..).unwrap_or_default().to_vec()
        };
        let mut groups = own.hard_spreads.clone();
        groups.extend(open(&own.soft_spreads, relaxation.spreads));
        groups.extend(&own.affinity);
        groups.extend(open(&own.preferred_affinity, relaxation.affinity));
        groups.extend(&own.anti_affinity);
        groups.extend(open(&own.preferred_anti_affinity, relaxation.anti_affinity));
        groups.extend(&self.label_sets[label_set].kept_away_by);
        groups
    }

    /// Whether a node has no host name, or not one for sure.
    pub(super) fn is_nameless(&self, rank: usize) -> bool {
        let name = self.prepared.node_at(rank).requirements.get(labels::HOSTNAME);
        name.is_none_or(|name| name.single().is_none())
    }

    /// Whether a group counts pods of these labels.
    pub(super) fn counts(&self, group: usize, label_set: usize) -> bool {
        self.label_sets[label_set].member_of.contains(&group)
    }

    /// Counts a pod that was placed, its own constraints on others included.
    pub(super) fn place(&mut self, label_set: usize, own: &OwnGroups, site: Site<'_>, states: &States) {
        for &index in &self.label_sets[label_set].member_of {
            let group = &mut self.groups[index];
            if group.covers(self.prepared, site, states) {
                group.count(site);
            }
        }
        for &index in &own.inverse {
            self.groups[index].count(site);
        }
    }
}

impl Counted {
    fn start_hosts(&mut self) {
        if self.key.is_some() || !self.hosts.levels.is_empty() {
            return;
        }
        let levels = match self.base.group.kind {
            Kind::Spread { max_skew, .. } => vec![max_skew, max_skew.saturating_add(1)],
            Kind::Affinity | Kind::AntiAffinity | Kind::Inverse => vec![1],
        };
        self.hosts.populated = self.counts.iter().filter(|count| **count > 0).count();
        for at_least in levels {
            let mut nodes = Bits::new();
            for (domain, count) in self.counts.iter().enumerate() {
                if *count >= at_least {
                    self.base.index.each_node_in(domain, |rank| nodes.insert(rank));
                }
            }
            self.hosts.levels.push(Level {
                at_least,
                nodes,
                claims: Bits::new(),
            });
        }
    }

    fn covers(&mut self, prepared: &Prepared, site: Site<'_>, states: &States) -> bool {
        match (site, &self.base.covered) {
            (_, None) => true,
            (Site::Node(rank), Some(covered)) => covered.has(rank),
            (Site::Claim(_, id, _), Some(_)) => *self.covers.entry(id).or_insert_with(|| {
                let state = states.get(id);
                let pool = &prepared.world.pools[prepared.templates[state.template].pool];
                let allow = AllowUndefined::WellKnown;
                self.base.group.covers(&state.requirements, &pool.taints, allow)
            }),
        }
    }

    fn count(&mut self, site: Site<'_>) {
        match (site, self.key) {
            (Site::Node(rank), _) => {
                let domains = self.base.counting(&self.base.index.of_node[rank]);
                domains.iter().for_each(|domain| self.count_domain(domain));
            }
            (Site::Claim(_, _, domains), Some(key)) => {
                let domains = self.base.counting(&domains[key]);
                domains.iter().for_each(|domain| self.count_domain(domain));
            }
            (Site::Claim(claim, _, _), None) => self.hosts.count_claim(claim),
        }
    }

    fn count_domain(&mut self, domain: usize) {
        if domain >= self.counts.len() {
            self.counts.resize(domain + 1, 0);
        }
        self.counts[domain] += 1;
        let count = self.counts[domain];
        if self.key.is_none() {
            self.hosts.populated += usize::from(count == 1);
            for level in &mut self.hosts.levels {
                if count >= level.at_least {
                    self.base
                        .index
                        .each_node_in(domain, |rank| level.nodes.insert(rank));
                }
            }
        }
    }

    /// How many pods count in a domain.
    pub(super) fn in_domain(&self, domain: usize) -> u32 {
        self.counts.get(domain).copied().unwrap_or(0)
    }

    /// Whether a domain counts among those that should have equally many pods.
    pub(super) fn knows(&self, domain: usize) -> bool {
        self.base.known.has(domain) || self.in_domain(domain) > 0
    }
}

impl Hosts {
    fn count_claim(&mut self, claim: usize) {
        if claim >= self.of_claim.len() {
            self.of_claim.resize(claim + 1, 0);
        }
        self.of_claim[claim] += 1;
        let count = self.of_claim[claim];
        self.populated += usize::from(count == 1);
        for level in &mut self.levels {
            if count >= level.at_least {
                level.claims.insert(claim);
            }
        }
    }
}
