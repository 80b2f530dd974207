//! `boundServiceAccountToken` on a real control plane: its API server issues the token, and takes it.
#![allow(clippy::disallowed_methods, reason = "a real control plane takes real time")]

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        authentication::v1::{TokenReview, TokenReviewSpec},
        core::v1::{Event, Namespace, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use scaler_api::{
    Context, Registry, SystemClock,
    keda::{self, ScaledObject, TriggerAuthentication},
};
use serde_json::{Value, json};

use crate::{
    envtest::shared_or_skip,
    pod_autoscaler::{Config, PodAutoscaler},
    runtime::Runtime,
    scaled_object::testing::{Script, TestSource},
};

const NAMESPACE: &str = "bound-tokens";

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply("test").force();
    for definition in keda::crds() {
        let patch = Patch::Apply(&definition);
        definitions
            .patch(&definition.name_any(), &parameters, &patch)
            .await
            .unwrap();
    }
    let all = ListParams::default();
    let objects: Api<ScaledObject> = Api::all(client.clone());
    let authentications: Api<TriggerAuthentication> = Api::all(client.clone());
    let served = async || objects.list(&all).await.is_ok() && authentications.list(&all).await.is_ok();
    eventually("the kinds are served", served).await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // It may be there from another run.
    let _known = namespaces.create(&PostParams::default(), &namespace).await;
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "reader"}})).unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let _known = accounts.create(&PostParams::default(), &account).await;
}

async fn apply(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&kind));
    let parameters = PatchParams::apply("test").force();
    api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
        .await
        .unwrap();
}

/// A ScaledObject on a Deployment, whose password is a token of `account`.
async fn scaled_object(client: &Client, name: &str, account: &str) {
    let labels = json!({"app": name});
    apply(
        client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]},
            }},
        }),
    )
    .await;
    apply(
        client,
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": name},
            "spec": {"boundServiceAccountToken": [{"parameter": "password", "serviceAccountName": account}]},
        }),
    )
    .await;
    apply(client, json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name}, "pollingInterval": 1,
            "triggers": [{
                "type": "test", "metadata": {"queue": name, "target": "5"}, "authenticationRef": {"name": name},
            }],
        },
    }))
    .await;
}

#[tokio::test]
async fn a_bound_token_is_issued_by_the_api_server_and_names_its_account_and_a_missing_account_is_named() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let client = control_plane.client(NAMESPACE);
    install(&client).await;
    let script = Script::new();
    let (runtime, events) = Runtime::new(client.clone(), Arc::new(SystemClock), "test");
    let context = Context::new()
        .with_clock(Arc::new(SystemClock))
        .with(Arc::clone(&script));
    let mut registry = Registry::new();
    registry.register::<TestSource>();
    let config = Config {
        namespaces: vec![NAMESPACE.to_owned()],
        ..Config::default()
    };
    let autoscaler = PodAutoscaler::new(runtime, Arc::new(registry), context, config);
    let running = [tokio::spawn(events), tokio::spawn(autoscaler.run())];

    scaled_object(&client, "web", "reader").await;
    scaled_object(&client, "lost", "nobody").await;
    eventually("connected with a token", async || {
        !script.password("web").is_empty()
    })
    .await;
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(script.password("web")),
            ..TokenReviewSpec::default()
        },
        ..TokenReview::default()
    };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    let status = review.status.unwrap();
    assert_eq!(status.authenticated, Some(true), "{:?}", status.error);
    let user = status.user.and_then(|user| user.username);
    assert_eq!(user, Some(format!("system:serviceaccount:{NAMESPACE}:reader")));

    let all: Api<Event> = Api::default_namespaced(client.clone());
    let named = async || {
        let about = ListParams::default().fields("involvedObject.name=lost");
        let events = all.list(&about).await.unwrap();
        let mut messages = events.items.iter().filter_map(|event| event.message.as_deref());
        messages.any(|message| message.contains("no token for ServiceAccount \"nobody\""))
    };
    eventually("an event names the missing account", named).await;
    for task in running {
        task.abort();
    }
}
