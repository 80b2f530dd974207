//! Names that Karpenter writes on objects: labels, annotations, taints, finalizers.

use k8s_openapi::api::core::v1::Taint;

/// API group of NodePool, NodeClaim and NodeOverlay.
pub const GROUP: &str = "karpenter.sh";
/// API group of EC2NodeClass.
pub const AWS_GROUP: &str = "karpenter.k8s.aws";
/// API group of KWOKNodeClass.
pub const KWOK_GROUP: &str = "karpenter.kwok.sh";

/// Label: the NodePool of a claim or node.
pub const NODEPOOL: &str = "karpenter.sh/nodepool";
/// Label: the node is initialised (`"true"`).
pub const INITIALIZED: &str = "karpenter.sh/initialized";
/// Label: the node is registered (`"true"`).
pub const REGISTERED: &str = "karpenter.sh/registered";
/// Label: `on-demand`, `spot` or `reserved`.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Label: taints of the claim are not copied to the node.
pub const DO_NOT_SYNC_TAINTS: &str = "karpenter.sh/do-not-sync-taints";
/// Label: the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label: the region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Label: the instance type.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Label: the processor architecture.
pub const ARCH: &str = "kubernetes.io/arch";
/// Label: the operating system.
pub const OS: &str = "kubernetes.io/os";
/// Label: the build of Windows.
pub const WINDOWS_BUILD: &str = "node.kubernetes.io/windows-build";
/// Label: the node's name, set by the kubelet.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label on a draining node: load balancers take it out.
pub const EXCLUDE_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Label: the capacity reservation that an instance draws on.
pub const CAPACITY_RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";

/// Annotation: `"true"`, or on pods a duration, keeps voluntary disruption away.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Annotation: when a claim is terminated by force (RFC 3339).
pub const TERMINATION_TIMESTAMP: &str = "karpenter.sh/nodeclaim-termination-timestamp";
/// Annotation: hash of the pool's template.
pub const NODEPOOL_HASH: &str = "karpenter.sh/nodepool-hash";
/// Annotation: version of that hash.
pub const NODEPOOL_HASH_VERSION: &str = "karpenter.sh/nodepool-hash-version";
/// Annotation: minValues were relaxed for the claim.
pub const MIN_VALUES_RELAXED: &str = "karpenter.sh/nodeclaim-min-values-relaxed";
/// Annotation: DRA drivers that pods of the claim ask for.
pub const REQUESTED_DRA_DRIVERS: &str = "karpenter.sh/requested-dra-drivers";
/// Annotation: a price overlay applied.
pub const PRICE_OVERLAY_APPLIED: &str = "karpenter.sh/price-overlay-applied";
/// Annotation: a capacity overlay applied.
pub const CAPACITY_OVERLAY_APPLIED: &str = "karpenter.sh/capacity-overlay-applied";
/// Annotation: the provider that wrote an object.
pub const COMPATIBILITY_PROVIDER: &str = "compatibility.karpenter.sh/provider";
/// Annotation: hash of an EC2NodeClass.
pub const EC2NODECLASS_HASH: &str = "karpenter.k8s.aws/ec2nodeclass-hash";
/// Annotation: version of that hash.
pub const EC2NODECLASS_HASH_VERSION: &str = "karpenter.k8s.aws/ec2nodeclass-hash-version";

/// Finalizer of nodes and claims.
pub const TERMINATION_FINALIZER: &str = "karpenter.sh/termination";
/// Finalizer of EC2NodeClasses.
pub const EC2NODECLASS_FINALIZER: &str = "karpenter.k8s.aws/termination";

/// Taint key: the node is being disrupted (`NoSchedule`).
pub const DISRUPTED_TAINT: &str = "karpenter.sh/disrupted";
/// Taint key: the node is not registered yet (`NoExecute`).
pub const UNREGISTERED_TAINT: &str = "karpenter.sh/unregistered";

/// `karpenter.sh/disrupted:NoSchedule`.
#[must_use]
pub fn disrupted_taint() -> Taint {
    Taint {
        key: DISRUPTED_TAINT.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    }
}

/// `karpenter.sh/unregistered:NoExecute`.
#[must_use]
pub fn unregistered_taint() -> Taint {
    Taint {
        key: UNREGISTERED_TAINT.into(),
        effect: "NoExecute".into(),
        ..Taint::default()
    }
}

/// Labels that a pod may ask for without any pool declaring them: catalogues do.
pub const WELL_KNOWN: &[&str] = &[
    NODEPOOL,
    ZONE,
    REGION,
    INSTANCE_TYPE,
    ARCH,
    OS,
    CAPACITY_TYPE,
    WINDOWS_BUILD,
    "topology.k8s.aws/zone-id",
];

