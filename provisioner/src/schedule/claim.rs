//! A node that is being planned.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    HostPort, InstanceTypeOption, MAX_INSTANCE_TYPES, MinValuesPolicy, OfferingChoice, PlannedNode, PodFacts,
    PodKey, Refusal, TypeTests, TypesRefusal,
    prepared::Template,
    relax::{Ask, Relaxation},
    topology::{OwnGroups, Site, Topology},
};
use crate::{AllowUndefined, Requirement, Requirements, ResourceList, karpenter::labels, taints};

/// A node that is being planned: what it may still be, and the pods on it.
#[derive(Clone, Debug)]
pub(super) struct OpenClaim {
    /// Index of its template.
    pub template: usize,
    pub requirements: Requirements,
    /// Indexes of the template's types that it may still be.
    pub options: Vec<usize>,
    /// What pods ask for.
    pub requests: ResourceList,
    pub pods: Vec<PodKey>,
    pub host_ports: BTreeSet<HostPort>,
    pub min_values_relaxed: bool,
    pub passed_over: Vec<(String, Refusal)>,
}

/// What a claim becomes with one more pod.
pub(super) struct Added {
    requirements: Requirements,
    options: Vec<usize>,
    requests: ResourceList,
    min_values_relaxed: bool,
}

/// A pod that wants a place.
pub(super) struct Candidate<'a> {
    pub pod: &'a PodFacts,
    pub own: &'a OwnGroups,
    pub relaxation: Relaxation,
    pub ask: &'a Ask,
}

impl OpenClaim {
    /// An empty one of a template; `left` is what its pool may still buy.
    ///
    /// # Errors
    /// If the pool can buy nothing.
    pub(super) fn open(
        template_index: usize,
        template: &Template,
        number: usize,
        left: Option<&ResourceList>,
    ) -> Result<Self, Refusal> {
        if let Some(refusal) = super::prepared::unbuyable(template) {
            return Err(refusal);
        }
        let nodes = left.and_then(|left| left.0.get(crate::resources::NODES));
        if nodes.is_some_and(|nodes| *nodes < scaler_api::Quantity::from_units(1)) {
            return Err(Refusal::NodeLimit);
        }
        let affordable = |&option: &usize| {
            left.is_none_or(|left| {
                template.types[option]
                    .instance_type
                    .capacity
                    .over_limit(left)
                    .is_none()
            })
        };
        let options: Vec<usize> = (0..template.types.len()).filter(affordable).collect();
        if options.is_empty() {
            return Err(Refusal::Limits);
        }
        let mut requirements = template.requirements.clone();
        requirements.set(Requirement::one_of(
            labels::HOSTNAME,
            [format!("hostname-placeholder-{number:04}").as_str()],
        ));
        Ok(Self {
            template: template_index,
            requirements,
            options,
            requests: ResourceList::default(),
            pods: Vec::new(),
            host_ports: BTreeSet::new(),
            min_values_relaxed: false,
            passed_over: Vec::new(),
        })
    }

