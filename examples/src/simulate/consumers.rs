//! What runs in the scenario's consumer pods, and the table that they write to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use controller_runtime::sim::kubelet::{Exit, Program, Programs, Stop};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use scalers::sqs::fake::QueueHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::queues::Queues;
use crate::scenario::{Consumer, Scenario};

/// Rows by message id, with how often each was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    rows: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Table {
    fn write(&self, id: &str) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        *rows.entry(id.to_owned()).or_insert(0) += 1;
    }

    /// Distinct messages, and rows beyond the first of each.
    pub(super) fn counts(&self) -> (u64, u64) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        (rows.len() as u64, rows.values().map(|count| count - 1).sum())
    }
}

/// Gives consumer pods their program and leaves others idle.
#[derive(Debug)]
pub(super) struct ConsumerPrograms {
    consumers: Vec<(Consumer, BTreeMap<String, String>, QueueHandle)>,
    table: Table,
    seed: u64,
}

impl ConsumerPrograms {
    /// The programs of a scenario's consumers.
    pub(super) fn new(scenario: &Scenario, queues: &Queues, table: Table, seed: u64) -> Self {
        let consumers = scenario
            .consumers
            .iter()
            .filter_map(|consumer| {
                let queue = queues.named(&consumer.queue)?;
                Some((consumer.clone(), consumer.labels(), queue))
            })
            .collect();
        Self {
            consumers,
            table,
            seed,
        }
    }
}

impl Programs for ConsumerPrograms {
    fn program(&self, pod: &Pod, _container: &str) -> Option<Arc<dyn Program>> {
        let (consumer, _, queue) = self.consumers.iter().find(|(consumer, labels, _)| {
            pod.namespace().as_deref() == Some(&consumer.namespace)
                && labels
                    .iter()
                    .all(|(key, value)| pod.labels().get(key) == Some(value))
        })?;
        Some(Arc::new(Worker {
            queue: queue.clone(),
            table: self.table.clone(),
            poll_interval: consumer.poll_interval.0,
            jitter: consumer.jitter.0,
            processing: consumer.processing.0,
            seed: self.seed,
        }))
    }
}

/// Polls, writes a row, deletes the message a moment later.
#[derive(Debug)]
struct Worker {
    queue: QueueHandle,
    table: Table,
    poll_interval: Duration,
    jitter: Duration,
    processing: Duration,
    seed: u64,
}

#[async_trait]
impl Program for Worker {
    async fn run(&self, pod: Arc<Pod>, stop: Stop) -> Exit {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ fingerprint(&pod.name_any()));
        let mut next = Instant::now() + self.poll_interval.mul_f64(random.random_range(0.0..1.0));
        loop {
            let jitter = self.jitter.mul_f64(random.random_range(0.0..1.0));
            tokio::select! {
                biased;
                () = stop.requested() => return Exit { code: 0 },
                () = sleep_until(next + jitter) => {}
            }
            // The message in hand is finished even if the pod is told to stop meanwhile.
            if let Some(message) = self.queue.receive(1, None).into_iter().next() {
                self.table.write(&message.id);
                sleep(self.processing).await;
                self.queue.delete(&message.receipt);
            }
            next = (next + self.poll_interval).max(Instant::now());
        }
    }
}

/// FNV-1a: the same name always gives the same number, in any process.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
