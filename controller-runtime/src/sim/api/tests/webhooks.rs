//! ValidatingWebhookConfigurations are enforced.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use tower::service_fn;

use super::*;
use crate::sim::api::boxed_backend;

/// What a webhook was asked, and what it answers by the value of `data.k`.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Value>>>);

impl Asked {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Operation, name, and `data.k` of the object before and after.
    fn in_words(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let words = |request: Value| {
            let (old, new) = (
                &request["oldObject"]["data"]["k"],
                &request["object"]["data"]["k"],
            );
            let (operation, name) = (text(&request["operation"]), text(&request["name"]));
            format!("{operation} {name} {} {}", text(old), text(new))
        };
        self.take().into_iter().map(words).collect()
    }
}

fn webhook(server: &ApiServer) -> Asked {
    let asked = Asked::default();
    let seen = asked.clone();
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let request = review["request"].clone();
            let word = request["object"]["data"]["k"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if word == "slow" {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let mut response = json!({"uid": request["uid"], "allowed": word != "bad"});
            match word.as_str() {
                "bad" => {
                    response["status"] = json!({"code": 403, "reason": "Forbidden", "message": "k is bad"})
                }
                "odd" => response["warnings"] = json!(["k is odd"]),
                _ => {}
            }
            seen.0.lock().unwrap().push(request);
            let review =
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            let code = if path == "/check" { 200 } else { 404 };
            let body = Full::<Bytes>::from(review.to_string());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    server.register_webhook("default", "checker", boxed_backend(service));
    asked
}

fn configure(server: &ApiServer, more: &Value) {
    let mut webhook = json!({
        "name": "check.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "clientConfig": {"service": {"namespace": "default", "name": "checker", "path": "/check"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}],
    });
    webhook
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    for object in [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "checker", "namespace": "default"}, "spec": {"ports": [{"port": 443}]}}),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "checks"}, "webhooks": [webhook],
        }),
    ] {
        server.apply_manifest(object).unwrap();
    }
}

fn with(name: &str, k: &str) -> ConfigMap {
    let mut object = config_map(name);
    object.data = Some([("k".to_owned(), k.to_owned())].into());
    object
}

fn config_maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(client(server), "default")
}

#[tokio::test(start_paused = true)]
async fn each_write_is_shown_with_what_was_there_and_what_shall_be() {
    let server = server();
    let asked = webhook(&server);
    configure(&server, &json!({}));
    let api = config_maps(&server);
    let created = api.create(&PostParams::default(), &with("a", "1")).await.unwrap();
    let asked_about = asked.take().remove(0);
    assert_eq!(
        asked_about["object"]["metadata"]["uid"],
        created.metadata.uid.unwrap()
    );
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let apply = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "3"}}));
    api.patch("a", &PatchParams::apply("me").force(), &apply)
        .await
        .unwrap();
    api.patch("b", &PatchParams::apply("me"), &apply).await.unwrap();
    api.replace("a", &PostParams::default(), &with("a", "4"))
        .await
        .unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        asked.in_words(),
        ["UPDATE a 1 2", "UPDATE a 2 3", "CREATE b - 3", "UPDATE a 3 4"]
    );
    let mut generated = with("", "1");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("g-".into());
    let name = api
        .create(&PostParams::default(), &generated)
        .await
        .unwrap()
        .metadata
        .name
        .unwrap();
    assert_eq!(asked.in_words(), [format!("CREATE {name} - 1")]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_worded_as_the_real_servers_and_nothing_is_written() {
    let server = server();
    webhook(&server);
    configure(&server, &json!({}));
    let api = config_maps(&server);
    let message = "admission webhook \"check.example.com\" denied the request: k is bad";
    let expected = (403, "Forbidden".to_owned(), message.to_owned());
    let refused = api.create(&PostParams::default(), &with("a", "bad")).await;
    assert_eq!(refusal(refused), expected);
    assert!(api.get_opt("a").await.unwrap().is_none());
    api.create(&PostParams::default(), &with("a", "good"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "bad"}}));
    assert_eq!(
        refusal(api.patch("a", &PatchParams::default(), &patch).await),
        expected
    );
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["k"], "good");
}

