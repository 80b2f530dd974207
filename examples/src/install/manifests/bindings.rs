//! Roles, and who has them.

use serde_json::{Value, json};

use super::{Context, roles};
use crate::{install::Half, names};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// The namespace of events about objects that stand in none, such as ClusterTriggerAuthentications.
const EVENTS_OF_THE_CLUSTER: &str = "default";

/// Every role and binding.
pub(super) fn all(cx: &Context<'_>) -> Vec<Value> {
    let mut objects = Vec::new();
    if cx.values.pods() {
        objects.extend(pods(cx));
    }
    if cx.values.nodes() {
        objects.extend(cluster_role(cx, "autoscaler-nodes", roles::nodes(cx)));
    }
    objects.extend(role(cx, cx.namespace, names::NAME, roles::own_namespace(cx)));
    if cx.values.pods() {
        objects.extend(adapter(cx));
    }
    if cx.values.rbac.aggregate {
        objects.extend(aggregated(cx));
    }
    objects
}

fn pods(cx: &Context<'_>) -> Vec<Value> {
    const NAME: &str = "autoscaler-pods";
    let mut rules = roles::pods_in_the_cluster(cx);
    let namespaces = &cx.values.watch_namespaces;
    if namespaces.is_empty() {
        rules.extend(roles::pods_in_a_namespace(cx));
    }
    let mut objects = cluster_role(cx, NAME, rules);
    for namespace in namespaces {
        objects.extend(role(cx, namespace, NAME, roles::pods_in_a_namespace(cx)));
    }
    if !namespaces.is_empty()
        && namespaces
            .iter()
            .all(|namespace| namespace != EVENTS_OF_THE_CLUSTER)
    {
        let events = vec![roles::events()];
        objects.extend(role(cx, EVENTS_OF_THE_CLUSTER, "autoscaler-events", events));
    }
    objects
}

/// What serving an API of the cluster takes: asking who calls and whether they may, and letting the HPA call.
fn adapter(cx: &Context<'_>) -> Vec<Value> {
    const READER: &str = "autoscaler-external-metrics-reader";
    let mut authentication = cx.object_in("kube-system", RBAC, "RoleBinding", "autoscaler-auth-reader");
    authentication["roleRef"] = reference("Role", "extension-apiserver-authentication-reader");
    authentication["subjects"] = json!([subject(cx)]);
    let mut delegation = cx.cluster_object(RBAC, "ClusterRoleBinding", "autoscaler-auth-delegator");
    delegation["roleRef"] = reference("ClusterRole", "system:auth-delegator");
    delegation["subjects"] = json!([subject(cx)]);
    let mut reader = cx.cluster_object(RBAC, "ClusterRole", READER);
    reader["rules"] = json!([roles::rule("external.metrics.k8s.io", &["*"], &["list"])]);
    let mut read = cx.cluster_object(RBAC, "ClusterRoleBinding", READER);
    read["roleRef"] = reference("ClusterRole", READER);
    read["subjects"] = json!([{
        "kind": "ServiceAccount",
        "name": "horizontal-pod-autoscaler",
        "namespace": "kube-system",
    }]);
    vec![authentication, delegation, reader, read]
}

/// What the cluster's own roles `view`, `edit` and `admin` get beside their own.
fn aggregated(cx: &Context<'_>) -> Vec<Value> {
    const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
    const READ: &[&str] = &["get", "list", "watch"];
    let mut objects = Vec::new();
    let mut push = |name: &str, to: &str, rules: Vec<Value>| {
        let mut role = cx.cluster_object(RBAC, "ClusterRole", name);
        role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{to}")] = json!("true");
        role["rules"] = json!(rules);
        objects.push(role);
    };
    if cx.values.pods() {
        let keda = scaler_api::keda::GROUP;
        let namespaced = ["scaledobjects", "scaledjobs", "triggerauthentications"];
        let cluster = ["clustertriggerauthentications"];
        let all = [&namespaced[..], &cluster].concat();
        let eventing = scaler_api::keda::EVENTING_GROUP;
        let (source, cluster_source) = (["cloudeventsources"], ["clustercloudeventsources"]);
        let sources = [source, cluster_source].concat();
        push(
            "autoscaler-pods-view",
            "view",
            vec![
                roles::rule(keda, &all, READ),
                roles::rule(eventing, &sources, READ),
            ],
        );
        push(
            "autoscaler-pods-edit",
            "edit",
            vec![
                roles::rule(keda, &namespaced, WRITE),
                roles::rule(eventing, &source, WRITE),
            ],
        );
        push(
            "autoscaler-pods-admin",
            "admin",
            vec![
                roles::rule(keda, &cluster, WRITE),
                roles::rule(eventing, &cluster_source, WRITE),
            ],
        );
    }
    if Half::Nodes.is_in(cx.values.only) {
        let rules = |verbs: &[&str]| {
            let karpenter = ["nodepools", "nodeclaims", "nodeoverlays"];
            let labels = (provisioner::karpenter::labels::GROUP, &karpenter[..]);
            let ec2 = (provisioner::karpenter::labels::AWS_GROUP, &["ec2nodeclasses"][..]);
            let kwok = (
                provisioner::karpenter::labels::KWOK_GROUP,
                &["kwoknodeclasses"][..],
            );
            let groups = [labels, ec2, kwok].into_iter();
            groups
                .map(|(group, resources)| roles::rule(group, resources, verbs))
                .collect()
        };
        push("autoscaler-nodes-view", "view", rules(READ));
        push("autoscaler-nodes-admin", "admin", rules(WRITE));
    }
    objects
}

fn subject(cx: &Context<'_>) -> Value {
    json!({
        "kind": "ServiceAccount",
        "name": cx.values.service_account.name,
        "namespace": cx.namespace,
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": RBAC_GROUP, "kind": kind, "name": name })
}

/// A role for the whole cluster, and the process in it.
fn cluster_role(cx: &Context<'_>, name: &str, rules: Vec<Value>) -> Vec<Value> {
    let mut role = cx.cluster_object(RBAC, "ClusterRole", name);
    role["rules"] = Value::Array(rules);
    let mut binding = cx.cluster_object(RBAC, "ClusterRoleBinding", name);
    binding["roleRef"] = reference("ClusterRole", name);
    binding["subjects"] = json!([subject(cx)]);
    vec![role, binding]
}

/// A role for one namespace, and the process in it.
fn role(cx: &Context<'_>, namespace: &str, name: &str, rules: Vec<Value>) -> Vec<Value> {
    let mut role = cx.object_in(namespace, RBAC, "Role", name);
    role["rules"] = Value::Array(rules);
    let mut binding = cx.object_in(namespace, RBAC, "RoleBinding", name);
    binding["roleRef"] = reference("Role", name);
    binding["subjects"] = json!([subject(cx)]);
    vec![role, binding]
}