/// Labels below `karpenter.k8s.aws/` that a pod or pool may ask for.
pub const AWS_WELL_KNOWN: &[&str] = &[
    "instance-hypervisor",
    "instance-encryption-in-transit-supported",
    "nitro-sandbox",
    "instance-category",
    "instance-capability-flex",
    "instance-family",
    "instance-generation",
    "instance-size",
    "instance-local-nvme",
    "instance-cpu",
    "instance-cpu-manufacturer",
    "instance-cpu-sustained-clock-speed-mhz",
    "instance-memory",
    "instance-ebs-bandwidth",
    "instance-network-bandwidth",
    "instance-gpu-name",
    "instance-gpu-manufacturer",
    "instance-gpu-count",
    "instance-gpu-memory",
    "instance-accelerator-name",
    "instance-accelerator-manufacturer",
    "instance-accelerator-count",
    "instance-tenancy",
    "capacity-reservation-id",
    "capacity-reservation-type",
    "capacity-reservation-interruptible",
    "placement-group-id",
    "placement-group-partition",
    "ec2nodeclass",
];

/// Labels below `karpenter.kwok.sh/` that a pod or pool may ask for.
pub const KWOK_WELL_KNOWN: &[&str] = &[
    "instance-size",
    "instance-family",
    "instance-cpu",
    "instance-memory",
];

/// Whether a pod may ask for `key` although no pool declares it.
#[must_use]
pub fn is_well_known(key: &str) -> bool {
    match key.split_once('/') {
        Some((AWS_GROUP, name)) => AWS_WELL_KNOWN.contains(&name),
        Some((KWOK_GROUP, name)) => KWOK_WELL_KNOWN.contains(&name),
        _ => WELL_KNOWN.contains(&key),
    }
}

/// Every well-known label, for hints at typing errors.
pub fn well_known() -> impl Iterator<Item = String> {
    let below = |group: &'static str, names: &'static [&'static str]| {
        names.iter().map(move |name| format!("{group}/{name}"))
    };
    WELL_KNOWN
        .iter()
        .map(|&key| key.to_owned())
        .chain(below(AWS_GROUP, AWS_WELL_KNOWN))
        .chain(below(KWOK_GROUP, KWOK_WELL_KNOWN))
}

/// The stable key of a label that once had another.
#[must_use]
pub fn normalize(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" | "topology.ebs.csi.aws.com/zone" => ZONE,
        "failure-domain.beta.kubernetes.io/region" => REGION,
        "beta.kubernetes.io/arch" => ARCH,
        "beta.kubernetes.io/os" => OS,
        "beta.kubernetes.io/instance-type" => INSTANCE_TYPE,
        other => other,
    }
}

/// Why a user may not ask for `key`, if so.
#[must_use]
pub fn restriction(key: &str) -> Option<String> {
    if is_well_known(key) {
        return None;
    }
    if key == HOSTNAME {
        return Some(format!(
            "label {key} is restricted; specify a well known label or a custom label"
        ));
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    [GROUP, AWS_GROUP, KWOK_GROUP]
        .iter()
        .any(|restricted| domain == *restricted || domain.ends_with(&format!(".{restricted}")))
        .then(|| format!("label {key} is restricted; using label domain {domain} is not allowed; specify a well known label or a custom label"))
}

/// The label that names a class of `group` and `kind` on claims and nodes, e.g. `karpenter.k8s.aws/ec2nodeclass`.
#[must_use]
pub fn class_label(group: &str, kind: &str) -> String {
    format!("{group}/{}", kind.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restricted_domains_allow_their_well_known_labels_only() {
        assert_eq!(restriction(CAPACITY_TYPE), None);
        assert_eq!(restriction("karpenter.k8s.aws/instance-family"), None);
        assert_eq!(restriction("kubernetes.io/custom"), None);
        assert_eq!(restriction("team"), None);
        assert!(restriction(HOSTNAME).is_some());
        assert!(restriction("karpenter.sh/custom").is_some());
        assert!(restriction("karpenter.k8s.aws/custom").is_some());
        assert!(restriction("sub.karpenter.sh/custom").is_some());
    }

    #[test]
    fn old_keys_become_stable_ones() {
        assert_eq!(normalize("beta.kubernetes.io/arch"), ARCH);
        assert_eq!(normalize("topology.ebs.csi.aws.com/zone"), ZONE);
        assert_eq!(normalize("team"), "team");
    }
}
