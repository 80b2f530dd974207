//! What goes into a queue and comes out of it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

/// A message's place in its queue, in the order of sending.
pub(super) type Sequence = u64;

/// How a queue was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Ordered, with message groups and deduplication.
    pub fifo: bool,
    /// Whether a FIFO queue takes equal bodies for duplicates where no deduplication id is given.
    pub content_based_deduplication: bool,
    /// How long a received message is hidden.
    pub visibility_timeout: Duration,
    /// How long a new message is hidden.
    pub delay: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// How long a receive waits where it does not say.
    pub receive_wait: Duration,
    /// Bytes that a body may have.
    pub maximum_message_size: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            fifo: false,
            content_based_deduplication: false,
            visibility_timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
            retention: Duration::from_secs(4 * 24 * 3600),
            receive_wait: Duration::ZERO,
            maximum_message_size: 1024 * 1024,
        }
    }
}

impl QueueOptions {
    /// A FIFO queue with the service's defaults.
    #[must_use]
    pub fn fifo() -> Self {
        Self {
            fifo: true,
            ..Self::default()
        }
    }
}

/// The approximate numbers of `GetQueueAttributes`, exact here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that can be received, those of a blocked group included.
    pub visible: u64,
    /// Messages received but neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages that are not visible yet.
    pub delayed: u64,
}

/// What ever happened to a queue's messages.
///
/// At any time `sent = deleted + expired + purged + visible + in_flight + delayed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages taken in.
    pub sent: u64,
    /// Sends that were dropped as duplicates.
    pub deduplicated: u64,
    /// Deliveries, repeated ones included.
    pub received: u64,
    /// Messages deleted by a consumer.
    pub deleted: u64,
    /// Messages dropped by age.
    pub expired: u64,
    /// Messages dropped by a purge.
    pub purged: u64,
}

/// A message to send.
#[derive(Clone, Debug, Default)]
pub(super) struct NewMessage {
    pub(super) body: String,
    pub(super) group: Option<String>,
    pub(super) deduplication_id: Option<String>,
    pub(super) delay: Option<Duration>,
    pub(super) attributes: Option<Value>,
}

/// What a send gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) sequence: Sequence,
}

/// A delivery.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) receipt: String,
    pub(super) body: String,
    pub(super) group: Option<Arc<str>>,
    pub(super) deduplication_id: Option<String>,
    pub(super) attributes: Option<Value>,
    pub(super) sequence: Sequence,
    pub(super) receive_count: u32,
    pub(super) sent_at: Duration,
    pub(super) first_received_at: Duration,
}

/// Why a receipt was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiptError {
    /// It is none of this queue's.
    Invalid,
    /// Its message became visible again.
    Expired,
}
