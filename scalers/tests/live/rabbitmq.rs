//! `rabbitmq` on RabbitMQ, by AMQP and by HTTP.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use scaler_api::{
    Context, ErrorKind, Scaler as _, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{http::HttpEnvironment, rabbitmq::RabbitmqTrigger};
use serde_json::{Value, json};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, break_with, connect, context, input, kind, sample, start, start_with, value,
        with_auth, with_metadata,
    },
};

const AMQP: Live = Live {
    trigger: "rabbitmq (amqp)",
    server: "rabbitmq",
};
const HTTP: Live = Live {
    trigger: "rabbitmq (http)",
    server: "rabbitmq",
};

/// The management API, as an operator uses it.
#[derive(Clone)]
struct Api {
    url: String,
    username: String,
    password: String,
}

impl Api {
    fn of(server: &Server) -> Self {
        Self {
            url: format!("{}api", server.detail("http")),
            username: server.detail("username").to_owned(),
            password: server.detail("password").to_owned(),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let request = reqwest::Client::new()
            .request(method, format!("{}{path}", self.url))
            .basic_auth(&self.username, Some(&self.password))
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap()
        );
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn declare(&self, vhost: &str, queue: &str) {
        let path = format!("/queues/{vhost}/{queue}");
        self.call(Method::PUT, &path, json!({"durable": true})).await;
    }

    async fn publish(&self, vhost: &str, queue: &str, count: usize) {
        let path = format!("/exchanges/{vhost}/amq.default/publish");
        let message =
            json!({"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"});
        for _ in 0..count {
            self.call(Method::POST, &path, message.clone()).await;
        }
    }

    /// Empties a queue, fills it, and waits until the statistics say so.
    async fn fill(&self, queue: &str, count: usize) {
        let path = format!("/queues/%2F/{queue}");
        self.call(Method::DELETE, &format!("{path}/contents"), json!(null))
            .await;
        self.publish("%2F", queue, count).await;
        for _ in 0..200 {
            let told = self.call(Method::GET, &path, json!(null)).await;
            if told["messages"].as_u64() == Some(count as u64) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the statistics of {queue} do not come to {count}");
    }
}

/// A queue behind a proxy.
struct Queue {
    proxy: Proxy,
    api: Api,
    http: HttpEnvironment,
    input: TriggerInput,
}

impl Queue {
    /// Behind the address that the server has by `protocol`.
    async fn of(server: &Server, protocol: &str) -> Self {
        let address = server.detail(protocol).trim_end_matches('/');
        let proxy = Proxy::start(address.rsplit_once('/').unwrap().1).await;
        let host = format!("{protocol}://{}/", proxy.address());
        let metadata = [
            ("host", host.as_str()),
            ("queueName", "orders"),
            ("mode", "QueueLength"),
            ("value", "10"),
            ("activationValue", "5"),
        ];
        let secrets = [
            ("username", server.detail("username")),
            ("password", server.detail("password")),
        ];
        Self {
            input: input(&metadata, &secrets),
            proxy,
            api: Api::of(server),
            http: HttpEnvironment::new(),
        }
    }
}

#[async_trait]
impl Harness for Queue {
    type Trigger = RabbitmqTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.input.authentication["password"].expose().to_owned()]
    }

    async fn set_value(&self, value: f64) {
        self.api.fill("orders", value as usize).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        let timeout = Duration::from_millis(1500);
        context().with_timeout(timeout).with(self.http.clone())
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input, &[("password", "wrong")]))
    }
}