#[tokio::test(start_paused = true)]
async fn warnings_reach_the_client() {
    let server = server();
    webhook(&server);
    configure(&server, &json!({}));
    let request = Request::post("/api/v1/namespaces/default/configmaps")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(
            serde_json::to_vec(&with("a", "odd")).unwrap(),
        ))
        .unwrap();
    let response = server.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"k is odd\"");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_cannot_be_asked_fails_or_not_as_its_policy_says() {
    let failing = |why: &str| {
        let what =
            "Internal error occurred: failed calling webhook \"check.example.com\": failed to call webhook: ";
        (500, "InternalError".to_owned(), format!("{what}{why}"))
    };
    let post = "Post \"https://checker.default.svc:443/check?timeout=5s\": ";
    let server = server();
    let api = config_maps(&server);
    configure(&server, &json!({}));
    let refused = api.create(&PostParams::default(), &with("a", "good")).await;
    let why = format!("{post}no endpoints available for service \"checker\"");
    assert_eq!(refusal(refused), failing(&why));
    webhook(&server);
    let refused = api.create(&PostParams::default(), &with("a", "slow")).await;
    assert_eq!(
        refusal(refused),
        failing(&format!("{post}context deadline exceeded"))
    );
    let elsewhere =
        json!({"clientConfig": {"service": {"namespace": "default", "name": "checker", "path": "/other"}}});
    configure(&server, &elsewhere);
    let refused = api.create(&PostParams::default(), &with("a", "good")).await;
    assert_eq!(
        refusal(refused),
        failing("the server could not find the requested resource")
    );
    server.unregister_webhook("default", "checker");
    configure(&server, &json!({"failurePolicy": "Ignore"}));
    api.create(&PostParams::default(), &with("a", "bad"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn rules_and_selectors_say_who_is_asked() {
    let on = |rule: Value| {
        let mut whole = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]});
        whole
            .as_object_mut()
            .unwrap()
            .extend(rule.as_object().unwrap().clone());
        json!({"rules": [whole]})
    };
    let selector = |field: &str, selector: Value| json!({field: selector});
    let kubernetes = "kubernetes.io/metadata.name";
    let cases = [
        (on(json!({})), true),
        (on(json!({"resources": ["*"]})), true),
        (on(json!({"resources": ["*/*"]})), true),
        (on(json!({"resources": ["configmaps/status"]})), false),
        (on(json!({"resources": ["secrets"]})), false),
        (on(json!({"operations": ["UPDATE", "DELETE"]})), false),
        (on(json!({"apiGroups": ["apps"]})), false),
        (on(json!({"apiGroups": ["*"], "apiVersions": ["*"]})), true),
        (on(json!({"apiVersions": ["v2"]})), false),
        (on(json!({"scope": "Cluster"})), false),
        (on(json!({"scope": "Namespaced"})), true),
        (
            selector("objectSelector", json!({"matchLabels": {"app": "a"}})),
            true,
        ),
        (
            selector("objectSelector", json!({"matchLabels": {"app": "b"}})),
            false,
        ),
        (
            selector(
                "namespaceSelector",
                json!({"matchLabels": {kubernetes: "default"}}),
            ),
            true,
        ),
        (
            selector(
                "namespaceSelector",
                json!({"matchExpressions": [
                    {"key": kubernetes, "operator": "NotIn", "values": ["default"]},
                ]}),
            ),
            false,
        ),
    ];
    for (webhook_part, expected) in cases {
        let server = server();
        let asked = webhook(&server);
        configure(&server, &webhook_part);
        let created = config_maps(&server)
            .create(&PostParams::default(), &with("a", "1"))
            .await;
        created.unwrap();
        assert_eq!(asked.take().len() == 1, expected, "{webhook_part}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_only_who_bears_it() {
    let server = server();
    let asked = webhook(&server);
    configure(&server, &json!({}));
    let api = config_maps(&server);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry, &with("a", "1")).await.unwrap();
    assert_eq!(asked.take()[0]["dryRun"], true);
    configure(&server, &json!({"sideEffects": "Unknown"}));
    let message = "admission webhook \"check.example.com\" does not support dry run";
    let refused = api.create(&dry, &with("a", "1")).await;
    assert_eq!(
        refusal(refused),
        (400, "BadRequest".to_owned(), message.to_owned())
    );
    api.create(&PostParams::default(), &with("a", "1")).await.unwrap();
}
