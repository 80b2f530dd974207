//! A trigger type for tests, whose source is a script in memory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, MetricTarget, MetricType, PushScaler, Quantity, Sample,
    Scaler, Secret, Source, SourceKey, Trigger, TriggerSettings,
};
use serde::Deserialize;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::Instant,
};

/// What the sources say, by queue.
#[derive(Debug, Default)]
pub(crate) struct Script {
    queues: Mutex<BTreeMap<String, Queue>>,
    /// The passwords that are right, and how many samples were taken with another one; any is where none is named.
    accepted: Mutex<Vec<&'static str>>,
    denied: AtomicU32,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    state: State,
    connections: u32,
    samples: u32,
    password: String,
    role: Option<String>,
    /// When streams of activations were opened, and where they are fed.
    streams: Vec<Instant>,
    feeds: Vec<UnboundedSender<Result<bool, Error>>>,
    refuses_streams: bool,
}

#[derive(Clone, Debug)]
enum State {
    Value(f64),
    Fails(ErrorKind),
    Hangs,
    Refuses,
}

impl Default for State {
    fn default() -> Self {
        Self::Value(0.0)
    }
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn with<T>(&self, queue: &str, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(self.queues.lock().unwrap().entry(queue.to_owned()).or_default())
    }

    pub(crate) fn set(&self, queue: &str, value: f64) {
        self.with(queue, |queue| queue.state = State::Value(value));
    }

    pub(crate) fn fail(&self, queue: &str, kind: ErrorKind) {
        self.with(queue, |queue| queue.state = State::Fails(kind));
    }

    pub(crate) fn hang(&self, queue: &str) {
        self.with(queue, |queue| queue.state = State::Hangs);
    }

    pub(crate) fn refuse(&self, queue: &str) {
        self.with(queue, |queue| queue.state = State::Refuses);
    }

    /// The role of the last connection.
    pub(crate) fn role(&self, queue: &str) -> Option<String> {
        self.with(queue, |queue| queue.role.clone())
    }

    /// From now on only these passwords are right.
    pub(crate) fn accept(&self, passwords: &[&'static str]) {
        *self.accepted.lock().unwrap() = passwords.to_vec();
    }

    /// How many samples were taken with a wrong password.
    pub(crate) fn denied(&self) -> u32 {
        self.denied.load(Ordering::Relaxed)
    }

    fn accepts(&self, password: &str) -> bool {
        let accepted = self.accepted.lock().unwrap();
        let right = accepted.is_empty() || accepted.contains(&password);
        if !right {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        right
    }

    pub(crate) fn connections(&self, queue: &str) -> u32 {
        self.with(queue, |queue| queue.connections)
    }

    /// The password of the last connection.
    pub(crate) fn password(&self, queue: &str) -> String {
        self.with(queue, |queue| queue.password.clone())
    }

    /// Tells those who listen.
    pub(crate) fn push(&self, queue: &str, is_active: bool) {
        self.with(queue, |queue| {
            queue.feeds.retain(|feed| feed.send(Ok(is_active)).is_ok());
        });
    }

    /// Ends the streams of activations, by an error or without one, and, if asked for, those that are opened from now on.
    pub(crate) fn end_streams(&self, queue: &str, error: Option<ErrorKind>, refuses: bool) {
        self.with(queue, |queue| {
            queue.refuses_streams = refuses;
            for feed in queue.feeds.drain(..) {
                if let Some(kind) = error {
                    feed.send(Err(Error::new(kind, "the stream is broken"))).ok();
                }
            }
        });
    }

    /// When streams of activations were opened.
    pub(crate) fn streams(&self, queue: &str) -> Vec<Instant> {
        self.with(queue, |queue| queue.streams.clone())
    }

    /// How many listen.
    pub(crate) fn listeners(&self, queue: &str) -> usize {
        self.with(queue, |queue| {
            queue.feeds.iter().filter(|feed| !feed.is_closed()).count()
        })
    }

    pub(crate) fn samples(&self, queue: &str) -> u32 {
        self.with(queue, |queue| queue.samples)
    }
}

/// The metadata of a trigger of type `test`.
#[derive(Debug, Deserialize)]
pub(crate) struct TestSource {
    queue: String,
    target: Quantity,
    #[serde(default)]
    activation: f64,
    #[serde(default)]
    password: Secret,
    #[serde(default)]
    push: bool,
    #[serde(skip)]
    metric_type: MetricType,
    #[serde(skip)]
    role: Option<String>,
}

impl Trigger for TestSource {
    const TYPE: &'static str = "test";
    type Scaler = TestScaler;

    fn fields() -> &'static [Field] {
        const FIELDS: &[Field] = &[
            Field::new("queue", "The queue.").required(),
            Field::new("target", "Messages for each replica.").required(),
            Field::new("activation", "Active above this."),
            Field::new("push", "Whether it tells when it becomes active."),
            Field::new("password", "The password.")
                .from(&[Source::Authentication, Source::Environment])
                .secret(),
        ];
        FIELDS
    }

    fn example() -> &'static str {
        "queue: orders\ntarget: \"5\"\n"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.metric_type = settings.metric_type;
        let identity = settings.pod_identity.as_ref();
        self.role = identity.and_then(|identity| identity.role_arn.clone());
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = match self.metric_type {
            MetricType::Value => MetricTarget::Value(self.target),
            _ => MetricTarget::AverageValue(self.target),
        };
        vec![MetricSpec::External {
            name: format!("test-{}", self.queue),
            target,
        }]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
            .with("queue", &self.queue)
            .with("activation", self.activation)
            .with("push", self.push)
            .secret("password", &self.password)
            .with("role", self.role.as_deref().unwrap_or_default())
    }

