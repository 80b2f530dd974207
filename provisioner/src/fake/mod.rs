//! An in-process cloud: instance types with prices, launch and boot delays, capacity that runs out, interruptions.
//!
//! It follows tokio's clock, so that under a paused runtime it lives in virtual time, and it is seeded: the same calls
//! have the same answers, ids and names included.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), provisioner::Error> {
//! use std::time::Duration;
//! use provisioner::{Provisioner, fake::{Fake, FakeSettings, ec2_types}, karpenter::Ec2NodeClass};
//!
//! let zones = ["ap-southeast-2a", "ap-southeast-2b"];
//! let cloud = Fake::<Ec2NodeClass>::new(FakeSettings {
//!     instance_types: ec2_types::instance_types("ap-southeast-2", &zones),
//!     boot_delay: Duration::from_secs(30),
//!     seed: 7,
//!     ..FakeSettings::new("ap-southeast-2")
//! });
//! cloud.limit(|offering| offering.instance_type == "m5.xlarge", 3);
//! assert!(cloud.list().await?.is_empty());
//! # Ok(()) }
//! ```

mod cloud;
pub mod ec2_types;
mod interruptions;
mod provisioner;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scaler_api::{SharedClock, SystemClock};
use tokio::{sync::Notify, time::Instant};

use self::cloud::{Cloud, Limit};
use crate::{CapacityType, InstanceType, InterruptionKind, NodeClass, ProviderId};

/// How a [`Fake`] behaves.
#[derive(Clone, Debug)]
pub struct FakeSettings {
    /// The region, part of node names.
    pub region: String,
    /// What is sold, with zones and prices in the offerings.
    pub instance_types: Vec<Arc<InstanceType>>,
    /// How long [`launch`](crate::Provisioner::launch) takes to answer.
    pub launch_delay: Duration,
    /// From that answer until the machine runs and its kubelet registers.
    pub boot_delay: Duration,
    /// From [`terminate`](crate::Provisioner::terminate) until the instance is gone.
    pub termination_delay: Duration,
    /// How long an offering that was short is marked as unavailable.
    pub unavailable_for: Duration,
    /// Notice of a spot interruption.
    pub interruption_notice: Duration,
    /// The first part of provider ids; `aws` makes `aws:///<zone>/<id>`, others `<scheme>://<node name>`. `None` follows
    /// the class's kind.
    pub scheme: Option<String>,
    /// The image that instances run.
    pub image_id: String,
    /// The share of calls that fail with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), from 0 to 1.
    pub error_rate: f64,
    /// Ids, and which calls fail.
    pub seed: u64,
    /// What timestamps are taken from.
    pub clock: SharedClock,
}

impl FakeSettings {
    /// Nothing for sale yet; launches take 2 s, boots 28 s, terminations 20 s.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            instance_types: Vec::new(),
            launch_delay: Duration::from_secs(2),
            boot_delay: Duration::from_secs(28),
            termination_delay: Duration::from_secs(20),
            unavailable_for: Duration::from_secs(180),
            interruption_notice: Duration::from_secs(120),
            scheme: None,
            image_id: "ami-0123456789abcdef0".to_owned(),
            error_rate: 0.0,
            seed: 0,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Names an offering of a [`Fake`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferingKey {
    /// Type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// How it is bought.
    pub capacity_type: CapacityType,
}

/// An in-process cloud for classes of kind `C`. Clones share the cloud.
pub struct Fake<C> {
    shared: Arc<Shared>,
    class: PhantomData<fn() -> C>,
}

struct Shared {
    settings: FakeSettings,
    /// Whether ids and status look as on AWS.
    is_aws: bool,
    cloud: Mutex<Cloud>,
    /// Wakes those who wait for machines or interruptions.
    changed: Notify,
}

impl Shared {
    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        // Every change of the cloud is made in one step, so a poisoned lock holds a whole state.
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: NodeClass> Fake<C> {
    /// A cloud without instances.
    #[must_use]
    pub fn new(settings: FakeSettings) -> Self {
        let is_aws = match settings.scheme.as_deref() {
            Some(scheme) => scheme == "aws",
            None => C::kind(&()) == "EC2NodeClass",
        };
        let cloud = Mutex::new(Cloud::new(&settings));
        let shared = Shared {
            settings,
            is_aws,
            cloud,
            changed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
            class: PhantomData,
        }
    }

    /// From now on at most `most` instances of the offerings that `which` picks run at once, all together.
    pub fn limit(&self, which: impl Fn(&OfferingKey) -> bool + Send + 'static, most: usize) {
        self.shared.cloud().limits.push(Limit {
            which: Box::new(which),
            most,
        });
    }

    /// From now on there is capacity again.
    pub fn unlimited(&self) {
        self.shared.cloud().limits.clear();
    }

    /// Changes the price per hour of the offerings that `which` picks.
    pub fn set_price(&self, which: impl Fn(&OfferingKey) -> bool, price: f64) {
        self.shared.cloud().set_price(which, price);
    }

    /// From now on classes resolve to this image: instances of another one drift.
    pub fn set_image(&self, image_id: impl Into<String>) {
        self.shared.cloud().image_id = image_id.into();
    }

    /// From now on classes resolve with this condition as False; `None` for none.
    pub fn set_class_problem(&self, problem: Option<ClassProblem>) {
        self.shared.cloud().class_problem = problem;
    }

    /// Announces something about an instance; a spot instance is taken back after the notice.
    pub fn interrupt(&self, id: &ProviderId, kind: InterruptionKind) {
        let notice = self.shared.settings.interruption_notice;
        self.shared.cloud().interrupt(id, kind, Instant::now() + notice);
        self.shared.changed.notify_waiters();
    }

    /// The instance is gone at once, without notice.
    pub fn lose(&self, id: &ProviderId) {
        self.shared.cloud().end(id, Instant::now());
        self.shared.changed.notify_waiters();
    }

    /// How often instances were bought so far.
    #[must_use]
    pub fn launched(&self) -> usize {
        self.shared.cloud().launched
    }
}

/// A condition of a class that is False.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassProblem {
    /// Type, e.g. `SubnetsReady`.
    pub kind: String,
    /// Reason, e.g. `SubnetsNotFound`.
    pub reason: String,
    /// Message.
    pub message: String,
}

impl<C> Clone for Fake<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            class: PhantomData,
        }
    }
}

impl<C> fmt::Debug for Fake<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake")
            .field("region", &self.shared.settings.region)
            .finish_non_exhaustive()
    }
}
