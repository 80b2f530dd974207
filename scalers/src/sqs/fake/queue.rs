//! One queue as a state machine: pure, ordered, and told what time it is.
//!
//! Time is a [`Duration`] since the endpoint's start. Every method first lets due messages become visible, so a queue that
//! nobody touches costs nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::model::{Counts, Delivery, NewMessage, QueueOptions, ReceiptError, Sent, Sequence, Totals};

/// How long a deduplication id is remembered.
const DEDUPLICATION_WINDOW: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed { until: Duration },
    InFlight { until: Duration },
}

#[derive(Clone, Debug)]
struct Stored {
    id: String,
    body: String,
    group: Option<Arc<str>>,
    deduplication_id: Option<String>,
    attributes: Option<Value>,
    sent_at: Duration,
    first_received_at: Option<Duration>,
    receive_count: u32,
    state: State,
}

/// A message group of a FIFO queue: its messages in order, and how many of them hold it blocked.
#[derive(Clone, Debug, Default)]
struct Group {
    members: BTreeSet<Sequence>,
    in_flight: usize,
    listed: Option<Sequence>,
}

/// A queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) options: QueueOptions,
    pub(super) created_at: Duration,
    pub(super) modified_at: Duration,
    /// Counts that a story dictates, in place of those of real messages.
    pub(super) scripted: Option<Counts>,
    messages: BTreeMap<Sequence, Stored>,
    last_sequence: Sequence,
    /// When a delayed or hidden message becomes visible.
    due: BTreeSet<(Duration, Sequence)>,
    /// What a standard queue can deliver.
    ready: BTreeSet<Sequence>,
    groups: BTreeMap<Arc<str>, Group>,
    /// The first message of each group that is not blocked: what a FIFO queue can deliver.
    heads: BTreeSet<(Sequence, Arc<str>)>,
    in_flight: u64,
    delayed: u64,
    deduplication: BTreeMap<String, (Duration, Sent)>,
    deduplication_ends: BTreeSet<(Duration, String)>,
    totals: Totals,
}

impl Queue {
    pub(super) fn new(options: QueueOptions, now: Duration) -> Self {
        Self {
            options,
            created_at: now,
            modified_at: now,
            scripted: None,
            messages: BTreeMap::new(),
            last_sequence: 0,
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            groups: BTreeMap::new(),
            heads: BTreeSet::new(),
            in_flight: 0,
            delayed: 0,
            deduplication: BTreeMap::new(),
            deduplication_ends: BTreeSet::new(),
            totals: Totals::default(),
        }
    }

    /// Takes a message in, under the id `id` unless it is a duplicate.
    pub(super) fn send(&mut self, now: Duration, message: NewMessage, id: String) -> Sent {
        self.advance(now);
        let key = self.deduplication_key(&message);
        if let Some((_, earlier)) = key.as_ref().and_then(|key| self.deduplication.get(key)) {
            self.totals.deduplicated += 1;
            return earlier.clone();
        }
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let sent = Sent {
            id: id.clone(),
            sequence,
        };
        if let Some(key) = key {
            let end = now + DEDUPLICATION_WINDOW;
            self.deduplication_ends.insert((end, key.clone()));
            self.deduplication.insert(key, (end, sent.clone()));
        }
        let delay = message
            .delay
            .filter(|_| !self.options.fifo)
            .unwrap_or(self.options.delay);
        let state = if delay.is_zero() {
            State::Ready
        } else {
            State::Delayed { until: now + delay }
        };
        let group = match message.group {
            None if self.options.fifo => Some(Arc::from("")),
            group => group.map(Arc::from),
        };
        self.messages.insert(
            sequence,
            Stored {
                id,
                body: message.body,
                group: group.clone(),
                deduplication_id: message.deduplication_id,
                attributes: message.attributes,
                sent_at: now,
                first_received_at: None,
                receive_count: 0,
                state: State::Ready,
            },
        );
        if let Some(group) = group.filter(|_| self.options.fifo) {
            self.groups.entry(group).or_default().members.insert(sequence);
        }
        self.set_state(sequence, state);
        self.totals.sent += 1;
        sent
    }

    fn deduplication_key(&self, message: &NewMessage) -> Option<String> {
        if !self.options.fifo {
            return None;
        }
        match &message.deduplication_id {
            Some(id) => Some(format!("id:{id}")),
            None => self
                .options
                .content_based_deduplication
                .then(|| format!("body:{}", message.body)),
        }
    }

