//! One source: its subscription, its buffer, and how it delivers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::StatusCode;
use scaler_api::keda::{CloudEventSourceSpec, Condition, EventSubscription};
use tokio::sync::Notify;

use super::{
    BUFFER, Config, RETRIES, Sink, destination::Destination, event::Happening, metrics::CloudEventMetrics,
};
use crate::{store::ObjectKey, trigger_auth::Resolver};

const ACTIVE: &str = "CloudEventSourceActive";
const FAILED: &str = "CloudEventSourceFailed";

/// What waits for a receiver. Whoever comes after a worker takes it over.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    events: Mutex<VecDeque<Arc<Happening>>>,
    added: Notify,
}

impl Buffer {
    fn events(&self) -> MutexGuard<'_, VecDeque<Arc<Happening>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; the oldest goes if there is no room, and is returned.
    fn push(&self, event: Arc<Happening>) -> Option<Arc<Happening>> {
        let mut events = self.events();
        let lost = if events.len() >= BUFFER {
            events.pop_front()
        } else {
            None
        };
        events.push_back(event);
        self.added.notify_one();
        lost
    }

    /// The oldest event, which stays; waits for one.
    async fn front(&self) -> Arc<Happening> {
        loop {
            let added = self.added.notified();
            if let Some(event) = self.events().front() {
                return Arc::clone(event);
            }
            added.await;
        }
    }

    /// An event is done with; it may be gone already.
    fn done(&self, event: &Happening) {
        let mut events = self.events();
        if events.front().is_some_and(|front| front.id == event.id) {
            events.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events().len()
    }
}

/// What a worker works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) key: ObjectKey,
    pub(super) spec: CloudEventSourceSpec,
    pub(super) buffer: Arc<Buffer>,
    /// Where the authentication is.
    pub(super) namespace: String,
    /// What the condition shall say.
    active: Mutex<Option<Condition>>,
}

/// What all workers share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) config: Config,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) resolver: Resolver,
    pub(super) metrics: CloudEventMetrics,
}

/// Why an event was not taken.
struct Failure {
    message: String,
    /// Whether it may be taken later although nobody changes anything.
    is_transient: bool,
}

impl Worker {
    pub(super) fn new(
        key: ObjectKey,
        spec: CloudEventSourceSpec,
        namespace: String,
        buffer: Arc<Buffer>,
    ) -> Self {
        Self {
            key,
            spec,
            buffer,
            namespace,
            active: Mutex::default(),
        }
    }

    /// What the condition shall say; none while that is not known yet.
    pub(super) fn active(&self) -> Option<Condition> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives an event to the source, if it subscribes to it.
    pub(super) fn offer(&self, event: &Arc<Happening>, metrics: &CloudEventMetrics) {
        if !subscribes(self.spec.event_subscription.as_ref(), event.event_type) {
            return;
        }
        if let Some(lost) = self.buffer.push(Arc::clone(event)) {
            tracing::warn!(source = %self.key, event = %lost.id, "the buffer is full, the oldest event is lost");
        }
        metrics.queued(&self.key, self.buffer.len());
    }

    /// Delivers until dropped; `changed` is called when the condition says something else.
    pub(super) async fn run(&self, around: &Surroundings, changed: impl Fn() + Sync) {
        let set = |active: bool, message: &str| self.set_active(active, message, &changed);
        if let Err(problem) = check(self.spec.event_subscription.as_ref()) {
            set(false, &problem);
            return;
        }
        let mut waits = Self::waits();
        loop {
            match Destination::of(&self.spec, &self.namespace, &around.resolver).await {
                Err(problem) => {
                    set(false, &problem);
                    tokio::time::sleep(waits.next().unwrap_or(LONGEST)).await;
                }
                Ok(destination) => {
                    waits = Self::waits();
                    // One that has failed works again when an event was taken.
                    if self
                        .active()
                        .is_none_or(|known| known.message.as_deref() != Some(UNSENT))
                    {
                        set(true, SENDS);
                    }
                    self.deliver(&destination, around, &set).await;
                }
            }
        }
    }

    fn waits() -> impl Iterator<Item = Duration> {
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(LONGEST)
            .without_max_times()
            .build()
    }

    /// Delivers one event after another; returns when the destination is to be looked at anew.
    async fn deliver(
        &self,
        destination: &Destination,
        around: &Surroundings,
        set: &(impl Fn(bool, &str) + Sync),
    ) {
        loop {
            let event = self.buffer.front().await;
            let mut waits = Self::waits();
            let mut tries = 0;
            while let Err(failure) = self.attempt(destination, &event, around).await {
                tries += 1;
                tracing::warn!(source = %self.key, event = %event.id, tries, problem = failure.message, "event was not sent");
                if tries > RETRIES {
                    set(false, UNSENT);
                    if !failure.is_transient {
                        self.finish(&event, around);
                        // The credentials may be others by now.
                        return;
                    }
                }
                tokio::time::sleep(waits.next().unwrap_or(LONGEST)).await;
            }
            if tries == 0 || self.active().is_none_or(|known| !known.is_true()) {
                set(true, SENDS);
            }
            self.finish(&event, around);
        }
    }

