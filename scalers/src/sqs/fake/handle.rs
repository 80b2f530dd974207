//! Direct access to one queue, for producers, consumers and recorders that need no protocol.

use std::{fmt, time::Duration};

use super::{
    Counts, FakeSqs, QueueOptions, Totals,
    model::{Delivery, NewMessage},
};

/// A queue of a [`FakeSqs`]. It acts on the state that the SDK's requests act on.
///
/// A handle outlives its queue: once the queue is deleted it sends into the void and receives nothing.
#[derive(Clone)]
pub struct QueueHandle {
    sqs: FakeSqs,
    url: String,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's id, the same at every delivery.
    pub id: String,
    /// Names this delivery, for deleting the message.
    pub receipt: String,
    /// The text that was sent.
    pub body: String,
    /// The message group.
    pub group: Option<String>,
    /// How often it was delivered, this time included.
    pub receive_count: u32,
    /// When it was sent, after the endpoint's start.
    pub sent_at: Duration,
}

impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            receipt: delivery.receipt,
            body: delivery.body,
            group: delivery.group.as_deref().map(str::to_owned),
            receive_count: delivery.receive_count,
            sent_at: delivery.sent_at,
        }
    }
}

impl QueueHandle {
    pub(super) fn new(sqs: FakeSqs, url: &str) -> Self {
        Self {
            sqs,
            url: url.to_owned(),
        }
    }

    /// The queue's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a message and gives its id; a duplicate gives the id of the message that it duplicates.
    ///
    /// A FIFO queue puts a message without a group into a group of its own name, the empty one.
    pub fn send(
        &self,
        body: impl Into<String>,
        group: Option<&str>,
        deduplication_id: Option<&str>,
    ) -> String {
        let message = NewMessage {
            body: body.into(),
            group: group.map(str::to_owned),
            deduplication_id: deduplication_id.map(str::to_owned),
            ..NewMessage::default()
        };
        self.sqs
            .change(&self.url, |queue, now, ids| {
                queue.send(now, message, ids.next()).id
            })
            .unwrap_or_default()
    }

    /// Receives up to `max` messages and hides them for `visibility`, or the queue's own timeout.
    #[must_use]
    pub fn receive(&self, max: usize, visibility: Option<Duration>) -> Vec<Message> {
        let idle = self
            .sqs
            .read(&self.url, |queue, now| !queue.can_deliver(now))
            .unwrap_or(true);
        if idle {
            return Vec::new();
        }
        let received = self
            .sqs
            .change(&self.url, |queue, now, _| queue.receive(now, max, visibility));
        received
            .unwrap_or_default()
            .into_iter()
            .map(Message::from)
            .collect()
    }

    /// Deletes the message of a receipt; `false` if the message was gone or the receipt had expired.
    pub fn delete(&self, receipt: &str) -> bool {
        let deleted = self
            .sqs
            .change(&self.url, |queue, now, _| queue.delete(now, receipt));
        matches!(deleted, Ok(Ok(true)))
    }

    /// Hides the message of a receipt for `visibility` from now on, zero showing it at once; `false` if it was not in flight.
    pub fn change_visibility(&self, receipt: &str, visibility: Duration) -> bool {
        let changed = self.sqs.change(&self.url, |queue, now, _| {
            queue.change_visibility(now, receipt, visibility)
        });
        matches!(changed, Ok(Ok(())))
    }

    /// Drops every message.
    pub fn purge(&self) {
        // A queue that was deleted has nothing to purge.
        self.sqs.change(&self.url, |queue, now, _| queue.purge(now)).ok();
    }

    /// The counts as `GetQueueAttributes` gives them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.sqs
            .read(&self.url, |queue, now| queue.counts(now))
            .unwrap_or_default()
    }

    /// What ever happened to the queue's messages.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.sqs
            .read(&self.url, |queue, now| queue.totals(now))
            .unwrap_or_default()
    }

    /// Reports `counts` instead of those of real messages; `None` ends that.
    pub fn script(&self, counts: Option<Counts>) {
        self.sqs
            .change(&self.url, |queue, _, _| queue.scripted = counts)
            .ok();
    }

    /// How the queue was created.
    #[must_use]
    pub fn options(&self) -> QueueOptions {
        self.sqs
            .read(&self.url, |queue, _| queue.options.clone())
            .unwrap_or_default()
    }

    /// Waits until the counts are not `seen`, be it by somebody's doing or by the passing of time, and gives them.
    /// It waits for ever once the queue is deleted.
    pub async fn counts_differ(&self, seen: Counts) -> Counts {
        loop {
            let Ok(mut changes) = self.sqs.subscribe(&self.url) else {
                return std::future::pending().await;
            };
            let counts = self.counts();
            if counts != seen {
                return counts;
            }
            if self.sqs.changed(&self.url, &mut changes, None).await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
