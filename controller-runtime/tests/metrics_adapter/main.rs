//! The metrics adapter behind the APIService of a real control plane. Skipped, with a line that says so, where the
//! control plane's programs are not to be had.

#![cfg(all(feature = "envtest", feature = "server", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "an unexpected answer fails the test"
)]

mod support;

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Namespace};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use support::{GROUP, METRIC, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_is_a_part_of_a_real_cluster() {
    let Some(world) = World::start().await else { return };
    the_api_service_becomes_available(&world).await;
    a_metric_is_read_through_the_api_server(&world).await;
    discovery_lists_the_group(&world).await;
    tokens_are_reviewed_and_roles_decide(&world).await;
    nobody_but_the_front_proxy_speaks_for_others(&world).await;
    an_autoscaler_of_the_cluster_reads_the_metric(&world).await;
    rotating_the_certificate_loses_no_request(&world).await;
    a_namespace_can_be_deleted(&world).await;
    the_api_server_has_no_complaint(&world);
    world.stop().await;
}

async fn the_api_service_becomes_available(world: &World) {
    world
        .eventually("the APIService is available", async || {
            let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.{GROUP}");
            let service = world.through_the_api_server(&path).await?;
            let conditions = service["status"]["conditions"].as_array()?.clone();
            let available = conditions
                .into_iter()
                .find(|condition| condition["type"] == "Available")?;
            (available["status"] == "True").then_some(())
        })
        .await;
}

async fn a_metric_is_read_through_the_api_server(world: &World) {
    let list = world.through_the_api_server(METRIC).await.unwrap();
    assert_eq!(
        (&list["kind"], &list["items"][0]["value"]),
        (&json!("ExternalMetricValueList"), &json!("12"))
    );
    let missing = world
        .request(&METRIC.replace("orders", "invoices"), None)
        .await
        .unwrap_err();
    let kube::Error::Api(status) = missing else {
        panic!("{missing}")
    };
    assert_eq!(
        (status.code, status.reason.as_str()),
        (404, "NotFound"),
        "{status:?}"
    );
    assert_eq!(
        status.message,
        "the server could not find the metric invoices for namespace shop"
    );
}

async fn discovery_lists_the_group(world: &World) {
    let legacy = world
        .through_the_api_server(&format!("/apis/{GROUP}/v1beta1"))
        .await
        .unwrap();
    assert_eq!(legacy["resources"][0]["name"], "externalmetrics");
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    world
        .eventually("aggregated discovery lists the resource", async || {
            let list: Value =
                serde_json::from_str(&world.request("/apis", Some(aggregated)).await.ok()?).ok()?;
            let groups = list["items"].as_array()?;
            let ours = groups.iter().find(|group| group["metadata"]["name"] == GROUP)?;
            let version = &ours["versions"][0];
            assert_eq!(version["freshness"], "Current");
            (version["resources"][0]["resource"] == "externalmetrics").then_some(())
        })
        .await;
}

async fn tokens_are_reviewed_and_roles_decide(world: &World) {
    let reader = world.token("reader", &["list"]).await;
    let getter = world.token("getter", &["get"]).await;
    let other = world.token("other", &[]).await;
    world
        .eventually("the role is known", async || {
            let (code, _) = world
                .directly(METRIC, &[("authorization", &format!("Bearer {reader}"))])
                .await;
            (code == 200).then_some(())
        })
        .await;
    let (_, list) = world
        .directly(METRIC, &[("authorization", &format!("Bearer {reader}"))])
        .await;
    assert_eq!(list["items"][0]["value"], "12");
    for (name, token) in [("getter", getter), ("other", other)] {
        let (code, status) = world
            .directly(METRIC, &[("authorization", &format!("Bearer {token}"))])
            .await;
        assert_eq!(code, 403, "{name}: {status}");
        let expected = format!(
            "orders.external.metrics.k8s.io is forbidden: User \"system:serviceaccount:shop:{name}\" cannot list \
             resource \"orders\" in API group \"external.metrics.k8s.io\" in the namespace \"shop\""
        );
        assert_eq!(status["message"], expected);
    }
    let (code, status) = world
        .directly(METRIC, &[("authorization", "Bearer nonsense")])
        .await;
    assert_eq!((code, &status["reason"]), (401, &json!("Unauthorized")));
    let (code, _) = world
        .directly(METRIC, &[("authorization", &format!("Bearer {reader}x"))])
        .await;
    assert_eq!(code, 401);
}

async fn nobody_but_the_front_proxy_speaks_for_others(world: &World) {
    let claims = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    for headers in [&[][..], &claims[..]] {
        let (code, status) = world.directly(METRIC, headers).await;
        let message = status["message"].as_str().unwrap();
        assert!(
            code == 403 && message.contains("User \"system:anonymous\" cannot list"),
            "{code} {status}"
        );
    }
    assert_eq!(world.directly("/readyz", &[]).await.0, 200);
    // What every user of the cluster may read, and nobody else.
    assert_eq!(world.directly("/apis", &[]).await.0, 403);
}

async fn an_autoscaler_of_the_cluster_reads_the_metric(world: &World) {
    let labels = json!({ "app": "web" });
    world
        .create::<Deployment>(json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "web", "image": "web" }] },
                },
            },
        }))
        .await;
    let metric = json!({
        "metric": { "name": "orders", "selector": { "matchLabels": { "scaledobject.keda.sh/name": "orders" } } },
        "target": { "type": "AverageValue", "averageValue": "4" },
    });
    world
        .create::<HorizontalPodAutoscaler>(json!({
            "metadata": { "name": "web" },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "maxReplicas": 5,
                "metrics": [{ "type": "External", "external": metric }],
            },
        }))
        .await;
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(world.client.clone(), "shop");
    world
        .eventually("the HPA wants three replicas", async || {
            let status = autoscalers.get("web").await.ok()?.status?;
            let current = status.current_metrics?.into_iter().next()?.external?.current;
            let value = current.average_value?.0;
            (status.desired_replicas == 3 && matches!(value.as_str(), "4" | "6")).then_some(())
        })
        .await;
}

