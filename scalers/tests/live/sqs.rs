//! `aws-sqs-queue` on ElasticMQ and on moto.
//!
//! ElasticMQ looks at no credentials, and moto when it is told to.

use std::process::Command;

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, PodIdentity, Scaler as _, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{aws::AwsEnvironment, sqs::SqsTrigger};
use serde_json::{Value, json};
use xtask::services::Server;

use super::{
    aws::{Control, checks_credentials},
    measure,
    proxy::Proxy,
    support::{Live, break_with, connect_in, context, input, start, with_auth, with_metadata},
};

const ELASTICMQ: Live = Live {
    trigger: "aws-sqs-queue",
    server: "elasticmq",
};
const MOTO: Live = Live {
    trigger: "aws-sqs-queue",
    server: "moto",
};

/// A queue behind a proxy.
struct Queue {
    control: Control,
    url: String,
    proxy: Proxy,
    context: Context,
    input: TriggerInput,
}

impl Queue {
    async fn of(server: &Server, account: &str) -> Self {
        let url = server.detail("url");
        let proxy = Proxy::start(url.trim_start_matches("http://")).await;
        let path = format!("{account}/orders");
        let endpoint = format!("http://{}", proxy.address());
        let metadata = [
            ("queueURL", format!("{endpoint}/{path}")),
            ("queueLength", "1".to_owned()),
            ("activationQueueLength", "5".to_owned()),
            ("awsRegion", "eu-west-1".to_owned()),
            ("awsEndpoint", endpoint),
        ];
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let keys = [
            ("awsAccessKeyID", "AKIASCALER"),
            ("awsSecretAccessKey", "hunter2hunter2"),
        ];
        let queue = Self {
            control: Control::new(url),
            url: format!("{url}/{path}"),
            context: context().with(AwsEnvironment::new()),
            input: input(&metadata, &keys),
            proxy,
        };
        queue.create().await;
        queue
    }

    async fn call(&self, operation: &str, body: Value) -> Value {
        let target = format!("AmazonSQS.{operation}");
        self.control.call("sqs", &target, body).await
    }

    async fn create(&self) {
        self.call("CreateQueue", json!({"QueueName": "orders"})).await;
    }

    async fn send(&self, count: usize, delay: usize) {
        for number in 0..count {
            let body = json!({
                "QueueUrl": self.url, "MessageBody": number.to_string(), "DelaySeconds": delay,
            });
            self.call("SendMessage", body).await;
        }
    }

    async fn value(&self, pairs: &[(&str, &str)]) -> (f64, bool) {
        let input = with_metadata(&self.input, pairs);
        let scaler = connect_in::<SqsTrigger>(&input, &self.context).await.unwrap();
        let sample = scaler.sample().await.unwrap();
        (sample.values[0].value, sample.active)
    }

    /// What counts, and the numbers of KEDA's own test (§9).
    async fn follows_the_rules(&self, live: Live) {
        for (messages, expected) in [(4.0, (4.0, false)), (10.0, (10.0, true)), (0.0, (0.0, false))] {
            self.set_value(messages).await;
            assert_eq!(self.value(&[]).await, expected, "{messages}");
        }
        live.passed("activation, scale out, drained");
        self.set_value(4.0).await;
        let body = json!({"QueueUrl": self.url, "MaxNumberOfMessages": 1, "VisibilityTimeout": 600});
        self.call("ReceiveMessage", body).await;
        self.send(2, 600).await;
        for (in_flight, delayed, expected) in [
            ("true", "false", 4.0),
            ("false", "false", 3.0),
            ("true", "true", 6.0),
            ("false", "true", 5.0),
        ] {
            let pairs = [("scaleOnInFlight", in_flight), ("scaleOnDelayed", delayed)];
            assert_eq!(self.value(&pairs).await.0, expected, "{pairs:?}");
        }
        live.passed("messages in flight and delayed");
        let url = self.input.metadata["queueURL"].replace("orders", "returns");
        let unknown = with_metadata(&self.input, &[("queueURL", &url)]);
        let scaler = connect_in::<SqsTrigger>(&unknown, &self.context).await.unwrap();
        assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::NotFound);
        live.passed("unknown queue");
        let token = with_auth(&self.input, &[("awsSessionToken", "t0ken")]);
        let scaler = connect_in::<SqsTrigger>(&token, &self.context).await.unwrap();
        scaler.sample().await.unwrap();
        live.passed("static keys, with and without a session token");
    }

    /// The servers keep their queues in memory.
    async fn survives_a_restart(&self, live: Live, server: &mut Server) {
        if measure::is_on() {
            return;
        }
        let scaler = connect_in::<SqsTrigger>(&self.input, &self.context)
            .await
            .unwrap();
        scaler.sample().await.unwrap();
        server.stop();
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        live.passed("the server is down");
        server.start_again().unwrap();
        assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::NotFound);
        self.create().await;
        scaler.sample().await.unwrap();
        live.passed("the server is restarted");
    }
}

