//! The trait behind every cloud.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    CapacityType, Catalog, Error, ResourceList,
    karpenter::{Condition, NodeClaim, NodePool},
};

/// A node class: where a provisioner's own settings live (EC2NodeClass, KWOKNodeClass).
pub trait NodeClass:
    Resource<DynamicType = ()> + Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The conditions of its status.
    fn conditions(&self) -> &[Condition];

    /// Writes what [`Provisioner::resolve`] found into a copy of the status, as JSON for a status patch.
    fn status_json(&self, status: &ClassStatus) -> serde_json::Value;

    /// The hash of the fields whose change means drift, and its version.
    fn drift_hash(&self) -> (String, &'static str);
}

/// What a provisioner found out about a node class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassStatus {
    /// Resolved things by name (`subnets`, `amis`, ...), as they stand in the class's status.
    pub resolved: BTreeMap<String, serde_json::Value>,
    /// Conditions other than `Ready`, which is the conjunction of them.
    pub conditions: Vec<Condition>,
}

/// Buys and returns machines.
///
/// # Contract
/// - Facts and verbs only: every decision is made by the callers' pure functions.
/// - [`launch`](Provisioner::launch) is idempotent by [`LaunchRequest::token`]: the same token never buys twice, also
///   after a crash in between.
/// - Outcomes are values: a missing instance is `None` or [`Termination::Gone`], not an error.
/// - No retry loop: callers retry by [`ErrorKind`](crate::ErrorKind).
///
/// # Cancel safety
/// Every future may be dropped; a launch that was under way is found again by its token or by
/// [`list`](Provisioner::list).
#[async_trait]
pub trait Provisioner: fmt::Debug + Send + Sync + 'static {
    /// The node class that this provisioner reads.
    type Class: NodeClass;

    /// Resolves a class against the cloud: subnets, images and so on, with conditions, as a value.
    ///
    /// # Errors
    /// If the cloud could not be asked; what was found wrong with the class is a condition.
    async fn resolve(&self, class: &Self::Class) -> Result<ClassStatus, Error>;

    /// What can be bought for a pool with a class.
    ///
    /// # Errors
    /// If nothing is known, not even from an earlier answer.
    async fn catalog(&self, pool: &NodePool, class: &Self::Class) -> Result<Arc<Catalog>, Error>;

    /// Buys one instance for a claim.
    ///
    /// # Errors
    /// [`InsufficientCapacity`](crate::ErrorKind::InsufficientCapacity) if no offering of the request has capacity;
    /// the provisioner marks them unavailable for a while.
    async fn launch(&self, request: &LaunchRequest<'_, Self::Class>) -> Result<Instance, Error>;

    /// Returns an instance.
    ///
    /// # Errors
    /// If the cloud could not be asked.
    async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error>;

    /// One instance.
    ///
    /// # Errors
    /// If the cloud could not be asked; an unknown instance is `None`.
    async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error>;

    /// Every instance that belongs to the cluster and is not terminated.
    ///
    /// # Errors
    /// If the cloud could not be asked.
    async fn list(&self) -> Result<Vec<Instance>, Error>;

    /// Why an instance no longer is what its class asks for.
    ///
    /// # Errors
    /// If the cloud could not be asked.
    async fn drift(&self, instance: &Instance, class: &Self::Class) -> Result<Option<DriftReason>, Error>;

    /// What the cloud announces about its instances; each is acknowledged after it was acted on.
    fn interruptions(&self) -> Option<BoxStream<'_, Interruption>> {
        None
    }
}

/// What [`Provisioner::launch`] is asked for.
#[derive(Clone, Debug)]
pub struct LaunchRequest<'a, C> {
    /// The claim: requirements, requests, taints and labels.
    pub claim: &'a NodeClaim,
    /// Its class.
    pub class: &'a C,
    /// The same for every try of the same claim (its uid).
    pub token: &'a str,
}

/// The identity of an instance (`spec.providerID` of its node), e.g. `aws:///eu-west-1a/i-0123`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(pub String);

impl ProviderId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine that was bought.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its identity.
    pub id: ProviderId,
    /// The name that its node will register with, if known.
    pub node_name: Option<String>,
    /// Its type.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// How it was bought.
    pub capacity_type: CapacityType,
    /// Price per hour at launch.
    pub price: f64,
    /// Its image.
    pub image_id: Option<String>,
    /// What it has.
    pub capacity: ResourceList,
    /// What pods can use of it.
    pub allocatable: ResourceList,
    /// Labels that follow from what was bought (type, zone, capacity type, architecture...).
    pub labels: BTreeMap<String, String>,
    /// The claim that it was bought for (its name), from the instance's tags.
    pub claim: Option<String>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// When it was launched.
    pub launched_at: Timestamp,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Bought, booting.
    Pending,
    /// Up.
    Running,
    /// Being returned.
    ShuttingDown,
    /// Gone.
    Terminated,
}

/// What [`Provisioner::terminate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// The instance is going.
    Requested,
    /// There is no such instance (any more).
    Gone,
}

/// Why an instance drifted, as a condition reason, e.g. `AMIDrift`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftReason(pub String);

/// Something that a cloud announced about an instance.
#[derive(Debug)]
pub struct Interruption {
    /// Which.
    pub instance: ProviderId,
    /// What.
    pub kind: InterruptionKind,
    /// To be called once it was acted on; not calling it makes the cloud say it again.
    pub acknowledge: Acknowledge,
}

/// What a cloud announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterruptionKind {
    /// A spot instance is taken back, in two minutes.
    SpotInterrupted,
    /// A spot instance is likely to be taken back.
    RebalanceRecommendation,
    /// Maintenance is coming.
    ScheduledChange,
    /// It was stopped.
    Stopped,
    /// It was terminated.
    Terminated,
    /// It failed its health checks.
    Unhealthy,
}

/// Tells the cloud that an [`Interruption`] was acted on.
pub struct Acknowledge(Box<dyn FnOnce() + Send>);

impl Acknowledge {
    /// Calls `done` when acknowledged.
    pub fn new(done: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(done))
    }

    /// It was acted on.
    pub fn acknowledge(self) {
        (self.0)();
    }
}

impl fmt::Debug for Acknowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledge")
    }
}

/// A machine as its kubelet would register it: the data plane of an in-process cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// `spec.providerID`.
    pub id: ProviderId,
    /// The node's name.
    pub node_name: String,
    /// Labels that the kubelet registers with (hostname, architecture, operating system, and what the user data says).
    pub labels: BTreeMap<String, String>,
    /// Taints that the kubelet registers with, `karpenter.sh/unregistered` among them.
    pub taints: Vec<Taint>,
    /// `status.capacity`.
    pub capacity: ResourceList,
    /// `status.allocatable`.
    pub allocatable: ResourceList,
}

/// The machines of an in-process cloud that are up, for whoever plays their kubelets.
#[async_trait]
pub trait Machines: fmt::Debug + Send + Sync + 'static {
    /// The machines that run now, by name.
    fn running(&self) -> Vec<Machine>;

    /// Waits until [`running`](Machines::running) may answer something else than at the last call of this method.
    async fn changed(&self);
}
