//! Custom resources.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::conditions,
};
use serde_json::{Value, json};

use super::{client, of, raw, refusal, server, settle};

fn definition() -> CustomResourceDefinition {
    of(json!({
        "metadata": {"name": "queues.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Queue", "plural": "queues", "shortNames": ["q"]},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1alpha1", "served": true, "storage": false, "schema": schema()},
                {
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "schema": schema(),
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    }},
                    "additionalPrinterColumns": [
                        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                },
                {"name": "v0", "served": false, "storage": false, "schema": schema()},
            ],
        },
    }))
}

fn schema() -> Value {
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"},
            "replicas": {"type": "integer", "minimum": 0, "default": 2},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}})
}

fn queues(client: &Client, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", version, "Queue");
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&kind))
}

async fn install(client: &Client) -> Api<CustomResourceDefinition> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &definition())
        .await
        .unwrap();
    definitions
}

fn queue(version: &str, spec: &Value) -> DynamicObject {
    of(
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Queue", "metadata": {"name": "a"}, "spec": spec}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_definition_adds_its_kind_in_all_served_versions() {
    let server = server();
    let client = client(&server);
    let definitions = install(&client).await;
    let established = kube::runtime::wait::await_condition(
        definitions,
        "queues.example.com",
        conditions::is_crd_established(),
    );
    established.await.unwrap();
    let created = queues(&client, "v1")
        .create(
            &PostParams::default(),
            &queue("v1", &json!({"name": "x", "junk": 1})),
        )
        .await
        .unwrap();
    assert_eq!(
        created.data["spec"],
        json!({"name": "x", "replicas": 2}),
        "pruned and defaulted"
    );
    assert_eq!(created.metadata.generation, Some(1));
    let old = queues(&client, "v1alpha1").get("a").await.unwrap();
    assert_eq!(old.types.unwrap().api_version, "example.com/v1alpha1");
    assert_eq!(refusal(queues(&client, "v0").get("a").await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn invalid_custom_resources_list_every_problem() {
    let client = client(&server());
    install(&client).await;
    let bad = queue("v1", &json!({"replicas": -1}));
    let (code, reason, message) = refusal(queues(&client, "v1").create(&PostParams::default(), &bad).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(
        message,
        "Queue.example.com \"a\" is invalid: [spec.replicas: Invalid value: -1: spec.replicas in body \
         should be greater than or equal to 0, spec.name: Required value]"
    );
}

#[tokio::test(start_paused = true)]
async fn status_and_scale_of_custom_resources() {
    let client = client(&server());
    install(&client).await;
    let queues = queues(&client, "v1");
    queues
        .create(&PostParams::default(), &queue("v1", &json!({"name": "x"})))
        .await
        .unwrap();
    let status = json!({"spec": {"replicas": 9}, "status": {"replicas": 1, "selector": "app=x"}});
    queues
        .patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let scale = queues.get_scale("a").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let found = scale.status.unwrap();
    assert_eq!((found.replicas, found.selector.as_deref()), (1, Some("app=x")));
    queues
        .patch_scale(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .unwrap();
    let object = queues.get("a").await.unwrap();
    assert_eq!(
        (
            object.data["spec"]["replicas"].as_i64(),
            object.metadata.generation
        ),
        (Some(5), Some(2))
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_without_a_version_is_refused() {
    let client = client(&server());
    install(&client).await;
    let queues = queues(&client, "v1");
    queues
        .create(&PostParams::default(), &queue("v1", &json!({"name": "x"})))
        .await
        .unwrap();
    let (code, _, message) = refusal(
        queues
            .replace("a", &PostParams::default(), &queue("v1", &json!({"name": "y"})))
            .await,
    );
    assert_eq!(code, 422);
    assert!(
        message.ends_with("metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_definition_goes_with_its_objects() {
    let server = server();
    tokio::spawn(server.clone().collect_garbage());
    let client = client(&server);
    let definitions = install(&client).await;
    queues(&client, "v1")
        .create(&PostParams::default(), &queue("v1", &json!({"name": "x"})))
        .await
        .unwrap();
    definitions
        .delete("queues.example.com", &DeleteParams::default())
        .await
        .unwrap();
    settle().await;
    assert!(
        definitions
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(
        refusal(queues(&client, "v1").list(&ListParams::default()).await).0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn printer_columns_make_the_table() {
    let server = server();
    let client = client(&server);
    install(&client).await;
    let queues = queues(&client, "v1");
    queues
        .create(&PostParams::default(), &queue("v1", &json!({"name": "x"})))
        .await
        .unwrap();
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    queues
        .patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    tokio::time::advance(std::time::Duration::from_secs(300)).await;
    let accept = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let (_, table) = raw(&server, "GET", "/apis/example.com/v1/queues", &accept, "").await;
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Name", "Ready", "Age"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "True", "5m"]));
    assert_eq!(queues.get("a").await.unwrap().name_any(), "a");
}
