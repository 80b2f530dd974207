//! SIGTERM in the middle of a scale-out, with the lease's default times.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use controller_runtime::envtest::{self, ControlPlane, Program};
use examples::install::apply::apply;
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    PODS,
    pair::Pair,
    run_support::until,
    workload::{AUTOSCALER, Work, conditions, node},
};

const NAMESPACE: &str = "hand-over";
/// How soon a standby leads when the lease is released.
const SOON: Duration = Duration::from_secs(3);
/// How long a reader of metrics may wait: the process that ends answers until the next one has registered.
const UNREADABLE: Duration = Duration::from_secs(3);

/// How long the metrics of a ScaledObject cannot be read through the API server, at most.
#[derive(Clone, Default)]
struct Outage {
    longest: Arc<Mutex<Duration>>,
}

impl Outage {
    async fn watch(client: &Client, name: &str) -> Self {
        let outage = Self::default();
        let path = format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/s0-metric-api-jobs?labelSelector=scaledobject.keda.sh%2Fname%3D{name}"
        );
        let (client, watcher) = (client.clone(), outage.clone());
        let read = async move || {
            let request = http::Request::get(&path).body(Vec::new()).unwrap();
            client.request::<Value>(request).await
        };
        until("the metrics can be read", async || read().await.ok()).await;
        tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                let answer = read().await;
                watcher.note(last.elapsed());
                if answer.is_ok() {
                    last = Instant::now();
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        outage
    }

    fn note(&self, outage: Duration) {
        let mut longest = self.longest.lock().unwrap();
        *longest = outage.max(*longest);
    }

    fn longest(&self) -> Duration {
        *self.longest.lock().unwrap()
    }
}

/// What `kubectl get events` shows about the Lease.
fn events(plane: &ControlPlane) -> String {
    let kubectl = plane.programs().path(Program::Kubectl).unwrap();
    let output = std::process::Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(["get", "events", "--namespace", NAMESPACE])
        .args(["--field-selector", "involvedObject.kind=Lease"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_leader_that_is_told_to_end_hands_over_within_3_seconds() {
    let _only = PODS.lock().await;
    let Some(plane) = envtest::shared_or_skip().await else {
        return;
    };
    let mut pair = Pair::start(plane, NAMESPACE, &["--only=pods", "--namespace", NAMESPACE]).await;
    apply(&pair.client, &[node(NAMESPACE)], &|_| {}).await.unwrap();
    let work = Work::begin(&pair, "growing", 0, 2).await;
    let outage = Outage::watch(&pair.client, work.name).await;
    work.queue.set(40);
    work.replicas.reach(3).await;

    let (last, took) = pair.hand_over().await;
    assert!(took < SOON, "{took:?}");
    until("it knows that it leads", async || {
        let page = pair.leader.running.metrics("metrics").await;
        page.contains("autoscaler_leader 1").then_some(())
    })
    .await;
    work.replicas.reach(8).await;
    println!(
        "{NAMESPACE}: metrics could not be read for {:.2?} at most",
        outage.longest()
    );
    assert!(outage.longest() < UNREADABLE, "{:?}", outage.longest());
    assert_eq!(work.replicas.all(), [0, 1, 3, 5, 7, 8]);
    assert_eq!(work.replicas.generation(), 6, "nothing was written twice");
    assert_eq!(work.steps(&[&last, &pair.leader, &pair.standby]), 1);
    let hpa = conditions(&pair.client, NAMESPACE, AUTOSCALER, "keda-hpa-growing").await;
    assert!(hpa.contains(&"ScalingActive=True".to_owned()), "{hpa:?}");

    // Who led when is on record.
    let (first, second) = (last.running.identity(), pair.leader.running.identity());
    let said = until("the events are written", async || {
        let said = events(plane);
        said.contains(&second).then_some(said)
    })
    .await;
    for line in [
        format!("{first} became leader"),
        format!("{first} stopped leading"),
        format!("{second} became leader"),
    ] {
        let found = said
            .lines()
            .find(|said| said.ends_with(&line))
            .unwrap_or_else(|| panic!("{line} is missing in\n{said}"));
        for part in ["Normal", "LeaderElection", "lease/replicas"] {
            assert!(found.contains(part), "{part} is missing in {found}");
        }
    }
    pair.end().await;
}
