//! Deletion: grace, finalizers, propagation, namespaces.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy},
};
use serde_json::json;

use super::{client, config_map, make_pod, of, raw, refusal, server, settle};

#[tokio::test(start_paused = true)]
async fn a_bound_pod_gets_its_grace_and_goes_when_the_kubelet_says_so() {
    let server = server();
    let client = client(&server);
    make_pod(&client, "a").await;
    let body = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}).to_string();
    raw(
        &server,
        "POST",
        "/api/v1/namespaces/default/pods/a/binding",
        &[],
        &body,
    )
    .await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let deleted = pods
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(deleted.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(
        deleted.metadata.deletion_timestamp.unwrap().0.to_string(),
        "2026-01-01T00:00:30Z"
    );
    assert!(pods.get_opt("a").await.unwrap().is_some());
    pods.delete("a", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn unbound_and_finished_pods_go_at_once() {
    let client = client(&server());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    make_pod(&client, "a").await;
    pods.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let mut map = config_map("a");
    map.finalizers_mut().push("example.com/hold".to_owned());
    maps.create(&PostParams::default(), &map).await.unwrap();
    let deleting = maps
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(deleting.metadata.deletion_timestamp.is_some());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let (code, _, message) = refusal(
        maps.patch("a", &PatchParams::default(), &Patch::Merge(more))
            .await,
    );
    assert_eq!(code, 422);
    assert!(
        message.contains("no new finalizers can be added if the object is being deleted"),
        "{message}"
    );
    let none = json!({"metadata": {"finalizers": null}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn preconditions_must_hold() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let params = DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: Some("other".to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let (code, reason, _) = refusal(maps.delete("a", &params).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let gone = maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(
        gone.is_right(),
        "a config map that is gone is answered by a Status"
    );
}

/// An owner with a dependent, by name.
async fn family(maps: &Api<ConfigMap>) {
    let owner = maps
        .create(&PostParams::default(), &config_map("owner"))
        .await
        .unwrap();
    let mut child = config_map("child");
    child.owner_references_mut().push(of(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true,
    })));
    maps.create(&PostParams::default(), &child).await.unwrap();
}

async fn names(maps: &Api<ConfigMap>) -> Vec<String> {
    maps.list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_owner_by_policy() {
    for (policy, at_once, after) in [
        (PropagationPolicy::Background, vec!["child"], vec![]),
        (PropagationPolicy::Foreground, vec!["child", "owner"], vec![]),
        (PropagationPolicy::Orphan, vec!["child", "owner"], vec!["child"]),
    ] {
        let server = server();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
        family(&maps).await;
        let params = DeleteParams {
            propagation_policy: Some(policy.clone()),
            ..DeleteParams::default()
        };
        maps.delete("owner", &params).await.unwrap();
        assert_eq!(names(&maps).await, at_once, "{policy:?}");
        tokio::spawn(server.collect_garbage());
        settle().await;
        assert_eq!(names(&maps).await, after, "{policy:?}");
        if let Some(child) = maps.get_opt("child").await.unwrap() {
            assert!(child.owner_references().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_owner_never_was_is_collected() {
    let server = server();
    tokio::spawn(server.clone().collect_garbage());
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let mut map = config_map("stray");
    map.owner_references_mut().push(of(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}),
    ));
    maps.create(&PostParams::default(), &map).await.unwrap();
    settle().await;
    assert!(names(&maps).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_its_contents() {
    let server = server();
    tokio::spawn(server.clone().collect_garbage());
    let client = client(&server);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &of(json!({"metadata": {"name": "n"}})))
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let mut held = config_map("held");
    held.finalizers_mut().push("example.com/hold".to_owned());
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.create(&PostParams::default(), &config_map("free"))
        .await
        .unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    settle().await;
    assert_eq!(names(&maps).await, ["held"]);
    let (code, _, message) = refusal(maps.create(&PostParams::default(), &config_map("late")).await);
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    maps.patch(
        "held",
        &PatchParams::default(),
        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
    )
    .await
    .unwrap();
    settle().await;
    assert!(namespaces.get_opt("n").await.unwrap().is_none());
    let (code, ..) = refusal(namespaces.delete("default", &DeleteParams::default()).await);
    assert_eq!(code, 403);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=a"))
        .await
        .unwrap();
    assert_eq!(names(&maps).await, ["b"]);
}
