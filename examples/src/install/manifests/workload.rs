//! The process: its identity, its pods, and the Service in front of them.

use serde_json::{Value, json};

use super::{Context, insert_unless_empty, joined, selector};
use crate::{
    install::{
        Half, Provider,
        values::{CertificateSource, Values},
    },
    names,
};

/// The user in the image.
const USER: i64 = 65532;

/// The identity, unless it is there already.
pub(super) fn service_account(cx: &Context<'_>) -> Option<Value> {
    let account = &cx.values.service_account;
    let mut object = cx.object("v1", "ServiceAccount", &account.name);
    insert_unless_empty(&mut object["metadata"], "annotations", json!(account.annotations));
    account.create.then_some(object)
}

/// The Service in front of the metrics adapter, the webhook and `/metrics`.
pub(super) fn service(cx: &Context<'_>) -> Value {
    let port =
        |name: &str, port: u16| json!({ "name": name, "port": port, "targetPort": name, "protocol": "TCP" });
    let mut ports = Vec::new();
    if cx.values.pods() {
        ports.push(port(
            names::METRICS_API_PORT_NAME,
            names::METRICS_API_SERVICE_PORT,
        ));
    }
    if cx.values.serves_webhook() {
        ports.push(port(names::WEBHOOK_PORT_NAME, names::WEBHOOK_PORT));
    }
    ports.push(port(names::METRICS_PORT_NAME, names::METRICS_PORT));
    let mut object = cx.object("v1", "Service", names::NAME);
    object["spec"] = json!({ "type": "ClusterIP", "selector": selector(), "ports": ports });
    object
}

/// How many replicas may be away at once.
pub(super) fn pod_disruption_budget(cx: &Context<'_>) -> Option<Value> {
    let budget = cx.values.pod_disruption_budget;
    let mut object = cx.object("policy/v1", "PodDisruptionBudget", names::NAME);
    object["spec"] = json!({
        "maxUnavailable": budget.max_unavailable,
        "selector": { "matchLabels": selector() },
    });
    budget.enabled.then_some(object)
}

/// The replicas.
pub(super) fn deployment(cx: &Context<'_>) -> Value {
    let mut object = cx.object("apps/v1", "Deployment", names::NAME);
    object["spec"] = json!({
        "replicas": cx.values.replicas,
        "selector": { "matchLabels": selector() },
        "template": { "metadata": pod_metadata(cx.values), "spec": pod(cx.values) },
    });
    object
}

fn pod_metadata(values: &Values) -> Value {
    let pod = &values.pod;
    let mine = pod
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)));
    let labels = joined(joined(super::labels(), mine), own(selector()));
    let mut metadata = json!({ "labels": labels });
    insert_unless_empty(&mut metadata, "annotations", json!(pod.annotations));
    metadata
}

fn own(value: Value) -> impl Iterator<Item = (String, Value)> {
    match value {
        Value::Object(fields) => fields.into_iter(),
        _ => serde_json::Map::new().into_iter(),
    }
}

fn pod(values: &Values) -> Value {
    let pod = &values.pod;
    let mut spec = json!({
        "serviceAccountName": values.service_account.name,
        // Names such as AUTOSCALER_PORT would be taken for settings.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container(values)],
    });
    insert_unless_empty(&mut spec, "imagePullSecrets", json!(values.image.pull_secrets));
    insert_unless_empty(&mut spec, "priorityClassName", json!(pod.priority_class_name));
    insert_unless_empty(&mut spec, "nodeSelector", json!(pod.node_selector));
    insert_unless_empty(&mut spec, "tolerations", json!(pod.tolerations));
    insert_unless_empty(&mut spec, "affinity", affinity(values));
    if pod.spread {
        let keys = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];
        let spread = keys.map(|key| {
            json!({
                "topologyKey": key,
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": selector() },
            })
        });
        spec["topologySpreadConstraints"] = json!(spread);
    }
    spec
}

/// A node half on nodes of its own making would end itself when it gives them up.
fn affinity(values: &Values) -> Value {
    if !values.pod.affinity.is_empty() {
        return Value::Object(values.pod.affinity.clone());
    }
    if !values.nodes() {
        return Value::Null;
    }
    let key = provisioner::karpenter::labels::NODEPOOL;
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": key, "operator": "DoesNotExist" }] }],
    } } })
}

fn container(values: &Values) -> Value {
    let port = |name: &str, port: u16| json!({ "name": name, "containerPort": port, "protocol": "TCP" });
    let probe = |path: &str, period: i32, failures: i32| {
        json!({
            "httpGet": { "path": path, "port": names::HEALTH_PORT_NAME },
            "periodSeconds": period,
            "failureThreshold": failures,
        })
    };
    let mut ports = Vec::new();
    if values.pods() {
        ports.push(port(names::METRICS_API_PORT_NAME, names::METRICS_API_PORT));
    }
    if values.serves_webhook() {
        ports.push(port(names::WEBHOOK_PORT_NAME, names::WEBHOOK_PORT));
    }
    ports.push(port(names::METRICS_PORT_NAME, names::METRICS_PORT));
    ports.push(port(names::HEALTH_PORT_NAME, names::HEALTH_PORT));
    let mut container = json!({
        "name": names::NAME,
        "image": values.image.reference(),
        "imagePullPolicy": values.image.pull_policy,
        "args": arguments(values),
        "env": environment(values),
        "ports": ports,
        "startupProbe": probe("/healthz", 1, 60),
        "livenessProbe": probe("/healthz", 10, 3),
        "readinessProbe": probe("/readyz", 2, 2),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    });
    insert_unless_empty(
        &mut container,
        "resources",
        Value::Object(values.resources.clone()),
    );
    container
}

/// The command line. Settings come last: there the last one counts.
fn arguments(values: &Values) -> Vec<String> {
    let mut arguments = vec!["run".to_owned()];
    match values.only {
        Some(Half::Pods) => arguments.push("--only=pods".to_owned()),
        Some(Half::Nodes) => arguments.push("--only=nodes".to_owned()),
        None => {}
    }
    if Half::Nodes.is_in(values.only) {
        let provider = match values.provider {
            Provider::Kwok => "kwok",
            Provider::Ec2 => "ec2",
            Provider::None => "none",
        };
        arguments.push(format!("--provider={provider}"));
    }
    if values.pods() {
        if !values.watch_namespaces.is_empty() {
            arguments.push(format!("--namespace={}", values.watch_namespaces.join(",")));
        }
        if !values.webhook.enabled {
            arguments.push("--webhook=false".to_owned());
        }
        if values.certificates.source != CertificateSource::Own {
            arguments.push("--enable-cert-rotation=false".to_owned());
        }
        if values.certificates.source == CertificateSource::CertManager {
            arguments.push("--enable-apiservice-patching=false".to_owned());
            arguments.push("--enable-webhook-patching=false".to_owned());
        }
    }
    let settings = values.settings.iter();
    arguments.extend(settings.map(|(flag, value)| format!("--{flag}={value}")));
    arguments
}

fn environment(values: &Values) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } });
    let own = [
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
    ];
    let given = values.env.iter().cloned().map(Value::Object);
    own.into_iter().chain(given).collect()
}
