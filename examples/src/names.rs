//! The names under which the autoscaler stands in a cluster: what `autoscaler manifests` prints, `autoscaler run`
//! serves and `autoscaler uninstall` takes away.

use scaler_api::keda;

/// The namespace, where no other is asked for.
pub const NAMESPACE: &str = "autoscaler";

/// The ServiceAccount, Deployment, Service and PodDisruptionBudget, and the prefix of what has no namespace.
pub const NAME: &str = "autoscaler";

/// The APIService of the metrics adapter; there can be one of this name only.
pub const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// The ValidatingWebhookConfiguration.
pub const WEBHOOK_CONFIGURATION: &str = "autoscaler-admission";

/// The Secret with the certificate authority, the serving certificate and its key.
pub const CERTIFICATE_SECRET: &str = "autoscaler-certificates";

/// The Lease of both halves in one process.
pub const LEASE: &str = "autoscaler";

/// The Lease of the pod half alone.
pub const LEASE_PODS: &str = "autoscaler-pods";

/// The Lease of the node half alone.
pub const LEASE_NODES: &str = "autoscaler-nodes";

/// The port of the metrics adapter in the process.
pub const METRICS_API_PORT: u16 = 6443;

/// The port of the metrics adapter on the Service, which the APIService names.
pub const METRICS_API_SERVICE_PORT: u16 = 443;

/// Name of the Service's port for the metrics adapter.
pub const METRICS_API_PORT_NAME: &str = "metrics-api";

/// The port of the admission webhook, in the process and on the Service.
pub const WEBHOOK_PORT: u16 = 9443;

/// Name of the Service's port for the admission webhook.
pub const WEBHOOK_PORT_NAME: &str = "webhook";

/// The port of `/metrics`, in the process and on the Service.
pub const METRICS_PORT: u16 = 8080;

/// Name of the Service's port for `/metrics`.
pub const METRICS_PORT_NAME: &str = "http-metrics";

/// The port of `/healthz` and `/readyz`.
pub const HEALTH_PORT: u16 = 8081;

/// Name of the container's port for `/healthz` and `/readyz`.
pub const HEALTH_PORT_NAME: &str = "health";

/// A kind that the admission webhook checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedKind {
    /// Its group.
    pub group: &'static str,
    /// Its plural name.
    pub plural: &'static str,
    /// Its name in KEDA's path.
    pub singular: &'static str,
}

/// Every kind that the admission webhook checks.
pub const CHECKED_KINDS: [CheckedKind; 6] = [
    CheckedKind::new(keda::GROUP, "scaledobjects", "scaledobject"),
    CheckedKind::new(keda::GROUP, "scaledjobs", "scaledjob"),
    CheckedKind::new(keda::GROUP, "triggerauthentications", "triggerauthentication"),
    CheckedKind::new(
        keda::GROUP,
        "clustertriggerauthentications",
        "clustertriggerauthentication",
    ),
    CheckedKind::new(keda::EVENTING_GROUP, "cloudeventsources", "cloudeventsource"),
    CheckedKind::new(
        keda::EVENTING_GROUP,
        "clustercloudeventsources",
        "clustercloudeventsource",
    ),
];

impl CheckedKind {
    const fn new(group: &'static str, plural: &'static str, singular: &'static str) -> Self {
        Self {
            group,
            plural,
            singular,
        }
    }

    /// The path at which it is checked.
    #[must_use]
    pub fn path(&self) -> String {
        let group = self.group.replace('.', "-");
        format!("/validate-{group}-{}-{}", keda::VERSION, self.singular)
    }
}