    fn finish(&self, event: &Happening, around: &Surroundings) {
        self.buffer.done(event);
        around.metrics.queued(&self.key, self.buffer.len());
    }

    async fn attempt(
        &self,
        destination: &Destination,
        event: &Happening,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let cluster = self.spec.cluster_name.as_deref().filter(|name| !name.is_empty());
        let cluster = cluster.unwrap_or(&around.config.cluster_name);
        let request = destination.request(&event.event(cluster, &around.config.namespace));
        let result = match request {
            Err(error) => Err(Failure {
                message: format!("it cannot be written: {error}"),
                is_transient: false,
            }),
            Ok(request) => {
                match tokio::time::timeout(around.config.timeout, around.sink.post(request)).await {
                    Err(_elapsed) => Err(Failure {
                        message: format!("no answer within {} s", around.config.timeout.as_secs_f64()),
                        is_transient: true,
                    }),
                    Ok(Err(message)) => Err(Failure {
                        message,
                        is_transient: true,
                    }),
                    Ok(Ok(status)) => judge(status),
                }
            }
        };
        around
            .metrics
            .sent(&self.key, &event.namespace, destination.kind(), result.is_ok());
        result
    }

    fn set_active(&self, active: bool, message: &str, changed: &impl Fn()) {
        let (status, reason) = if active {
            ("True", ACTIVE)
        } else {
            ("False", FAILED)
        };
        let condition = Condition::new("Active", status, reason, message);
        let mut known = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&condition) {
            *known = Some(condition);
            drop(known);
            changed();
        }
    }
}

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);
/// KEDA's words for a source that works, and for one that does not.
const SENDS: &str = "Is configured to send events to the configured destination";
const UNSENT: &str = "Failed to send events to the configured destination";

/// Whether an answer means that the event was taken.
fn judge(status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let is_transient = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    Err(Failure {
        message: format!("the receiver answered {status}"),
        is_transient,
    })
}

fn check(subscription: Option<&EventSubscription>) -> Result<(), String> {
    let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    match subscription {
        Some(subscription)
            if is_given(&subscription.included_event_types)
                && is_given(&subscription.excluded_event_types) =>
        {
            Err("includedEventTypes and excludedEventTypes exclude each other".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether events of this type are sent; a list that is empty is none.
fn subscribes(subscription: Option<&EventSubscription>, event_type: &str) -> bool {
    let Some(subscription) = subscription else {
        return true;
    };
    let list = |list: &Option<Vec<String>>| -> Option<bool> {
        let list = list.as_ref().filter(|list| !list.is_empty())?;
        Some(list.iter().any(|known| known == event_type))
    };
    match list(&subscription.included_event_types) {
        Some(is_included) => is_included,
        None => !list(&subscription.excluded_event_types).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_types_include_or_exclude_and_empty_ones_do_nothing() {
        let subscription = |included: &[&str], excluded: &[&str]| {
            let list = |list: &[&str]| Some(list.iter().map(|word| (*word).to_owned()).collect());
            EventSubscription {
                included_event_types: list(included),
                excluded_event_types: list(excluded),
            }
        };
        for (included, excluded, expected) in [
            (&[][..], &[][..], true),
            (&["a"], &[], true),
            (&["b"], &[], false),
            (&[], &["a"], false),
            (&[], &["b"], true),
        ] {
            let subscription = subscription(included, excluded);
            assert_eq!(subscribes(Some(&subscription), "a"), expected, "{subscription:?}");
            assert!(check(Some(&subscription)).is_ok());
        }
        assert!(subscribes(None, "a"));
        assert!(check(Some(&subscription(&["a"], &["b"]))).is_err());
    }

    #[test]
    fn what_may_be_taken_later_is_told_from_what_is_refused() {
        for (status, expected) in [
            (StatusCode::NO_CONTENT, None),
            (StatusCode::SERVICE_UNAVAILABLE, Some(true)),
            (StatusCode::TOO_MANY_REQUESTS, Some(true)),
            (StatusCode::BAD_REQUEST, Some(false)),
            (StatusCode::FOUND, Some(false)),
        ] {
            let judged = judge(status).err().map(|failure| failure.is_transient);
            assert_eq!(judged, expected, "{status}");
        }
    }
}
