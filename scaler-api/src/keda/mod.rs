//! KEDA's custom resources, `keda.sh/v1alpha1` and `eventing.keda.sh/v1alpha1`.
//!
//! The types hold what a user wrote and nothing else: defaults that KEDA applies in code are methods
//! ([`ScaledObjectSpec::polling_interval`], ...), never written into an object. Fields that this version does not know
//! are kept in `unknown` and written back. Words such as a fallback's behaviour stay text, so that an object with a
//! word of a later version can still be read and reported; methods turn them into enums.

mod authentication;
mod cloud_event_source;
mod common;
mod names;
pub mod old;
mod scaled_job;
mod scaled_object;
mod scaler_name;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use authentication::{
    AuthenticationEnvironment, AuthenticationTargetRef, BoundServiceAccountToken,
    ClusterTriggerAuthentication, OAuth2, TriggerAuthentication, TriggerAuthenticationSpec,
    TriggerAuthenticationStatus,
};
pub use cloud_event_source::{
    AzureEventGridTopic, CLOUD_EVENT_TYPES, CloudEventHttp, CloudEventSource, CloudEventSourceSpec,
    CloudEventSourceStatus, ClusterCloudEventSource, Destination, EVENTING_GROUP, EventSubscription,
};
pub use common::{AuthenticationRef, Condition, ScaleTrigger, TriggerActivity, Unknown, condition};
pub use names::*;
pub use scaled_job::{
    MultipleScalersCalculation, Rollout, RolloutStrategy, ScaledJob, ScaledJobSpec, ScaledJobStatus,
    ScalingStrategy, ScalingStrategyKind,
};
pub use scaled_object::{
    Advanced, Fallback, FallbackBehavior, HorizontalPodAutoscalerConfig, ScaleTargetRef, ScaledObject,
    ScaledObjectSpec, ScalingModifiers,
};
pub use scaler_name::go_scaler_name;
pub use status::{GroupVersionKindResource, Health, HealthStatus, ScaledObjectStatus};

pub use crate::secret_store::blocks::{
    AwsSecretManager, AwsSecretManagerCredentials, AwsSecretManagerSecret, AzureKeyVault, AzureKeyVaultCloud,
    AzureKeyVaultCredentials, AzureKeyVaultSecret, AzureServicePrincipal, GcpCredentials, GcpSecretManager,
    GcpSecretManagerSecret, HashiCorpVault, PodIdentitySpec, SecretKeyRef, SecretValue, ValueFromSecret,
    VaultCredential, VaultPkiData, VaultSecret,
};

/// The definitions of all resources here, as an API server takes them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        ScaledObject::crd(),
        ScaledJob::crd(),
        TriggerAuthentication::crd(),
        ClusterTriggerAuthentication::crd(),
        CloudEventSource::crd(),
        ClusterCloudEventSource::crd(),
    ]
}

#[cfg(test)]
mod tests;
