//! The bundled stories on a real control plane: the binary as a process, kwok's nodes, and a real SQS server.
//!
//! The manifests are the bundled ones; what differs is said by [`on_kwok`] and [`at`]: nodes that kwok keeps alive, and
//! where the queue is.
#![cfg(all(feature = "sim", feature = "sqs", feature = "kwok"))]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

#[path = "support/elasticmq.rs"]
mod elasticmq;
mod run_support;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use controller_runtime::envtest::{self, ControlPlane, Program};
use examples::{bundled::Bundled, install::apply::apply};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use provisioner::karpenter::NodeClaim;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use elasticmq::ElasticMq;
use run_support::{Running, follow::Replicas};

/// Any credentials do for ElasticMQ; they stand in for the pod identity of the published story.
const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")];

/// A control plane on which replicas go down as soon as their number does.
async fn control_plane() -> Option<ControlPlane> {
    let arguments = vec!["--horizontal-pod-autoscaler-downscale-stabilization=10s".to_owned()];
    let options = envtest::Options {
        arguments: [(Program::ControllerManager, arguments)].into(),
        ..envtest::Options::default()
    };
    envtest::start_or_skip(options).await
}

/// The manifests of a story.
fn manifests(story: &str) -> Vec<Value> {
    let story = Bundled::named(story).unwrap().story().unwrap();
    story
        .manifests
        .into_iter()
        .map(|manifest| manifest.object)
        .collect()
}

/// Kinds first, then the story's objects, as somebody would apply them.
async fn install(client: &Client, objects: &[Value]) {
    let definitions = scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds());
    let mut all: Vec<Value> = definitions.map(|definition| json!(definition)).collect();
    all.extend(objects.iter().cloned());
    apply(client, &all, &|_| {}).await.unwrap();
}

/// Nodes that kwok keeps alive.
fn on_kwok(objects: &mut [Value]) {
    for node in objects.iter_mut().filter(|object| object["kind"] == "Node") {
        node["metadata"]["annotations"]["kwok.x-k8s.io/node"] = json!("fake");
        let name = node["metadata"]["name"].clone();
        node["metadata"]["labels"]["kubernetes.io/hostname"] = name;
    }
}

/// The queue's place.
fn at(objects: &mut [Value], server: &ElasticMq, queue: &str) {
    for object in objects
        .iter_mut()
        .filter(|object| object["kind"] == "ScaledObject")
    {
        let metadata = &mut object["spec"]["triggers"][0]["metadata"];
        metadata["queueURL"] = json!(server.queue_url(queue));
        metadata["awsEndpoint"] = json!(server.endpoint);
    }
}

