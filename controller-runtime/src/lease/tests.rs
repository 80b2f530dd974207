//! Electors on the embedded API server, in virtual time, with connections that fail.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams, client::Body, core::ObjectMeta};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use scaler_api::{Clock, SharedClock, TokioClock};
use serde_json::Value;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer as _, Service};

use super::*;
use crate::{
    events::Recorder,
    sim::api::{ApiBody, ApiServer, ApiService, Options},
};

/// How a connection to the API server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Up,
    /// Requests fail at once.
    Refuses,
    /// Requests are never answered and never arrive.
    Hangs,
    /// Requests arrive, their answers do not.
    Deaf,
    /// Requests and answers take this many milliseconds each.
    Slow(u64),
}

/// A connection to the API server.
#[derive(Clone)]
struct Link {
    service: ApiService,
    mode: Arc<Mutex<Mode>>,
}

impl Service<Request<Body>> for Link {
    type Response = Response<ApiBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut service, mode) = (self.service.clone(), *self.mode.lock().unwrap());
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let pause = |milliseconds| sleep(Duration::from_millis(milliseconds));
            match mode {
                Mode::Refuses => return Err(refused()),
                Mode::Hangs => pending().await,
                Mode::Up | Mode::Deaf => {}
                Mode::Slow(milliseconds) => pause(milliseconds).await,
            }
            let Ok(answer) = service.call(request).await;
            match mode {
                Mode::Deaf => return Err(refused()),
                Mode::Slow(milliseconds) => pause(milliseconds).await,
                _ => {}
            }
            Ok(answer)
        })
    }
}

/// A clock that somebody sets.
#[derive(Clone, Debug)]
struct WrongClock {
    right: SharedClock,
    wrong_by: Arc<Mutex<SignedDuration>>,
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        self.right.now() + *self.wrong_by.lock().unwrap()
    }
}

/// Who works as a leader, and when that began or ended.
#[derive(Debug, Default)]
struct Workers {
    working: Vec<String>,
    told: Vec<(Duration, String)>,
}

/// Work as a leader, as far as others can see.
struct Shift {
    name: String,
    start: Instant,
    workers: Arc<Mutex<Workers>>,
}

impl Shift {
    fn begin(name: &str, start: Instant, workers: &Arc<Mutex<Workers>>) -> Self {
        let mut known = workers.lock().unwrap();
        assert_eq!(known.working, Vec::<String>::new(), "{name} leads beside another");
        known.working.push(name.to_owned());
        known.told.push((start.elapsed(), format!("{name} leads")));
        Self {
            name: name.to_owned(),
            start,
            workers: Arc::clone(workers),
        }
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        let mut known = self.workers.lock().unwrap();
        known.working.clear();
        known
            .told
            .push((self.start.elapsed(), format!("{} does not", self.name)));
    }
}

struct Replica {
    client: Client,
    mode: Arc<Mutex<Mode>>,
    wrong_by: Arc<Mutex<SignedDuration>>,
    leadership: Leadership,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
}

