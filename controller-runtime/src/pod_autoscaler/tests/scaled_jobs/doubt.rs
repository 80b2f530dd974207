//! Jobs that cannot be read, are not seen, or were asked for without an answer: never made twice, never taken for none.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Mutex,
    task::{Context as TaskContext, Poll},
};

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use tower::Service;

use super::*;
use crate::{
    explain::Explainer,
    sim::api::{ApiBody, ApiService},
};

/// What goes wrong with requests about Jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Nobody may list them.
    NoList,
    /// The watch never says anything.
    SilentWatch,
    /// They are made, and the answer is lost.
    LostAnswers,
    /// Nobody may make them.
    NoCreate,
}

#[derive(Clone)]
struct Door {
    service: ApiService,
    fault: Arc<Mutex<Fault>>,
    /// How often Jobs were listed.
    lists: Arc<Mutex<usize>>,
    /// How often one was asked for.
    posts: Arc<Mutex<usize>>,
}

impl Service<Request<Body>> for Door {
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ApiBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fault = *self.fault.lock().unwrap();
        let is_about_jobs = request.uri().path().ends_with("/jobs");
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_watch = query.contains("watch=true");
        let method = request.method().clone();
        if is_about_jobs && method == Method::GET && !is_watch {
            *self.lists.lock().unwrap() += 1;
        }
        if is_about_jobs && method == Method::POST {
            *self.posts.lock().unwrap() += 1;
        }
        let mut service = self.service.clone();
        Box::pin(async move {
            let failed = |code: StatusCode| {
                Ok(Response::builder()
                    .status(code)
                    .body(ApiBody::full("no"))
                    .unwrap())
            };
            if !is_about_jobs {
                return service.call(request).await;
            }
            match (fault, method) {
                (Fault::NoList, Method::GET) => failed(StatusCode::INTERNAL_SERVER_ERROR),
                (Fault::SilentWatch, Method::GET) if is_watch => std::future::pending().await,
                (Fault::NoCreate, Method::POST) => failed(StatusCode::FORBIDDEN),
                (Fault::LostAnswers, Method::POST) => {
                    service.call(request).await?;
                    failed(StatusCode::BAD_GATEWAY)
                }
                _ => service.call(request).await,
            }
        })
    }
}

/// A world whose KEDA half goes through a door.
struct Doubtful {
    world: World,
    fault: Arc<Mutex<Fault>>,
    lists: Arc<Mutex<usize>>,
    posts: Arc<Mutex<usize>>,
    explained: Explainer,
}

impl Doubtful {
    fn new(fault: Fault) -> Self {
        let mut doubtful = Self {
            world: World::idle(),
            fault: Arc::new(Mutex::new(fault)),
            lists: Arc::default(),
            posts: Arc::default(),
            explained: Explainer::default(),
        };
        doubtful.restart();
        doubtful
    }

