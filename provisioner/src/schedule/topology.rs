//! Spread, affinity and anti-affinity: counts of pods by domain, and which domains they leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use k8s_openapi::api::core::v1::Toleration;
use kube::core::{Selector, SelectorExt as _};

use super::{PodFacts, PodTerm, Prepared, Spread, TopologyRefusal, pod::selects, relax, relax::Relaxation};
use crate::{AllowUndefined, Requirement, Requirements, karpenter::labels, taints};

/// Pods that constrain each other, counted by domain.
#[derive(Clone, Debug)]
struct Group {
    kind: Kind,
    key: String,
    selector: Option<Selector>,
    namespaces: BTreeSet<String>,
    /// Only nodes that meet one of these count.
    filter: Option<Vec<Requirements>>,
    /// Only nodes whose taints these tolerate count.
    tolerations: Option<Vec<Toleration>>,
    /// Every domain that is known, with the number of pods in it.
    counts: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Spread {
        max_skew: u32,
        min_domains: Option<u32>,
    },
    Affinity,
    AntiAffinity,
    /// Counts the pods that keep away those that `selector` selects.
    Inverse,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Spread { .. } => "topology spread",
            Self::Affinity => "pod affinity",
            Self::AntiAffinity | Self::Inverse => "pod anti-affinity",
        }
    }
}

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
    inverse: Vec<usize>,
}

/// Where a node is, or may be.
pub(super) struct Site<'a> {
    /// Its labels.
    pub requirements: &'a Requirements,
    /// Its taints.
    pub taints: &'a [k8s_openapi::api::core::v1::Taint],
    /// The domains of a label that it may end up in; `None` if its labels say it all.
    pub domains: &'a dyn Fn(&str) -> Option<BTreeSet<String>>,
}

impl Site<'_> {
    fn domains_of(&self, key: &str) -> Option<BTreeSet<String>> {
        (self.domains)(key).or_else(|| self.requirements.get(key)?.finite().cloned())
    }
}

/// All groups of one question.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    groups: Vec<Group>,
    ids: BTreeMap<String, usize>,
    inverse: Vec<usize>,
}

impl Topology {
    /// The groups of `pods` and of those that keep others away; pods of `gone` and those being placed do not count.
    pub(super) fn new(
        prepared: &Prepared,
        pods: &[std::sync::Arc<PodFacts>],
        counted: &dyn Fn(usize, &PodFacts) -> bool,
    ) -> (Self, Vec<OwnGroups>) {
        let mut topology = Self::default();
        let own = pods.iter().map(|pod| topology.register(prepared, pod)).collect();
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (node, pod) in &prepared.keeping_away {
            if counted(*node, pod) {
                joined.extend(
                    topology
                        .register_inverse(prepared, pod)
                        .into_iter()
                        .map(|id| (*node, id)),
                );
            }
        }
        if topology.groups.is_empty() {
            return (topology, own);
        }
        topology.discover_domains(prepared);
        for (index, node) in prepared.world.nodes.iter().enumerate() {
            let site = Site {
                requirements: &node.requirements,
                taints: &node.taints,
                domains: &|_| None,
            };
            for pod in node
                .pods
                .iter()
                .filter(|pod| pod.is_active() && counted(index, pod))
            {
                topology.count(pod, &site);
            }
        }
        for (node, id) in joined {
            topology.join(id, &prepared.world.nodes[node].requirements);
        }
        (topology, own)
    }

    fn register(&mut self, prepared: &Prepared, pod: &PodFacts) -> OwnGroups {
        let mut own = OwnGroups::default();
        for spread in &pod.spreads {
            let id = self.spread(pod, spread);
            if spread.is_hard {
                &mut own.hard_spreads
            } else {
                &mut own.soft_spreads
            }
            .push(id);
        }
        let mut term = |kind: Kind, term: &PodTerm| self.term(prepared, kind, term);
        own.affinity = pod.affinity.iter().map(|t| term(Kind::Affinity, t)).collect();
        own.anti_affinity = pod
            .anti_affinity
            .iter()
            .map(|t| term(Kind::AntiAffinity, t))
            .collect();
        own.preferred_affinity = pod
            .preferred_affinity
            .iter()
            .map(|t| term(Kind::Affinity, &t.value))
            .collect();
        own.preferred_anti_affinity = pod
            .preferred_anti_affinity
            .iter()
            .map(|t| term(Kind::AntiAffinity, &t.value))
            .collect();
        own.inverse = self.register_inverse(prepared, pod);
        own
    }

    fn register_inverse(&mut self, prepared: &Prepared, pod: &PodFacts) -> Vec<usize> {
        let ids: Vec<usize> = pod
            .anti_affinity
            .iter()
            .map(|term| self.term(prepared, Kind::Inverse, term))
            .collect();
        for id in &ids {
            if !self.inverse.contains(id) {
                self.inverse.push(*id);
            }
        }
        ids
    }

