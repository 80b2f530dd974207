//! Pods that constrain each other: which they are, where they count, and how many of them a world has in each domain.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write as _, sync::Arc};

use k8s_openapi::api::core::v1::{Taint, Toleration};
use kube::core::{Selector, SelectorExt as _};

use super::{PodFacts, PodTerm, Prepared, Spread, bits::Bits, keys::KeyIndex, pod::selects, relax};
use crate::{AllowUndefined, Requirements, taints};

/// Pods that constrain each other.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub kind: Kind,
    /// The label whose values are the domains.
    pub key: String,
    selector: Option<Selector>,
    namespaces: BTreeSet<String>,
    /// Only nodes that meet one of these count.
    filter: Option<Vec<Requirements>>,
    /// Only nodes whose taints these tolerate count.
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Spread {
        max_skew: u32,
        min_domains: Option<u32>,
    },
    Affinity,
    AntiAffinity,
    /// Counts the pods that keep away those that the selector selects.
    Inverse,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Spread { .. } => "topology spread",
            Self::Affinity => "pod affinity",
            Self::AntiAffinity | Self::Inverse => "pod anti-affinity",
        }
    }
}

impl Group {
    pub(super) fn of_spread(pod: &PodFacts, spread: &Spread) -> Self {
        let filter = spread.honors_affinity.then(|| relax::alternatives(pod));
        Self {
            kind: Kind::Spread {
                max_skew: spread.max_skew,
                min_domains: spread.min_domains,
            },
            key: spread.key.clone(),
            selector: spread.selector.clone(),
            namespaces: BTreeSet::from([pod.key.namespace.clone()]),
            filter: filter.filter(|alternatives| alternatives.iter().any(|asked| !asked.is_empty())),
            tolerations: spread.honors_taints.then(|| pod.tolerations.clone()),
        }
    }

    pub(super) fn of_term(
        kind: Kind,
        term: &PodTerm,
        namespaces: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Self {
        let mut meant = term.namespaces.clone();
        if let Some(selector) = &term.namespace_selector {
            let matching = namespaces.iter().filter(|(_, labels)| selector.matches(*labels));
            meant.extend(matching.map(|(name, _)| name.clone()));
        }
        Self {
            kind,
            key: term.key.clone(),
            selector: term.selector.clone(),
            namespaces: meant,
            filter: None,
            tolerations: None,
        }
    }

    /// What tells it from others.
    pub(super) fn id(&self) -> String {
        let mut id = String::with_capacity(128);
        let mut write = |part: std::fmt::Arguments<'_>| {
            if id.write_fmt(part).is_err() {
                unreachable!("writing to a String cannot fail")
            }
        };
        write(format_args!("{:?}|{}", self.kind, self.key));
        self.namespaces
            .iter()
            .for_each(|name| write(format_args!("|{name}")));
        match &self.selector {
            Some(selector) => write(format_args!("|[{selector}]")),
            None => write(format_args!("|-")),
        }
        for asked in self.filter.iter().flatten() {
            write(format_args!("|or "));
            asked
                .iter()
                .for_each(|requirement| write(format_args!("{requirement:?}")));
        }
        if let Some(tolerations) = &self.tolerations {
            write(format_args!("|{tolerations:?}"));
        }
        id
    }

    /// Whether pods of a namespace with these labels are meant.
    pub(super) fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.contains(namespace) && selects(self.selector.as_ref(), labels)
    }

    /// Whether it counts pods on every node.
    pub(super) fn covers_all(&self) -> bool {
        self.filter.is_none() && self.tolerations.is_none()
    }

    /// Whether pods on such a node count; of one that is there already, labels are all there is.
    pub(super) fn covers(&self, node: &Requirements, node_taints: &[Taint], allow: AllowUndefined) -> bool {
        let labels = self.filter.as_ref().is_none_or(|alternatives| {
            alternatives
                .iter()
                .any(|asked| node.compatible(asked, allow).is_ok())
        });
        labels && self.tolerates(node_taints)
    }

    /// Taints that are mere wishes keep no pod from counting, as they keep none away in the end.
    fn tolerates(&self, node_taints: &[Taint]) -> bool {
        self.tolerations.as_ref().is_none_or(|all| {
            let hard = |taint: &&Taint| taint.effect != "PreferNoSchedule";
            node_taints
                .iter()
                .filter(hard)
                .all(|taint| taints::tolerates_all(all, std::slice::from_ref(taint)).is_ok())
        })
    }
}

/// A group with what a world's pods count for it.
#[derive(Clone, Debug)]
pub(super) struct BaseGroup {
    pub group: Group,
    pub index: Arc<KeyIndex>,
    /// Domains that some node or pool has whose taints do not matter or are tolerated.
    pub known: Bits,
    /// By domain.
    pub counts: Vec<u32>,
    /// Ranks of the nodes on which pods count; `None` for all.
    pub covered: Option<Bits>,
    /// The world's label sets that it selects.
    pub members: Bits,
}

impl BaseGroup {
    /// A group of pods that are meant by a selector.
    pub(super) fn counted(prepared: &Prepared, group: Group, index: Arc<KeyIndex>) -> Self {
        let sets = prepared.pods.label_sets.iter().enumerate();
        let members: Bits = sets
            .filter(|(_, set)| group.kind != Kind::Inverse && group.selects(&set.namespace, &set.labels))
            .map(|(number, _)| number)
            .collect();
        let mut base = Self::empty(prepared, group, index);
        for set in members.iter() {
            for &(rank, pods) in &prepared.pods.label_sets[set].on {
                if base.covered.as_ref().is_none_or(|covered| covered.has(rank)) {
                    let domains = base.counting(&base.index.of_node[rank]);
                    domains.iter().for_each(|domain| base.counts[domain] += pods);
                }
            }
        }
        base.members = members;
        base
    }

    /// A group that nothing counts for yet.
    pub(super) fn empty(prepared: &Prepared, group: Group, index: Arc<KeyIndex>) -> Self {
        let world = &prepared.world;
        let mut known = Bits::new();
        for (rank, domain) in index.known_of_nodes.iter().enumerate() {
            let node = &world.nodes[prepared.ranks[rank]];
            if let Some(domain) = domain.filter(|_| group.tolerates(&node.taints)) {
                known.insert(domain);
            }
        }
        for (template, domains) in prepared.templates.iter().zip(&index.known_of_templates) {
            if group.tolerates(&world.pools[template.pool].taints) {
                known.join(domains);
            }
        }
        let covered = (!group.covers_all()).then(|| {
            let counts = |rank: &usize| {
                let node = &world.nodes[prepared.ranks[*rank]];
                group.covers(&node.requirements, &node.taints, AllowUndefined::Nothing)
            };
            (0..prepared.ranks.len()).filter(counts).collect()
        });
        let domains = index.of_node.iter().filter_map(|all| all.iter().last()).max();
        let domains = domains.into_iter().chain(known.iter().last()).max();
        Self {
            group,
            counts: vec![0; domains.map_or(0, |last| last + 1)],
            index,
            known,
            covered,
            members: Bits::new(),
        }
    }

    /// The domains in which a pod counts that is somewhere in `domains`: where its place is still open, a pod that
    /// keeps others away does so everywhere; otherwise it counts nowhere.
    pub(super) fn counting(&self, domains: &Bits) -> Bits {
        let everywhere = matches!(self.group.kind, Kind::AntiAffinity | Kind::Inverse);
        if everywhere || domains.single().is_some() {
            domains.clone()
        } else {
            Bits::new()
        }
    }
}
