//! What each half asks of the API server, and nothing else.

use serde_json::{Value, json};

use super::Context;
use crate::{
    install::{Provider, values::CertificateSource},
    names,
};

/// What is kept in a store needs no reading by name.
const FOLLOW: &[&str] = &["list", "watch"];
const READ: &[&str] = &["get", "list", "watch"];
const CORE: &str = "";
const APPS: &str = "apps";
const KEDA: &str = scaler_api::keda::GROUP;
const EVENTING: &str = scaler_api::keda::EVENTING_GROUP;
const KARPENTER: &str = provisioner::karpenter::labels::GROUP;
/// Owner references that block deletion may need it, see the admission plugin OwnerReferencesPermissionEnforcement.
const OWNS: &[&str] = &["update"];

/// One rule of a role.
pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn rule_for(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs })
}

/// Where ScaledObjects and ScaledJobs are acted on: in every namespace, or in each watched one.
pub(super) fn pods_in_a_namespace(cx: &Context<'_>) -> Vec<Value> {
    let mut rules = vec![
        rule(KEDA, &["scaledobjects"], &["list", "watch", "patch"]),
        rule(KEDA, &["scaledobjects/status"], &["patch"]),
        rule(KEDA, &["scaledobjects/finalizers"], OWNS),
        rule(KEDA, &["scaledjobs"], &["list", "watch", "patch"]),
        rule(KEDA, &["scaledjobs/status"], &["patch"]),
        rule(KEDA, &["scaledjobs/finalizers"], OWNS),
        rule("batch", &["jobs"], &["list", "watch", "create", "delete"]),
        rule(KEDA, &["triggerauthentications"], &["list", "watch", "patch"]),
        rule(KEDA, &["triggerauthentications/status"], &["patch"]),
        // Written to only where KEDA's finalizer is taken off.
        rule(EVENTING, &["cloudeventsources"], &["list", "watch", "patch"]),
        rule(EVENTING, &["cloudeventsources/status"], &["patch"]),
        rule(
            "autoscaling",
            &["horizontalpodautoscalers"],
            &["get", "list", "watch", "create", "update", "delete"],
        ),
        rule(APPS, &["deployments", "statefulsets"], READ),
    ];
    rules.extend(scale(cx));
    rules.extend([
        rule(CORE, &["pods"], FOLLOW),
        // Where each pod behind a Service answers, for metrics that are gathered from all of them.
        rule("discovery.k8s.io", &["endpointslices"], &["list"]),
        // Contents are read when a trigger refers to them. Following takes metadata only, so that a change is heard of,
        // but RBAC has no right to metadata alone.
        rule(CORE, &["secrets", "configmaps"], READ),
        // Who a workload is, where its scaler is to be the same.
        rule(CORE, &["serviceaccounts"], READ),
        events(),
    ]);
    if cx.values.serves_webhook() {
        // What containers request by default.
        rules.push(rule(CORE, &["limitranges"], &["list"]));
    }
    rules
}

/// The scale of what may be scaled; other kinds than Deployments and StatefulSets are also read and followed. Of those
/// that are not, the scale is read at every poll.
fn scale(cx: &Context<'_>) -> Vec<Value> {
    let rbac = &cx.values.rbac;
    let verbs = &["get", "update"];
    let mut rules = if rbac.scale_any_kind {
        vec![rule("*", &["*/scale"], verbs), rule(APPS, &["replicasets"], READ)]
    } else {
        vec![rule(APPS, &["deployments/scale", "statefulsets/scale"], verbs)]
    };
    for target in &rbac.scale_targets {
        let resources: Vec<&str> = target.resources.iter().map(String::as_str).collect();
        rules.push(rule(&target.group, &resources, READ));
        if !rbac.scale_any_kind {
            let scales: Vec<String> = resources
                .iter()
                .map(|resource| format!("{resource}/scale"))
                .collect();
            let scales: Vec<&str> = scales.iter().map(String::as_str).collect();
            rules.push(rule(&target.group, &scales, verbs));
        }
    }
    rules
}

