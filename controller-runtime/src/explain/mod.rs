//! Why an object is scaled as it is: from what the process keeps anyway to an [`Explanation`], when somebody asks.
//!
//! Nothing here is read from the API server and nothing is written to it. What a turn leaves behind for this is moved,
//! not copied. What an HPA does in another process is computed again with the algorithm of [`hpa`](crate::hpa) from its
//! status and from what was watched of it, and marked as inferred. Building an explanation and wording it
//! ([`text()`]) are pure functions; [`Explainer`] gathers what they need.

mod autoscaler;
mod explainer;
mod explanation;
mod hpa_text;
pub(crate) mod kept;
mod nearest;
mod observed;
mod rules;
pub(crate) mod scaled_job;
pub(crate) mod scaled_object;
#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
mod text;

use std::sync::Arc;

pub use explainer::{Explainer, Kind, Unknown};
pub use explanation::{
    Autoscaler, Check, Explanation, Fallback, Formula, HpaCondition, Metric, Origin, PastDecision, SCHEMA,
    Settings, State, Trigger,
};
pub use nearest::nearest;
pub use scaled_job::from_object as of_scaled_job;
pub use scaled_object::from_objects as of_scaled_object;
pub use text::text;

use crate::{hpa::explain::Computation, store::ObjectKey};

/// What an HPA's last run came to, where its controller is in this process.
pub type Runs = Arc<dyn Fn(&ObjectKey) -> Option<Computation> + Send + Sync>;
