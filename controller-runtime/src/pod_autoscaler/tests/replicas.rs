//! Two replicas, of which one leads: every one answers, what one leaves the other takes up, and nothing is done twice.

mod jobs;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::Mutex,
    task::{Context as TaskContext, Poll},
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use tokio::{sync::oneshot, time::Instant};
use tower::Service;

use super::*;
use crate::{
    lease::{Elector, ElectorOptions, Leadership},
    runtime::Readiness,
    sim::api::{ApiBody, ApiService},
};

const METRIC: &str = "s0-test-orders";
const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";

/// A connection that takes a while, over which nobody but the leader may write. What was sent arrives, even if whoever
/// sent it is gone.
#[derive(Clone)]
struct Link {
    service: ApiService,
    /// Each way.
    latency: Duration,
    /// Of the process; none for its elector, which asks nobody.
    leadership: Option<Leadership>,
    /// Methods and paths of writes that were done.
    written: Arc<Mutex<Vec<String>>>,
}

impl Service<Request<Body>> for Link {
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut service, latency) = (self.service.clone(), self.latency);
        let is_write = request.method() != Method::GET;
        let words = format!("{} {}", request.method(), request.uri().path());
        if let Some(leadership) = self.leadership.as_ref().filter(|_| is_write) {
            // Events are written by a task of their own, about what was done before.
            let may_write = words.contains("/events") || leadership.leads();
            assert!(may_write, "a standby does {words}");
        }
        let written = Arc::clone(&self.written);
        let answer = tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            let Ok(answer) = service.call(request).await;
            if is_write && answer.status().is_success() {
                written.lock().unwrap().push(words);
            }
            tokio::time::sleep(latency).await;
            answer
        });
        Box::pin(async move { Ok(answer.await.unwrap()) })
    }
}

/// One of several KEDA halves that elect a leader.
struct Replica {
    leadership: Leadership,
    ready: Readiness,
    metrics: Arc<dyn ExternalMetrics>,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Dropped where it stands; the other one waits for the Lease to end.
    Crash,
    /// Asked to stop; the Lease is given back.
    Stop,
}

struct Pair {
    world: World,
    latency: Duration,
    replicas: RefCell<BTreeMap<&'static str, Replica>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Pair {
    fn new(latency: Duration) -> Self {
        let pair = Self {
            world: World::idle(),
            latency,
            replicas: RefCell::default(),
            written: Arc::default(),
        };
        pair.start("a");
        pair.start("b");
        pair
    }

    fn start(&self, name: &'static str) {
        let world = &self.world;
        let options = ElectorOptions::new("default", "autoscaler-pods", name);
        let client = |leadership| {
            let link = Link {
                service: world.server.service(),
                latency: self.latency,
                leadership,
                written: Arc::clone(&self.written),
            };
            Client::new(link, "default")
        };
        let elector = Elector::new(client(None), Arc::clone(&world.clock), options).unwrap();
        let leadership = elector.leadership();
        let client = client(Some(leadership.clone()));
        let (runtime, events) = Runtime::new(client, Arc::clone(&world.clock), "test");
        let autoscaler = autoscaler(runtime.with_leadership(leadership.clone()), &world.script);
        let (stop, stopped) = oneshot::channel::<()>();
        let elect = elector.run(async {
            let _gone = stopped.await;
        });
        let replica = Replica {
            leadership,
            ready: autoscaler.ready(),
            metrics: autoscaler.external_metrics(),
            stop: Some(stop),
            // In this order they end.
            tasks: vec![
                tokio::spawn(autoscaler.run()),
                tokio::spawn(events),
                tokio::spawn(elect),
            ],
        };
        self.replicas.borrow_mut().insert(name, replica);
    }

