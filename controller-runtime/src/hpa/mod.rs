//! The algorithm of the HorizontalPodAutoscaler (`autoscaling/v2`, Kubernetes 1.35) as a pure library.
//!
//! No client, no clock, no logger: a caller reads the target's scale, its pods and the metrics, calls [`decide`], writes
//! the scale and the status, and keeps the [`State`]. The embedded cluster's controller is one such caller; an engine
//! without an HPA object is another. Numbers are in thousandths where the API has quantities; reasons and messages are
//! those that Kubernetes prints.
//!
//! - [`replicas`]: what one metric asks for;
//! - [`metrics`]: several metrics, some of which may have failed, to one proposal;
//! - [`behavior`]: stabilisation, rates and bounds;
//! - [`reconcile`]: all of it, with conditions, events and the status.
//!
//! ```
//! use controller_runtime::hpa::{Config, Input, Reading, Scale, Spec, State, Status, decide};
//! use jiff::Timestamp;
//!
//! let spec = Spec::from_value(&serde_json::json!({
//!     "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
//!     "maxReplicas": 10,
//!     "metrics": [{
//!         "type": "External",
//!         "external": { "metric": { "name": "backlog" }, "target": { "type": "AverageValue", "averageValue": "5" } },
//!     }],
//! }))?;
//! let scale = Scale { spec_replicas: 1, status_replicas: 1, selector: "app=web".to_owned() };
//! let (config, mut state) = (Config::default(), State::default());
//! let input = Input {
//!     namespace: "default",
//!     spec: &spec,
//!     status: &Status::default(),
//!     scale: &scale,
//!     pods: &[],
//!     controllers: &[],
//!     readings: &[Reading::External(vec![13_000])],
//!     config: &config,
//! };
//! let outcome = decide(&input, &mut state, Timestamp::UNIX_EPOCH);
//! let rescale = outcome.rescale.expect("13 messages at 5 a replica need 3");
//! assert_eq!((rescale.from, rescale.to), (1, 3));
//! assert_eq!(rescale.reason, "external metric backlog(nil) above target");
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod behavior;
mod convert;
pub mod explain;
pub mod label_selector;
pub mod metrics;
pub mod pods;
pub mod reconcile;
pub mod replicas;
mod sources;
pub mod spec;
pub mod status;
#[cfg(test)]
#[allow(clippy::too_many_lines, reason = "a table reads best in one piece")]
mod tests;
pub mod validation;

use jiff::SignedDuration;

pub use behavior::State;
pub use label_selector::LabelSelector;
pub use metrics::Reading;
pub use pods::Pod;
pub use reconcile::{Input, Outcome, Rescale, Scale, Targets, decide, scale_unavailable};
pub use spec::Spec;
pub use status::{Event, Status};

/// The parameters of the algorithm: kube-controller-manager's flags, feature gates and constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often each autoscaler is looked at (`--horizontal-pod-autoscaler-sync-period`).
    pub sync_period: SignedDuration,
    /// How long a recommendation holds replicas up where nothing else is said
    /// (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: SignedDuration,
    /// How far the ratio of usage to target may be from 1 without a change (`--horizontal-pod-autoscaler-tolerance`).
    pub tolerance: f64,
    /// How long after a pod's start its CPU samples are looked at with suspicion
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization_period: SignedDuration,
    /// How long after its start a pod that became unready has never been ready
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub initial_readiness_delay: SignedDuration,
    /// Without `behavior`, one step multiplies the replicas by at most this.
    pub scale_up_limit_factor: f64,
    /// Without `behavior`, one step may always go up to this number.
    pub scale_up_limit_minimum: f64,
    /// Whether `behavior` may set tolerances (gate `HPAConfigurableTolerance`, on since 1.35).
    pub configurable_tolerance: bool,
    /// Whether `minReplicas: 0` is valid (gate `HPAScaleToZero`, off in 1.35). Only validation asks: the algorithm itself
    /// takes 0 from whoever was let in.
    pub scale_to_zero: bool,
    /// Whether requests of pods as a whole count (gate `PodLevelResources`, on since 1.34).
    pub pod_level_resources: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sync_period: SignedDuration::from_secs(15),
            downscale_stabilization: SignedDuration::from_mins(5),
            tolerance: 0.1,
            cpu_initialization_period: SignedDuration::from_mins(5),
            initial_readiness_delay: SignedDuration::from_secs(30),
            scale_up_limit_factor: 2.0,
            scale_up_limit_minimum: 4.0,
            configurable_tolerance: true,
            scale_to_zero: false,
            pod_level_resources: true,
        }
    }
}