    /// Whether and how a pod fits.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) fn try_add(
        &self,
        template: &Template,
        pool_taints: &[k8s_openapi::api::core::v1::Taint],
        candidate: &Candidate<'_>,
        topology: &Topology,
        policy: MinValuesPolicy,
    ) -> Result<Added, Refusal> {
        let ask = candidate.ask;
        taints::tolerates_all(&ask.tolerations, pool_taints).map_err(Refusal::Taint)?;
        let ports = &candidate.pod.host_ports;
        if ports
            .iter()
            .any(|port| self.host_ports.iter().any(|taken| taken.conflicts(port)))
        {
            return Err(Refusal::HostPort);
        }
        self.requirements
            .compatible(&ask.requirements, AllowUndefined::WellKnown)
            .map_err(Refusal::Requirements)?;
        let base = self.requirements.intersection(&ask.requirements);
        let mut refusal = Refusal::NothingToBuy;
        for volumes in &ask.volumes {
            match self.try_volumes(template, candidate, topology, policy, &base, volumes) {
                Ok(added) => return Ok(added),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    fn try_volumes(
        &self,
        template: &Template,
        candidate: &Candidate<'_>,
        topology: &Topology,
        policy: MinValuesPolicy,
        base: &Requirements,
        volumes: &Requirements,
    ) -> Result<Added, Refusal> {
        base.compatible(volumes, AllowUndefined::WellKnown)
            .map_err(Refusal::Volumes)?;
        let mut requirements = base.intersection(volumes);
        let strict = candidate.ask.strict.intersection(volumes);
        let domains = |key: &str| {
            if key == labels::HOSTNAME {
                None
            } else {
                Some(template.domains(&self.options, key, &requirements))
            }
        };
        let site = Site {
            requirements: &requirements,
            taints: &[],
            domains: &domains,
        };
        let narrowed = topology
            .narrow(candidate.pod, candidate.own, candidate.relaxation, &strict, &site)
            .map_err(Refusal::Topology)?;
        requirements.extend(&narrowed);
        let requests = self.requests.sum(&candidate.pod.requests);
        let options = self.filter(template, &requirements, &requests, &candidate.pod.host_ports)?;
        let missing = missing_values(template, &options, &requirements);
        let relaxed = !missing.is_empty();
        if relaxed && (policy == MinValuesPolicy::Strict || !self.pods.is_empty()) {
            return Err(Refusal::MinValues(missing));
        }
        Ok(Added {
            requirements,
            options,
            requests,
            min_values_relaxed: relaxed,
        })
    }

    /// The types that meet the requirements, are big enough and can be bought.
    fn filter(
        &self,
        template: &Template,
        requirements: &Requirements,
        requests: &ResourceList,
        ports: &BTreeSet<HostPort>,
    ) -> Result<Vec<usize>, Refusal> {
        // What an option has passed it need not pass again while nothing new is asked.
        let unchanged = !self.pods.is_empty() && *requirements == self.requirements;
        let mut tests = TypeTests::default();
        let mut kept = Vec::with_capacity(self.options.len());
        for &option in &self.options {
            let it = &template.types[option];
            let fits = requests.sum(&it.daemons).fits(&it.allocatable)
                && !ports
                    .iter()
                    .any(|port| it.daemon_ports.iter().any(|taken| taken.conflicts(port)));
            let meets = unchanged || it.instance_type.requirements.intersects(requirements).is_ok();
            let offered = unchanged
                || it
                    .instance_type
                    .available_offerings(requirements)
                    .next()
                    .is_some();
            tests.note([meets, fits, offered]);
            if meets && fits && offered {
                kept.push(option);
            }
        }
        if kept.is_empty() {
            let refusal = TypesRefusal {
                tests,
                requirements: requirements.clone(),
                resources: requests.clone(),
            };
            return Err(Refusal::Types(Box::new(refusal)));
        }
        Ok(kept)
    }

    /// Puts a pod onto it.
    pub(super) fn add(
        &mut self,
        template: &Template,
        candidate: &Candidate<'_>,
        added: Added,
        topology: &mut Topology,
    ) {
        self.requirements = added.requirements;
        self.options = added.options;
        self.requests = added.requests;
        self.min_values_relaxed |= added.min_values_relaxed;
        self.pods.push(candidate.pod.key.clone());
        self.host_ports.extend(candidate.pod.host_ports.iter().cloned());
        let domains = |key: &str| {
            if key == labels::HOSTNAME {
                None
            } else {
                Some(template.domains(&self.options, key, &self.requirements))
            }
        };
        let site = Site {
            requirements: &self.requirements,
            taints: &[],
            domains: &domains,
        };
        topology.place(candidate.pod, candidate.own, &site);
    }

    /// The greatest capacity that it may turn out to have.
    pub(super) fn greatest_capacity(&self, template: &Template) -> ResourceList {
        let capacities = self
            .options
            .iter()
            .map(|&option| &template.types[option].instance_type.capacity);
        capacities.fold(ResourceList::default(), |greatest, capacity| {
            greatest.max(capacity)
        })
    }

    /// The node as it stands in the plan; `None` if nothing can be bought, which planning never lets happen.
    pub(super) fn finish(mut self, template: &Template, pool: &str) -> Option<PlannedNode> {
        self.requirements.remove(labels::HOSTNAME);
        let mut priced: Vec<(f64, usize)> = Vec::new();
        for &option in &self.options {
            let offerings = template.types[option]
                .instance_type
                .available_offerings(&self.requirements);
            let cheapest = offerings.map(|offering| offering.price).min_by(f64::total_cmp);
            priced.extend(cheapest.map(|price| (price, option)));
        }
        let name = |option: usize| template.types[option].instance_type.name.as_str();
        priced.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
        priced.truncate(MAX_INSTANCE_TYPES);
        let (_, cheapest) = *priced.first()?;
        let daemons = priced.iter().map(|(_, option)| &template.types[*option].daemons);
        let least_daemons = daemons
            .cloned()
            .reduce(|least, more| least_of(&least, &more))
            .unwrap_or_default();
        let choice = choose(&template.types[cheapest].instance_type, &self.requirements)?;
        Some(PlannedNode {
            pool: pool.to_owned(),
            options: priced
                .iter()
                .map(|&(price, option)| InstanceTypeOption {
                    instance_type: Arc::clone(&template.types[option].instance_type),
                    price,
                })
                .collect(),
            requests: self.requests.sum(&least_daemons),
            pods: self.pods,
            choice,
            min_values_relaxed: self.min_values_relaxed,
            passed_over: self.passed_over,
            requirements: self.requirements,
        })
    }
}

/// The cheapest offering of a type; of equal ones reserved before spot before on-demand, then the first zone.
fn choose(it: &crate::InstanceType, requirements: &Requirements) -> Option<OfferingChoice> {
    let mut offerings: Vec<&crate::Offering> = it.available_offerings(requirements).collect();
    offerings.sort_by(|a, b| {
        a.price
            .total_cmp(&b.price)
            .then(a.capacity_type.cmp(&b.capacity_type))
            .then_with(|| a.zone.cmp(&b.zone))
    });
    let offering = offerings.first()?;
    Some(OfferingChoice {
        instance_type: it.name.clone(),
        zone: offering.zone.clone(),
        capacity_type: offering.capacity_type,
        price: offering.price,
    })
}

fn least_of(one: &ResourceList, another: &ResourceList) -> ResourceList {
    one.iter()
        .map(|(name, amount)| (name.to_owned(), amount.min(another.get(name))))
        .collect()
}

/// Labels of which fewer values are left than the pool wants to keep open.
fn missing_values(template: &Template, options: &[usize], requirements: &Requirements) -> Vec<String> {
    let wanted = requirements
        .iter()
        .filter_map(|requirement| Some((requirement, requirement.min_values?)));
    wanted
        .filter(|(requirement, count)| {
            let key = requirement.key();
            let values: BTreeSet<String> = if key == labels::INSTANCE_TYPE {
                options
                    .iter()
                    .map(|&option| template.types[option].instance_type.name.clone())
                    .collect()
            } else {
                template.domains(options, key, requirements)
            };
            (values.len() as u64) < u64::from(*count)
        })
        .map(|(requirement, _)| requirement.key().to_owned())
        .collect()
}
