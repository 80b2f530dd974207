//! Create, get, list, update.

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Namespace, Node, Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;

use super::{client, config_map, deployment, make_pod, of, pod, raw, refusal, server};

#[tokio::test(start_paused = true)]
async fn a_created_object_carries_what_the_server_decides() {
    let client = client(&server());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    assert_eq!(created.namespace().as_deref(), Some("default"));
    assert_eq!(
        created.creation_timestamp().unwrap().0.to_string(),
        "2026-01-01T00:00:00Z"
    );
    assert!(created.uid().is_some() && created.resource_version().is_some());
    assert_eq!(maps.get("a").await.unwrap(), created);
}

#[tokio::test(start_paused = true)]
async fn refusals_read_as_the_real_servers() {
    let server = server();
    let client = client(&server);
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let cases = [
        (
            refusal(maps.create(&PostParams::default(), &config_map("a")).await),
            (409, "AlreadyExists", "configmaps \"a\" already exists"),
        ),
        (
            refusal(maps.get("b").await),
            (404, "NotFound", "configmaps \"b\" not found"),
        ),
        (
            refusal(
                Api::<ConfigMap>::namespaced(client.clone(), "no")
                    .create(&PostParams::default(), &config_map("a"))
                    .await,
            ),
            (404, "NotFound", "namespaces \"no\" not found"),
        ),
        (
            refusal(maps.list(&ListParams::default().fields("spec.x=1")).await),
            (
                400,
                "BadRequest",
                "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
        ),
    ];
    for (found, (code, reason, message)) in cases {
        assert_eq!(found, (code, reason.to_owned(), message.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn generated_names_are_seeded_and_distinct() {
    let names = |server: super::ApiServer| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
        let mut names = Vec::new();
        for _ in 0..2 {
            let map = of(json!({"metadata": {"generateName": "web-"}}));
            names.push(
                maps.create(&PostParams::default(), &map)
                    .await
                    .unwrap()
                    .name_any(),
            );
        }
        names
    };
    let first = names(server()).await;
    assert_eq!(first, names(server()).await);
    assert_ne!(first[0], first[1]);
    assert!(first[0].starts_with("web-") && first[0].len() == 9);
}

#[tokio::test(start_paused = true)]
async fn an_update_needs_the_version_that_it_read() {
    let client = client(&server());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let read = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let mut changed = read.clone();
    changed.data = Some([("k".to_owned(), "w".to_owned())].into());
    let written = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(written.resource_version(), read.resource_version());
    let (code, reason, message) = refusal(maps.replace("a", &PostParams::default(), &changed).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_is_no_change() {
    let client = client(&server());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let read = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let written = maps.replace("a", &PostParams::default(), &read).await.unwrap();
    assert_eq!(written.resource_version(), read.resource_version());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_no_trace() {
    let client = client(&server());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    assert_eq!(maps.create(&dry, &config_map("a")).await.unwrap().name_any(), "a");
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_generation_counts_changes_of_the_spec_alone() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let mut object = deployments
        .create(&PostParams::default(), &of(deployment("web")))
        .await
        .unwrap();
    assert_eq!(object.metadata.generation, Some(1));
    let spec = object.spec.as_ref().unwrap();
    assert_eq!(
        (
            spec.replicas,
            spec.revision_history_limit,
            spec.progress_deadline_seconds
        ),
        (Some(1), Some(10), Some(600))
    );
    object.labels_mut().insert("a".to_owned(), "b".to_owned());
    object = deployments
        .replace("web", &PostParams::default(), &object)
        .await
        .unwrap();
    assert_eq!(object.metadata.generation, Some(1));
    object.spec.as_mut().unwrap().replicas = Some(3);
    object = deployments
        .replace("web", &PostParams::default(), &object)
        .await
        .unwrap();
    assert_eq!(object.metadata.generation, Some(2));
}

#[tokio::test(start_paused = true)]
async fn lists_select_by_labels_and_fields() {
    let client = client(&server());
    for name in ["a", "b", "c"] {
        make_pod(&client, name).await;
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for name in ["x", "y"] {
        maps.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    let found = maps
        .list(&ListParams::default().labels("app in (x,z)"))
        .await
        .unwrap();
    assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["x"]);
    let pods: Api<Pod> = Api::all(client);
    let pending = pods
        .list(&ListParams::default().fields("status.phase=Pending,metadata.name!=b"))
        .await
        .unwrap();
    assert_eq!(
        pending.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
        ["a", "c"]
    );
    let bound = pods
        .list(&ListParams::default().fields("spec.nodeName=n1"))
        .await
        .unwrap();
    assert!(bound.items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_snapshot() {
    let server = server();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert_eq!(first.metadata.remaining_item_count, Some(1));
    maps.create(&PostParams::default(), &config_map("d"))
        .await
        .unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let rest = maps
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    assert_eq!(rest.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    server.compact();
    let expired = refusal(
        maps.list(&ListParams::default().limit(2).continue_token(&token))
            .await,
    );
    assert_eq!((expired.0, expired.1.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_defaulted_and_admitted() {
    let client = client(&server());
    let created = make_pod(&client, "a").await;
    let spec = created.spec.unwrap();
    assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
    assert_eq!(spec.termination_grace_period_seconds, Some(30));
    assert_eq!(spec.scheduler_name.as_deref(), Some("default-scheduler"));
    assert_eq!(spec.priority, Some(0));
    assert_eq!(spec.tolerations.unwrap().len(), 2);
    assert_eq!(created.status.unwrap().phase.as_deref(), Some("Pending"));
    let mut other = pod("b");
    other["spec"]["priorityClassName"] = "none".into();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let (code, _, message) = refusal(pods.create(&PostParams::default(), &of(other)).await);
    assert_eq!(
        (code, message.as_str()),
        (
            403,
            "pods \"b\" is forbidden: no PriorityClass with name none was found"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn invalid_objects_list_every_problem() {
    let client = client(&server());
    let mut broken = deployment("web");
    broken["spec"]["replicas"] = json!(-1);
    broken["spec"]["selector"]["matchLabels"]["app"] = "other".into();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let (code, reason, message) = refusal(deployments.create(&PostParams::default(), &of(broken)).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(
        message,
        "Deployment.apps \"web\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
         spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`]"
    );
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::default_namespaced(client);
    let autoscaler = of(json!({
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    }));
    let (code, ..) = refusal(autoscalers.create(&PostParams::default(), &autoscaler).await);
    assert_eq!(code, 422);
}

#[tokio::test(start_paused = true)]
async fn kinds_of_the_cluster_get_their_defaults() {
    let server = server();
    let client = client(&server);
    let nodes: Api<Node> = Api::all(client.clone());
    let node = of(json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2000m"}}}));
    let node = nodes.create(&PostParams::default(), &node).await.unwrap();
    assert_eq!(
        node.spec.unwrap().taints.unwrap()[0].key,
        "node.kubernetes.io/not-ready"
    );
    assert_eq!(node.status.unwrap().allocatable.unwrap()["cpu"].0, "2");
    let ready = of(
        json!({"metadata": {"name": "r"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    assert_eq!(
        nodes
            .create(&PostParams::default(), &ready)
            .await
            .unwrap()
            .spec
            .unwrap()
            .taints,
        None
    );
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let secret = of(json!({"metadata": {"name": "s"}, "stringData": {"a": "hello"}}));
    let secret = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(
        (secret.type_.as_deref(), secret.data.unwrap()["a"].0.as_slice()),
        (Some("Opaque"), &b"hello"[..])
    );
    let namespaces: Api<Namespace> = Api::all(client);
    assert_eq!(
        namespaces.list(&ListParams::default()).await.unwrap().items.len(),
        4
    );
}

#[tokio::test(start_paused = true)]
async fn lists_of_built_ins_carry_no_types_and_metadata_can_be_had_alone() {
    let server = server();
    make_pod(&client(&server), "a").await;
    let (_, list) = raw(&server, "GET", "/api/v1/namespaces/default/pods", &[], "").await;
    assert_eq!(list["kind"], "PodList");
    assert!(list["items"][0].get("kind").is_none());
    let accept = [(
        "accept",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    )];
    let (_, partial) = raw(&server, "GET", "/api/v1/namespaces/default/pods/a", &accept, "").await;
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert!(partial.get("spec").is_none() && partial["metadata"]["name"] == "a");
}

#[tokio::test(start_paused = true)]
async fn events_expire_an_hour_after_their_last_write() {
    let server = server();
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client(&server));
    let event = |name: &str| {
        of(
            json!({"metadata": {"name": name, "namespace": "default"}, "involvedObject": {"kind": "Pod"}, "reason": "R"}),
        )
    };
    events
        .create(&PostParams::default(), &event("old"))
        .await
        .unwrap();
    events
        .create(&PostParams::default(), &event("kept"))
        .await
        .unwrap();
    tokio::time::advance(std::time::Duration::from_secs(1800)).await;
    let again = kube::api::Patch::Merge(json!({"count": 2}));
    events
        .patch("kept", &kube::api::PatchParams::default(), &again)
        .await
        .unwrap();
    tokio::time::advance(std::time::Duration::from_secs(1801)).await;
    events
        .create(&PostParams::default(), &event("new"))
        .await
        .unwrap();
    let names: Vec<String> = events
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["kept", "new"]);
}