async fn rotating_the_certificate_loses_no_request(world: &World) {
    let token = format!("Bearer {}", world.token("rotation", &["list"]).await);
    let authorization = [("authorization", token.as_str())];
    world
        .eventually("the role is known", async || {
            (world.directly(METRIC, &authorization).await.0 == 200).then_some(())
        })
        .await;
    let requests = stream::iter(0..1000).map(|index| async move {
        if index % 2 == 0 {
            world
                .through_the_api_server(METRIC)
                .await
                .map(|list| list["items"][0]["value"].clone())
        } else {
            Some(world.directly(METRIC, &authorization).await.1["items"][0]["value"].clone())
        }
    });
    let requests = async {
        requests
            .buffer_unordered(16)
            .for_each(async |value| assert_eq!(value, Some(json!("12"))))
            .await;
        world.requests_are_done();
    };
    let rotations = async {
        while !world.are_requests_done() {
            world.rotate();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(requests, rotations);
    assert!(world.rotations() > 3, "{} rotations", world.rotations());
}

async fn a_namespace_can_be_deleted(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let doomed = ["doomed", "shop"];
    world.create_namespace("doomed").await;
    for name in doomed {
        namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for name in doomed {
        world
            .eventually("the namespace is gone", async || {
                namespaces.get_opt(name).await.ok()?.is_none().then_some(())
            })
            .await;
    }
}

fn the_api_server_has_no_complaint(world: &World) {
    let log = world.api_server_log();
    let complaints = [
        "loading OpenAPI spec for \"v1beta1.external",
        "failed to retrieve openAPI spec",
    ];
    for line in log.lines() {
        // It may ask before the adapter serves.
        let is_early = line.contains("503") || line.contains("connection refused");
        assert!(
            is_early || !complaints.iter().any(|complaint| line.contains(complaint)),
            "{line}"
        );
    }
}
