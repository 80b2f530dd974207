//! `autoscaler explain`: from a record of a bundled story, and from `autoscaler run` on a real control plane.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod run_support;

use controller_runtime::{
    envtest,
    explain::{Explanation, Origin, State},
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use run_support::{Queue, Running, autoscaler, install, until};

/// What the command says, and whether it succeeded.
fn explain(arguments: &[&str]) -> (bool, String) {
    let output = autoscaler().arg("explain").args(arguments).output().unwrap();
    let (out, error) = (output.stdout, output.stderr);
    (
        output.status.success(),
        String::from_utf8([out, error].concat()).unwrap(),
    )
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_record_of_a_bundled_story_is_asked_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    let file = file.to_str().unwrap();
    let output = autoscaler()
        .args(["demo", "tutorial", "--quiet", "--json", file])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let object = "aws-sqs-queue-scaledobject";
    let at = |second: &str| {
        let (succeeded, said) = explain(&["scaledobject", object, "--record", file, "--at", second]);
        assert!(succeeded, "{said}");
        said
    };
    has(
        &at("155"),
        &[
            "Rule 1c: There is work and the target is awake, so the HPA scales it.",
            "s0-aws-sqs-my-sqs-keda, value 13, target 5 per replica",
            "s0-aws-sqs-my-sqs-keda: 6.5 of 5 per replica, ratio 1.30, asks for 3",
            "so 2 become 3",
        ],
    );
    has(
        &at("305"),
        &[
            "Rule 3: There is no work, but the cooldown is not over",
            "The cooldown ends in ",
        ],
    );
    has(
        &at("690"),
        &[
            "0. aws-sqs-queue: FAILED, fallback in force",
            "the HPA is told 10 instead",
        ],
    );
    let (succeeded, said) = explain(&["so", object, "--record", file, "-o", "json"]);
    assert!(succeeded, "{said}");
    let found: Explanation = serde_json::from_str(&said).unwrap();
    assert_eq!(found.autoscaler.unwrap().origin, Origin::Computed);
    let (succeeded, said) = explain(&["so", "default/aws", "--record", file]);
    assert!(!succeeded);
    has(&said, &["did you mean default/aws-sqs-queue-scaledobject?"]);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let (_, said) = explain(&["so", "a/b", "--admin", "127.0.0.1:8080"]);
    has(
        &said,
        &["--admin is \"127.0.0.1:8080\", expected a URL such as http://127.0.0.1:8080"],
    );
    let (_, said) = explain(&["so", "a/b", "--admin", "http://127.0.0.1:1"]);
    has(&said, &["http://127.0.0.1:1 does not answer"]);
    let (_, said) = explain(&["so", "a/b/c", "--admin", "http://127.0.0.1:1"]);
    has(&said, &["expected NAMESPACE/NAME"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_process_says_what_it_and_somebody_elses_hpa_did() {
    let Some(plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    let client = plane.client("default");
    install(&client).await;
    let queue = Queue::start().await;
    let mut running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;
    workload(&client, &queue).await;
    queue.set(100);
    let asked = || async { running.metrics("explain/scaledobject/default/worker").await };
    let found = until("the HPA is held back by its policy", async || {
        let found: Explanation = serde_json::from_str(&asked().await).ok()?;
        let computation = found.autoscaler.as_ref()?.computation.as_ref()?;
        let limit = computation.limit.as_ref()?;
        (limit.reason == "ScaleUpLimit" && computation.proposed == Some(20)).then_some(found)
    })
    .await;
    assert_eq!(
        (found.leads, found.triggers[0].state),
        (Some(true), State::Active)
    );
    let hpa = found.autoscaler.unwrap();
    assert_eq!(hpa.origin, Origin::Inferred);
    let limit = hpa.computation.unwrap().limit.unwrap();
    assert_eq!((limit.policies.len(), limit.policies[0].value), (1, 2));
    assert!(limit.more_at.is_some());

    // The same through the command, in words, by its address.
    let admin = running.metrics_url();
    let (succeeded, said) = explain(&["scaledobject", "default/worker", "--admin", &admin]);
    assert!(succeeded, "{said}");
    has(
        &said,
        &[
            "Scales Deployment/worker, min 0, max 30",
            "0. metrics-api: ACTIVE",
            "value 100, target 5 per replica",
            "inferred from its status and what was watched of it",
            "scaled-object: 0 -> 1:",
        ],
    );
    let (succeeded, said) = explain(&["so", "default/workr", "--admin", &admin]);
    assert!(!succeeded);
    has(
        &said,
        &["there is no ScaledObject default/workr, did you mean default/worker?"],
    );
    // Through the API server the leader is looked for; here it is no pod.
    let kubeconfig = plane.kubeconfig().to_str().unwrap();
    let (succeeded, said) = explain(&["so", "default/worker", "--kubeconfig", kubeconfig]);
    assert!(!succeeded);
    has(&said, &["--admin"]);

    // A source that is away: since when, and how often, and that nothing moves.
    queue.set_away(true);
    until("the failure is explained", async || {
        let found: Explanation = serde_json::from_str(&asked().await).ok()?;
        let trigger = &found.triggers[0];
        (trigger.state == State::Failed && trigger.failing_since.is_some()).then_some(())
    })
    .await;
    assert_eq!(running.terminate().await, Some(0));
    plane.stop().await;
}

/// A Deployment without replicas, and a ScaledObject that follows `queue`, two pods a minute.
async fn workload(client: &Client, queue: &Queue) {
    let template = json!({
        "metadata": {"labels": {"app": "worker"}},
        "spec": {"containers": [{"name": "worker", "image": "worker"}]},
    });
    apply(
        client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker", "namespace": "default"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "worker"}}, "template": template},
        }),
    )
    .await;
    let scale_up = json!({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]});
    apply(
        client,
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "worker", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"name": "worker"},
                "pollingInterval": 1, "cooldownPeriod": 300, "maxReplicaCount": 30,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": scale_up}}},
                "triggers": [{
                    "type": "metrics-api",
                    "metadata": {"url": queue.url(), "valueLocation": "jobs", "targetValue": "5"},
                }],
            },
        }),
    )
    .await;
}

async fn apply(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.clone().unwrap();
    let kind = kube::core::GroupVersionKind::try_from(&types).unwrap();
    let (resource, _) = kube::discovery::pinned_kind(client, &kind).await.unwrap();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let name = object.metadata.name.clone().unwrap();
    let params = PatchParams::apply("test").force();
    api.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
}
