//! A cluster that ran KEDA is taken over without one replica changing, and handed back the same way.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "everything here is a test")]

#[path = "support/keda.rs"]
mod keda;
mod run_support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use controller_runtime::envtest;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, WatchEvent, WatchParams},
    core::DynamicObject,
};
use scaler_api::{Clock as _, SystemClock};
use serde_json::{Value, json};

use keda::{SHOP, Scaled, Sources};
use run_support::{Queue, Running, autoscaler, until};

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// What is sampled, by the name of what it scales, and how many jobs there are at first.
const QUEUES: [(&str, u64); 7] = [
    ("asleep", 0),
    ("single", 3),
    ("busy", 35),
    ("cooling", 0),
    ("idle", 0),
    ("ordered", 10),
    ("batch", 0),
];

/// The version of everything, from which a watch sees what comes.
async fn version(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let list = namespaces.list(&ListParams::default()).await.unwrap();
    list.metadata.resource_version.unwrap()
}

/// Everything that happened to a kind since a version: what a watch from then on says.
async fn changes(
    client: &Client,
    api_version: &str,
    kind: &str,
    since: &str,
) -> Vec<WatchEvent<DynamicObject>> {
    let api = keda::api(client, api_version, kind, None).await;
    let params = WatchParams::default().timeout(2).disable_bookmarks();
    let stream = api.watch(&params, since).await.unwrap().boxed();
    stream.try_collect().await.unwrap()
}

/// What a watch of every scalable workload has seen: the numbers of replicas by name, and how many events.
async fn replicas_since(client: &Client, since: &str) -> (BTreeMap<String, BTreeSet<i64>>, usize) {
    let (mut seen, mut count) = (BTreeMap::<String, BTreeSet<i64>>::new(), 0);
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        for event in changes(client, "apps/v1", kind, since).await {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
                panic!("a {kind} is gone: {event:?}");
            };
            let key = format!("{kind} {}", object.name_any());
            let replicas = object.data["spec"]["replicas"].as_i64().unwrap();
            seen.entry(key).or_default().insert(replicas);
            count += 1;
        }
    }
    (seen, count)
}

/// Not one replica has changed since a version; how many events say so.
async fn assert_nothing_scaled(client: &Client, since: &str, now: &BTreeMap<String, i64>) -> usize {
    let (seen, count) = replicas_since(client, since).await;
    for (workload, numbers) in &seen {
        let numbers: Vec<_> = numbers.iter().copied().collect();
        assert_eq!(numbers, [now[workload]], "{workload}");
    }
    assert_eq!(&replicas(client).await, now);
    count
}

/// The replicas of everything that has some.
async fn replicas(client: &Client) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        for (name, object) in objects(client, "apps/v1", kind).await {
            let replicas = object["spec"]["replicas"].as_i64().unwrap();
            found.insert(format!("{kind} {name}"), replicas);
        }
    }
    found
}

/// Every object of a kind by name, as it is.
async fn objects(client: &Client, api_version: &str, kind: &str) -> BTreeMap<String, Value> {
    let api = keda::api(client, api_version, kind, None).await;
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .map(|object| (object.name_any(), json!(object)))
        .collect()
}

async fn autoscalers(client: &Client) -> BTreeMap<String, Value> {
    objects(client, "autoscaling/v2", "HorizontalPodAutoscaler").await
}

async fn scaled_objects(client: &Client) -> BTreeMap<String, Value> {
    objects(client, "keda.sh/v1alpha1", "ScaledObject").await
}

/// A condition as `status reason`.
fn condition(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.map_or_else(String::new, |found| {
        let text = |field: &str| found[field].as_str().unwrap_or_default();
        format!("{} {}", text("status"), text("reason"))
    })
}

/// Fields of an object without what changes with every write.
fn lasting(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut kept = json!({ "spec": object["spec"] });
    for field in [
        "uid",
        "generation",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "deletionTimestamp",
    ] {
        kept[field] = metadata[field].clone();
    }
    kept
}

/// What the watch of HPAs and of KEDA's objects has seen since a version: nothing that lasts has changed.
async fn assert_nothing_rewritten(
    client: &Client,
    since: &str,
    before: &BTreeMap<String, Value>,
    kind: (&str, &str),
) {
    for event in changes(client, kind.0, kind.1, since).await {
        let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
            panic!("a {} is gone: {event:?}", kind.1);
        };
        let known = before.get(&object.name_any());
        let known = known.unwrap_or_else(|| panic!("{} {} is new", kind.1, object.name_any()));
        assert_eq!(lasting(&json!(object)), lasting(known), "{}", object.name_any());
    }
    let now = objects(client, kind.0, kind.1).await;
    assert!(now.keys().eq(before.keys()), "{:?}", now.keys());
}

/// API version and kind.
type Kind = (&'static str, &'static str);

