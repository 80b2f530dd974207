//! What a solver answers.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{PodKey, Reason};
use crate::{
    CapacityType, InstanceType, Requirement, Requirements, ResourceList,
    karpenter::{ClaimResources, NodeClaim, NodeClaimSpec, NodePool, Operator, hash, labels},
};

/// Most instance types that a claim names.
pub const MAX_INSTANCE_TYPES: usize = 600;

/// Which pods go where, what is bought for them, and why the rest has no place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods that fit on nodes that are there or on their way, by node.
    pub existing: Vec<(String, Vec<PodKey>)>,
    /// Nodes to buy.
    pub new: Vec<PlannedNode>,
    /// Pods without a place, in the order in which they were tried.
    pub unschedulable: Vec<(PodKey, Reason)>,
    /// Sum over `new`, at the offering that each commits to.
    pub price_per_hour: f64,
    /// Which strategy made it.
    pub strategy: &'static str,
    /// No plan that places the same pods costs less; zero where it was not looked for.
    pub lower_bound_per_hour: f64,
}

impl Plan {
    /// How much dearer it is than the bound, as a part of the bound; nothing where there is none.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        (self.lower_bound_per_hour > 0.0).then(|| self.price_per_hour / self.lower_bound_per_hour - 1.0)
    }

    /// Whether every pod has a place.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unschedulable.is_empty()
    }

    /// The node, there or planned, that a pod goes to.
    #[must_use]
    pub fn place_of(&self, pod: &PodKey) -> Option<Place<'_>> {
        let existing = self.existing.iter().find(|(_, pods)| pods.contains(pod));
        existing.map(|(name, _)| Place::Node(name)).or_else(|| {
            self.new
                .iter()
                .position(|node| node.pods.contains(pod))
                .map(Place::New)
        })
    }
}

/// Where a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// This node (or claim on its way).
    Node(&'a str),
    /// `Plan::new` at this index.
    New(usize),
}

/// A node to buy.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedNode {
    /// For this pool.
    pub pool: String,
    /// What is asked of the machine; the options stand apart.
    pub requirements: Requirements,
    /// What it may be, cheapest first.
    pub options: Vec<InstanceTypeOption>,
    /// What it must have room for, daemons included.
    pub requests: ResourceList,
    /// The pods for it.
    pub pods: Vec<PodKey>,
    /// The offering that the plan commits to: the cheapest option's.
    pub choice: OfferingChoice,
    /// Whether `minValues` were relaxed for it.
    pub min_values_relaxed: bool,
    /// Why this pool: those that were tried before it, with what stood in the way of the first pod.
    pub passed_over: Vec<(String, super::Refusal)>,
}

/// A type that a planned node may be.
#[derive(Clone, Debug)]
pub struct InstanceTypeOption {
    /// The type.
    pub instance_type: Arc<InstanceType>,
    /// Price per hour of its cheapest offering that satisfies the requirements.
    pub price: f64,
}

impl PartialEq for InstanceTypeOption {
    fn eq(&self, other: &Self) -> bool {
        self.instance_type.name == other.instance_type.name && self.price.total_cmp(&other.price).is_eq()
    }
}

/// One offering.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferingChoice {
    /// Its type.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// How it is bought.
    pub capacity_type: CapacityType,
    /// Per hour.
    pub price: f64,
}

impl PlannedNode {
    /// The price at which it is planned, per hour.
    #[must_use]
    pub fn price(&self) -> f64 {
        self.choice.price
    }

    /// The claim to create, of `pool` as it is now. The caller sets the owner reference where the pool has a uid.
    #[must_use]
    pub fn to_claim(&self, pool: &NodePool) -> NodeClaim {
        let template = &pool.spec.template;
        let class = &template.spec.node_class_ref;
        let pool_name = pool.metadata.name.clone().unwrap_or_default();
        let mut claim_labels: BTreeMap<String, String> = self.custom_labels();
        claim_labels.extend(template.metadata.labels.clone());
        claim_labels.insert(labels::NODEPOOL.to_owned(), pool_name.clone());
        claim_labels.insert(labels::class_label(&class.group, &class.kind), class.name.clone());
        let mut annotations = template.metadata.annotations.clone();
        annotations.insert(labels::NODEPOOL_HASH.to_owned(), hash::node_pool(pool));
        annotations.insert(
            labels::NODEPOOL_HASH_VERSION.to_owned(),
            hash::NODEPOOL_HASH_VERSION.to_owned(),
        );
        if self.min_values_relaxed {
            annotations.insert(labels::MIN_VALUES_RELAXED.to_owned(), "true".to_owned());
        }
        let owner = kube::Resource::controller_owner_ref(pool, &()).map(|mut owner| {
            owner.controller = None;
            owner.block_owner_deletion = Some(true);
            vec![owner]
        });
        let spec = NodeClaimSpec {
            taints: template.spec.taints.clone(),
            startup_taints: template.spec.startup_taints.clone(),
            requirements: self.claim_requirements().to_specs(),
            resources: ClaimResources {
                requests: self.requests.clone(),
            },
            node_class_ref: class.clone(),
            termination_grace_period: template.spec.termination_grace_period.clone(),
            expire_after: template.spec.expire_after.clone(),
        };
        let mut claim = NodeClaim::new("", spec);
        claim.metadata = ObjectMeta {
            generate_name: Some(format!("{pool_name}-")),
            labels: Some(claim_labels),
            annotations: Some(annotations),
            owner_references: owner,
            ..ObjectMeta::default()
        };
        claim
    }

    /// The requirements with the options as `instance-type In [...]`.
    #[must_use]
    pub fn claim_requirements(&self) -> Requirements {
        let mut requirements = self.requirements.clone();
        requirements.remove(labels::HOSTNAME);
        let names = self
            .options
            .iter()
            .map(|option| option.instance_type.name.as_str());
        let mut types = Requirement::one_of(labels::INSTANCE_TYPE, names);
        types.min_values = requirements
            .get(labels::INSTANCE_TYPE)
            .and_then(|current| current.min_values);
        requirements.set(types);
        let sold: std::collections::BTreeSet<&str> = self
            .options
            .iter()
            .flat_map(|option| option.instance_type.available_offerings(&self.requirements))
            .map(|offering| offering.capacity_type.as_str())
            .collect();
        requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, sold));
        requirements
    }

    /// Labels of the node that follow from requirements that no cloud knows: one value each.
    fn custom_labels(&self) -> BTreeMap<String, String> {
        let custom = self.requirements.iter().filter(|requirement| {
            !labels::is_well_known(requirement.key())
                && requirement.key() != labels::HOSTNAME
                && requirement.operator() != Operator::DoesNotExist
        });
        custom
            .filter_map(|requirement| Some((requirement.key().to_owned(), requirement.any()?)))
            .collect()
    }

    /// Taints that the node will register with.
    #[must_use]
    pub fn taints(pool: &NodePool) -> Vec<Taint> {
        let spec = &pool.spec.template.spec;
        crate::taints::merge(
            &crate::taints::merge(&spec.taints, &spec.startup_taints),
            &[labels::unregistered_taint()],
        )
    }
}
