//! The admission webhook of `autoscaler run`, as a process, through kubectl on a real control plane.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod run_support;

use controller_runtime::envtest::{self, ControlPlane};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use scaler_api::keda::ScaledObject;
use serde_json::{Value, json};

use run_support::{Kubectl, Running, api_service_condition, install, until};

const WEBHOOK: &str = "autoscaler-admission";

/// A ScaledObject that follows a schedule, with `spec` besides.
fn manifest(name: &str, target: &str, spec: &Value) -> String {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"name": target},
            "triggers": [{
                "type": "cron",
                "metadata": {"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "2"},
            }],
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object.to_string()
}

/// Begins every refusal of a ScaledObject.
const DENIED: &str = "admission webhook \"scaledobjects.keda.sh\" denied the request: ";

async fn ready(running: &Running) {
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn kubectl_is_told_what_is_wrong_with_an_object_and_nobody_is_asked_afterwards() {
    let Some(plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    let client = plane.client("default");
    install(&client).await;
    let mut running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    ready(&running).await;
    let checks = running.health("readyz?verbose").await.1;
    assert!(checks.contains("webhook-caches"), "{checks}");
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    until("the webhook is registered", async || {
        configurations.get_opt(WEBHOOK).await.unwrap()
    })
    .await;
    let kubectl = Kubectl::of(&plane);
    let mut wrong: Value = serde_json::from_str(&manifest("wrong", "web", &json!({}))).unwrap();
    wrong["spec"]["triggers"][0]["metricType"] = "Utilization".into();

    wrong_objects_are_refused(&kubectl, &wrong.to_string()).await;
    let objects: Api<ScaledObject> = Api::namespaced(client.clone(), "default");
    assert!(objects.get_opt("wrong").await.unwrap().is_none());
    let page = running.metrics("metrics").await;
    for part in [
        "keda_webhook_scaled_object_validations_total{namespace=\"default\",action=\"create\"}",
        "keda_webhook_scaled_object_validation_errors_total{namespace=\"default\",action=\"create\",reason=\"other-scaled-object\"}",
        "autoscaler_webhook_requests_total{verb=\"create\",code=\"200\"}",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    a_standby_answers_too(&plane, &wrong).await;
    assert!(
        configurations.get_opt(WEBHOOK).await.unwrap().is_some(),
        "it is the leader's"
    );

    // Nobody is asked who is not there any more.
    assert_eq!(running.terminate().await, Some(0));
    assert!(configurations.get_opt(WEBHOOK).await.unwrap().is_none());
    until("objects are not checked any more", async || {
        kubectl.apply(&wrong.to_string()).succeeded.then_some(())
    })
    .await;
    let silent = Running::start(plane.kubeconfig(), &["--only=pods", "--webhook=false"]).await;
    ready(&silent).await;
    assert_eq!(silent.webhook, None);
    until("the APIService is available", async || {
        api_service_condition(&client)
            .await
            .filter(|status| status == "True")
    })
    .await;
    assert!(configurations.get_opt(WEBHOOK).await.unwrap().is_none());
    drop(silent);
    plane.stop().await;
}

async fn wrong_objects_are_refused(kubectl: &Kubectl, wrong: &str) {
    let dry_run = |manifest: &str| kubectl.run(&["create", "--dry-run=server", "-f", "-"], manifest);
    // The API server hears of a new configuration a moment after it is there.
    until("the object is refused", async || {
        (!dry_run(wrong).succeeded).then_some(())
    })
    .await;
    let said = kubectl.apply(wrong);
    let utilization = format!(
        "{DENIED}spec.triggers[0].metricType: 'Utilization' metric type is unsupported for external metrics, allowed \
         values are 'Value' or 'AverageValue'"
    );
    assert!(!said.succeeded && said.error.contains(&utilization), "{said:?}");

    let awake = json!({"minReplicaCount": 1, "cooldownPeriod": 60});
    let said = kubectl.apply(&manifest("web", "web", &awake));
    assert!(said.succeeded && said.out.contains("created"), "{said:?}");
    let warning = "Warning: spec.cooldownPeriod: has no effect: minReplicaCount is above 0";
    assert!(said.error.contains(warning), "{said:?}");

    let other = manifest("other", "web", &json!({}));
    let said = until("what others scale is known", async || {
        let said = dry_run(&other);
        (!said.succeeded).then_some(said)
    })
    .await;
    let taken = "already scaled by the ScaledObject \"web\"";
    assert!(
        said.error.contains(DENIED) && said.error.contains(taken),
        "{said:?}"
    );
    let identity = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {"podIdentity": {"provider": "aws", "externalID": "x"}},
    });
    let said = kubectl.apply(&identity.to_string());
    let denied = "\"triggerauthentications.keda.sh\" denied the request: spec.podIdentity.roleArn: ";
    assert!(!said.succeeded && said.error.contains(denied), "{said:?}");
}

/// Behind a Service, every replica is asked.
async fn a_standby_answers_too(plane: &ControlPlane, wrong: &Value) {
    let mut standby = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    ready(&standby).await;
    assert!(standby.metrics("metrics").await.contains("autoscaler_leader 0"));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "namespace": "default", "object": wrong},
    });
    let path = "validate-keda-sh-v1alpha1-scaledobject";
    let answer = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
        .post(format!("https://{}/{path}", standby.webhook.unwrap()))
        .header("content-type", "application/json")
        .body(review.to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["response"]["allowed"], false, "{answer}");
    assert_eq!(standby.terminate().await, Some(0));
}