#[async_trait]
impl Harness for Queue {
    type Trigger = SqsTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    async fn set_value(&self, value: f64) {
        self.call("DeleteQueue", json!({"QueueUrl": self.url})).await;
        self.create().await;
        self.send(value as usize, 0).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        self.context.clone()
    }
}

#[tokio::test]
async fn a_queue_of_elasticmq_conforms() {
    let Some(mut server) = start("elasticmq") else {
        return;
    };
    let queue = Queue::of(&server, "000000000000").await;
    ELASTICMQ.conforms(&queue).await;
    Box::pin(queue.follows_the_rules(ELASTICMQ)).await;
    Box::pin(ELASTICMQ.leaves_few_connections(&queue, &queue.proxy)).await;
    queue.survives_a_restart(ELASTICMQ, &mut server).await;
}

#[tokio::test]
async fn a_queue_of_moto_conforms() {
    let Some(mut server) = start("moto") else { return };
    let queue = Queue::of(&server, "123456789012").await;
    if measure::is_on() {
        return Box::pin(measure::run(&MOTO, &queue, &queue.proxy)).await;
    }
    MOTO.conforms(&queue).await;
    Box::pin(queue.follows_the_rules(MOTO)).await;
    let credentials = checks_credentials::<SqsTrigger>(MOTO, &queue.control, &queue.input, &queue.context);
    Box::pin(credentials).await;
    queue.survives_a_restart(MOTO, &mut server).await;
}

/// What the tests below tell the one that they run.
const URL: &str = "AUTOSCALER_TEST_SQS";
const ROLE: &str = "AUTOSCALER_TEST_ROLE";

/// Runs [`as_an_identity_of_the_environment`] in a process of its own, whose environment this cannot change here.
fn sample_in(server: &Server, role: &str, environment: &[(&str, &str)]) {
    let url = server.detail("url");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqs::as_an_identity_of_the_environment"])
        .env(URL, url)
        .env(ROLE, role)
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_WEB_IDENTITY_TOKEN_FILE")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{role} {environment:?}: {text}"
    );
}

#[tokio::test]
async fn as_an_identity_of_the_environment() {
    let (Ok(url), Ok(role)) = (std::env::var(URL), std::env::var(ROLE)) else {
        return;
    };
    let metadata = [
        ("queueURL", format!("{url}/123456789012/orders")),
        ("awsRegion", "eu-west-1".to_owned()),
        ("awsEndpoint", url),
    ];
    let metadata: Vec<_> = metadata
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut input = input(&metadata, &[]);
    input.settings.pod_identity = Some(PodIdentity {
        provider: "aws".to_owned(),
        role_arn: Some(role.clone()).filter(|role| !role.is_empty()),
        external_id: Some("shop-42".to_owned()),
        ..PodIdentity::default()
    });
    let scaler = connect_in::<SqsTrigger>(&input, &context()).await.unwrap();
    let sample = scaler.sample().await.unwrap();
    assert_eq!(sample.values[0].value, 3.0);
}

#[tokio::test]
async fn roles_are_taken_by_web_identity_or_assumed_and_the_default_chain_is_asked() {
    let Some(server) = start("moto") else { return };
    let queue = Queue::of(&server, "123456789012").await;
    queue.send(3, 0).await;
    let role = "arn:aws:iam::123456789012:role/reader";
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAOPERATOR"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];
    sample_in(&server, "", &keys);
    MOTO.passed("the default chain");
    sample_in(&server, role, &keys);
    MOTO.passed("a role that is assumed with an external id");
    // No keys: nothing but the token gives credentials.
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "service-account-token").unwrap();
    let web_identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap())];
    sample_in(&server, role, &web_identity);
    MOTO.passed("a role by web identity");
}