/// The parts of a cluster that nobody may rewrite.
struct Snapshot {
    since: String,
    replicas: BTreeMap<String, i64>,
    kept: Vec<(Kind, BTreeMap<String, Value>)>,
}

impl Snapshot {
    async fn of(client: &Client) -> Self {
        let since = version(client).await;
        let mut kept = Vec::new();
        for kind in [
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("keda.sh/v1alpha1", "ScaledObject"),
            ("keda.sh/v1alpha1", "ScaledJob"),
            ("keda.sh/v1alpha1", "TriggerAuthentication"),
            ("batch/v1", "Job"),
        ] {
            kept.push((kind, objects(client, kind.0, kind.1).await));
        }
        // Definitions are watched by nobody's hand: their labels and schemas say whose they are.
        let definitions = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        kept.push((definitions, objects(client, definitions.0, definitions.1).await));
        Self {
            since,
            replicas: replicas(client).await,
            kept,
        }
    }

    /// Not one replica has changed, no HPA was made, changed or made anew, and nobody wrote on KEDA's objects anything
    /// but their status; says what was seen.
    async fn assert_untouched(&self, client: &Client, what: &str) {
        let events = assert_nothing_scaled(client, &self.since, &self.replicas).await;
        let mut objects = 0;
        for (kind, before) in &self.kept {
            assert_nothing_rewritten(client, &self.since, before, *kind).await;
            objects += before.len();
        }
        println!(
            "{what}: {} workloads, {events} events of them, 0 changes of replicas; {objects} objects kept",
            self.replicas.len()
        );
    }
}

/// Waits until the cluster has come to rest without KEDA: pods made, HPAs without metrics.
async fn at_rest(client: &Client, all: &[Scaled]) {
    until("the HPAs have looked", async || {
        let found = autoscalers(client).await;
        let looked = |scaled: &&Scaled| {
            let said = condition(&found[&scaled.hpa_name()], "ScalingActive");
            if scaled.replicas == 0 {
                said == "False ScalingDisabled"
            } else {
                said.starts_with("False FailedGet")
            }
        };
        all.iter()
            .filter(|scaled| !scaled.is_paused())
            .all(|scaled| looked(&scaled))
            .then_some(())
    })
    .await;
    until("the pods are made", async || {
        let mut found = objects(client, "apps/v1", "Deployment").await;
        found.extend(objects(client, "apps/v1", "StatefulSet").await);
        all.iter()
            .all(|scaled| {
                let made = found[scaled.name]["status"]["replicas"].as_i64();
                made.unwrap_or(0) == i64::from(scaled.replicas)
            })
            .then_some(())
    })
    .await;
}

/// Whose service answers for external metrics, and whether it does.
async fn api_service(client: &Client) -> Option<(String, String)> {
    let found = objects(client, "apiregistration.k8s.io/v1", "APIService").await;
    let found = found.get(API_SERVICE)?;
    let name = found["spec"]["service"]["name"].as_str()?;
    Some((name.to_owned(), condition(found, "Available")))
}

/// The status goes on from what KEDA has written.
fn assert_resumed(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    for (name, before) in before {
        let (before, after) = (&before["status"], &after[name]["status"]);
        for field in [
            "hpaName",
            "originalReplicaCount",
            "scaleTargetGVKR",
            "scaleTargetKind",
            "externalMetricNames",
            "resourceMetricNames",
            "triggersTypes",
            "authenticationsTypes",
            "pausedReplicaCount",
            "triggersActivity",
        ] {
            assert_eq!(after[field], before[field], "{name}: {field}");
        }
        for type_ in ["Ready", "Active", "Fallback", "Paused"] {
            let (before, after) = (json!({"status": before}), json!({"status": after}));
            let words = |object: &Value| condition(object, type_).split(' ').next().map(str::to_owned);
            assert_eq!(words(&after), words(&before), "{name}: {type_}");
        }
    }
}

