//! The kinds that an installation consists of, and those that it acts on.

use crate::install::connect::Kind;

const fn kind(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) const API_SERVICE: Kind = kind("apiregistration.k8s.io", "v1", "APIService", "apiservices");
pub(super) const WEBHOOK: Kind = kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
);
pub(super) const DEPLOYMENT: Kind = kind("apps", "v1", "Deployment", "deployments");
pub(super) const STATEFUL_SET: Kind = kind("apps", "v1", "StatefulSet", "statefulsets");
pub(super) const DAEMON_SET: Kind = kind("apps", "v1", "DaemonSet", "daemonsets");
pub(super) const POD: Kind = kind("", "v1", "Pod", "pods");
pub(super) const NODE: Kind = kind("", "v1", "Node", "nodes");
pub(super) const NAMESPACE: Kind = kind("", "v1", "Namespace", "namespaces");
pub(super) const SECRET: Kind = kind("", "v1", "Secret", "secrets");
pub(super) const SERVICE: Kind = kind("", "v1", "Service", "services");
pub(super) const SERVICE_ACCOUNT: Kind = kind("", "v1", "ServiceAccount", "serviceaccounts");
pub(super) const CLAIM: Kind = kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
pub(super) const BUDGET: Kind = kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
pub(super) const LEASE: Kind = kind("coordination.k8s.io", "v1", "Lease", "leases");
pub(super) const JOB: Kind = kind("batch", "v1", "Job", "jobs");
pub(super) const AUTOSCALER: Kind = kind(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
);
pub(super) const CLUSTER_ROLE: Kind = kind(RBAC, "v1", "ClusterRole", "clusterroles");
pub(super) const CLUSTER_ROLE_BINDING: Kind = kind(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings");
pub(super) const ROLE: Kind = kind(RBAC, "v1", "Role", "roles");
pub(super) const ROLE_BINDING: Kind = kind(RBAC, "v1", "RoleBinding", "rolebindings");
pub(super) const CERTIFICATE: Kind = kind("cert-manager.io", "v1", "Certificate", "certificates");
pub(super) const ISSUER: Kind = kind("cert-manager.io", "v1", "Issuer", "issuers");
pub(super) const DEFINITION: Kind = kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
);

pub(super) const SCALED_OBJECT: Kind = kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects");
pub(super) const SCALED_JOB: Kind = kind("keda.sh", "v1alpha1", "ScaledJob", "scaledjobs");
pub(super) const NODE_CLAIM: Kind = kind("karpenter.sh", "v1", "NodeClaim", "nodeclaims");
pub(super) const NODE_POOL: Kind = kind("karpenter.sh", "v1", "NodePool", "nodepools");

/// The kinds that are defined by an installation, in an order in which their objects can go: those that others own, or
/// are made for, first.
pub(super) const DEFINED: [Kind; 11] = [
    SCALED_OBJECT,
    SCALED_JOB,
    kind(
        "keda.sh",
        "v1alpha1",
        "TriggerAuthentication",
        "triggerauthentications",
    ),
    kind(
        "keda.sh",
        "v1alpha1",
        "ClusterTriggerAuthentication",
        "clustertriggerauthentications",
    ),
    kind(
        "eventing.keda.sh",
        "v1alpha1",
        "CloudEventSource",
        "cloudeventsources",
    ),
    kind(
        "eventing.keda.sh",
        "v1alpha1",
        "ClusterCloudEventSource",
        "clustercloudeventsources",
    ),
    NODE_CLAIM,
    NODE_POOL,
    kind("karpenter.sh", "v1alpha1", "NodeOverlay", "nodeoverlays"),
    kind("karpenter.k8s.aws", "v1", "EC2NodeClass", "ec2nodeclasses"),
    kind(
        "karpenter.kwok.sh",
        "v1alpha1",
        "KWOKNodeClass",
        "kwoknodeclasses",
    ),
];
