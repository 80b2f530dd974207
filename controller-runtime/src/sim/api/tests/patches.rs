//! Patches.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{client, config_map, deployment, make_pod, of, raw, refusal, server};

fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

#[tokio::test(start_paused = true)]
async fn merge_json_and_strategic_patches_change_what_they_name() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    deployments
        .create(&PostParams::default(), &of(deployment("web")))
        .await
        .unwrap();
    let params = PatchParams::default();
    let merged = deployments
        .patch("web", &params, &Patch::Merge(json!({"spec": {"replicas": 3}})))
        .await
        .unwrap();
    assert_eq!(merged.spec.unwrap().replicas, Some(3));
    let operations = json_patch_of(json!([
        {"op": "test", "path": "/spec/replicas", "value": 3},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
    ]));
    let patched = deployments
        .patch("web", &params, &Patch::<()>::Json(operations))
        .await
        .unwrap();
    assert_eq!(patched.spec.unwrap().replicas, Some(4));
    let containers = json!([{"name": "side", "image": "b:1"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let strategic = deployments
        .patch("web", &params, &Patch::Strategic(patch))
        .await
        .unwrap();
    let names: Vec<String> = strategic
        .spec
        .unwrap()
        .template
        .spec
        .unwrap()
        .containers
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["side", "main"]);
    let failing = json_patch_of(json!([{"op": "test", "path": "/spec/replicas", "value": 9}]));
    let (code, reason, _) = refusal(
        deployments
            .patch("web", &params, &Patch::<()>::Json(failing))
            .await,
    );
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
}

fn json_patch_of(operations: Value) -> json_patch::Patch {
    serde_json::from_value(operations).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_patch_may_insist_on_a_version() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let read = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let patch = |version: &str, text: &str| {
        Patch::Merge(json!({"metadata": {"resourceVersion": version}, "data": {"k": text}}))
    };
    let version = read.resource_version().unwrap();
    maps.patch("a", &PatchParams::default(), &patch(&version, "1"))
        .await
        .unwrap();
    let (code, reason, _) = refusal(
        maps.patch("a", &PatchParams::default(), &patch(&version, "2"))
            .await,
    );
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn an_apply_owns_its_fields_and_lets_go_of_those_it_drops() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let params = PatchParams::apply("me");
    let mut config = deployment("web");
    config["spec"]["replicas"] = 2.into();
    config["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    let created = deployments
        .patch("web", &params, &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    let entry = value(&created)["metadata"]["managedFields"][0].clone();
    assert_eq!(
        (&entry["manager"], &entry["operation"]),
        (&json!("me"), &json!("Apply"))
    );
    assert!(entry["fieldsV1"]["f:spec"]["f:replicas"].is_object());
    let again = deployments
        .patch("web", &params, &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(
        again.resource_version(),
        created.resource_version(),
        "applying the same changes nothing"
    );
    config["metadata"]["labels"] = json!({"a": "1"});
    let dropped = deployments
        .patch("web", &params, &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(value(&dropped)["metadata"]["labels"], json!({"a": "1"}));
}

#[tokio::test(start_paused = true)]
async fn two_appliers_conflict_over_a_value_until_one_forces_it() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let mut config = deployment("web");
    config["spec"]["replicas"] = 2.into();
    deployments
        .patch("web", &PatchParams::apply("one"), &Patch::Apply(&config))
        .await
        .unwrap();
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}});
    let refused = refusal(
        deployments
            .patch("web", &PatchParams::apply("two"), &Patch::Apply(&other))
            .await,
    );
    assert_eq!(
        refused,
        (
            409,
            "Conflict".to_owned(),
            "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas".to_owned()
        )
    );
    let forced = PatchParams::apply("two").force();
    let taken = deployments
        .patch("web", &forced, &Patch::Apply(&other))
        .await
        .unwrap();
    assert_eq!(taken.spec.unwrap().replicas, Some(5));
    // The first no longer owns the field, so dropping it does not take it away.
    config["spec"].as_object_mut().unwrap().remove("replicas");
    let kept = deployments
        .patch("web", &PatchParams::apply("one"), &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(kept.spec.unwrap().replicas, Some(5));
}

#[tokio::test(start_paused = true)]
async fn plain_writes_take_over_applied_fields() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let mut config = deployment("web");
    config["spec"]["replicas"] = 2.into();
    deployments
        .patch("web", &PatchParams::apply("me"), &Patch::Apply(&config))
        .await
        .unwrap();
    let scaler = PatchParams {
        field_manager: Some("scaler".to_owned()),
        ..PatchParams::default()
    };
    deployments
        .patch("web", &scaler, &Patch::Merge(json!({"spec": {"replicas": 7}})))
        .await
        .unwrap();
    let (code, _, message) = refusal(
        deployments
            .patch("web", &PatchParams::apply("me"), &Patch::Apply(&config))
            .await,
    );
    assert_eq!(
        (code, message.as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_first_apply_belongs_to_its_maker() {
    let server = server();
    let client = client(&server);
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    assert_eq!(
        made.metadata.managed_fields, None,
        "plain writes are not tracked unless asked for"
    );
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "other"}});
    let (code, ..) = refusal(
        maps.patch("a", &PatchParams::apply("me"), &Patch::Apply(&config))
            .await,
    );
    assert_eq!(code, 409);
    server.track_updates(true);
    let made = maps
        .create(&PostParams::default(), &config_map("b"))
        .await
        .unwrap();
    assert_eq!(
        made.metadata.managed_fields.unwrap()[0].operation.as_deref(),
        Some("Update")
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_patch_types_are_refused() {
    let server = server();
    make_pod(&client(&server), "a").await;
    let headers = [("content-type", "application/x-patch")];
    let (code, _) = raw(
        &server,
        "PATCH",
        "/api/v1/namespaces/default/pods/a",
        &headers,
        "{}",
    )
    .await;
    assert_eq!(code, 415);
}

#[tokio::test(start_paused = true)]
async fn a_pods_spec_is_mostly_fixed() {
    let client = client(&server());
    make_pod(&client, "a").await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let image = json!({"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}});
    pods.patch("a", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    let node = json!({"spec": {"nodeName": "n"}});
    let (code, ..) = refusal(
        pods.patch("a", &PatchParams::default(), &Patch::Merge(node))
            .await,
    );
    assert_eq!(code, 422);
}