    fn restart(&mut self) {
        for task in self.world.running.drain(..) {
            task.abort();
        }
        let door = Door {
            service: self.world.server.service(),
            fault: Arc::clone(&self.fault),
            lists: Arc::clone(&self.lists),
            posts: Arc::clone(&self.posts),
        };
        let client = Client::new(door, "default");
        let (runtime, events) = Runtime::new(client, Arc::clone(&self.world.clock), "test");
        self.world.decisions = runtime.decisions.clone();
        let autoscaler = autoscaler(runtime, &self.world.script);
        self.explained = Explainer::default();
        self.explained.set(autoscaler.explained(Arc::new(|_| None)));
        self.world.running = vec![tokio::spawn(events), tokio::spawn(autoscaler.run())];
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_cannot_be_listed_are_not_none() {
    let mut doubtful = Doubtful::new(Fault::None);
    doubtful.world.script.set("orders", 4.0);
    doubtful.world.scaled_job(&json!({"minReplicaCount": 1}));
    doubtful.world.pass(6).await;
    let before = doubtful.world.job_names();
    assert_eq!(before.len(), 5);
    doubtful.set(Fault::NoList);
    doubtful.restart();
    doubtful.world.script.set("orders", 5.0);
    doubtful.world.pass(60).await;
    let world = &doubtful.world;
    assert_eq!(world.job_names(), before);
    assert_eq!(world.job_condition("Ready"), "False ErrorGettingCurrentJobs");
    assert_eq!(world.job_condition("Active"), "True ScalerActive");
    doubtful.set(Fault::None);
    world.pass(60).await;
    assert_eq!(world.jobs().len(), 6, "one more, not six more");
    assert_eq!(world.job_condition("Ready"), "True ScaledJobReady");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_are_not_seen_are_not_made_again() {
    let doubtful = Doubtful::new(Fault::SilentWatch);
    let world = &doubtful.world;
    world.script.set("orders", 4.0);
    world.scaled_job_by("default");
    world.pass(16).await;
    assert_eq!(world.jobs().len(), 4);
    let lists = *doubtful.lists.lock().unwrap();
    world.pass(13).await;
    assert_eq!(
        *doubtful.lists.lock().unwrap(),
        lists,
        "what was made is simply expected"
    );
    world.pass(120).await;
    assert_eq!(world.jobs().len(), 4);
    assert!(*doubtful.lists.lock().unwrap() > lists, "for a while");
    for job in world.job_names() {
        world.end(&job, "Complete").await;
    }
    world.pass(60).await;
    assert_eq!(world.jobs().len(), 8, "a list shows that they have ended");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_looked_after_before_another_one() {
    let doubtful = Doubtful::new(Fault::LostAnswers);
    let world = &doubtful.world;
    world.script.set("orders", 3.0);
    world.scaled_job(&json!({}));
    world.pass(1).await;
    assert_eq!(
        world.jobs().len(),
        1,
        "none after the first one without an answer"
    );
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 2);
    doubtful.set(Fault::None);
    world.pass(60).await;
    assert_eq!(world.jobs().len(), 3);
    let events = world.events("work").join("\n");
    assert!(
        events.contains("Warning KEDAJobCreateFailed Failed to create job for ScaledJob work: "),
        "{events}"
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_that_nobody_may_make_are_said_and_made_later() {
    let doubtful = Doubtful::new(Fault::NoCreate);
    let world = &doubtful.world;
    world.script.set("orders", 3.0);
    world.scaled_job(&json!({}));
    world.pass(11).await;
    assert!(world.jobs().is_empty());
    let events = world.events("work").join("\n");
    assert!(events.contains("KEDAJobCreateFailed"), "{events}");
    assert!(!events.contains("KEDAJobsCreated"), "{events}");
    doubtful.set(Fault::None);
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_the_api_server_refuses_are_asked_for_ever_more_seldom_and_said_once() {
    let doubtful = Doubtful::new(Fault::None);
    let world = &doubtful.world;
    world.script.set("orders", 3.0);
    world.scaled_job(&json!({"jobTargetRef": {"parallelism": -1, "template": {"spec": {
        "containers": [{"name": "work", "image": "worker"}],
    }}}}));
    world.pass(605).await;
    assert!(world.jobs().is_empty());
    let refused = || {
        let mut events = world.server.objects("", "events", Some("default"));
        events.retain(|event| event["reason"] == "KEDAJobCreateFailed");
        events
    };
    let events = refused();
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(
        matches!(events[0]["count"].as_i64(), None | Some(1)),
        "{}",
        events[0]
    );
    let message = events[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Failed to create job for ScaledJob work: Job.batch \"work-*\" is invalid: "),
        "{message}"
    );
    assert!(message.contains("spec.parallelism"), "{message}");
    // At 0, 10, 30, 70, 150, 310 and 610 s.
    assert_eq!(*doubtful.posts.lock().unwrap(), 6);
    let explained = &doubtful.explained;
    let why = explained.explain("scaledjob", "default", "work").unwrap();
    let reason = why.check.unwrap().reason;
    assert!(
        reason.contains("Jobs were not made 6 times in a row, not tried again for 10 s: Job.batch"),
        "{reason}"
    );
    // A repair is seen at once.
    world
        .patch(OBJECT, &json!({"spec": {"jobTargetRef": {"parallelism": 1}}}))
        .await;
    world.pass(1).await;
    assert_eq!(world.jobs().len(), 3);
    assert_eq!(refused().len(), 1);
    let why = explained.explain("scaledjob", "default", "work").unwrap();
    assert!(!why.check.unwrap().reason.contains("refused"));
}

#[tokio::test(start_paused = true)]
async fn why_it_does_not_run_and_how_often_its_sources_failed_is_explained() {
    let doubtful = Doubtful::new(Fault::None);
    let world = &doubtful.world;
    let explain = || doubtful.explained.explain("sj", "default", "work").unwrap();
    world.scaled_job(&json!({"triggers": [{"type": "tset", "metadata": {}}]}));
    world.pass(1).await;
    let problem = explain().problem.unwrap();
    assert!(problem.contains("no scaler found for type: tset"), "{problem}");
    let right = json!([{"type": "test", "metadata": {"queue": "orders", "target": "1"}}]);
    world.patch(OBJECT, &json!({"spec": {"triggers": right}})).await;
    world.pass(1).await;
    assert_eq!((explain().problem, explain().triggers[0].failures), (None, 0));
    world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
    world.pass(15).await;
    let failing = explain();
    assert_eq!(
        (failing.problem.as_deref(), failing.triggers[0].failures),
        (None, 3)
    );
    let words = crate::explain::text(&failing);
    assert!(
        words.contains("3 failures in a row; it counts as no work"),
        "{words}"
    );
    assert!(!words.contains("HPA"), "{words}");
    let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    world.patch(OBJECT, &paused).await;
    world.pass(1).await;
    assert_eq!(
        explain().problem.as_deref(),
        Some("it is paused by an annotation")
    );
}