/// Runs the binary to its end; what it printed.
fn told(arguments: &[&str], plane: &envtest::ControlPlane) -> String {
    let output = autoscaler()
        .args(arguments)
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

async fn until_replicas(client: &Client, workload: &str, expected: i64) {
    until(&format!("{expected} replicas of {workload}"), async || {
        (replicas(client).await[workload] == expected).then_some(())
    })
    .await;
}

/// The process takes over while KEDA's APIService still stands and nobody is behind it.
async fn take_over(client: &Client, plane: &envtest::ControlPlane) -> Running {
    let running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;
    let (name, _) = api_service(client).await.unwrap();
    assert_eq!(
        name, "keda-operator-metrics-apiserver",
        "somebody else's is left alone"
    );
    let services = keda::api(client, "apiregistration.k8s.io/v1", "APIService", None).await;
    services
        .delete(API_SERVICE, &DeleteParams::default())
        .await
        .unwrap();
    until("the APIService answers", async || {
        api_service(client)
            .await
            .filter(|(name, available)| name == "autoscaler" && available.starts_with("True"))
    })
    .await;
    until("the HPAs read what KEDA's adapter said", async || {
        let found = autoscalers(client).await;
        let reads = |hpa: &str, value: &str| {
            let status = &found[hpa]["status"];
            status["currentMetrics"][0]["external"]["current"]["averageValue"] == value
                && condition(&found[hpa], "ScalingActive").starts_with("True")
        };
        let expected = [
            ("keda-hpa-single", "3"),
            ("busy-by-jobs", "5"),
            ("keda-hpa-ordered", "5"),
            ("keda-hpa-broken", "5"),
        ];
        expected
            .iter()
            .all(|(hpa, value)| reads(hpa, value))
            .then_some(())
    })
    .await;
    running
}

/// Everything follows its source again, and the cooldown counts from KEDA's last activity.
async fn scales(client: &Client, queues: &BTreeMap<&str, Queue>, last_active: &Value) {
    until_replicas(client, "Deployment cooling", 0).await;
    let last_active = last_active.as_str().unwrap().parse().unwrap();
    let rested = SystemClock.now().duration_since(last_active);
    assert!(rested >= keda::COOLDOWN, "too early: {rested:#}");
    let slack = jiff::SignedDuration::from_secs(15);
    assert!(rested < keda::COOLDOWN + slack, "it began anew: {rested:#}");
    for (name, jobs) in [("busy", 50), ("asleep", 4), ("idle", 9), ("ordered", 15)] {
        queues[name].set(jobs);
    }
    for (workload, expected) in [
        ("Deployment busy", 10),
        ("Deployment asleep", 1),
        ("Deployment idle", 2),
        ("StatefulSet ordered", 3),
    ] {
        until_replicas(client, workload, expected).await;
    }
}

/// The process ends and goes, and KEDA's registration stands again.
async fn hand_back(client: &Client, plane: &envtest::ControlPlane, mut running: Running) {
    assert_eq!(running.terminate().await, Some(0));
    assert_eq!(api_service(client).await, None);
    let said = told(&["uninstall", "--yes", "--keep-resources"], plane);
    println!("{}", said.trim());
    // An APIService without anybody behind it keeps namespaces from going, so this comes before KEDA's stands again.
    let namespaces: Api<Namespace> = Api::all(client.clone());
    until("the namespace is gone", async || {
        namespaces
            .get_opt("autoscaler")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    for object in keda::registration() {
        if object["kind"] == "APIService" {
            keda::create(client, &object).await;
        }
    }
}

#[tokio::test]
async fn a_cluster_of_keda_is_taken_over_and_handed_back_without_one_replica_changing() {
    // Several syncs of the HPAs, and more polls.
    const A_WHILE: Duration = Duration::from_secs(6);
    let options = envtest::Options {
        kwok: false,
        ..envtest::Options::default()
    };
    let Some(plane) = envtest::start_or_skip(options).await else {
        return;
    };
    let client = plane.client(SHOP);
    let (mut queues, mut sources) = (BTreeMap::new(), Sources::new());
    for name in ["broken", "paused", "frozen"] {
        sources.insert(name, "http://127.0.0.1:1/queue".to_owned());
    }
    for (name, jobs) in QUEUES {
        let queue = Queue::start().await;
        queue.set(jobs);
        sources.insert(name, queue.url());
        queues.insert(name, queue);
    }
    let all = keda::scaled(&sources);
    keda::build(&client, &sources, &all).await;
    at_rest(&client, &all).await;

    let keda_left = Snapshot::of(&client).await;
    let before = scaled_objects(&client).await;
    let running = take_over(&client, &plane).await;
    tokio::time::sleep(A_WHILE).await;
    keda_left.assert_untouched(&client, "taken over").await;
    assert_resumed(&before, &scaled_objects(&client).await);

    scales(&client, &queues, &before["cooling"]["status"]["lastActiveTime"]).await;
    // The same watch sees that, so it would have seen less.
    let (seen, _) = replicas_since(&client, &keda_left.since).await;
    assert!(seen["Deployment cooling"].contains(&0), "{seen:?}");
    assert!(seen["Deployment busy"].contains(&10), "{seen:?}");

    tokio::time::sleep(A_WHILE).await;
    let we_left = Snapshot::of(&client).await;
    let before = scaled_objects(&client).await;
    hand_back(&client, &plane, running).await;
    tokio::time::sleep(A_WHILE).await;
    we_left.assert_untouched(&client, "handed back").await;
    let after = scaled_objects(&client).await;
    assert_resumed(&before, &after);
    for (name, object) in &after {
        assert_eq!(
            object["metadata"]["finalizers"],
            json!(["finalizer.keda.sh"]),
            "{name}"
        );
    }
    plane.stop().await;
}
