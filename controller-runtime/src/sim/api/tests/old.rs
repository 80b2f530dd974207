//! Old forms of KEDA's and Karpenter's resources, over HTTP.

use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{super::ApiServer, raw, server};

const OLD_OBJECTS: &str = "/apis/keda.k8s.io/v1alpha1/namespaces/shop/scaledobjects";

/// A cluster that knows the kinds of today.
fn cluster() -> ApiServer {
    let server = server();
    let definitions = scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds());
    for definition in definitions {
        server
            .apply_manifest(serde_json::to_value(definition).unwrap())
            .unwrap();
    }
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    server.apply_manifest(shop).unwrap();
    server
}

fn scaled_object(replicas: i32) -> Value {
    json!({
        "apiVersion": "keda.k8s.io/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"deploymentName": "web"}, "maxReplicaCount": replicas,
            "triggers": [{"type": "cron", "metadata": {
                "timezone": "UTC", "start": "0 6 * * *", "end": "0 20 * * *", "desiredReplicas": "2",
            }}],
        },
    })
}

fn provisioner() -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1alpha5", "kind": "Provisioner", "metadata": {"name": "default"},
        "spec": {
            "limits": {"resources": {"cpu": "10"}}, "ttlSecondsAfterEmpty": 30,
            "provider": {"subnetSelector": {"name": "a"}, "securityGroupSelector": {"name": "a"}, "instanceProfile": "node"},
        },
    })
}

/// Sends an object; answers with the code, the body and the warnings.
async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    media: &str,
    object: &Value,
) -> (u16, Value, Vec<String>) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media)
        .body(Full::from(object.to_string()))
        .unwrap();
    let response = server.service().oneshot(request).await.unwrap();
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings
        .map(|warning| warning.to_str().unwrap().to_owned())
        .collect();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap(), warnings)
}

async fn post(server: &ApiServer, path: &str, object: &Value) -> (u16, Value, Vec<String>) {
    send(server, "POST", path, "application/json", object).await
}

