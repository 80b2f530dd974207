//! Labels, annotations, finalizers and other names that KEDA's users know.

use std::collections::BTreeMap;

use crate::metadata::go;

/// The release of KEDA whose resources, names and behaviour these are.
pub const KEDA_VERSION: &str = "2.20.2";
/// The API group.
pub const GROUP: &str = "keda.sh";
/// The version in the API group.
pub const VERSION: &str = "v1alpha1";
/// The finalizer on ScaledObjects, ScaledJobs and (Cluster)TriggerAuthentications.
pub const FINALIZER: &str = "finalizer.keda.sh";

/// Label on a ScaledObject and its HPA, and the selector of its external metrics: the ScaledObject's name.
pub const SCALED_OBJECT_NAME_LABEL: &str = "scaledobject.keda.sh/name";
/// Label on the Jobs of a ScaledJob and their pods: the ScaledJob's name.
pub const SCALED_JOB_NAME_LABEL: &str = "scaledjob.keda.sh/name";
/// Annotation on the Jobs of a ScaledJob: the generation that they were made from.
pub const SCALED_JOB_GENERATION_ANNOTATION: &str = "scaledjob.keda.sh/generation";
/// Value of `app.kubernetes.io/managed-by` on what KEDA makes.
pub const MANAGED_BY: &str = "keda-operator";
/// Prefix of the HPA's name where none is configured.
pub const HPA_NAME_PREFIX: &str = "keda-hpa-";
/// Name of the external metric that scaling modifiers make.
pub const COMPOSITE_METRIC_NAME: &str = "composite-metric";

/// Annotation: pauses, unless its value is a false word.
pub const PAUSED_ANNOTATION: &str = "autoscaling.keda.sh/paused";
/// Annotation: pauses at this number of replicas.
pub const PAUSED_REPLICAS_ANNOTATION: &str = "autoscaling.keda.sh/paused-replicas";
/// Annotation: no scaling in.
pub const PAUSED_SCALE_IN_ANNOTATION: &str = "autoscaling.keda.sh/paused-scale-in";
/// Annotation: no scaling out.
pub const PAUSED_SCALE_OUT_ANNOTATION: &str = "autoscaling.keda.sh/paused-scale-out";
/// Annotation: active whatever the triggers say.
pub const FORCE_ACTIVATION_ANNOTATION: &str = "autoscaling.keda.sh/force-activation";
/// Annotation: adopt the HPA named in `horizontalPodAutoscalerConfig.name`.
pub const TRANSFER_HPA_OWNERSHIP_ANNOTATION: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
/// Annotation: labels that are not copied to the HPA, comma-separated.
pub const HPA_EXCLUDED_LABELS_ANNOTATION: &str = "scaledobject.keda.sh/hpa-excluded-labels";
/// Annotation: labels that are not copied to Jobs, comma-separated.
pub const JOB_EXCLUDED_LABELS_ANNOTATION: &str = "scaledjob.keda.sh/job-excluded-labels";
/// Annotation on an HPA: `false` skips the check for a second owner.
pub const VALIDATIONS_HPA_OWNERSHIP_ANNOTATION: &str = "validations.keda.sh/hpa-ownership";

/// Whether a switch among the annotations is on: it is there and not a false word. What cannot be read counts as on,
/// the empty value included: who pauses in a hurry shall not be ignored for a typo.
#[must_use]
pub fn is_switched_on(annotations: Option<&BTreeMap<String, String>>, annotation: &str) -> bool {
    annotations
        .and_then(|annotations| annotations.get(annotation))
        .is_some_and(|value| go::parse_bool(value).unwrap_or(true))
}
