//! Watches.

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use super::{client, config_map, make_pod, raw, server};

type Events = BoxStream<'static, kube::Result<WatchEvent<ConfigMap>>>;

async fn watch(api: &Api<ConfigMap>, params: &WatchParams, version: &str) -> Events {
    api.watch(params, version).await.unwrap().boxed()
}

async fn next(events: &mut Events) -> String {
    match events.try_next().await.unwrap() {
        Some(WatchEvent::Added(object)) => format!("ADDED {}", object.name_any()),
        Some(WatchEvent::Modified(object)) => format!("MODIFIED {}", object.name_any()),
        Some(WatchEvent::Deleted(object)) => format!("DELETED {}", object.name_any()),
        Some(WatchEvent::Bookmark(mark)) => {
            let initial = mark
                .metadata
                .annotations
                .contains_key("k8s.io/initial-events-end");
            format!("BOOKMARK {initial}")
        }
        Some(WatchEvent::Error(status)) => format!("ERROR {} {}", status.code, status.reason),
        None => "end".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_is_there_and_then_what_happens() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let mut events = watch(&maps, &WatchParams::default(), "0").await;
    assert_eq!(next(&mut events).await, "ADDED a");
    maps.create(&PostParams::default(), &config_map("b"))
        .await
        .unwrap();
    maps.patch(
        "a",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"k": "w"}})),
    )
    .await
    .unwrap();
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    for expected in ["ADDED b", "MODIFIED a", "DELETED b"] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_version_shows_what_came_after_it_unless_that_has_expired() {
    let server = server();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let first = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    maps.create(&PostParams::default(), &config_map("b"))
        .await
        .unwrap();
    let version = first.resource_version().unwrap();
    let mut events = watch(&maps, &WatchParams::default(), &version).await;
    assert_eq!(next(&mut events).await, "ADDED b");
    server.compact();
    let mut events = watch(&maps, &WatchParams::default(), &version).await;
    assert_eq!(next(&mut events).await, "ERROR 410 Expired");
    let mut events = watch(&maps, &WatchParams::default(), "1").await;
    assert_eq!(next(&mut events).await, "ERROR 410 Expired");
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_a_selection() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let mut events = watch(&maps, &WatchParams::default().labels("on=yes"), "0").await;
    for (value, expected) in [("yes", "ADDED a"), ("no", "DELETED a"), ("yes", "ADDED a")] {
        let patch = json!({"metadata": {"labels": {"on": value}}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_when_the_watch_times_out() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let start = tokio::time::Instant::now();
    let mut events = watch(&maps, &WatchParams::default().timeout(90), "0").await;
    assert_eq!(next(&mut events).await, "BOOKMARK false");
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(next(&mut events).await, "BOOKMARK false");
    assert_eq!(next(&mut events).await, "end");
    assert_eq!(start.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_end_with_a_bookmark() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let mut events = watch(&maps, &WatchParams::default().initial_events(), "").await;
    assert_eq!(next(&mut events).await, "ADDED a");
    assert_eq!(next(&mut events).await, "BOOKMARK true");
}

#[tokio::test(start_paused = true)]
async fn the_runtimes_watcher_follows_in_both_modes() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let server = server();
        let client = client(&server);
        make_pod(&client, "a").await;
        let pods: Api<Pod> = Api::all(client.clone());
        let mut seen = watcher(pods, config).applied_objects().boxed();
        assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "a");
        make_pod(&client, "b").await;
        assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn contradicting_options_are_refused() {
    let server = server();
    let (code, status) = raw(
        &server,
        "GET",
        "/api/v1/pods?watch=1&sendInitialEvents=true",
        &[],
        "",
    )
    .await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let (code, status) = raw(&server, "GET", "/api/v1/pods?resourceVersion=99999999", &[], "").await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["reason"]),
        (504, &json!("ResourceVersionTooLarge"))
    );
}

#[tokio::test(start_paused = true)]
async fn every_change_reaches_an_observer_in_order() {
    let server = server();
    let mut changes = server.observe();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    maps.patch(
        "a",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"k": "w"}})),
    )
    .await
    .unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let mut last = 0;
    for (verb, previous) in [("ADDED", false), ("MODIFIED", true), ("DELETED", true)] {
        let change = changes.try_recv().unwrap();
        assert_eq!(
            (change.verb.as_str(), change.previous.is_some()),
            (verb, previous)
        );
        assert_eq!(change.resource, "configmaps");
        assert_eq!(
            change.object["metadata"]["resourceVersion"],
            change.resource_version.to_string()
        );
        assert!(change.resource_version > last);
        last = change.resource_version;
    }
    assert!(changes.try_recv().is_err());
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
}
