//! The scenario's queues: an in-memory SQS endpoint, its script of depths, its outages, and those who fill it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use scalers::sqs::fake::{self, FakeSqs, QueueHandle, QueueOptions};
use tokio::time::{Instant, sleep_until};

use crate::scenario::{OutageKind, Producer, Queue, Scenario};

/// The queues of a run, by the name that the scenario gives them.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    pub(super) endpoint: FakeSqs,
    by_name: BTreeMap<String, QueueHandle>,
}

impl Queues {
    /// Creates the scenario's queues.
    pub(super) fn new(scenario: &Scenario, seed: u64, start: Timestamp) -> Self {
        let endpoint = FakeSqs::new(seed, start);
        let region = scenario
            .cloud
            .as_ref()
            .map_or("us-east-1", |cloud| cloud.region.as_str());
        let by_name = scenario
            .queues
            .iter()
            .map(|queue| {
                let region = queue.region.as_deref().unwrap_or(region);
                let url = format!(
                    "https://sqs.{region}.amazonaws.com/{}/{}",
                    queue.account, queue.name
                );
                let options = QueueOptions {
                    fifo: queue.name.ends_with(".fifo"),
                    visibility_timeout: queue.visibility_timeout.0,
                    ..QueueOptions::default()
                };
                (queue.name.clone(), endpoint.create_queue(&url, options))
            })
            .collect();
        Self { endpoint, by_name }
    }

    /// A queue that the scenario names; the scenario was checked to name no other.
    pub(super) fn named(&self, name: &str) -> Option<QueueHandle> {
        self.by_name.get(name).cloned()
    }

    /// Messages in all queues, in flight or delayed ones too.
    pub(super) fn depth(&self) -> u64 {
        self.by_name
            .values()
            .map(|queue| {
                let counts = queue.counts();
                counts.visible + counts.in_flight + counts.delayed
            })
            .sum()
    }

    /// Messages that producers sent, and messages that nobody has deleted yet.
    pub(super) fn sent_and_left(&self) -> (u64, u64) {
        self.by_name.values().fold((0, 0), |(sent, left), queue| {
            let totals = queue.totals();
            let gone = totals.deleted + totals.expired + totals.purged;
            (sent + totals.sent, left + totals.sent.saturating_sub(gone))
        })
    }

    /// Plays the depths and outages of a queue.
    pub(super) async fn play(self, queue: Queue) {
        let Some(handle) = self.named(&queue.name) else {
            return;
        };
        let mut changes: Vec<(Duration, Change)> = Vec::new();
        changes.extend(
            queue
                .depth
                .iter()
                .map(|depth| (depth.at.0, Change::Depth(depth.messages))),
        );
        for outage in &queue.outages {
            changes.push((outage.from.0, Change::Outage(Some(outage.kind))));
            changes.push((outage.until.0, Change::Outage(None)));
        }
        changes.sort_by_key(|(at, _)| *at);
        let start = Instant::now();
        for (at, change) in changes {
            sleep_until(start + at).await;
            match change {
                Change::Depth(messages) => {
                    handle.script(Some(fake::Counts {
                        visible: messages,
                        in_flight: 0,
                        delayed: 0,
                    }));
                }
                Change::Outage(kind) => self.endpoint.set_outage(Some(handle.url()), kind.map(outage)),
            }
        }
    }

    /// Sends the messages of one of a producer's senders.
    pub(super) async fn produce(self, producer: Producer, sender: u32, seed: u64) {
        let Some(queue) = self.named(&producer.queue) else {
            return;
        };
        let mut random =
            ChaCha8Rng::seed_from_u64(seed ^ (u64::from(sender) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let interval = producer.interval.0;
        let start = Instant::now();
        let phase = interval.mul_f64(random.random_range(0.0..1.0));
        let mut next = producer.from.0 + phase;
        let mut number = 0_u64;
        while next < producer.until.0 {
            sleep_until(start + next).await;
            let body = format!("{{\"producer\":{sender},\"number\":{number}}}");
            let deduplication = format!("{sender}-{number}");
            queue.send(body, producer.message_group.as_deref(), Some(&deduplication));
            number += 1;
            next += interval;
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Depth(u64),
    Outage(Option<OutageKind>),
}

fn outage(kind: OutageKind) -> fake::Outage {
    match kind {
        OutageKind::Unreachable => fake::Outage::Unreachable,
        OutageKind::Error => fake::Outage::Error500,
        OutageKind::Hang => fake::Outage::Hang,
        OutageKind::Throttle => fake::Outage::Throttle,
    }
}
