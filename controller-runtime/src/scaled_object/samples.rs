//! Event sources, shared: triggers with equal [`SourceKey`]s have one connection and one sample.
//!
//! A [`Source`] is connected when it is first sampled, never before. Whoever asks while a sample is being taken waits
//! for that one. A failure is a sample too: it is kept and counted like any other. After a failure the connection is
//! made anew, with back-off, for this source only.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use scaler_api::{
    Context, Error, ErrorKind, Registry, Sample, Scaler, SourceKey, TriggerInput, observe::Observer,
};
use tokio::time::Instant;

use crate::queue::Backoff;

/// How often at most a connection is made anew. Not much more seldom than sources are polled, since a source that is
/// back is seen only then.
const RECONNECT: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(10),
};

/// All sources in use. Clones share them.
#[derive(Clone)]
pub struct Sources {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Arc<Registry>,
    context: Context,
    known: Mutex<BTreeMap<SourceKey, Weak<Source>>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("known", &self.len())
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// None yet. Scalers are connected in `context`, whose timeout is the deadline of a connection and of a sample.
    #[must_use]
    pub fn new(registry: Arc<Registry>, context: Context) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                context,
                known: Mutex::default(),
            }),
        }
    }

    /// The trigger types.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// The source with this key, which is made of `trigger_type` and `input` where there is none yet. It lives as long
    /// as somebody holds it.
    #[must_use]
    pub fn get(&self, key: &SourceKey, trigger_type: &str, input: &TriggerInput) -> Arc<Source> {
        self.with(key, trigger_type, input, None)
    }

    /// A source that cannot be connected, because what its credentials come from is out; every sample is this failure.
    #[must_use]
    pub fn out(
        &self,
        key: &SourceKey,
        trigger_type: &str,
        input: &TriggerInput,
        outage: &Error,
    ) -> Arc<Source> {
        let key = key.clone().with("outage", outage);
        self.with(&key, trigger_type, input, Some(outage.clone()))
    }

    fn with(
        &self,
        key: &SourceKey,
        trigger_type: &str,
        input: &TriggerInput,
        outage: Option<Error>,
    ) -> Arc<Source> {
        let mut known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = known.get(key).and_then(Weak::upgrade) {
            return source;
        }
        // Each time that there are twice as many; all at every time would cost their square.
        if known.len().is_power_of_two() {
            known.retain(|_, source| source.strong_count() > 0);
        }
        let source = Arc::new(Source {
            key: key.clone(),
            trigger_type: trigger_type.to_owned(),
            input: KeptInput::of(input),
            outage,
            shared: Arc::clone(&self.shared),
            observer: Observer::new(),
            connection: tokio::sync::Mutex::default(),
            pushes: AtomicBool::new(false),
        });
        known.insert(key.clone(), Arc::downgrade(&source));
        source
    }

    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|source| source.strong_count() > 0).count()
    }

    /// Whether none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One event source.
pub struct Source {
    key: SourceKey,
    trigger_type: String,
    input: KeptInput,
    /// Why it cannot be connected.
    outage: Option<Error>,
    shared: Arc<Shared>,
    /// Hears what the scaler notices.
    observer: Observer,
    connection: tokio::sync::Mutex<Connection>,
    pushes: AtomicBool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.key.as_str()).finish()
    }
}

/// What a source is made of, until it is connected anew: the metadata, which is nearly all of it, as one text.
struct KeptInput {
    metadata: Box<str>,
    rest: TriggerInput,
}

impl KeptInput {
    fn of(input: &TriggerInput) -> Self {
        Self {
            metadata: serde_json::json!(input.metadata).to_string().into(),
            rest: TriggerInput {
                metadata: BTreeMap::new(),
                ..input.clone()
            },
        }
    }

    fn read(&self) -> TriggerInput {
        TriggerInput {
            metadata: serde_json::from_str(&self.metadata).unwrap_or_default(),
            ..self.rest.clone()
        }
    }
}