    /// Delivers up to `max` messages and hides them for `visibility`, or the queue's own timeout.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        max: usize,
        visibility: Option<Duration>,
    ) -> Vec<Delivery> {
        self.advance(now);
        let until = now + visibility.unwrap_or(self.options.visibility_timeout);
        let mut delivered = Vec::new();
        while delivered.len() < max {
            let batch = self.next_batch(max - delivered.len());
            if batch.is_empty() {
                break;
            }
            for sequence in batch {
                self.set_state(sequence, State::InFlight { until });
                delivered.extend(self.deliver(sequence, now));
            }
        }
        self.totals.received += delivered.len() as u64;
        delivered
    }

    /// Whether a receive would give anything.
    pub(super) fn can_deliver(&mut self, now: Duration) -> bool {
        self.advance(now);
        !self.ready.is_empty() || !self.heads.is_empty()
    }

    /// What is delivered next: messages of one group of a FIFO queue, any messages of a standard one.
    fn next_batch(&self, max: usize) -> Vec<Sequence> {
        if !self.options.fifo {
            return self.ready.iter().take(max).copied().collect();
        }
        let Some(group) = self.heads.first().and_then(|(_, group)| self.groups.get(group)) else {
            return Vec::new();
        };
        let is_ready = |sequence: &&Sequence| {
            self.messages
                .get(sequence)
                .is_some_and(|message| message.state == State::Ready)
        };
        group
            .members
            .iter()
            .take_while(is_ready)
            .take(max)
            .copied()
            .collect()
    }

    fn deliver(&mut self, sequence: Sequence, now: Duration) -> Option<Delivery> {
        let message = self.messages.get_mut(&sequence)?;
        message.receive_count += 1;
        Some(Delivery {
            id: message.id.clone(),
            receipt: format!("{}#{sequence}#{}", message.id, message.receive_count),
            body: message.body.clone(),
            group: message.group.clone(),
            deduplication_id: message.deduplication_id.clone(),
            attributes: message.attributes.clone(),
            sequence,
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            first_received_at: *message.first_received_at.get_or_insert(now),
        })
    }

    /// Deletes the message of `receipt`; says whether there was one to delete.
    ///
    /// As the service does: deleting twice is no error, a standard queue forgives a receipt whose visibility timed out
    /// unless the message was delivered again, a FIFO queue does not.
    pub(super) fn delete(&mut self, now: Duration, receipt: &str) -> Result<bool, ReceiptError> {
        self.advance(now);
        let Some((sequence, latest)) = self.find(receipt)? else {
            return Ok(false);
        };
        let hidden = self
            .messages
            .get(&sequence)
            .is_some_and(|m| matches!(m.state, State::InFlight { .. }));
        match (self.options.fifo, hidden && latest) {
            (true, false) => return Err(ReceiptError::Expired),
            (false, _) if !latest => return Ok(false),
            _ => {}
        }
        self.remove(sequence);
        self.totals.deleted += 1;
        Ok(true)
    }

    /// Hides the message of `receipt` for `visibility` from now on; zero shows it at once.
    pub(super) fn change_visibility(
        &mut self,
        now: Duration,
        receipt: &str,
        visibility: Duration,
    ) -> Result<(), ReceiptError> {
        self.advance(now);
        let (sequence, latest) = self.find(receipt)?.ok_or(ReceiptError::Invalid)?;
        let hidden = self
            .messages
            .get(&sequence)
            .is_some_and(|m| matches!(m.state, State::InFlight { .. }));
        if !(latest && hidden) {
            return Err(ReceiptError::Expired);
        }
        let state = if visibility.is_zero() {
            State::Ready
        } else {
            State::InFlight {
                until: now + visibility,
            }
        };
        self.set_state(sequence, state);
        Ok(())
    }

    /// The message of a receipt, and whether the receipt is that of its latest delivery; `None` if the message is gone.
    fn find(&self, receipt: &str) -> Result<Option<(Sequence, bool)>, ReceiptError> {
        let mut parts = receipt.split('#');
        let (Some(id), Some(sequence), Some(count), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ReceiptError::Invalid);
        };
        let sequence: Sequence = sequence.parse().map_err(|_| ReceiptError::Invalid)?;
        let count: u32 = count.parse().map_err(|_| ReceiptError::Invalid)?;
        if sequence == 0 || sequence > self.last_sequence {
            return Err(ReceiptError::Invalid);
        }
        match self.messages.get(&sequence) {
            Some(message) if message.id != id => Err(ReceiptError::Invalid),
            Some(message) => Ok(Some((sequence, message.receive_count == count))),
            None => Ok(None),
        }
    }

    /// Drops every message.
    pub(super) fn purge(&mut self, now: Duration) {
        self.advance(now);
        while let Some((&sequence, _)) = self.messages.first_key_value() {
            self.remove(sequence);
            self.totals.purged += 1;
        }
    }

    pub(super) fn counts(&mut self, now: Duration) -> Counts {
        self.advance(now);
        self.scripted.unwrap_or(Counts {
            visible: self.messages.len() as u64 - self.in_flight - self.delayed,
            in_flight: self.in_flight,
            delayed: self.delayed,
        })
    }

    pub(super) fn totals(&mut self, now: Duration) -> Totals {
        self.advance(now);
        self.totals
    }

    /// When the counts change next without anybody doing anything.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let visible = self.due.first().map(|(at, _)| *at);
        let expiry = self
            .messages
            .first_key_value()
            .map(|(_, message)| message.sent_at + self.options.retention);
        visible.into_iter().chain(expiry).min()
    }

    /// Lets time pass: hidden and delayed messages become visible, old ones and old deduplication ids go.
    fn advance(&mut self, now: Duration) {
        while let Some(&(at, sequence)) = self.due.first()
            && at <= now
        {
            self.set_state(sequence, State::Ready);
        }
        while let Some((&sequence, message)) = self.messages.first_key_value()
            && message.sent_at + self.options.retention <= now
        {
            self.remove(sequence);
            self.totals.expired += 1;
        }
        while let Some((at, _)) = self.deduplication_ends.first()
            && *at <= now
        {
            if let Some((_, key)) = self.deduplication_ends.pop_first() {
                self.deduplication.remove(&key);
            }
        }
    }

    fn remove(&mut self, sequence: Sequence) {
        self.unlist(sequence);
        let Some(message) = self.messages.remove(&sequence) else {
            return;
        };
        if let Some(name) = message.group.filter(|_| self.options.fifo) {
            if let Some(group) = self.groups.get_mut(&name) {
                group.members.remove(&sequence);
            }
            self.list_head(&name);
        }
    }

    /// Moves a message to `state`, keeping every index in step.
    fn set_state(&mut self, sequence: Sequence, state: State) {
        self.unlist(sequence);
        let Some(message) = self.messages.get_mut(&sequence) else {
            return;
        };
        message.state = state;
        let group = message.group.clone().filter(|_| self.options.fifo);
        match state {
            State::Ready if group.is_none() => {
                self.ready.insert(sequence);
            }
            State::Ready => {}
            State::Delayed { until } => {
                self.delayed += 1;
                self.due.insert((until, sequence));
            }
            State::InFlight { until } => {
                self.in_flight += 1;
                self.due.insert((until, sequence));
                if let Some(group) = group.as_ref().and_then(|name| self.groups.get_mut(name)) {
                    group.in_flight += 1;
                }
            }
        }
        if let Some(name) = group {
            self.list_head(&name);
        }
    }

    /// Takes a message out of the indexes of its present state.
    fn unlist(&mut self, sequence: Sequence) {
        let Some(message) = self.messages.get(&sequence) else {
            return;
        };
        match message.state {
            State::Ready => {
                self.ready.remove(&sequence);
            }
            State::Delayed { until } => {
                self.delayed -= u64::from(self.due.remove(&(until, sequence)));
            }
            State::InFlight { until } => {
                if self.due.remove(&(until, sequence)) {
                    self.in_flight -= 1;
                    let group = message.group.as_ref().filter(|_| self.options.fifo);
                    if let Some(group) = group.and_then(|name| self.groups.get_mut(name)) {
                        group.in_flight -= 1;
                    }
                }
            }
        }
    }

    /// Says anew what a group can deliver: its first message, unless one is in flight or the first is delayed.
    fn list_head(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        if let Some(old) = group.listed.take() {
            self.heads.remove(&(old, Arc::clone(name)));
        }
        let first = group.members.first().copied();
        let is_ready = |sequence: &Sequence| {
            self.messages
                .get(sequence)
                .is_some_and(|m| m.state == State::Ready)
        };
        if let Some(head) = first.filter(|_| group.in_flight == 0).filter(is_ready) {
            group.listed = Some(head);
            self.heads.insert((head, Arc::clone(name)));
        }
        if first.is_none() {
            self.groups.remove(name);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
