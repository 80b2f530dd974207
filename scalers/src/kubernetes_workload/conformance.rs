//! The suite that every scaler passes, over pods in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use scaler_api::{
    Context, Error, TriggerInput, TriggerSettings,
    conformance::{self, Harness, Levels, Outage},
};

use super::{CountedPod, PodCounter, SharedPodCounter, WorkloadTrigger};

#[derive(Debug, Default)]
struct Pods {
    count: Mutex<usize>,
    outage: Mutex<Option<Outage>>,
}

#[async_trait]
impl PodCounter for Pods {
    async fn pods(&self, _: &str, _: &str) -> Result<Vec<CountedPod>, Error> {
        let outage = *self.outage.lock().unwrap();
        match outage {
            None => Ok(vec![CountedPod::default(); *self.count.lock().unwrap()]),
            Some(Outage::Silent) => std::future::pending().await,
            Some(_) => Err(Error::unavailable("the API server is down")),
        }
    }
}

struct Workload(Arc<Pods>);

#[async_trait]
impl Harness for Workload {
    type Trigger = WorkloadTrigger;

    fn input(&self) -> TriggerInput {
        let metadata = [
            ("podSelector", "app=backend"),
            ("value", "1"),
            ("activationValue", "3"),
        ];
        TriggerInput {
            metadata: metadata
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            settings: TriggerSettings {
                namespace: "shop".into(),
                ..TriggerSettings::default()
            },
            ..TriggerInput::default()
        }
    }

    async fn set_value(&self, value: f64) {
        *self.0.count.lock().unwrap() = value as usize;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        *self.0.outage.lock().unwrap() = outage;
    }

    fn levels(&self) -> Levels {
        Levels::around(3.0)
    }

    fn context(&self) -> Context {
        Context::new().with(SharedPodCounter(self.0.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn it_conforms() {
    conformance::assert_conforms(&Workload(Arc::default())).await;
}
