//! Kubernetes events.
//!
//! A [`Recorder`] never makes its caller wait: notes go through a channel to one task, which writes `core/v1` Events and
//! raises the count of one that says the same again, as client-go's recorder does.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use scaler_api::SharedClock;
use tokio::sync::{mpsc, oneshot};

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

impl EventType {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Clone, Debug)]
struct Note {
    component: &'static str,
    regarding: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    /// What was done or tried; only events of the new kind (`events.k8s.io`) say so.
    action: Option<&'static str>,
}

impl Note {
    /// A digest of what makes an event the same again.
    fn fingerprint(&self) -> u64 {
        // Its keys are fixed, so that a run can be repeated.
        let mut hasher = DefaultHasher::new();
        let about = &self.regarding;
        (
            self.component,
            &about.kind,
            &about.namespace,
            &about.name,
            &about.uid,
        )
            .hash(&mut hasher);
        (self.event_type, &self.reason).hash(&mut hasher);
        match self.action {
            None => self.message.hash(&mut hasher),
            // A series goes on whatever it says, as long as its object does not change.
            Some(action) => (action, &about.resource_version).hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// What the writer is told.
#[derive(Debug)]
enum Told {
    Note(Box<Note>),
    /// Answer when everything before this is written.
    Written(oneshot::Sender<()>),
}

/// Hears of an object, a reason and a message.
type Listener = Box<dyn Fn(&ObjectReference, &str, &str) + Send + Sync>;

/// Publishes events in the name of a component. Clones share the channel.
#[derive(Clone)]
pub struct Recorder {
    component: &'static str,
    sender: mpsc::UnboundedSender<Told>,
    listeners: Arc<Mutex<Vec<Listener>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.component)
    }
}

impl Recorder {
    /// A recorder and the task that writes what it is told; the task ends when every recorder is dropped.
    pub fn new(
        client: Client,
        clock: SharedClock,
        component: &'static str,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let writer = Writer {
            client,
            clock,
            known: BTreeMap::new(),
            sequence: 0,
        };
        let recorder = Self {
            component,
            sender,
            listeners: Arc::default(),
        };
        (recorder, writer.run(receiver))
    }

    /// The same channel under another component's name (the event's `source.component`).
    #[must_use]
    pub fn named(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// Calls `listener` with the object, the reason and the message of whatever is published from now on, by any
    /// component. It must not wait.
    pub fn listen(&self, listener: impl Fn(&ObjectReference, &str, &str) + Send + Sync + 'static) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Publishes an event about `object`.
    pub fn publish<K>(
        &self,
        object: &K,
        event_type: EventType,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        self.publish_about(reference(object), event_type, reason, message);
    }

    /// Publishes an event about a referenced object.
    pub fn publish_about(
        &self,
        regarding: ObjectReference,
        event_type: EventType,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let note = Note {
            component: self.component,
            regarding,
            event_type,
            reason: reason.into(),
            message: message.into(),
            action: None,
        };
        self.send(note);
    }

    /// Publishes an event of the new kind about `object`, as kube-scheduler does: with what was done or tried, a time to
    /// the microsecond, and repeats as a series instead of a count.
    #[cfg(feature = "sim")]
    pub(crate) fn publish_action<K>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &str,
        action: &'static str,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        self.send(Note {
            component: self.component,
            regarding: reference(object),
            event_type,
            reason: reason.to_owned(),
            message: message.into(),
            action: Some(action),
        });
    }

    fn send(&self, note: Note) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in &*listeners {
            listener(&note.regarding, &note.reason, &note.message);
        }
        drop(listeners);
        // The writer is gone only at shutdown.
        let _closed = self.sender.send(Told::Note(Box::new(note)));
    }

    /// Waits until everything that was published is written, or was tried to be; returns at once where nobody writes
    /// any more.
    pub async fn written(&self) {
        let (answer, written) = oneshot::channel();
        if self.sender.send(Told::Written(answer)).is_ok() {
            // Without an answer the writer is gone.
            written.await.ok();
        }
    }
}

/// What an event says of its object: which one it is, and how new.
fn reference<K>(object: &K) -> ObjectReference
where
    K: Resource,
    K::DynamicType: Default,
{
    ObjectReference {
        resource_version: object.meta().resource_version.clone(),
        ..object.object_ref(&K::DynamicType::default())
    }
}

