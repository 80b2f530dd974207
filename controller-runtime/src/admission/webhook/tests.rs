//! The webhook behind the embedded API server, in virtual time.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use scaler_api::{TokioClock, keda};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::sim::api::{ApiServer, Options, boxed_backend};

struct World {
    server: ApiServer,
    webhook: Webhook,
    registry: prometheus_client::registry::Registry,
}

const KINDS: [&str; 4] = [
    "scaledobject",
    "scaledjob",
    "triggerauthentication",
    "clustertriggerauthentication",
];

impl World {
    async fn new() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let server = ApiServer::new(Options {
            clock: Arc::new(TokioClock::starting_at(start)),
            seed: 1,
        });
        for definition in keda::crds() {
            server
                .apply_manifest(serde_json::to_value(definition).unwrap())
                .unwrap();
        }
        let client = server.client("shop");
        let mut watches = Watches::new(client.clone(), &[]);
        let stores = Stores::watch(&mut watches);
        let (running, _) = watches.into_futures();
        tokio::spawn(futures::future::join_all(running));
        let mut types = Registry::new();
        types.register::<crate::scaled_object::testing::TestSource>();
        for known in ["cpu", "memory", "cron"] {
            types.register_unavailable(known, "nothing");
        }
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = ValidationMetrics::register(&mut registry);
        let webhook = Webhook::new(client, Arc::new(types), stores, metrics);
        assert!(!webhook.is_ready());
        server.register_webhook("keda", "webhooks", boxed_backend(webhook.clone()));
        let world = Self {
            server,
            webhook,
            registry,
        };
        world.configure();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.webhook.is_ready());
        world
    }

    fn configure(&self) {
        let webhooks = KINDS.map(|kind| {
            json!({
                "name": format!("v{kind}.kb.io"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {
                    "namespace": "keda", "name": "webhooks", "path": format!("/validate-keda-sh-v1alpha1-{kind}"),
                }},
                "rules": [{
                    "apiGroups": ["keda.sh"], "apiVersions": ["v1alpha1"], "resources": [format!("{kind}s")],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                }],
            })
        });
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhooks", "namespace": "keda"}, "spec": {"ports": [{"port": 443}]}}),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "keda-admission"}, "webhooks": webhooks,
            }),
        ] {
            self.server.apply_manifest(object).unwrap();
        }
    }

    fn api(&self) -> Api<ScaledObject> {
        Api::namespaced(self.server.client("shop"), "shop")
    }

    async fn create(&self, name: &str, spec: &Value) -> Result<(), String> {
        self.create_with(name, spec, &json!({}), false).await
    }

    async fn create_with(
        &self,
        name: &str,
        spec: &Value,
        annotations: &Value,
        dry: bool,
    ) -> Result<(), String> {
        let parameters = PostParams {
            dry_run: dry,
            ..PostParams::default()
        };
        let created = self
            .api()
            .create(&parameters, &object(name, spec, annotations))
            .await;
        // The webhook's stores hear of it.
        tokio::time::sleep(Duration::from_millis(10)).await;
        created.map(|_| ()).map_err(in_words)
    }

    /// The answer to one review without an API server.
    async fn ask(&self, path: &str, body: Vec<u8>) -> (StatusCode, String) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Full::from(body))
            .unwrap();
        let response = self.webhook.clone().oneshot(request).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    fn page(&self) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        page
    }
}

fn in_words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn object(name: &str, spec: &Value, annotations: &Value) -> ScaledObject {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {
            "scaleTargetRef": {"name": name},
            "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "5"}}],
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

const DENIED: &str = "admission webhook \"vscaledobject.kb.io\" denied the request: ";

#[tokio::test(start_paused = true)]
async fn a_scaled_object_is_refused_for_what_others_have() {
    let world = World::new().await;
    let hpa = |name: &str, target: &str| {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": 1, "maxReplicas": 2,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            },
        })
    };
    world.server.apply_manifest(hpa("theirs", "taken")).unwrap();
    assert_eq!(world.create("web", &json!({})).await, Ok(()));
    let same_target = json!({"scaleTargetRef": {"name": "web"}});
    assert_eq!(
        world.create("other", &same_target).await,
        Err(format!(
            "{DENIED}spec.scaleTargetRef: the workload web of type apps/v1.Deployment is already scaled by the \
             ScaledObject \"web\""
        ))
    );
    let named = |name: &str| json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": name}}});
    assert_eq!(
        world.create("other", &named("keda-hpa-web")).await,
        Err(format!(
            "{DENIED}spec.advanced.horizontalPodAutoscalerConfig.name: the HPA \"keda-hpa-web\" already belongs to \
             the ScaledObject \"web\""
        ))
    );
    assert_eq!(
        world.create("taken", &json!({})).await,
        Err(format!(
            "{DENIED}spec.scaleTargetRef: the workload taken is already scaled by the HPA \"theirs\""
        ))
    );
    let adopts = json!({keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION: "true"});
    let unnamed = world
        .create_with("taken", &json!({}), &adopts, false)
        .await
        .unwrap_err();
    assert!(
        unnamed.contains("expected \"theirs\", the HPA to adopt"),
        "{unnamed}"
    );
    assert_eq!(
        world.create_with("taken", &named("theirs"), &adopts, false).await,
        Ok(())
    );
    let page = world.page();
    for line in [
        "keda_webhook_scaled_object_validations_total{namespace=\"shop\",action=\"create\"} 6",
        "keda_webhook_scaled_object_validation_errors_total{namespace=\"shop\",action=\"create\",reason=\"other-hpa\"} 1",
        "keda_webhook_scaled_object_validation_errors_total{namespace=\"shop\",action=\"create\",reason=\"other-scaled-object\"} 1",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_containers_of_the_target_are_looked_at() {
    let world = World::new().await;
    let deployment = |resources: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "nginx", "resources": resources}]},
                },
            },
        })
    };
    let cpu = json!({
        "minReplicaCount": 1,
        "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}}],
    });
    let is_missing =
        |result: Result<(), String>| result.is_err_and(|error| error.contains("requests no cpu"));
    // cpu is no type that is built in here; what counts is whether the requests are missed.
    assert!(
        !is_missing(world.create("web", &cpu).await),
        "there is no target yet"
    );
    world.server.apply_manifest(deployment(json!({}))).unwrap();
    assert!(is_missing(world.create("web", &cpu).await));
    assert!(
        !is_missing(world.create_with("web", &cpu, &json!({}), true).await),
        "a dry run"
    );
    world
        .server
        .apply_manifest(json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults", "namespace": "shop"},
            "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]},
        }))
        .unwrap();
    assert!(!is_missing(world.create("web", &cpu).await));
}