    fn spread(&mut self, pod: &PodFacts, spread: &Spread) -> usize {
        let kind = Kind::Spread {
            max_skew: spread.max_skew,
            min_domains: spread.min_domains,
        };
        let filter = spread.honors_affinity.then(|| relax::alternatives(pod));
        let filter =
            filter.filter(|alternatives| alternatives.iter().any(|requirements| !requirements.is_empty()));
        self.group(Group {
            kind,
            key: spread.key.clone(),
            selector: spread.selector.clone(),
            namespaces: BTreeSet::from([pod.key.namespace.clone()]),
            filter,
            tolerations: spread.honors_taints.then(|| pod.tolerations.clone()),
            counts: BTreeMap::new(),
        })
    }

    fn term(&mut self, prepared: &Prepared, kind: Kind, term: &PodTerm) -> usize {
        let mut namespaces = term.namespaces.clone();
        if let Some(selector) = &term.namespace_selector {
            let all = &prepared.world.namespaces;
            namespaces.extend(
                all.iter()
                    .filter(|(_, labels)| selector.matches(*labels))
                    .map(|(name, _)| name.clone()),
            );
        }
        self.group(Group {
            kind,
            key: term.key.clone(),
            selector: term.selector.clone(),
            namespaces,
            filter: None,
            tolerations: None,
            counts: BTreeMap::new(),
        })
    }

    fn group(&mut self, group: Group) -> usize {
        let mut id = format!("{:?}|{}|{:?}", group.kind, group.key, group.namespaces);
        let selector = group
            .selector
            .as_ref()
            .map_or_else(|| "-".to_owned(), |s| format!("[{s}]"));
        let filter = group
            .filter
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" or ");
        if write!(id, "|{selector}|{filter}|{:?}", group.tolerations).is_err() {
            unreachable!("writing to a String cannot fail")
        }
        let next = self.groups.len();
        let index = *self.ids.entry(id).or_insert(next);
        if index == next {
            self.groups.push(group);
        }
        index
    }

    /// Every domain that a node has or a pool can buy in.
    fn discover_domains(&mut self, prepared: &Prepared) {
        let keys: BTreeSet<String> = self.groups.iter().map(|group| group.key.clone()).collect();
        for key in keys.iter().filter(|key| *key != labels::HOSTNAME) {
            let mut domains: BTreeSet<String> = BTreeSet::new();
            for node in &prepared.world.nodes {
                domains.extend(node.label(key).map(str::to_owned));
            }
            for template in &prepared.templates {
                let all: Vec<usize> = (0..template.types.len()).collect();
                domains.extend(template.domains(&all, key, &template.requirements));
            }
            for group in self.groups.iter_mut().filter(|group| group.key == *key) {
                group
                    .counts
                    .extend(domains.iter().map(|domain| (domain.clone(), 0)));
            }
        }
    }

    /// Counts a pod that is, or was placed, somewhere.
    pub(super) fn count(&mut self, pod: &PodFacts, site: &Site<'_>) {
        for group in &mut self.groups {
            if group.kind == Kind::Inverse || !group.selects(pod) || !group.covers(site) {
                continue;
            }
            let Some(domains) = site.domains_of(&group.key) else {
                continue;
            };
            // Where it is still open, a pod that keeps others away does so everywhere; elsewhere it counts nowhere.
            if domains.len() == 1 || group.kind == Kind::AntiAffinity {
                for domain in domains {
                    *group.counts.entry(domain).or_insert(0) += 1;
                }
            }
        }
    }

    /// Counts a pod that was placed, its own constraints on others included.
    pub(super) fn place(&mut self, pod: &PodFacts, own: &OwnGroups, site: &Site<'_>) {
        self.count(pod, site);
        for &id in &own.inverse {
            let group = &mut self.groups[id];
            for domain in site.domains_of(&group.key).into_iter().flatten() {
                *group.counts.entry(domain).or_insert(0) += 1;
            }
        }
    }

    fn join(&mut self, id: usize, requirements: &Requirements) {
        let group = &mut self.groups[id];
        let domains = requirements
            .get(&group.key)
            .and_then(|requirement| requirement.finite());
        for domain in domains.into_iter().flatten() {
            *group.counts.entry(domain.clone()).or_insert(0) += 1;
        }
    }

    /// What a node must be so that a pod can go there.
    ///
    /// # Errors
    /// The first constraint that no domain satisfies.
    pub(super) fn narrow(
        &self,
        pod: &PodFacts,
        own: &OwnGroups,
        relaxation: Relaxation,
        strict: &Requirements,
        site: &Site<'_>,
    ) -> Result<Requirements, TopologyRefusal> {
        let mut narrowed = Requirements::new();
        let open =
            |preferred: &[usize], given_up: usize| preferred.get(given_up..).unwrap_or_default().to_vec();
        let groups = own.hard_spreads.iter().copied();
        let groups = groups
            .chain(open(&own.soft_spreads, relaxation.spreads))
            .chain(own.affinity.iter().copied())
            .chain(open(&own.preferred_affinity, relaxation.affinity))
            .chain(own.anti_affinity.iter().copied())
            .chain(open(&own.preferred_anti_affinity, relaxation.anti_affinity));
        let inverse = self
            .inverse
            .iter()
            .copied()
            .filter(|&id| self.groups[id].selects(pod));
        for id in groups.chain(inverse) {
            let group = &self.groups[id];
            let so_far = narrowed
                .get(&group.key)
                .and_then(|requirement| requirement.finite())
                .cloned();
            let domains = group.domains(pod, strict, site, so_far.as_ref());
            if domains.is_empty() {
                return Err(group.refusal(strict, site));
            }
            narrowed.add(Requirement::one_of(
                &group.key,
                domains.iter().map(String::as_str),
            ));
        }
        Ok(narrowed)
    }
}