/// What the pod half asks for that stands in no namespace.
pub(super) fn pods_in_the_cluster(cx: &Context<'_>) -> Vec<Value> {
    let mut rules = vec![
        rule(
            KEDA,
            &["clustertriggerauthentications"],
            &["list", "watch", "patch"],
        ),
        rule(KEDA, &["clustertriggerauthentications/status"], &["patch"]),
        rule(
            EVENTING,
            &["clustercloudeventsources"],
            &["list", "watch", "patch"],
        ),
        rule(EVENTING, &["clustercloudeventsources/status"], &["patch"]),
    ];
    if cx.values.certificates.source != CertificateSource::CertManager {
        let verbs = &["list", "watch", "patch"];
        rules.push(rule_for(
            "apiregistration.k8s.io",
            &["apiservices"],
            &[names::API_SERVICE],
            verbs,
        ));
        if cx.values.serves_webhook() {
            rules.push(rule_for(
                "admissionregistration.k8s.io",
                &["validatingwebhookconfigurations"],
                &[names::WEBHOOK_CONFIGURATION],
                verbs,
            ));
        }
    }
    rules
}

/// What the node half asks for.
pub(super) fn nodes(cx: &Context<'_>) -> Vec<Value> {
    let (group, class) = match cx.values.provider {
        Provider::Ec2 => (provisioner::karpenter::labels::AWS_GROUP, "ec2nodeclasses"),
        Provider::Kwok | Provider::None => (provisioner::karpenter::labels::KWOK_GROUP, "kwoknodeclasses"),
    };
    let status = format!("{class}/status");
    let mut node_verbs = vec!["get", "list", "watch", "patch", "delete"];
    if cx.values.provider == Provider::Kwok {
        // Its nodes are made by nobody else.
        node_verbs.insert(3, "create");
    }
    vec![
        rule(KARPENTER, &["nodepools"], &["list", "watch", "patch"]),
        rule(
            KARPENTER,
            &["nodeclaims"],
            &["list", "watch", "create", "patch", "delete"],
        ),
        rule(KARPENTER, &["nodepools/status", "nodeclaims/status"], &["patch"]),
        rule(
            KARPENTER,
            &["nodepools/finalizers", "nodeclaims/finalizers"],
            OWNS,
        ),
        rule(group, &[class], &["list", "watch", "patch"]),
        rule(group, &[&status], &["patch"]),
        rule(CORE, &["nodes"], &node_verbs),
        rule(CORE, &["pods"], &["list", "watch", "delete"]),
        rule(CORE, &["pods/eviction"], &["create"]),
        rule(CORE, &["namespaces"], FOLLOW),
        rule(APPS, &["daemonsets"], FOLLOW),
        rule("policy", &["poddisruptionbudgets"], FOLLOW),
        rule("storage.k8s.io", &["volumeattachments"], &["list"]),
        rule(CORE, &["persistentvolumeclaims", "persistentvolumes"], FOLLOW),
        rule("storage.k8s.io", &["storageclasses", "csinodes"], FOLLOW),
        events(),
    ]
}

pub(super) fn events() -> Value {
    rule(CORE, &["events"], &["create", "patch"])
}

/// What every replica asks for in its own namespace: the Lease, and the certificate.
pub(super) fn own_namespace(cx: &Context<'_>) -> Vec<Value> {
    const LEASES: &str = "coordination.k8s.io";
    let mut rules = vec![
        // What is made has no name yet when it is asked whether that is allowed.
        rule(LEASES, &["leases"], &["create"]),
        rule_for(
            LEASES,
            &["leases"],
            &[cx.values.lease()],
            &["get", "list", "watch", "update"],
        ),
    ];
    if !cx.values.pods() {
        return rules;
    }
    let secret = &[names::CERTIFICATE_SECRET];
    if cx.values.certificates.source == CertificateSource::Own {
        rules.push(rule(CORE, &["secrets"], &["create"]));
        let verbs = &["list", "watch", "patch"];
        rules.push(rule_for(CORE, &["secrets"], secret, verbs));
    } else {
        rules.push(rule_for(CORE, &["secrets"], secret, FOLLOW));
    }
    if !cx.values.watch_namespaces.is_empty() {
        // Of ClusterTriggerAuthentications, which refer to this namespace.
        rules.push(rule(CORE, &["secrets", "configmaps"], READ));
        // About the Lease.
        rules.push(events());
    }
    rules
}