#[derive(Default)]
struct Connection {
    scaler: Option<Arc<dyn Scaler>>,
    last: Option<Arc<Taken>>,
    sequence: u64,
    failures: u32,
    /// A connection that could not be made is not tried again before this instant.
    connect_at: Option<Instant>,
    /// One that fails is not given up again before this instant.
    give_up_at: Option<Instant>,
}

/// A sample that was taken, or the failure to take it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Counts the samples of the source, from 1.
    pub sequence: u64,
    /// When it was there.
    pub at: Instant,
    /// The same, by the clock on the wall.
    pub time: Timestamp,
    /// How long it took, connecting included.
    pub took: Duration,
    /// What was noticed meanwhile, for the first that takes it.
    pub observer: Observer,
    /// What came of it.
    pub result: Result<Sample, Error>,
}

impl Source {
    /// What is read.
    #[must_use]
    pub fn key(&self) -> &SourceKey {
        &self.key
    }

    /// Whether it tells when it becomes active, as far as is known: not before it was connected for the first time.
    #[must_use]
    pub fn pushes(&self) -> bool {
        self.pushes.load(Ordering::Relaxed)
    }

    /// Its scaler, connected if it is not.
    pub(super) async fn scaler(&self) -> Result<Arc<dyn Scaler>, Error> {
        let mut connection = self.connection.lock().await;
        match &connection.scaler {
            Some(scaler) => Ok(Arc::clone(scaler)),
            None => self.connect(&mut connection).await,
        }
    }

    /// Whether it cannot be connected, because what its credentials come from is out.
    pub(super) fn is_out(&self) -> bool {
        self.outage.is_some()
    }

    /// A sample that was not older than `max_age` at the time of the call, or a new one.
    ///
    /// Cancel safe: the next caller takes the sample instead.
    pub async fn sample(&self, max_age: Duration) -> Arc<Taken> {
        let asked = Instant::now();
        let mut connection = self.connection.lock().await;
        if let Some(last) = connection.last.as_ref().filter(|last| last.at + max_age >= asked) {
            return Arc::clone(last);
        }
        let began = Instant::now();
        let result = self.take(&mut connection).await;
        connection.sequence += 1;
        let taken = Arc::new(Taken {
            sequence: connection.sequence,
            at: Instant::now(),
            time: self.shared.context.clock.now(),
            took: began.elapsed(),
            observer: self.observer.clone(),
            result,
        });
        connection.last = Some(Arc::clone(&taken));
        taken
    }

    /// The last sample, if there is one and none is being taken.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Taken>> {
        self.connection.try_lock().ok()?.last.clone()
    }

    async fn take(&self, connection: &mut Connection) -> Result<Sample, Error> {
        let scaler = match &connection.scaler {
            Some(scaler) => Arc::clone(scaler),
            None => self.connect(connection).await?,
        };
        let result = self.in_time(scaler.sample()).await;
        match &result {
            Ok(_) => {
                connection.failures = 0;
                connection.give_up_at = None;
            }
            Err(error) => {
                let now = Instant::now();
                if breaks_connection(error.kind()) && connection.give_up_at.is_none_or(|at| at <= now) {
                    connection.scaler = None;
                    connection.failures = connection.failures.saturating_add(1);
                    connection.give_up_at = Some(now + RECONNECT.after(connection.failures));
                }
            }
        }
        result
    }

    async fn connect(&self, connection: &mut Connection) -> Result<Arc<dyn Scaler>, Error> {
        if let Some(outage) = &self.outage {
            return Err(outage.clone());
        }
        let now = Instant::now();
        if connection.connect_at.is_some_and(|at| at > now)
            && let Some(Err(error)) = connection.last.as_ref().map(|last| &last.result)
        {
            return Err(error.clone());
        }
        let parsed = self
            .shared
            .registry
            .parse(&self.trigger_type, &self.input.read())
            .map_err(|problems| Error::invalid(problems.to_string()))?;
        let context = self.shared.context.clone().with(self.observer.clone());
        match self.in_time(parsed.trigger.connect(&context)).await {
            Ok(scaler) => {
                self.pushes.store(scaler.push().is_some(), Ordering::Relaxed);
                connection.scaler = Some(Arc::clone(&scaler));
                connection.connect_at = None;
                Ok(scaler)
            }
            Err(error) => {
                connection.failures = connection.failures.saturating_add(1);
                connection.connect_at = Some(Instant::now() + RECONNECT.after(connection.failures));
                Err(error)
            }
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let timeout = self.shared.context.timeout;
        tokio::time::timeout(timeout, work)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("no answer within {} s", timeout.as_secs_f64()),
                ))
            })
    }
}