struct Writer {
    client: Client,
    clock: SharedClock,
    /// Name and count of events that may be said again, by a digest of what they say: there are thousands.
    known: BTreeMap<u64, (String, i32)>,
    sequence: u64,
}

impl Writer {
    /// Beyond this many the memory of what was said starts over.
    const MEMORY: usize = 4096;

    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Told>) {
        while let Some(told) = receiver.recv().await {
            let note = match told {
                Told::Note(note) => note,
                Told::Written(answer) => {
                    // Whoever asked may not be there any more.
                    answer.send(()).ok();
                    continue;
                }
            };
            if let Err(error) = self.write(&note).await {
                tracing::warn!(%error, reason = note.reason, "event was not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> kube::Result<()> {
        let namespace = note
            .regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let fingerprint = note.fingerprint();
        let now = Time(self.clock.now());
        if let Some((name, count)) = self.known.get_mut(&fingerprint) {
            *count += 1;
            let patch = match note.action {
                None => serde_json::json!({"count": *count, "lastTimestamp": now}),
                // The rest of a series is told only after half an hour.
                Some(_) if *count > 2 => return Ok(()),
                Some(_) => serde_json::json!({"series": {"count": 2, "lastObservedTime": MicroTime(now.0)}}),
            };
            match events
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => return result.map(|_| ()),
            }
        }
        let event = self.event(note, &namespace, &now);
        if self.known.len() >= Self::MEMORY {
            self.known.clear();
        }
        self.known.insert(fingerprint, (event.name_any(), 1));
        events.create(&PostParams::default(), &event).await.map(|_| ())
    }

    fn event(&mut self, note: &Note, namespace: &str, now: &Time) -> Event {
        self.sequence += 1;
        // client-go's form: the object's name and a number that does not come again.
        let nanos = now.0.as_nanosecond() as u64;
        let suffix = nanos.wrapping_add(self.sequence);
        let object = note.regarding.name.clone().unwrap_or_default();
        let is_new = note.action.is_some();
        let since = (!is_new).then_some(now).cloned();
        Event {
            action: note.action.map(str::to_owned),
            event_time: is_new.then_some(MicroTime(now.0)),
            // Where it runs is a part of the name.
            reporting_instance: is_new.then(|| format!("{}-embedded", note.component)),
            metadata: ObjectMeta {
                name: Some(format!("{object}.{suffix:x}")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: note.regarding.clone(),
            type_: Some(note.event_type.as_str().to_owned()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(EventSource {
                component: (!is_new).then(|| note.component.to_owned()),
                host: None,
            }),
            reporting_component: Some(note.component.to_owned()),
            first_timestamp: since.clone(),
            last_timestamp: since,
            count: (!is_new).then_some(1),
            ..Event::default()
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use std::sync::Arc;

    use scaler_api::TokioClock;

    use super::*;
    use crate::sim::api::{ApiServer, Options};

    fn world() -> (ApiServer, Recorder, impl Future<Output = ()> + Send) {
        let clock: SharedClock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let server = ApiServer::new(Options {
            clock: Arc::clone(&clock),
            seed: 1,
        });
        let client = Client::new(server.service(), "default");
        let (recorder, writer) = Recorder::new(client, clock, "test");
        (server, recorder, writer)
    }

    fn publish(recorder: &Recorder, message: &str) {
        let about = ObjectReference {
            kind: Some("Lease".to_owned()),
            name: Some("it".to_owned()),
            ..ObjectReference::default()
        };
        recorder.publish_about(about, EventType::Normal, "Said", message);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_published_before_is_written_when_that_is_waited_for() {
        let (server, recorder, writer) = world();
        publish(&recorder, "one");
        publish(&recorder, "two");
        let ask = recorder.named("another");
        tokio::select! {
            biased;
            () = ask.written() => {}
            () = writer => unreachable!("there are recorders"),
        }
        assert_eq!(server.objects("", "events", Some("default")).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_where_nobody_writes() {
        let (_server, recorder, writer) = world();
        drop(writer);
        publish(&recorder, "one");
        recorder.written().await;
    }
}
