//! What is asked of the API server while nothing changes, for targets of kinds that are not watched from the start.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use http::{Request, Response};
use kube::{Client, client::Body};
use tower::Service;

use super::*;
use crate::sim::api::{ApiBody, ApiService};

const SET: &str = "/apis/apps/v1/namespaces/default/replicasets/set";
const CANARY: &str = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/canary";

/// A connection that keeps what was asked, and over which nobody may list or watch Rollouts while that is forbidden.
#[derive(Clone)]
struct Line {
    service: ApiService,
    asked: Arc<Mutex<Vec<String>>>,
    forbids: Arc<AtomicBool>,
}

impl Service<Request<Body>> for Line {
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {}", request.method(), request.uri()));
        if request.uri().path().ends_with("/rollouts") && self.forbids.load(Ordering::Relaxed) {
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
                "message": "rollouts.argoproj.io is forbidden: User \"test\" cannot list resource \"rollouts\"",
            });
            let answer = Response::builder()
                .status(403)
                .header("content-type", "application/json")
                .body(ApiBody::full(status.to_string()));
            return Box::pin(async move { Ok(answer.unwrap()) });
        }
        self.service.call(request)
    }
}

struct Stage {
    world: World,
    line: Line,
}

impl Stage {
    /// A ReplicaSet and an Argo Rollout that are at rest, each with a ScaledObject.
    fn new(forbids: bool) -> Self {
        let mut world = World::idle();
        let line = Line {
            service: world.server.service(),
            asked: Arc::default(),
            forbids: Arc::new(AtomicBool::new(forbids)),
        };
        let client = Client::new(line.clone(), "default");
        let (runtime, events) = Runtime::new(client, Arc::clone(&world.clock), "test");
        let autoscaler = autoscaler(runtime, &world.script);
        world.running = vec![tokio::spawn(events), tokio::spawn(autoscaler.run())];
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        world.apply(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "rollouts.argoproj.io"},
            "spec": {
                "group": "argoproj.io", "scope": "Namespaced",
                "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.HPAReplicas",
                    }},
                }],
            },
        }));
        let stage = Self { world, line };
        stage.set();
        stage.world.apply(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "canary", "namespace": "default"}, "spec": {"replicas": 0},
        }));
        for (name, api_version, kind, target) in [
            ("so", "apps/v1", "ReplicaSet", "set"),
            ("rollout", "argoproj.io/v1alpha1", "Rollout", "canary"),
        ] {
            let reference = json!({"apiVersion": api_version, "kind": kind, "name": target});
            stage
                .world
                .scaled_object(name, &json!({"scaleTargetRef": reference}));
        }
        stage
    }

    fn set(&self) {
        self.world.apply(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "set", "namespace": "default"},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"app": "set"}},
                "template": {
                    "metadata": {"labels": {"app": "set"}},
                    "spec": {"containers": [{"name": "app", "image": "nginx"}]},
                },
            },
        }));
    }

    /// What was asked since this was last called.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.line.asked.lock().unwrap())
    }

    /// The same without watches, which end and are begun anew every few minutes.
    fn asked_besides_watches(&self) -> Vec<String> {
        let mut asked = self.asked();
        asked.retain(|request| !request.contains("watch=true"));
        asked
    }

    fn replicas(&self, group: &str, plural: &str, name: &str) -> Value {
        self.world.object(group, plural, name).unwrap()["spec"]["replicas"].clone()
    }
}

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|request| request.contains(what)).count()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_nothing_changes_whatever_the_kind_of_the_target() {
    let stage = Stage::new(false);
    stage.world.pass(60).await;
    assert_eq!(
        stage.world.condition("rollout", "Ready"),
        "True ScaledObjectReady"
    );
    let samples = stage.world.script.samples("orders");
    stage.asked();
    stage.world.pass(600).await;
    assert!(stage.world.script.samples("orders") - samples >= 120, "polled");
    assert_eq!(stage.asked_besides_watches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_replica_count_that_somebody_else_changes_is_seen() {
    let stage = Stage::new(false);
    stage.world.pass(60).await;
    stage.asked();
    for path in [SET, CANARY] {
        stage.world.patch(path, &json!({"spec": {"replicas": 2}})).await;
    }
    stage.world.pass(20).await;
    let after = [
        stage.replicas("apps", "replicasets", "set"),
        stage.replicas("argoproj.io", "rollouts", "canary"),
    ];
    assert_eq!(after, [0, 0], "there is no work");
    stage.world.pass(30).await;
    let asked = stage.asked_besides_watches();
    let reads = count(
        &asked,
        "GET /apis/apps/v1/namespaces/default/replicasets/set/scale",
    );
    assert!((2..=4).contains(&reads), "once for each change: {asked:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_or_comes_wakes_its_object() {
    let stage = Stage::new(false);
    let seldom = json!({"spec": {"pollingInterval": 3600}});
    stage
        .world
        .patch(
            "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so",
            &seldom,
        )
        .await;
    stage.world.pass(60).await;
    assert_eq!(stage.world.condition("so", "Ready"), "True ScaledObjectReady");
    stage.world.delete(SET).await;
    stage.world.pass(1).await;
    assert_eq!(
        stage.world.condition("so", "Ready"),
        "False ScaledObjectCheckFailed"
    );
    // The next attempt is half a minute away.
    stage.world.pass(120).await;
    stage.asked();
    while count(&stage.asked(), "replicasets/set/scale") == 0 {
        stage.world.pass(1).await;
    }
    stage.world.pass(5).await;
    stage.set();
    stage.world.pass(1).await;
    assert_eq!(stage.world.condition("so", "Ready"), "True ScaledObjectReady");
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_watched_while_somebody_refers_to_it() {
    let stage = Stage::new(false);
    let watched = |asked: &[String]| {
        ["replicasets?", "rollouts?"].map(|plural| {
            let mut watches = asked.iter().filter(|request| request.contains("watch=true"));
            watches.any(|request| request.contains(plural))
        })
    };
    stage.world.pass(600).await;
    assert_eq!(watched(&stage.asked()), [true, true]);
    stage
        .world
        .delete("/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/rollout")
        .await;
    stage.world.pass(60).await;
    stage.asked();
    stage.world.pass(600).await;
    assert_eq!(watched(&stage.asked()), [true, false]);
    let deployment = json!({"spec": {"scaleTargetRef": {"kind": "Deployment"}}});
    stage
        .world
        .patch(
            "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so",
            &deployment,
        )
        .await;
    stage.world.pass(60).await;
    stage.asked();
    stage.world.pass(600).await;
    assert_eq!(watched(&stage.asked()), [false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_may_watch_is_read_at_every_poll() {
    let stage = Stage::new(true);
    stage.world.pass(60).await;
    stage.asked();
    stage.world.pass(600).await;
    let asked = stage.asked();
    assert_eq!(count(&asked, "rollouts/canary/scale"), 120, "polls");
    let attempts = count(&asked, "/rollouts?");
    assert!((1..=5).contains(&attempts), "{attempts} attempts to watch");
    assert_eq!(count(&asked, "replicasets/set/scale"), 0);
    stage.world.patch(CANARY, &json!({"spec": {"replicas": 2}})).await;
    stage.world.pass(20).await;
    assert_eq!(stage.replicas("argoproj.io", "rollouts", "canary"), 0);
    stage.line.forbids.store(false, Ordering::Relaxed);
    stage.world.pass(700).await;
    stage.asked();
    stage.world.pass(600).await;
    assert_eq!(
        stage.asked_besides_watches(),
        Vec::<String>::new(),
        "by now it may"
    );
}