#[tokio::test(start_paused = true)]
async fn an_update_is_not_refused_for_what_it_leaves_alone() {
    let world = World::new().await;
    // Objects that are there already may be wrong: manifests are loaded past webhooks.
    let mut wrong = serde_json::to_value(object("web", &json!({}), &json!({}))).unwrap();
    wrong["spec"]["idleReplicaCount"] = 5.into();
    wrong["metadata"]["finalizers"] = json!(["finalizer.keda.sh", "another"]);
    world.server.apply_manifest(wrong).unwrap();
    let patch = async |patch: Value| {
        let patched = world
            .api()
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(|_| ()).map_err(in_words)
    };
    let wrong =
        format!("{DENIED}spec.idleReplicaCount: is 5, expected less than minReplicaCount, which is 0");
    assert_eq!(patch(json!({"metadata": {"labels": {"a": "b"}}})).await, Ok(()));
    assert_eq!(
        patch(json!({"metadata": {"annotations": {"a": "b"}}})).await,
        Err(wrong.clone())
    );
    assert_eq!(patch(json!({"spec": {"pollingInterval": 5}})).await, Err(wrong));
    assert_eq!(
        patch(json!({"metadata": {"finalizers": ["another"]}})).await,
        Ok(())
    );
    assert_eq!(patch(json!({"spec": {"minReplicaCount": 6}})).await, Ok(()));
    world
        .api()
        .delete("web", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(
        patch(json!({"spec": {"idleReplicaCount": 9}})).await,
        Ok(()),
        "it goes away"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_by_its_field() {
    let world = World::new().await;
    let review = |operation: &str, object: Value, old: Value| {
        let request = json!({
            "uid": "u", "operation": operation, "namespace": "shop", "object": object, "oldObject": old,
        });
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    };
    let ask = async |kind: &str, review: &Value| {
        let path = format!("/validate-keda-sh-v1alpha1-{kind}");
        let (code, text) = world.ask(&path, serde_json::to_vec(review).unwrap()).await;
        assert_eq!(code, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["response"]["uid"], "u");
        let message = answer["response"]["status"]["message"]
            .as_str()
            .unwrap_or_default();
        (answer["response"]["allowed"] == true, message.to_owned())
    };
    let mut unreadable = serde_json::to_value(object("web", &json!({}), &json!({}))).unwrap();
    unreadable["spec"]["triggers"][0]["metadata"]["target"] = 5.into();
    let (allowed, message) = ask("scaledobject", &review("CREATE", unreadable.clone(), Value::Null)).await;
    assert!(!allowed);
    assert_eq!(
        message,
        "spec.triggers[0].metadata.target: invalid type: integer `5`, expected a string"
    );
    assert!(
        ask("scaledobject", &review("DELETE", Value::Null, unreadable.clone()))
            .await
            .0
    );
    let mut held = unreadable.clone();
    held["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
    assert!(
        ask("scaledobject", &review("UPDATE", unreadable.clone(), held))
            .await
            .0
    );
    let (allowed, message) = ask("scaledjob", &review("CREATE", json!({"spec": {}}), Value::Null)).await;
    assert!(!allowed && message.contains("missing field"), "{message}");
    let authentication = json!({
        "metadata": {"name": "a"}, "spec": {"podIdentity": {"provider": "aws", "externalID": "x"}},
    });
    for kind in ["triggerauthentication", "clustertriggerauthentication"] {
        let (allowed, message) = ask(kind, &review("CREATE", authentication.clone(), Value::Null)).await;
        assert!(
            !allowed && message.starts_with("spec.podIdentity.roleArn: "),
            "{message}"
        );
    }
    let eventing = "/validate-eventing-keda-sh-v1alpha1-cloudeventsource";
    let source = |event_type: &str| {
        json!({"metadata": {"name": "a"}, "spec": {
            "destination": {"http": {"uri": "http://sink"}}, "eventSubscription": {"includedEventTypes": [event_type]},
        }})
    };
    for (event_type, allowed) in [
        ("keda.scaledjob.ready.v1", true),
        ("keda.scaledjob.red.v1", false),
    ] {
        for path in [
            eventing,
            "/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource",
        ] {
            let review = serde_json::to_vec(&review("CREATE", source(event_type), Value::Null)).unwrap();
            let (code, text) = world.ask(path, review).await;
            let is_allowed = text.contains("\"allowed\":true");
            assert!(code == 200 && is_allowed == allowed, "{path}: {text}");
        }
    }
    let review = serde_json::to_vec(&review("CREATE", source(""), Value::Null)).unwrap();
    assert_eq!(world.ask("/validate", review).await.0, 404);
    assert_eq!(world.ask(eventing, b"{}".to_vec()).await.0, 400);
    assert_eq!(world.ask(eventing, vec![b' '; LIMIT + 1]).await.0, 413);
}