#[tokio::test]
async fn a_queue_conforms_by_both_protocols_and_survives_a_restart() {
    let Some(mut server) = start("rabbitmq") else {
        return;
    };
    let (amqp, http) = (Queue::of(&server, "amqp").await, Queue::of(&server, "http").await);
    let api = Api::of(&server);
    api.declare("%2F", "orders").await;
    AMQP.conforms(&amqp).await;
    HTTP.conforms(&http).await;
    // The numbers of KEDA's own test.
    for (messages, active) in [(4, false), (100, true), (0, false)] {
        api.fill("orders", messages).await;
        for queue in [&amqp, &http] {
            assert_eq!(
                value::<RabbitmqTrigger>(&queue.input).await,
                (messages as f64, active)
            );
        }
    }
    for (queue, live) in [(&amqp, AMQP), (&http, HTTP)] {
        live.passed("activation, scale out, drained");
        let unknown = with_metadata(&queue.input, &[("queueName", "nowhere")]);
        assert_eq!(kind::<RabbitmqTrigger>(&unknown).await, ErrorKind::NotFound);
        live.passed("unknown queue");
        let unknown = with_metadata(&queue.input, &[("vhostName", "nowhere")]);
        let found = kind::<RabbitmqTrigger>(&unknown).await;
        assert!(
            matches!(found, ErrorKind::NotFound | ErrorKind::Unauthorized),
            "{found:?}"
        );
        live.passed("unknown virtual host");
    }
    AMQP.leaves_no_connection(&amqp, &amqp.proxy, 1).await;
    HTTP.leaves_few_connections(&http, &http.proxy).await;
    virtual_hosts_and_expressions(&amqp, &http, &api).await;
    let scaler = connect::<RabbitmqTrigger>(&http.input).await.unwrap();
    AMQP.survives_a_restart(&amqp, &mut server).await;
    for _ in 0..100 {
        if scaler.sample().await.is_ok() {
            return HTTP.passed("the server is restarted");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", scaler.sample().await);
}

async fn virtual_hosts_and_expressions(amqp: &Queue, http: &Queue, api: &Api) {
    api.call(Method::PUT, "/vhosts/shop%2F1", json!({})).await;
    let rights = json!({"configure": ".*", "write": ".*", "read": ".*"});
    let path = format!("/permissions/shop%2F1/{}", api.username);
    api.call(Method::PUT, &path, rights).await;
    api.declare("shop%2F1", "in%20b").await;
    api.publish("shop%2F1", "in b", 3).await;
    for queue in [amqp, http] {
        let of_key = with_metadata(&queue.input, &[("vhostName", "shop/1"), ("queueName", "in b")]);
        let host = format!("{}shop%2F1", queue.input.metadata["host"]);
        let of_host = with_metadata(&queue.input, &[("host", &host), ("queueName", "in b")]);
        for input in [of_key, of_host] {
            let mut found = None;
            for _ in 0..100 {
                found = sample::<RabbitmqTrigger>(&input)
                    .await
                    .ok()
                    .map(|sample| sample.values[0].value);
                if found == Some(3.0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(found, Some(3.0));
        }
    }
    AMQP.passed("virtual hosts");
    HTTP.passed("virtual hosts");
    for (queue, count) in [("part-1", 2), ("part-2", 5)] {
        api.declare("%2F", queue).await;
        api.fill(queue, count).await;
    }
    for (operation, expected) in [("sum", 7.0), ("avg", 3.0), ("max", 5.0)] {
        let metadata = [
            ("queueName", "^part-.$"),
            ("useRegex", "true"),
            ("operation", operation),
        ];
        let input = with_metadata(&http.input, &metadata);
        assert_eq!(value::<RabbitmqTrigger>(&input).await.0, expected, "{operation}");
    }
    HTTP.passed("an expression: sum, avg, max");
    for mode in [
        "MessageRate",
        "DeliverGetRate",
        "PublishedToDeliveredRatio",
        "ExpectedQueueConsumptionTime",
    ] {
        let input = with_metadata(&http.input, &[("mode", mode), ("queueName", "part-1")]);
        assert!(value::<RabbitmqTrigger>(&input).await.0.is_finite(), "{mode}");
    }
    let stuck = [("mode", "ExpectedQueueConsumptionTime"), ("queueName", "part-1")];
    assert_eq!(
        value::<RabbitmqTrigger>(&with_metadata(&http.input, &stuck)).await,
        (5.0, true)
    );
    HTTP.passed("modes of rates");
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("rabbitmq", &authority.options()) else {
        return;
    };
    Api::of(&server).declare("%2F", "orders").await;
    let metadata = [("host", server.detail("tls")), ("queueName", "orders")];
    let secrets = [
        ("username", server.detail("username")),
        ("password", server.detail("password")),
        ("tls", "enable"),
    ];
    AMQP.checks_certificates::<RabbitmqTrigger>(&input(&metadata, &secrets), &authority)
        .await;
}