    fn leader(&self) -> Option<&'static str> {
        let replicas = self.replicas.borrow();
        let mut leading = replicas.iter().filter(|(_, replica)| replica.leadership.leads());
        let leader = leading.next().map(|(name, _)| *name);
        assert!(leading.next().is_none(), "two lead");
        leader
    }

    /// Ends the leader and waits until the other one leads.
    async fn hand_over(&self, end: End) {
        let leader = self.leader().unwrap();
        let start = Instant::now();
        match end {
            End::Crash => drop(self.replicas.borrow_mut().remove(leader)),
            End::Stop => {
                let stop = self.replicas.borrow_mut().get_mut(leader).unwrap().stop.take();
                stop.unwrap().send(()).unwrap();
            }
        }
        let limit = match end {
            End::Crash => Duration::from_millis(15_300),
            End::Stop => Duration::from_millis(500),
        };
        while self.leader().is_none_or(|next| next == leader) {
            assert!(start.elapsed() <= limit, "nobody leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if end == End::Stop {
            // As a process that ends.
            drop(self.replicas.borrow_mut().remove(leader));
        }
    }

    /// Asks a replica as the HPA does.
    async fn ask(&self, replica: &str, metric: &str) -> Result<String, String> {
        let metrics = Arc::clone(&self.replicas.borrow()[replica].metrics);
        let request = MetricRequest {
            namespace: "default".into(),
            metric: metric.into(),
            selector: Selector::parse("scaledobject.keda.sh/name=so").unwrap(),
        };
        let values = metrics.get(&request).await.map_err(|error| error.to_string())?;
        Ok(values[0].value.to_string())
    }

    /// The requests that scaled something.
    fn scaled(&self) -> usize {
        let written = self.written.lock().unwrap();
        written.iter().filter(|words| words.ends_with("/scale")).count()
    }
}

/// What a story left, and how it came there.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The replicas of the target, one after the other.
    replicas: Vec<i64>,
    /// How many requests scaled it.
    scaled: usize,
    status: Value,
    hpa: Value,
    events: Vec<String>,
}

/// Tells `story` in a world with two replicas, and ends the leader after some time.
async fn tell<F: Future>(
    latency: u64,
    disturbance: Option<(End, Duration)>,
    story: impl FnOnce(std::rc::Rc<Pair>) -> F,
) -> Outcome {
    let pair = std::rc::Rc::new(Pair::new(Duration::from_millis(latency)));
    let mut changes = pair.world.server.observe();
    let disturb = async {
        if let Some((end, after)) = disturbance {
            tokio::time::sleep(after).await;
            pair.hand_over(end).await;
        }
    };
    futures::join!(story(std::rc::Rc::clone(&pair)), disturb);
    let mut replicas = Vec::new();
    while let Ok(change) = changes.try_recv() {
        if change.resource == "deployments" {
            replicas.extend(change.object["spec"]["replicas"].as_i64());
        }
    }
    replicas.dedup();
    let (mut status, mut hpa) = (
        pair.world.status("so"),
        pair.world.hpa("keda-hpa-so").unwrap_or_default(),
    );
    if let Some(fields) = status.as_object_mut() {
        fields.remove("lastActiveTime");
    }
    let mut events = pair.world.events("so");
    events.sort();
    Outcome {
        replicas,
        scaled: pair.scaled(),
        status,
        hpa: hpa["spec"].take(),
        events,
    }
}

/// Tells a story undisturbed, and with a leader that ends at any of `moments`; it must come to the same, with the same
/// number of steps. What a leader did in its last moment may have been said by nobody, or, if it was no step, by both.
async fn always_the_same<F: Future>(
    moments: impl Iterator<Item = Duration>,
    mut story: impl FnMut(std::rc::Rc<Pair>) -> F,
) -> Outcome {
    let expected = tell(20, None, &mut story).await;
    for after in moments {
        for end in [End::Crash, End::Stop] {
            let found = tell(20, Some((end, after)), &mut story).await;
            let told = format!("{end:?} after {after:?}: {found:#?}");
            assert_eq!(found.replicas, expected.replicas, "{told}");
            assert_eq!(found.scaled, expected.scaled, "{told}");
            assert_eq!(found.status, expected.status, "{told}");
            assert_eq!(found.hpa, expected.hpa, "{told}");
            for event in &found.events {
                let count = |all: &[String]| all.iter().filter(|known| *known == event).count();
                let spare = usize::from(!event.contains("KEDAScaleTarget"));
                assert!(
                    count(&found.events) <= count(&expected.events) + spare,
                    "{event} in {told}"
                );
            }
        }
    }
    expected
}

