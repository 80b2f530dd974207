//! What KEDA's webhook counts.

use std::collections::BTreeSet;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    namespace: String,
    action: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    namespace: String,
    action: String,
    reason: &'static str,
}

/// Validations of ScaledObjects and what was refused, under KEDA's names. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ValidationMetrics {
    validations: Family<Action, Counter>,
    refusals: Family<Refusal, Counter>,
}

impl ValidationMetrics {
    /// Registers `keda_webhook_scaled_object_validations_total` and
    /// `keda_webhook_scaled_object_validation_errors_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "keda_webhook_scaled_object_validations",
            "ScaledObjects that were validated",
            metrics.validations.clone(),
        );
        registry.register(
            "keda_webhook_scaled_object_validation_errors",
            "ScaledObjects that were refused, by the class of the rule",
            metrics.refusals.clone(),
        );
        metrics
    }

    pub(super) fn validated(&self, namespace: &str, operation: &str) {
        let action = Action {
            namespace: namespace.to_owned(),
            action: operation.to_lowercase(),
        };
        self.validations.get_or_create(&action).inc();
    }

    pub(super) fn refused(
        &self,
        namespace: &str,
        operation: &str,
        reasons: impl Iterator<Item = &'static str>,
    ) {
        for reason in reasons.collect::<BTreeSet<_>>() {
            let refusal = Refusal {
                namespace: namespace.to_owned(),
                action: operation.to_lowercase(),
                reason,
            };
            self.refusals.get_or_create(&refusal).inc();
        }
    }
}
