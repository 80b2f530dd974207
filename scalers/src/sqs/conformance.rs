//! The suite that every scaler passes, over the in-memory endpoint in virtual time.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use scaler_api::{
    Context, Secret, TokioClock, TriggerInput,
    conformance::{self, Harness, Levels},
};

use super::{
    SqsTrigger,
    fake::{FakeSqs, Outage},
};
use crate::aws::AwsEnvironment;

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";

struct Queue {
    sqs: FakeSqs,
    context: Context,
}

fn input(access_key: &str) -> TriggerInput {
    let metadata = [
        ("queueURL", URL),
        ("awsRegion", "eu-west-1"),
        ("activationQueueLength", "5"),
    ];
    let keys = [
        ("awsAccessKeyID", access_key),
        ("awsSecretAccessKey", "hunter2hunter2"),
        ("awsSessionToken", "t0ken"),
    ];
    TriggerInput {
        metadata: metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        authentication: BTreeMap::from(keys.map(|(key, value)| (key.to_owned(), Secret::new(value)))),
        ..TriggerInput::default()
    }
}

#[async_trait]
impl Harness for Queue {
    type Trigger = SqsTrigger;

    fn input(&self) -> TriggerInput {
        input("AKIAGOOD")
    }

    async fn set_value(&self, value: f64) {
        // Half of it in flight: both are counted.
        let visible = (value / 2.0).ceil();
        self.sqs
            .set_depth(URL, visible as u64, (value - visible) as u64, 99);
    }

    async fn set_outage(&self, outage: Option<conformance::Outage>) {
        let outage = outage.map(|outage| match outage {
            conformance::Outage::Silent => Outage::Hang,
            _ => Outage::Unreachable,
        });
        self.sqs.set_outage(Some(URL), outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        self.context.clone()
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(input("AKIAWRONG"))
    }
}

#[tokio::test(start_paused = true)]
async fn it_conforms() {
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    let sqs = FakeSqs::new(7, start);
    sqs.allow_only_access_keys(["AKIAGOOD"]);
    let clock = Arc::new(TokioClock::starting_at(start));
    let context = Context::new().with(AwsEnvironment::in_memory(sqs.clone(), clock));
    conformance::assert_conforms(&Queue { sqs, context }).await;
}
