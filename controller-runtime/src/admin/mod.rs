//! What a process says about itself: health, metrics and decisions over HTTP (feature `server`).
//!
//! - [`Health`] holds named checks and answers `/healthz`, `/livez` and `/readyz` as Kubernetes' own programs do;
//! - [`Metrics`] is the registry behind `/metrics`, with the process, its leadership, its decisions and its requests;
//! - [`explain_router`] says why an object is scaled as it is;
//! - [`health_router`] and [`metrics_router`] put them on HTTP, and [`serve`] on a listener.

mod decided;
mod health;
mod metrics;
mod process;
mod requests;
mod router;

pub use self::{
    health::{Health, Heartbeat},
    metrics::Metrics,
    requests::{MeasuredService, RequestMetrics},
    router::{explain_router, health_router, metrics_router, serve},
};