impl Group {
    fn selects(&self, pod: &PodFacts) -> bool {
        self.namespaces.contains(&pod.key.namespace) && selects(self.selector.as_ref(), &pod.labels)
    }

    /// Whether pods on a node count.
    fn covers(&self, site: &Site<'_>) -> bool {
        let labels = self.filter.as_ref().is_none_or(|alternatives| {
            alternatives.iter().any(|asked| {
                site.requirements
                    .compatible(asked, AllowUndefined::WellKnown)
                    .is_ok()
            })
        });
        labels
            && self
                .tolerations
                .as_ref()
                .is_none_or(|all| taints::tolerates_all(all, site.taints).is_ok())
    }

    /// The domains, among those where the node may be, that the pod may go to.
    fn domains(
        &self,
        pod: &PodFacts,
        strict: &Requirements,
        site: &Site<'_>,
        so_far: Option<&BTreeSet<String>>,
    ) -> BTreeSet<String> {
        let Some(mut of_node) = site.domains_of(&self.key) else {
            return BTreeSet::new();
        };
        of_node.retain(|domain| {
            strict.allows(&self.key, domain) && so_far.is_none_or(|domains| domains.contains(domain))
        });
        let count = |domain: &String| self.counts.get(domain).copied().unwrap_or(0);
        match self.kind {
            Kind::Spread {
                max_skew,
                min_domains,
            } => {
                let least = self.least(strict, min_domains);
                let own = u32::from(self.selects(pod));
                let fair = of_node
                    .into_iter()
                    .filter(|domain| count(domain) + own <= max_skew + least);
                fair.min_by_key(|domain| (count(domain), domain.clone()))
                    .into_iter()
                    .collect()
            }
            Kind::Affinity => self.near(pod, strict, of_node),
            Kind::AntiAffinity | Kind::Inverse => {
                of_node.into_iter().filter(|domain| count(domain) == 0).collect()
            }
        }
    }

    /// The least count over the domains that the pod may go to; 0 for hosts, since a new one is always possible.
    fn least(&self, strict: &Requirements, min_domains: Option<u32>) -> u32 {
        if self.key == labels::HOSTNAME {
            return 0;
        }
        let counts: Vec<u32> = self
            .counts
            .iter()
            .filter(|(domain, _)| strict.allows(&self.key, domain))
            .map(|(_, count)| *count)
            .collect();
        let too_few = min_domains.is_some_and(|wanted| (counts.len() as u64) < u64::from(wanted));
        if too_few {
            0
        } else {
            counts.into_iter().min().unwrap_or(0)
        }
    }

    /// Domains with pods that are meant; the first possible one for the first of pods that mean themselves.
    fn near(&self, pod: &PodFacts, strict: &Requirements, of_node: BTreeSet<String>) -> BTreeSet<String> {
        let populated: BTreeSet<&String> = self
            .counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(domain, _)| domain)
            .collect();
        let near: BTreeSet<String> = of_node
            .iter()
            .filter(|domain| populated.contains(domain))
            .cloned()
            .collect();
        let nowhere = !populated.iter().any(|domain| strict.allows(&self.key, domain));
        if near.is_empty() && nowhere && self.selects(pod) {
            return of_node.into_iter().next().into_iter().collect();
        }
        near
    }

    fn refusal(&self, strict: &Requirements, site: &Site<'_>) -> TopologyRefusal {
        let of_pod = strict
            .get(&self.key)
            .map_or_else(|| format!("{} Exists", self.key), ToString::to_string);
        let of_node = match site.domains_of(&self.key) {
            Some(domains) => Requirement::one_of(&self.key, domains.iter().map(String::as_str)).to_string(),
            None => format!("{} DoesNotExist", self.key),
        };
        TopologyRefusal {
            kind: self.kind.words(),
            key: self.key.clone(),
            counts: self.counts.clone(),
            pod_domains: of_pod,
            node_domains: of_node,
        }
    }
}