struct World {
    server: ApiServer,
    clock: SharedClock,
    start: Instant,
    workers: Arc<Mutex<Workers>>,
    replicas: BTreeMap<String, Replica>,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let server = ApiServer::new(Options {
            clock: Arc::clone(&clock),
            seed: 1,
        });
        let mut world = Self {
            server,
            clock,
            start: Instant::now(),
            workers: Arc::default(),
            replicas: BTreeMap::new(),
        };
        names.iter().for_each(|name| world.start(name));
        world
    }

    fn start(&mut self, name: &str) {
        let (mode, wrong_by) = (Arc::new(Mutex::new(Mode::Up)), Arc::default());
        let link = Link {
            service: self.server.service(),
            mode: Arc::clone(&mode),
        };
        let clock: SharedClock = Arc::new(WrongClock {
            right: Arc::clone(&self.clock),
            wrong_by: Arc::clone(&wrong_by),
        });
        let writes = Writes::default();
        let client = Client::new(writes.layer(link), "default");
        let (recorder, events) = Recorder::new(client.clone(), Arc::clone(&clock), "autoscaler");
        let options = ElectorOptions::new("default", "autoscaler", name);
        let elector = Elector::new(client.clone(), clock, options)
            .unwrap()
            .with_recorder(recorder)
            .with_writes(writes);
        let leadership = elector.leadership();
        let (stop, stopped) = oneshot::channel::<()>();
        let (worker, workers, start, called) = (
            leadership.clone(),
            Arc::clone(&self.workers),
            self.start,
            name.to_owned(),
        );
        let work = async move {
            worker
                .while_leading(|| async {
                    let _shift = Shift::begin(&called, start, &workers);
                    pending::<()>().await;
                })
                .await;
        };
        let elect = elector.run(async {
            let _gone = stopped.await;
        });
        let replica = Replica {
            client,
            mode,
            wrong_by,
            leadership,
            stop: Some(stop),
            tasks: vec![tokio::spawn(work), tokio::spawn(elect), tokio::spawn(events)],
        };
        self.replicas.insert(name.to_owned(), replica);
    }

    /// Ends a replica in good order.
    fn stop(&mut self, name: &str) {
        let replica = self.replicas.get_mut(name).unwrap();
        replica.stop.take().unwrap().send(()).unwrap();
    }

    /// Ends a replica without any.
    fn crash(&mut self, name: &str) {
        let replica = self.replicas.remove(name).unwrap();
        replica.tasks.iter().for_each(JoinHandle::abort);
    }

    fn leader(&self) -> String {
        let leading = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.leadership.leads());
        leading
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(" and ")
    }

    /// Lets time pass until somebody else leads; says how long that took.
    async fn until_led_by(&self, name: &str) -> Duration {
        let start = Instant::now();
        while self.leader() != name {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{name} does not lead: {:?}",
                self.told()
            );
            sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }

    fn told(&self) -> Vec<(Duration, String)> {
        self.workers.lock().unwrap().told.clone()
    }

    fn lease(&self) -> Value {
        self.server
            .objects("coordination.k8s.io", "leases", Some("default"))[0]["spec"]
            .clone()
    }

    fn events(&self) -> Vec<String> {
        let events = self.server.objects("", "events", Some("default"));
        let words = events.iter().map(|event| {
            let field = |name: &str| event[name].as_str().unwrap().to_owned();
            assert_eq!(event["involvedObject"]["name"], "autoscaler");
            format!("{} {} {}", field("type"), field("reason"), field("message"))
        });
        let mut words: Vec<_> = words.collect();
        words.sort();
        words
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn at_most(took: Duration, milliseconds: u64) {
    assert!(took <= Duration::from_millis(milliseconds), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_of_three_leads_and_writes_what_client_go_writes() {
    let world = World::new(&["a", "b", "c"]);
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.leader(), "a");
    assert_eq!(
        world.lease(),
        serde_json::json!({
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:02.000000Z",
            "leaseTransitions": 0,
        })
    );
    assert_eq!(world.events(), ["Normal LeaderElection a became leader"]);
    seconds(3600).await;
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_given_back_when_the_last_write_has_its_answer() {
    let mut world = World::new(&["a", "b"]);
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.leader(), "a");
    // On its way for half a second, and dropped meanwhile.
    world.replicas["a"].set(Mode::Slow(500));
    let namespaces: Api<Namespace> = Api::all(world.replicas["a"].client.clone());
    let late = Namespace {
        metadata: ObjectMeta {
            name: Some("late".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let create = tokio::spawn(async move { namespaces.create(&PostParams::default(), &late).await });
    sleep(Duration::from_millis(10)).await;
    create.abort();
    world.replicas["a"].set(Mode::Up);
    world.stop("a");
    world.until_led_by("b").await;
    let names = world.server.objects("", "namespaces", None);
    let is_there = names.iter().any(|object| object["metadata"]["name"] == "late");
    assert!(is_there, "a wrote after b had begun to lead");
}

#[tokio::test(start_paused = true)]
async fn a_standby_leads_at_once_when_the_lease_is_given_back() {
    let mut world = World::new(&["a", "b", "c"]);
    sleep(Duration::from_millis(30_700)).await;
    world.stop("a");
    sleep(Duration::from_millis(20)).await;
    assert_ne!(world.leader(), "", "{:?}", world.told());
    let next = world.leader();
    assert_eq!(world.lease()["holderIdentity"], next.as_str());
    assert_eq!(world.lease()["leaseTransitions"], 1);
    assert!(world.replicas["a"].tasks[1].is_finished());
    let events = world.events();
    assert_eq!(
        events[..2],
        [
            "Normal LeaderElection a became leader".to_owned(),
            "Normal LeaderElection a stopped leading".to_owned()
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_leader_leaves_a_lease_that_anybody_may_take() {
    let mut world = World::new(&["a"]);
    seconds(5).await;
    world.stop("a");
    sleep(Duration::from_millis(10)).await;
    let lease = world.lease();
    assert_eq!(
        (&lease["holderIdentity"], &lease["leaseDurationSeconds"]),
        (&Value::from(""), &Value::from(1))
    );
    world.start("b");
    at_most(world.until_led_by("b").await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_not_given_back_while_the_leader_still_works() {
    let mut world = World::new(&["a", "b"]);
    seconds(5).await;
    let leadership = world.replicas["a"].leadership.clone();
    // Polled once, and then not again: it does not notice that it shall stop.
    let mut stuck = Box::pin(leadership.while_leading(pending::<()>));
    assert!(futures::poll!(&mut stuck).is_pending());
    world.stop("a");
    seconds(4).await;
    assert_eq!(world.leader(), "");
    assert_eq!(world.lease()["holderIdentity"], "a");
    drop(stuck);
    at_most(world.until_led_by("b").await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_standby_leads_within_the_lease_after_a_crash() {
    for milliseconds in [4_001, 4_500, 5_999, 6_001] {
        let mut world = World::new(&["a", "b"]);
        sleep(Duration::from_millis(milliseconds)).await;
        world.crash("a");
        let took = world.until_led_by("b").await;
        at_most(took, 15_010);
        assert!(took > Duration::from_secs(12), "took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_cannot_watch_polls() {
    // As before, but b only hears from the API server when it asks.
    let mut world = World::new(&["a", "b"]);
    seconds(5).await;
    // An open watch is not cut by this; a new one is never answered.
    world.crash("b");
    world.start("b");
    world.replicas["b"].set(Mode::Slow(400));
    seconds(5).await;
    world.stop("a");
    at_most(world.until_led_by("b").await, 2900);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_another_leads_and_stands_again() {
    for outage in [Mode::Refuses, Mode::Hangs] {
        let world = World::new(&["a", "b"]);
        seconds(5).await;
        world.replicas["a"].set(outage);
        seconds(20).await;
        assert_eq!(world.leader(), "b", "{outage:?}");
        let told = world.told();
        // Renewed last at 4 s.
        assert_eq!(
            told[1],
            (Duration::from_secs(14), "a does not".to_owned()),
            "{outage:?}"
        );
        assert_eq!(
            told[2],
            (Duration::from_secs(19), "b leads".to_owned()),
            "{outage:?}"
        );
        world.replicas["a"].set(Mode::Up);
        world.replicas["b"].set(outage);
        seconds(20).await;
        assert_eq!(world.leader(), "a", "{outage:?}: {:?}", world.told());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_costs_nothing() {
    let world = World::new(&["a", "b"]);
    for mode in [Mode::Refuses, Mode::Hangs, Mode::Deaf, Mode::Slow(900)] {
        seconds(20).await;
        world.replicas["a"].set(mode);
        seconds(4).await;
        world.replicas["a"].set(Mode::Up);
    }
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn when_the_api_server_is_down_for_everybody_nobody_leads_and_afterwards_one_does() {
    let world = World::new(&["a", "b", "c"]);
    seconds(5).await;
    world
        .replicas
        .values()
        .for_each(|replica| replica.set(Mode::Refuses));
    seconds(60).await;
    assert_eq!(world.leader(), "");
    world.replicas.values().for_each(|replica| replica.set(Mode::Up));
    seconds(3).await;
    assert_eq!(world.leader().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_do_not_lose_the_lease() {
    let world = World::new(&["a"]);
    seconds(5).await;
    world.replicas["a"].set(Mode::Deaf);
    seconds(30).await;
    assert_eq!(world.leader(), "", "it does not know that it holds the lease");
    world.replicas["a"].set(Mode::Up);
    seconds(3).await;
    assert_eq!(world.leader(), "a", "it knows what it has written");
    assert_eq!(world.lease()["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_set_change_nothing() {
    let world = World::new(&["a", "b"]);
    for hours in [-5_000, 0, 5_000, -1] {
        *world.replicas["a"].wrong_by.lock().unwrap() = SignedDuration::from_hours(hours);
        *world.replicas["b"].wrong_by.lock().unwrap() = SignedDuration::from_hours(-hours);
        seconds(30).await;
    }
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_renews_all_the_same() {
    let mut world = World::new(&[]);
    #[derive(Debug)]
    struct Still;
    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }
    world.clock = Arc::new(Still);
    world.start("a");
    world.start("b");
    seconds(60).await;
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_is_made_anew_by_its_holder() {
    let world = World::new(&["a", "b"]);
    seconds(5).await;
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(world.server.client("default"), "default");
    leases
        .delete("autoscaler", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    seconds(30).await;
    assert_eq!((world.leader().as_str(), world.told().len()), ("a", 1));
    assert_eq!(world.lease()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn another_process_of_the_same_name_is_another() {
    let mut world = World::new(&["a"]);
    seconds(5).await;
    world.crash("a");
    world.start("a");
    seconds(5).await;
    assert_eq!(world.leader(), "", "the first one may still be there");
    at_most(world.until_led_by("a").await, 10_010);
}

/// Three replicas for ten minutes in which connections fail, clocks are set, and replicas end in any way.
async fn storm(seed: u64) -> Vec<(Duration, String)> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let names = ["a", "b", "c"];
    let mut world = World::new(&names);
    while world.start.elapsed() < Duration::from_secs(600) {
        sleep(Duration::from_millis(chance.random_range(1..8_000))).await;
        let name = names[chance.random_range(0..names.len())];
        let replica = &world.replicas[name];
        match chance.random_range(0..10_u32) {
            0 => replica.set(Mode::Refuses),
            1 => replica.set(Mode::Hangs),
            2 => replica.set(Mode::Deaf),
            3 => replica.set(Mode::Slow(chance.random_range(1..6_000))),
            4 => *replica.wrong_by.lock().unwrap() = SignedDuration::from_secs(chance.random_range(-90..90)),
            5 => {
                world.crash(name);
                world.start(name);
            }
            6 => {
                world.stop(name);
                sleep(Duration::from_millis(chance.random_range(1..6_000))).await;
                world.crash(name);
                world.start(name);
            }
            _ => replica.set(Mode::Up),
        }
        // A replica that failed for long is as good as none.
        if chance.random_range(0..4_u32) == 0 {
            world.replicas.values().for_each(|replica| replica.set(Mode::Up));
        }
    }
    world.replicas.values().for_each(|replica| replica.set(Mode::Up));
    seconds(30).await;
    assert_eq!(world.leader().len(), 1, "seed {seed}: {:?}", world.told());
    ready(world.told()).await
}

#[test]
fn never_do_two_lead_whatever_fails() {
    for seed in 0..12 {
        let tell = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(storm(seed))
        };
        let told = tell();
        let workers = told.iter().filter(|(_, words)| words.ends_with("leads")).count();
        assert!(workers >= 3, "seed {seed} is no storm: {told:?}");
        if seed < 3 {
            assert_eq!(told, tell(), "seed {seed}");
        }
    }
}
