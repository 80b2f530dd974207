//! How the API server comes to ask the process: the APIService, the webhook, and the certificate of both.
//!
//! `caBundle` is left out of both: the process or cert-manager puts it in, and applying the same again must not take it
//! away.

use serde_json::{Value, json};

use super::Context;
use crate::{
    install::values::CertificateSource,
    names::{self, CheckedKind},
};

const CERT_MANAGER: &str = "cert-manager.io/v1";

/// External metrics are asked for here.
pub(super) fn api_service(cx: &Context<'_>) -> Option<Value> {
    let mut object = cx.cluster_object("apiregistration.k8s.io/v1", "APIService", names::API_SERVICE);
    annotate(cx, &mut object);
    object["spec"] = json!({
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {
            "name": names::NAME,
            "namespace": cx.namespace,
            "port": names::METRICS_API_SERVICE_PORT,
        },
    });
    cx.values.pods().then_some(object)
}

/// KEDA's resources are checked here.
pub(super) fn webhook(cx: &Context<'_>) -> Option<Value> {
    const API: &str = "admissionregistration.k8s.io/v1";
    let mut object = cx.cluster_object(
        API,
        "ValidatingWebhookConfiguration",
        names::WEBHOOK_CONFIGURATION,
    );
    annotate(cx, &mut object);
    object["webhooks"] = names::CHECKED_KINDS.iter().map(|kind| check(cx, kind)).collect();
    cx.values.serves_webhook().then_some(object)
}

fn check(cx: &Context<'_>, kind: &CheckedKind) -> Value {
    let CheckedKind { group, plural, .. } = kind;
    let mut webhook = json!({
        "name": format!("{plural}.{group}"),
        "admissionReviewVersions": ["v1"],
        "clientConfig": { "service": {
            "name": names::NAME,
            "namespace": cx.namespace,
            "path": kind.path(),
            "port": names::WEBHOOK_PORT,
        } },
        "failurePolicy": cx.values.webhook.failure_policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": cx.values.webhook.timeout_seconds,
        "rules": [{
            "apiGroups": [group],
            "apiVersions": [scaler_api::keda::VERSION],
            "operations": ["CREATE", "UPDATE"],
            "resources": [plural],
            "scope": "*",
        }],
    });
    if !cx.values.watch_namespaces.is_empty() {
        webhook["namespaceSelector"] = json!({ "matchExpressions": [{
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": cx.values.watch_namespaces,
        }] });
    }
    webhook
}

/// Tells cert-manager where to put the authority in.
fn annotate(cx: &Context<'_>, object: &mut Value) {
    if cx.values.certificates.source == CertificateSource::CertManager {
        object["metadata"]["annotations"] =
            json!({ "cert-manager.io/inject-ca-from": format!("{}/{}", cx.namespace, names::NAME) });
    }
}

/// What cert-manager shall make.
pub(super) fn certificate(cx: &Context<'_>) -> Vec<Value> {
    let certificates = &cx.values.certificates;
    if !cx.values.pods() || certificates.source != CertificateSource::CertManager {
        return Vec::new();
    }
    let host = format!("{}.{}", names::NAME, cx.namespace);
    let mut objects = Vec::new();
    let mut issuer = json!(certificates.issuer_ref);
    if certificates.issuer_ref.is_empty() {
        let mut own = cx.object(CERT_MANAGER, "Issuer", names::NAME);
        own["spec"] = json!({ "selfSigned": {} });
        objects.push(own);
        issuer = json!({ "group": "cert-manager.io", "kind": "Issuer", "name": names::NAME });
    }
    let mut certificate = cx.object(CERT_MANAGER, "Certificate", names::NAME);
    certificate["spec"] = json!({
        "secretName": names::CERTIFICATE_SECRET,
        "commonName": format!("{host}.svc"),
        "dnsNames": [format!("{host}.svc"), format!("{host}.svc.cluster.local"), host],
        "usages": ["digital signature", "key encipherment", "server auth"],
        "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
        "issuerRef": issuer,
    });
    objects.push(certificate);
    objects
}