fn moments(first: u64, last: u64, step: u64) -> impl Iterator<Item = Duration> {
    let milliseconds = (first..last).step_by(usize::try_from(step).unwrap());
    milliseconds.map(Duration::from_millis)
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_anywhere_on_the_way_from_nothing_to_one_wakes_the_target_once() {
    // The object comes at 2 s, its queue fills at 10 s, which the poll at 12 s finds.
    let every = moments(1_980, 2_300, 40).chain(moments(12_150, 12_300, 20));
    let outcome = always_the_same(every, |pair| async move {
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 0);
        world.scaled_object("so", &json!({"cooldownPeriod": 60}));
        world.pass(8).await;
        world.script.set("orders", 8.0);
        world.pass(40).await;
        assert_eq!(world.condition("so", "Active"), "True ScalerActive");
    })
    .await;
    assert_eq!((outcome.replicas, outcome.scaled), (vec![0, 1], 1));
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_is_neither_lost_nor_begun_anew() {
    // Active until the poll at 17 s, at rest from the one at 22 s, scaled to zero by the one at 47 s; who leads from 14 s
    // on polls then, and scales to zero at 44 s.
    let every = moments(14_000, 47_000, 4_700).chain(moments(47_150, 47_300, 30));
    let outcome = always_the_same(every, |pair| async move {
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 0);
        world.script.set("orders", 8.0);
        world.scaled_object("so", &json!({"cooldownPeriod": 30}));
        world.pass(17).await;
        world.script.set("orders", 0.0);
        world.pass(24).await;
        assert_eq!(world.replicas("web"), 1, "43 s");
        world.pass(37).await;
        assert_eq!(world.condition("so", "Active"), "False ScalerNotActive");
    })
    .await;
    assert_eq!((outcome.replicas, outcome.scaled), (vec![0, 1, 0], 2));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_never_awake_goes_to_rest_after_the_initial_cooldown() {
    let outcome = always_the_same(moments(5_000, 32_000, 4_700), |pair| async move {
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 3);
        world.scaled_object("so", &json!({"initialCooldownPeriod": 30}));
        world.pass(28).await;
        assert_eq!(world.replicas("web"), 3);
        world.pass(30).await;
    })
    .await;
    assert_eq!((outcome.replicas, outcome.scaled), (vec![3, 0], 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_on_and_a_fallback_stays_in_force() {
    // Failing from 10 s; the polls at 12, 17 and 22 s are borne, the one at 27 s is not.
    let every = moments(11_000, 60_000, 7_100).chain(moments(27_150, 27_300, 30));
    let outcome = always_the_same(every, |pair| async move {
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 0);
        world.scaled_object("so", &json!({"fallback": {"failureThreshold": 3, "replicas": 3}}));
        world.pass(8).await;
        world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
        world.pass(50).await;
        assert_eq!(world.condition("so", "Fallback"), "True FallbackExists");
        assert_eq!(world.status("so")["health"][METRIC]["numberOfFailures"], 4);
        assert_eq!(
            pair.ask(pair.leader().unwrap_or("b"), METRIC).await.unwrap(),
            "15"
        );
        world.pass(20).await;
        world.script.set("orders", 0.0);
        world.pass(40).await;
        assert_eq!(world.condition("so", "Fallback"), "False NoFallbackFound");
    })
    .await;
    assert_eq!((outcome.replicas, outcome.scaled), (vec![0, 1, 0], 2));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_paused_stays_so_and_runs_again_afterwards() {
    let every = moments(9_970, 10_180, 30).chain(moments(15_000, 40_140, 5_010));
    let outcome = always_the_same(every, |pair| async move {
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 0);
        world.script.set("orders", 8.0);
        world.scaled_object("so", &json!({"cooldownPeriod": 60}));
        world.pass(8).await;
        let annotate = |value: Value| {
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": value}}})
        };
        world.patch(OBJECT, &annotate(json!("2"))).await;
        world.pass(30).await;
        assert_eq!(world.hpa("keda-hpa-so"), None);
        assert_eq!(
            (world.replicas("web"), world.condition("so", "Paused").as_str()),
            (2, "True ScaledObjectPaused")
        );
        world.patch(OBJECT, &annotate(Value::Null)).await;
        world.pass(30).await;
        assert!(world.hpa("keda-hpa-so").is_some());
    })
    .await;
    assert_eq!((outcome.replicas, outcome.scaled), (vec![0, 1, 2], 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_replicas_are_put_back_by_whoever_leads_then() {
    for after in moments(2_000, 11_000, 1_300).chain(moments(12_000, 12_200, 20)) {
        let pair = Pair::new(Duration::from_millis(20));
        let world = &pair.world;
        let story = async {
            world.pass(2).await;
            world.deployment("web", 4);
            let restore = json!({"advanced": {"restoreToOriginalReplicaCount": true}});
            world.scaled_object("so", &restore);
            world.pass(10).await;
            world.delete(OBJECT).await;
            world.pass(30).await;
        };
        let disturb = async {
            tokio::time::sleep(after).await;
            pair.hand_over(End::Crash).await;
        };
        futures::join!(story, disturb);
        assert_eq!(world.object("keda.sh", "scaledobjects", "so"), None, "{after:?}");
        assert_eq!(world.replicas("web"), 4, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_answers_for_what_the_leader_has_set_up() {
    let pair = Pair::new(Duration::from_millis(5));
    let world = &pair.world;
    world.deployment("web", 0);
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    assert_eq!(pair.leader(), Some("a"));
    for replica in ["a", "b"] {
        assert_eq!(pair.ask(replica, METRIC).await.unwrap(), "8", "{replica}");
    }
    // One that has just come, as soon as it says that it is ready.
    drop(pair.replicas.borrow_mut().remove("b"));
    pair.start("b");
    let ready = pair.replicas.borrow()["b"].ready.clone();
    assert!(!ready.is_ready());
    let start = Instant::now();
    ready.wait().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(pair.ask("b", METRIC).await.unwrap(), "8");
    // What is refused by the leader is refused by others, for the same reason.
    world
        .patch(
            OBJECT,
            &json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}),
        )
        .await;
    world.pass(1).await;
    let refusals = [pair.ask("a", METRIC).await, pair.ask("b", METRIC).await];
    assert_eq!(refusals[0], refusals[1]);
    assert!(refusals[0].as_ref().unwrap_err().contains("paused"));
}

#[tokio::test(start_paused = true)]
async fn a_standby_without_objects_is_ready_when_its_caches_are_filled() {
    let pair = Pair::new(Duration::from_millis(5));
    pair.world.pass(1).await;
    assert!(
        pair.replicas
            .borrow()
            .values()
            .all(|replica| replica.ready.is_ready())
    );
}

#[tokio::test(start_paused = true)]
async fn a_standby_polls_only_for_those_who_read_polls() {
    let pair = Pair::new(Duration::from_millis(5));
    let world = &pair.world;
    let trigger = |queue: &str, cached: bool| json!({"type": "test", "useCachedMetrics": cached, "metadata": {"queue": queue, "target": "5"}});
    world.deployment("web", 0);
    world.script.set("cached", 3.0);
    let triggers = [trigger("orders", false), trigger("cached", true)];
    world.scaled_object("so", &json!({"triggers": triggers, "pollingInterval": 30}));
    world.pass(21).await;
    let samples = |queue: &str| world.script.samples(queue);
    assert_eq!((samples("orders"), samples("cached")), (1, 2));
    world.script.set("cached", 9.0);
    assert_eq!(pair.ask("b", "s1-test-cached").await.unwrap(), "3");
    world.pass(30).await;
    assert_eq!((samples("orders"), samples("cached")), (2, 4));
    assert_eq!(pair.ask("b", "s1-test-cached").await.unwrap(), "9");
    assert_eq!(samples("cached"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_standby_falls_back_when_the_leader_does() {
    let pair = Pair::new(Duration::from_millis(5));
    let world = &pair.world;
    world.deployment("web", 0);
    world.scaled_object("so", &json!({"fallback": {"failureThreshold": 3, "replicas": 3}}));
    world.pass(2).await;
    world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
    world.pass(8).await;
    assert!(pair.ask("b", METRIC).await.is_err(), "two failures are borne");
    world.pass(15).await;
    for replica in ["a", "b"] {
        assert_eq!(pair.ask(replica, METRIC).await.unwrap(), "15", "{replica}");
    }
    world.script.set("orders", 7.0);
    world.pass(6).await;
    assert_eq!(pair.ask("b", METRIC).await.unwrap(), "7");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_the_lease_is_a_standby_that_answers() {
    let pair = Pair::new(Duration::from_millis(5));
    let world = &pair.world;
    world.deployment("web", 0);
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({}));
    world.pass(5).await;
    // Somebody else says that he leads.
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/autoscaler-pods";
    let stolen = |holder: &str| json!({"spec": {"holderIdentity": holder, "renewTime": "2026-01-01T00:00:00.000001Z"}});
    world.patch(path, &stolen("somebody")).await;
    world.pass(3).await;
    assert_eq!(pair.leader(), None);
    let before = pair.written.lock().unwrap().len();
    world.script.set("orders", 0.0);
    world.scaled_object("so", &json!({"maxReplicaCount": 7}));
    world.pass(10).await;
    for replica in ["a", "b"] {
        assert_eq!(pair.ask(replica, METRIC).await.unwrap(), "0", "{replica}");
    }
    assert_eq!(pair.written.lock().unwrap().len(), before);
    world.patch(path, &stolen("")).await;
    world.pass(20).await;
    assert!(pair.leader().is_some());
    assert_eq!(world.hpa("keda-hpa-so").unwrap()["spec"]["maxReplicas"], 7);
    assert_eq!(world.replicas("web"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_comes_while_the_hpa_is_made_leaves_none() {
    for after in (0..400).step_by(40) {
        let pair = Pair::new(Duration::from_millis(20));
        let world = &pair.world;
        world.pass(2).await;
        world.deployment("web", 0);
        world.scaled_object("so", &json!({}));
        tokio::time::sleep(Duration::from_millis(after)).await;
        let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        world.patch(OBJECT, &paused).await;
        world.pass(5).await;
        assert_eq!(world.condition("so", "Paused"), "True ScaledObjectPaused");
        assert_eq!(world.hpa("keda-hpa-so"), None, "after {after} ms");
    }
}

#[test]
fn two_replicas_write_the_same_in_the_same_order() {
    async fn story() -> Vec<String> {
        let pair = Pair::new(Duration::from_millis(20));
        let world = &pair.world;
        let mut changes = world.server.observe();
        world.deployment("web", 0);
        world.scaled_object("so", &json!({}));
        world.pass(11).await;
        world.script.set("orders", 8.0);
        world.pass(30).await;
        pair.hand_over(End::Crash).await;
        world.script.hang("orders");
        world.pass(60).await;
        let mut told = Vec::new();
        while let Ok(change) = changes.try_recv() {
            told.push(format!("{:?} {}", change.verb, change.object));
        }
        told
    }
    let tell = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(story())
    };
    let (first, second) = (tell(), tell());
    assert!(first.len() > 30);
    assert_eq!(first, second);
}