fn stored(server: &ApiServer, group: &str, plural: &str) -> Vec<Value> {
    let objects = server.objects(group, plural, None);
    objects.iter().map(|object| object["spec"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_created_in_an_old_form_is_kept_as_what_it_is_today() {
    let server = cluster();
    let (code, body, warnings) = post(&server, OLD_OBJECTS, &scaled_object(4)).await;
    assert_eq!(
        (code, &body["apiVersion"]),
        (201, &json!("keda.sh/v1alpha1")),
        "{body}"
    );
    assert_eq!(body["metadata"]["namespace"], "shop");
    assert_eq!(
        warnings[0],
        "299 - \"keda.k8s.io/v1alpha1 ScaledObject is an old form, taken as keda.sh/v1alpha1 ScaledObject web\""
    );
    assert_eq!(
        stored(&server, "keda.sh", "scaledobjects")[0]["scaleTargetRef"]["name"],
        "web"
    );
    let (code, body, _) = post(&server, OLD_OBJECTS, &scaled_object(5)).await;
    assert_eq!((code, &body["reason"]), (409, &json!("AlreadyExists")));
    let dry = format!("{OLD_OBJECTS}?dryRun=All");
    let mut other = scaled_object(4);
    other["metadata"]["name"] = json!("other");
    assert_eq!(post(&server, &dry, &other).await.0, 201);
    assert_eq!(stored(&server, "keda.sh", "scaledobjects").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_old_object_may_be_several_today() {
    let server = cluster();
    let (code, body, warnings) = post(
        &server,
        "/apis/karpenter.sh/v1alpha5/provisioners",
        &provisioner(),
    )
    .await;
    assert_eq!((code, &body["kind"]), (201, &json!("NodePool")), "{body}");
    assert_eq!(
        stored(&server, "karpenter.sh", "nodepools")[0]["limits"]["cpu"],
        "10"
    );
    assert_eq!(stored(&server, "karpenter.k8s.aws", "ec2nodeclasses").len(), 1);
    let taken = warnings
        .iter()
        .filter(|warning| warning.contains("is an old form"));
    assert_eq!(taken.count(), 2, "{warnings:#?}");
    assert!(
        warnings.len() > 2,
        "what has no counterpart is said, too: {warnings:#?}"
    );
    let pool = json!({
        "apiVersion": "karpenter.sh/v1beta1", "kind": "NodePool", "metadata": {"name": "beta"},
        "spec": {"template": {"spec": {
            "requirements": [], "nodeClassRef": {"apiVersion": "karpenter.k8s.aws/v1beta1", "kind": "EC2NodeClass", "name": "default"},
        }}},
    });
    let (code, body, _) = post(&server, "/apis/karpenter.sh/v1beta1/nodepools", &pool).await;
    assert_eq!(
        (code, &body["apiVersion"]),
        (201, &json!("karpenter.sh/v1")),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_an_old_form_changes_what_it_is_today() {
    let server = cluster();
    let path = format!("{OLD_OBJECTS}/web");
    let most = || stored(&server, "keda.sh", "scaledobjects")[0]["maxReplicaCount"].clone();
    // As kubectl apply does it: look, and create; again and again, as nothing is found.
    for (replicas, code) in [(4, 201), (5, 200)] {
        assert_eq!(raw(&server, "GET", &path, &[], "").await.0, 404);
        let mut object = scaled_object(replicas);
        object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
        let (found, body, _) = post(&server, OLD_OBJECTS, &object).await;
        assert_eq!((found, most()), (code, json!(replicas)), "{body}");
        assert!(body["metadata"]["annotations"].is_null(), "it is of the old form");
    }
    // As kubectl apply --server-side does it.
    let media = "application/apply-patch+yaml";
    let forced = format!("{path}?fieldManager=me&force=true");
    let (code, body, warnings) = send(&server, "PATCH", &forced, media, &scaled_object(6)).await;
    assert_eq!(
        (code, most(), warnings.is_empty()),
        (200, json!(6), false),
        "{body}"
    );
    let (code, _, _) = send(
        &server,
        "PATCH",
        &format!("{path}?fieldManager=you"),
        media,
        &scaled_object(7),
    )
    .await;
    assert_eq!((code, most()), (409, json!(6)), "somebody else owns it");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_under_an_old_name() {
    let server = cluster();
    let list = raw(&server, "GET", "/apis/keda.k8s.io/v1alpha1", &[], "").await.1;
    let kinds: Vec<_> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].clone())
        .collect();
    assert_eq!(kinds, ["ScaledObject", "TriggerAuthentication"]);
    let path = format!("{OLD_OBJECTS}/web");
    for (method, path, code) in [
        ("GET", path.as_str(), 404),
        ("DELETE", &path, 404),
        ("GET", OLD_OBJECTS, 405),
        ("GET", "/apis/karpenter.sh/v1/nodepools", 200),
        ("GET", "/apis/karpenter.sh/v1beta1/nodepools", 405),
        ("GET", "/apis/karpenter.sh/v1alpha5/nodepools", 404),
    ] {
        assert_eq!(
            raw(&server, method, path, &[], "").await.0,
            code,
            "{method} {path}"
        );
    }
    let wrong = post(&server, OLD_OBJECTS, &provisioner()).await;
    assert_eq!(wrong.0, 400, "{}", wrong.1);
    let invalid = post(&server, OLD_OBJECTS, &json!({
        "apiVersion": "keda.k8s.io/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "no trigger"}, "spec": {},
    }))
    .await;
    assert_eq!(invalid.0, 422, "{}", invalid.1);
    let bare = super::server();
    assert_eq!(
        raw(&bare, "GET", "/apis/keda.k8s.io/v1alpha1", &[], "").await.0,
        404
    );
    assert_eq!(post_code(&bare).await, 404, "without a kind of today");
}

async fn post_code(server: &ApiServer) -> u16 {
    let path = OLD_OBJECTS.replace("shop", "default");
    let body = scaled_object(4).to_string();
    raw(
        server,
        "POST",
        &path,
        &[("content-type", "application/json")],
        &body,
    )
    .await
    .0
}

#[tokio::test(start_paused = true)]
async fn an_old_kind_with_a_definition_of_its_own_is_kept_as_it_is() {
    let server = cluster();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    server
        .apply_manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "scaledobjects.keda.k8s.io"},
            "spec": {
                "group": "keda.k8s.io", "scope": "Namespaced",
                "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                }],
            },
        }))
        .unwrap();
    let (code, body, warnings) = post(&server, OLD_OBJECTS, &scaled_object(4)).await;
    assert_eq!((code, &body["apiVersion"]), (201, &json!("keda.k8s.io/v1alpha1")));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(stored(&server, "keda.sh", "scaledobjects"), Vec::<Value>::new());
    assert!(server.convert(&scaled_object(4), &[]).is_empty());
}