    async fn connect(self, context: &Context) -> Result<TestScaler, Error> {
        let script: Arc<Arc<Script>> = context.get().ok_or_else(|| Error::invalid("no script"))?;
        let refused = script.with(&self.queue, |queue| {
            queue.connections += 1;
            self.password.expose().clone_into(&mut queue.password);
            queue.role.clone_from(&self.role);
            matches!(queue.state, State::Refuses)
        });
        if refused {
            return Err(Error::unavailable("connection refused"));
        }
        Ok(TestScaler {
            script: Arc::clone(&script),
            queue: self.queue,
            activation: self.activation,
            push: self.push,
            password: self.password,
        })
    }
}

#[derive(Debug)]
pub(crate) struct TestScaler {
    script: Arc<Script>,
    queue: String,
    activation: f64,
    push: bool,
    password: Secret,
}

impl PushScaler for TestScaler {
    fn activations(&self) -> BoxStream<'_, Result<bool, Error>> {
        let (feed, fed) = unbounded_channel();
        let refuses = self.script.with(&self.queue, |queue| {
            queue.streams.push(Instant::now());
            queue.feeds.push(feed.clone());
            queue.refuses_streams
        });
        if refuses {
            return stream::iter([Err(Error::unavailable("no stream"))]).boxed();
        }
        drop(feed);
        stream::unfold(fed, |mut fed| async move { Some((fed.recv().await?, fed)) }).boxed()
    }
}

#[async_trait]
impl Scaler for TestScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let state = self.script.with(&self.queue, |queue| {
            queue.samples += 1;
            queue.state.clone()
        });
        if !self.script.accepts(self.password.expose()) {
            return Err(Error::new(ErrorKind::Unauthorized, "the password is wrong"));
        }
        match state {
            State::Value(value) => Ok(Sample::single(
                format!("test-{}", self.queue),
                value,
                value > self.activation,
            )),
            State::Fails(kind) => Err(Error::new(kind, "the queue's service does not answer")),
            State::Refuses => Err(Error::unavailable("connection refused")),
            State::Hangs => std::future::pending().await,
        }
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.push.then_some(self as &dyn PushScaler)
    }
}