/// Whether a failure of this kind may be the connection's fault.
fn breaks_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Unauthorized | ErrorKind::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaled_object::testing::{Script, TestSource};

    fn sources(script: &Arc<Script>) -> Sources {
        let mut registry = Registry::new();
        registry.register::<TestSource>();
        let context = Context::new()
            .with(Arc::clone(script))
            .with_timeout(Duration::from_secs(3));
        Sources::new(Arc::new(registry), context)
    }

    fn source(sources: &Sources, queue: &str) -> Arc<Source> {
        let input = TriggerInput {
            metadata: BTreeMap::from([
                ("queue".to_owned(), queue.to_owned()),
                ("target".to_owned(), "5".to_owned()),
            ]),
            ..TriggerInput::default()
        };
        let key = sources
            .registry()
            .parse("test", &input)
            .unwrap()
            .trigger
            .source_key();
        sources.get(&key, "test", &input)
    }

    const NEW: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn equal_keys_share_a_connection_and_a_sample_as_long_as_somebody_holds_it() {
        let script = Script::new();
        let sources = sources(&script);
        let (first, second) = (source(&sources, "a"), source(&sources, "a"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(script.connections("a"), 0, "connected before anybody asked");
        let max_age = Duration::from_secs(5);
        let (one, two) = tokio::join!(first.sample(max_age), second.sample(max_age));
        assert_eq!((one.sequence, two.sequence), (1, 1));
        assert_eq!((script.connections("a"), script.samples("a")), (1, 1));
        assert_eq!(script.password("a"), "", "there is no authentication");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(first.sample(max_age).await.sequence, 2);
        assert_eq!(
            source(&sources, "b").key().as_str().split('|').nth(1),
            Some("queue=b")
        );
        assert_eq!(sources.len(), 1);
        drop((first, second));
        assert!(sources.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_sample_gets_it_even_if_it_is_a_timeout() {
        let script = Script::new();
        script.hang("a");
        let sources = sources(&script);
        let source = source(&sources, "a");
        let start = Instant::now();
        let (one, two) = tokio::join!(source.sample(NEW), source.sample(NEW));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!((one.sequence, two.sequence), (1, 1));
        assert_eq!(two.result.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_connection_is_a_failed_sample_and_is_tried_again_with_back_off() {
        let script = Script::new();
        script.refuse("a");
        let sources = sources(&script);
        let source = source(&sources, "a");
        let mut tries = Vec::new();
        for second in 0..8 {
            let taken = source.sample(NEW).await;
            assert_eq!(taken.sequence, second + 1, "every failure counts");
            assert_eq!(taken.result.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
            tries.push(script.connections("a"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(tries, [1, 2, 2, 3, 3, 3, 3, 4], "after 1, 2, 4 s");
        script.set("a", 7.0);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(
            source.sample(NEW).await.result.as_ref().unwrap().values[0].value,
            7.0
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_made_anew() {
        let script = Script::new();
        script.set("a", 1.0);
        let sources = sources(&script);
        let source = source(&sources, "a");
        assert!(source.sample(NEW).await.result.is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        script.fail("a", ErrorKind::Unavailable);
        assert!(source.sample(NEW).await.result.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        script.set("a", 2.0);
        assert!(source.sample(NEW).await.result.is_ok());
        assert_eq!(script.connections("a"), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        script.fail("a", ErrorKind::NotFound);
        assert!(source.sample(NEW).await.result.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(source.sample(NEW).await.result.is_err());
        assert_eq!(
            script.connections("a"),
            2,
            "a queue that does not exist is not the connection's fault"
        );
    }
}
