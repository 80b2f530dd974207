//! The suite that every scaler passes, with a clock that is set by hand.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use scaler_api::{
    Clock, Context, TriggerInput,
    conformance::{self, Harness, Levels, Outage},
};

use super::CronTrigger;

#[derive(Debug)]
struct SetClock(Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Day(Arc<SetClock>);

#[async_trait]
impl Harness for Day {
    type Trigger = CronTrigger;

    fn input(&self) -> TriggerInput {
        let metadata = [
            ("timezone", "UTC"),
            ("start", "0 8 * * *"),
            ("end", "0 18 * * *"),
            ("desiredReplicas", "10"),
        ];
        TriggerInput {
            metadata: metadata
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..TriggerInput::default()
        }
    }

    async fn set_value(&self, value: f64) {
        let now = if value > 0.0 {
            "2026-01-01T12:00:00Z"
        } else {
            "2026-01-01T20:00:00Z"
        };
        *self.0.0.lock().unwrap() = now.parse().unwrap();
    }

    async fn set_outage(&self, _: Option<Outage>) {}

    fn outages(&self) -> &[Outage] {
        &[]
    }

    fn levels(&self) -> Levels {
        Levels {
            idle: vec![0.0],
            active: 10.0,
        }
    }

    fn context(&self) -> Context {
        Context::new().with_clock(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn it_conforms() {
    conformance::assert_conforms(&Day(Arc::new(SetClock(Mutex::default())))).await;
}