async fn fill(client: &aws_sdk_sqs::Client, url: &str, messages: u32) {
    for message in 0..messages {
        let body = format!("payment {message}");
        client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_tutorial_goes_from_0_to_3_and_back_and_survives_an_outage_of_its_queue() {
    let (Some(plane), Some(mut server)) = (control_plane().await, ElasticMq::start().await) else {
        return;
    };
    let client = plane.client("default");
    let (sqs, name) = (server.client().await, "my-sqs-keda");
    let url = server.queue_url(name);
    sqs.create_queue().queue_name(name).send().await.unwrap();
    let mut objects = manifests("tutorial");
    on_kwok(&mut objects);
    at(&mut objects, &server, name);
    install(&client, &objects).await;
    let mut running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    let replicas = Replicas::follow(&client, "default", "web");

    fill(&sqs, &url, 8).await;
    replicas.reach(2).await;
    fill(&sqs, &url, 5).await;
    replicas.reach(3).await;
    sqs.purge_queue().queue_url(&url).send().await.unwrap();
    replicas.reach(0).await;
    assert_eq!(replicas.all(), [0, 1, 2, 3, 0]);

    // Five polls fail, then the fallback holds two replicas for as long as the source is away.
    server.crash();
    replicas.reach(2).await;
    sleep(Duration::from_secs(12)).await;
    assert_eq!(replicas.last(), Some(2));
    server.restart().await;
    sqs.create_queue().queue_name(name).send().await.unwrap();
    replicas.reach(0).await;
    assert_eq!(replicas.all(), [0, 1, 2, 3, 0, 1, 2, 0]);
    assert_eq!(running.terminate().await, Some(0));
    plane.stop().await;
}

const QUEUE: &str = "keda-demo-queue.fifo";
/// Four producers send one message a second for four minutes in the published story; here everything that users do is
/// twice as fast.
const MESSAGES: usize = 960;
const SEND_EVERY: Duration = Duration::from_millis(500);
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How long the story may take.
const PATIENCE: Duration = Duration::from_secs(480);
const PROCESSING: Duration = Duration::from_millis(125);

/// What the pods have done.
#[derive(Clone, Default)]
struct Ledger {
    processed: Arc<Mutex<Vec<String>>>,
}

impl Ledger {
    fn count(&self) -> usize {
        self.processed.lock().unwrap().len()
    }

    fn distinct(&self) -> usize {
        let processed = self.processed.lock().unwrap();
        processed.iter().collect::<BTreeSet<_>>().len()
    }
}

async fn produce(sqs: aws_sdk_sqs::Client, url: String) {
    for second in 0..MESSAGES / 4 {
        let next = Instant::now() + SEND_EVERY;
        let entries = (0..4).map(|producer| {
            let id = format!("{second}-{producer}");
            SendMessageBatchRequestEntry::builder()
                .id(&id)
                .message_body(&id)
                .message_group_id("payments")
                .message_deduplication_id(&id)
                .build()
                .unwrap()
        });
        let sent = sqs
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .unwrap();
        assert!(sent.failed().is_empty(), "{sent:?}");
        tokio::time::sleep_until(next).await;
    }
}

/// The program in every pod that runs: receive one, process it, delete it, twice a second.
async fn consume(client: Client, sqs: aws_sdk_sqs::Client, url: String, ledger: Ledger) {
    let pods: Api<Pod> = Api::namespaced(client, "keda-test");
    let mut programs = std::collections::BTreeMap::new();
    loop {
        if let Ok(list) = pods.list(&ListParams::default().labels("app=sqs-reader")).await {
            let is_running = |pod: &Pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
            };
            let running: BTreeSet<String> = list
                .iter()
                .filter(|pod| is_running(pod))
                .map(|pod| pod.name_any())
                .collect();
            for name in &running {
                programs.entry(name.clone()).or_insert_with(|| {
                    let pod = Arc::new(());
                    tokio::spawn(program(
                        sqs.clone(),
                        url.clone(),
                        ledger.clone(),
                        Arc::downgrade(&pod),
                    ));
                    pod
                });
            }
            programs.retain(|name, _| running.contains(name));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Ends gracefully, between two messages, when its pod is gone.
async fn program(sqs: aws_sdk_sqs::Client, url: String, ledger: Ledger, pod: Weak<()>) {
    while pod.strong_count() > 0 {
        let received = sqs
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(1)
            .send()
            .await;
        for message in received
            .ok()
            .and_then(|received| received.messages)
            .unwrap_or_default()
        {
            sleep(PROCESSING).await;
            let (body, receipt) = (message.body.unwrap(), message.receipt_handle.unwrap());
            ledger.processed.lock().unwrap().push(body);
            sqs.delete_message()
                .queue_url(&url)
                .receipt_handle(receipt)
                .send()
                .await
                .unwrap();
        }
        sleep(POLL_EVERY).await;
    }
}

/// The pool of the story on kwok's instance types, and free to give all its nodes back at once.
fn pool(objects: &mut Vec<Value>) {
    objects.retain(|object| object["kind"] != "EC2NodeClass");
    objects.push(json!({
        "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"},
    }));
    for pool in objects.iter_mut().filter(|object| object["kind"] == "NodePool") {
        let spec = &mut pool["spec"]["template"]["spec"];
        spec["nodeClassRef"] =
            json!({"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"});
        spec["requirements"] = json!([
            {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
            {"key": "karpenter.kwok.sh/instance-cpu", "operator": "In", "values": ["4", "8"]},
        ]);
        pool["spec"]["disruption"]["budgets"] = json!([{"nodes": "100%"}]);
    }
}

/// Waits for the end of the story: nodes bought and pods pending, at most.
async fn watch_over(client: &Client, ledger: &Ledger, replicas: &Replicas) -> (usize, usize) {
    let claims: Api<NodeClaim> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), "keda-test");
    let (mut bought, mut pending) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let there = claims.list(&ListParams::default()).await.unwrap().items.len();
        bought = bought.max(there);
        let waiting = ListParams::default().fields("status.phase=Pending,spec.nodeName=");
        pending = pending.max(pods.list(&waiting).await.unwrap().items.len());
        if ledger.count() >= MESSAGES && replicas.last() == Some(1) && there == 0 {
            return (bought, pending);
        }
        assert!(
            Instant::now() < deadline,
            "{} processed, replicas {:?}, {there} claims left",
            ledger.count(),
            replicas.all(),
        );
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_backlog_grows_pods_and_nodes_and_everything_goes_back() {
    let (Some(plane), Some(server)) = (control_plane().await, ElasticMq::start().await) else {
        return;
    };
    let client = plane.client("default");
    let (sqs, url) = (server.client().await, server.queue_url(QUEUE));
    sqs.create_queue()
        .queue_name(QUEUE)
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::VisibilityTimeout, "60")
        .send()
        .await
        .unwrap();
    let mut objects = manifests("sqs-consumer");
    on_kwok(&mut objects);
    at(&mut objects, &server, QUEUE);
    pool(&mut objects);
    install(&client, &objects).await;
    let mut running = Running::start_with(plane.kubeconfig(), &["--provider", "kwok"], &CREDENTIALS).await;
    let replicas = Replicas::follow(&client, "keda-test", "sqs-app");
    replicas.reach(1).await;
    let ledger = Ledger::default();
    tokio::spawn(consume(client.clone(), sqs.clone(), url.clone(), ledger.clone()));
    let producing = tokio::spawn(produce(sqs, url));
    let (bought, pending) = watch_over(&client, &ledger, &replicas).await;
    println!(
        "replicas {:?}, {bought} nodes bought, {pending} pods pending at most",
        replicas.all()
    );
    producing.await.unwrap();
    assert_eq!(
        (ledger.count(), ledger.distinct()),
        (MESSAGES, MESSAGES),
        "none lost, none twice"
    );
    assert!(replicas.most() >= 50, "{:?}", replicas.all());
    assert!(
        bought >= 2 && pending > 0,
        "{bought} nodes bought, {pending} pods pending"
    );
    let nodes: Api<Node> = Api::all(client.clone());
    let left: Vec<_> = nodes
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(|node| node.name_any())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(running.terminate().await, Some(0));
    plane.stop().await;
}
