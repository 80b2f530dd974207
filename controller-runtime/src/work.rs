//! How much work waits and how long it takes, by controller: what `/metrics` says of the queues.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge, histogram::Histogram},
    registry::Unit,
};

use crate::queue::WorkQueue;

/// Bounds of the buckets, in seconds: a turn that only looks takes microseconds, one that asks a slow source seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// How many keys a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// They could be worked on now.
    pub waiting: usize,
    /// Their time has not come yet: the next poll, or the end of a back-off.
    pub delayed: usize,
    /// They are being worked on.
    pub working: usize,
}

/// How long the turns of a controller take. Clones share it.
#[derive(Clone, Debug)]
pub struct Turns {
    succeeded: Histogram,
    failed: Histogram,
}

impl Turns {
    fn new() -> Self {
        Self {
            succeeded: Histogram::new(BUCKETS),
            failed: Histogram::new(BUCKETS),
        }
    }

    /// A turn that took so long has come to its end.
    pub fn observe(&self, took: Duration, succeeded: bool) {
        let histogram = if succeeded { &self.succeeded } else { &self.failed };
        histogram.observe(took.as_secs_f64());
    }
}

/// The work of one controller.
struct Work {
    depth: Box<dyn Fn() -> Depth + Send + Sync>,
    turns: Turns,
}

/// The work of a process by controller. Clones share it.
///
/// It is a [`Collector`]: registered, it says `autoscaler_queue_depth`, `autoscaler_queue_delayed`,
/// `autoscaler_turns_running` and `autoscaler_turn_duration_seconds`.
#[derive(Clone, Default)]
pub struct WorkMetrics {
    work: Arc<Mutex<BTreeMap<&'static str, Work>>>,
}

impl fmt::Debug for WorkMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depths = self.depths();
        f.debug_map().entries(depths).finish()
    }
}

impl WorkMetrics {
    fn work(&self) -> MutexGuard<'_, BTreeMap<&'static str, Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the queue of a controller, and times its turns from now on. A queue that is added later under the same name
    /// takes its place; the turns of both count.
    pub fn add<K: Ord + Clone + Send + Sync + 'static>(
        &self,
        controller: &'static str,
        queue: &WorkQueue<K>,
    ) {
        let counted = queue.clone();
        queue.time_turns(self.add_work(controller, move || counted.depth()));
    }

    /// Adds a controller whose work does not stand in a [`WorkQueue`]; it times its turns itself.
    pub fn add_work(
        &self,
        controller: &'static str,
        depth: impl Fn() -> Depth + Send + Sync + 'static,
    ) -> Turns {
        let mut work = self.work();
        let turns = work
            .get(controller)
            .map_or_else(Turns::new, |known| known.turns.clone());
        let depth = Box::new(depth);
        work.insert(
            controller,
            Work {
                depth,
                turns: turns.clone(),
            },
        );
        turns
    }

    /// How much there is to do, by controller.
    #[must_use]
    pub fn depths(&self) -> BTreeMap<&'static str, Depth> {
        let work = self.work();
        work.iter()
            .map(|(controller, work)| (*controller, (work.depth)()))
            .collect()
    }
}

/// What is said of the number of keys.
struct Gauge {
    name: &'static str,
    help: &'static str,
    of: fn(Depth) -> usize,
}

const GAUGES: [Gauge; 3] = [
    Gauge {
        name: "autoscaler_queue_depth",
        help: "Keys that wait although they could be worked on",
        of: |depth| depth.waiting,
    },
    Gauge {
        name: "autoscaler_queue_delayed",
        help: "Keys whose time has not come yet",
        of: |depth| depth.delayed,
    },
    Gauge {
        name: "autoscaler_turns_running",
        help: "Keys that are being worked on",
        of: |depth| depth.working,
    },
];

impl Collector for WorkMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let depths = self.depths();
        if depths.is_empty() {
            return Ok(());
        }
        for Gauge { name, help, of } in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (controller, depth) in &depths {
                let number = i64::try_from(of(*depth)).unwrap_or(i64::MAX);
                let labels = [("controller", *controller)];
                ConstGauge::new(number).encode(metric.encode_family(&labels)?)?;
            }
        }
        let (name, help) = (
            "autoscaler_turn_duration",
            "Time from taking a key to being done with it",
        );
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (controller, work) in &*self.work() {
            let Turns { succeeded, failed } = &work.turns;
            for (result, turns) in [("ok", succeeded), ("error", failed)] {
                let labels = [("controller", *controller), ("result", result)];
                turns.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;
    use crate::queue::Action;

    fn page(work: &WorkMetrics) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(work.clone()));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        page
    }

    #[track_caller]
    fn assert_says(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                page.lines().any(|said| said == *line),
                "{line} is missing in\n{page}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_counted_by_what_is_to_become_of_them() {
        let work = WorkMetrics::default();
        assert!(!page(&work).contains("autoscaler"), "there is nothing to say yet");
        let queue = WorkQueue::new();
        work.add("scaled-object", &queue);
        queue.add("a");
        queue.add("b");
        queue.add_after("c", Duration::from_secs(5));
        assert_eq!(queue.next().await, Some("a"));
        let depth = Depth {
            waiting: 1,
            delayed: 1,
            working: 1,
        };
        assert_eq!(work.depths(), BTreeMap::from([("scaled-object", depth)]));
        assert_says(
            &page(&work),
            &[
                "# TYPE autoscaler_queue_depth gauge",
                "autoscaler_queue_depth{controller=\"scaled-object\"} 1",
                "autoscaler_queue_delayed{controller=\"scaled-object\"} 1",
                "autoscaler_turns_running{controller=\"scaled-object\"} 1",
            ],
        );
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_timed_by_how_they_end_and_those_of_a_later_queue_are_added() {
        let work = WorkMetrics::default();
        for _ in 0..2 {
            let queue = WorkQueue::new();
            work.add("node-claim", &queue);
            queue.add("slow");
            queue.add("broken");
            let turn = async |key: &'static str| {
                if key == "broken" {
                    return Err("broken");
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                queue.close();
                Ok(Action::Await)
            };
            queue.run(2, turn).await;
        }
        let page = page(&work);
        assert_says(
            &page,
            &[
                "# TYPE autoscaler_turn_duration_seconds histogram",
                "autoscaler_turn_duration_seconds_count{controller=\"node-claim\",result=\"ok\"} 2",
                "autoscaler_turn_duration_seconds_sum{controller=\"node-claim\",result=\"ok\"} 4.0",
                "autoscaler_turn_duration_seconds_bucket{le=\"1.0\",controller=\"node-claim\",result=\"ok\"} 0",
                "autoscaler_turn_duration_seconds_bucket{le=\"2.5\",controller=\"node-claim\",result=\"ok\"} 2",
            ],
        );
        let failed = page.lines().find_map(|line| {
            line.strip_prefix(
                "autoscaler_turn_duration_seconds_count{controller=\"node-claim\",result=\"error\"} ",
            )
        });
        // It comes back after 5, 10, 20, ... ms.
        assert!(failed.unwrap().parse::<u32>().unwrap() > 2, "{page}");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_thrown_away_are_no_turns() {
        let work = WorkMetrics::default();
        let queue = WorkQueue::new();
        work.add("node-pool", &queue);
        queue.add("a");
        tokio::time::timeout(Duration::from_millis(20), queue.discard())
            .await
            .unwrap_err();
        assert_eq!(work.depths()["node-pool"], Depth::default());
        let none = "autoscaler_turn_duration_seconds_count{controller=\"node-pool\",result=\"ok\"} 0";
        assert_says(&page(&work), &[none]);
    }
}
