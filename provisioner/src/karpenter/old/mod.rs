//! Karpenter's resources before `v1`, and what they are today.
//!
//! | old | today |
//! |---|---|
//! | `karpenter.sh/v1alpha5` Provisioner | NodePool; with a provider inline, an EC2NodeClass as well |
//! | `karpenter.k8s.aws/v1alpha1` AWSNodeTemplate | EC2NodeClass |
//! | `karpenter.sh/v1beta1` NodePool, NodeClaim | the same kinds |
//! | `karpenter.k8s.aws/v1beta1` EC2NodeClass | the same kind |
//!
//! Some of what stood in one object stands in another today: the kubelet's settings went from pools to node classes, the
//! age at which nodes expire from pools to claims. So what is given together is converted together.

mod class;
mod pool;

use scaler_api::{Converted, Fields, Note};
use serde_json::{Value, json};

use super::labels::{AWS_GROUP, GROUP};

/// The label of nodes that named their Provisioner.
const PROVISIONER_NAME: &str = "karpenter.sh/provisioner-name";
/// Annotations that a controller keeps, by what they begin with.
const KEPT_BY_CONTROLLERS: [&str; 3] = [
    "karpenter.sh/nodepool-hash",
    "karpenter.sh/provisioner-hash",
    "karpenter.k8s.aws/ec2nodeclass-hash",
];

/// What an old object is today, given those beside it (itself may be among them). Empty for an object that is not old.
#[must_use]
pub fn convert(object: &Value, beside: &[Value]) -> Vec<Converted> {
    match Old::of(object) {
        Some(Old::Provisioner) => pool::from_provisioner(object, beside),
        Some(Old::NodePool) => vec![pool::from_node_pool(object, beside)],
        Some(Old::NodeClaim) => vec![pool::from_node_claim(object, beside)],
        Some(Old::Template) => vec![class::from_template(object, beside)],
        Some(Old::NodeClass) => vec![class::from_node_class(object, beside)],
        None => Vec::new(),
    }
}

/// The old kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Provisioner,
    Template,
    NodePool,
    NodeClaim,
    NodeClass,
}

impl Old {
    fn of(object: &Value) -> Option<Self> {
        match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
            ("karpenter.sh/v1alpha5", "Provisioner") => Some(Self::Provisioner),
            ("karpenter.k8s.aws/v1alpha1", "AWSNodeTemplate") => Some(Self::Template),
            ("karpenter.sh/v1beta1", "NodePool") => Some(Self::NodePool),
            ("karpenter.sh/v1beta1", "NodeClaim") => Some(Self::NodeClaim),
            ("karpenter.k8s.aws/v1beta1", "EC2NodeClass") => Some(Self::NodeClass),
            _ => None,
        }
    }
}

/// The object of today: the old one's name, labels and annotations.
fn object(group: &str, kind: &str, old: &Value, spec: &Value) -> Value {
    let mut metadata = old["metadata"].clone();
    let is_kept = |name: &str| KEPT_BY_CONTROLLERS.iter().any(|prefix| name.starts_with(prefix));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !is_kept(name));
    }
    let is_empty = metadata["annotations"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty);
    if let (true, Some(metadata)) = (is_empty, metadata.as_object_mut()) {
        metadata.remove("annotations");
    }
    json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata, "spec": spec})
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// A duration of so many seconds.
fn seconds(value: &Value) -> Value {
    format!("{value}s").into()
}

/// The kubelet's settings that old pools among `objects` have for the node class, with the pools' names, in their order.
fn kubelets<'a>(class: &str, objects: &'a [Value]) -> Vec<(&'a str, &'a Value)> {
    let settings = objects.iter().filter_map(|object| {
        let (named, kubelet) = match Old::of(object)? {
            Old::Provisioner => (
                pool::class_of_provisioner(object),
                &object["spec"]["kubeletConfiguration"],
            ),
            Old::NodePool => {
                let spec = &object["spec"]["template"]["spec"];
                (
                    spec["nodeClassRef"]["name"].as_str().unwrap_or_default(),
                    &spec["kubelet"],
                )
            }
            _ => return None,
        };
        (named == class && kubelet.is_object()).then_some((name(object), kubelet))
    });
    settings.collect()
}

/// Whether an old node class of this name is among `objects`.
fn is_converted(class: &str, objects: &[Value]) -> bool {
    objects.iter().any(|object| {
        matches!(Old::of(object), Some(Old::Template | Old::NodeClass)) && name(object) == class
    })
}

/// The kubelet's settings as they are today.
fn kubelet(old: &Value, path: &str, notes: &mut Vec<Note>) -> Value {
    let mut fields = Fields::of(old, path, notes);
    fields.keep(&[
        "clusterDNS",
        "maxPods",
        "podsPerCore",
        "systemReserved",
        "kubeReserved",
        "evictionHard",
        "evictionSoft",
        "evictionSoftGracePeriod",
        "evictionMaxPodGracePeriod",
        "imageGCHighThresholdPercent",
        "imageGCLowThresholdPercent",
        "cpuCFSQuota",
    ]);
    fields.drop("containerRuntime", "it is containerd always");
    fields.finish()
}

#[cfg(test)]
mod tests;
