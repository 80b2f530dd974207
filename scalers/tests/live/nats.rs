//! `nats-jetstream` on NATS.

use std::time::Duration;

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{http::HttpEnvironment, nats_jetstream::NatsJetStreamTrigger};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::Mutex,
};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{Authority, Live, break_with, context, input, kind, start, start_with, value, with_metadata},
};

const LIVE: Live = Live {
    trigger: "nats-jetstream",
    server: "nats",
};

/// As much of NATS's protocol as a test needs.
struct Nats(BufReader<TcpStream>);

impl Nats {
    async fn connect(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.detail("address")).await.unwrap();
        let login = json!({
            "verbose": false, "user": server.detail("username"), "pass": server.detail("password"), "headers": true,
        });
        let hello = format!("CONNECT {login}\r\nSUB inbox 1\r\n");
        stream.write_all(hello.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request, and waits for its answer.
    async fn request(&mut self, subject: &str, body: &str) -> Value {
        let message = format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len());
        self.0.write_all(message.as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line.starts_with("PING") {
                self.0.write_all(b"PONG\r\n").await.unwrap();
            }
            if let Some(rest) = line.strip_prefix("MSG ") {
                let length: usize = rest.split_whitespace().next_back().unwrap().parse().unwrap();
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes).await.unwrap();
                let answer: Value = serde_json::from_slice(&bytes[..length]).unwrap();
                assert!(answer["error"].is_null(), "{subject}: {answer}");
                return answer;
            }
        }
    }

    async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.request("orders", "x").await;
        }
    }
}

/// A stream behind a proxy of its server's monitoring.
struct Stream {
    proxy: Proxy,
    control: Mutex<Nats>,
    http: HttpEnvironment,
    input: TriggerInput,
}

impl Stream {
    async fn of(server: &Server) -> Self {
        let proxy = Proxy::start(server.detail("monitoring")).await;
        let mut nats = Nats::connect(server).await;
        let stream = json!({"name": "orders", "subjects": ["orders"]}).to_string();
        nats.request("$JS.API.STREAM.CREATE.orders", &stream).await;
        let consumer = json!({
            "stream_name": "orders", "config": {"durable_name": "packers", "ack_policy": "explicit"},
        });
        let subject = "$JS.API.CONSUMER.DURABLE.CREATE.orders.packers";
        nats.request(subject, &consumer.to_string()).await;
        let metadata = [
            ("natsServerMonitoringEndpoint", proxy.address()),
            ("account", server.detail("account")),
            ("stream", "orders"),
            ("consumer", "packers"),
            ("activationLagThreshold", "15"),
        ];
        Self {
            input: input(&metadata, &[]),
            proxy,
            control: Mutex::new(nats),
            http: HttpEnvironment::new(),
        }
    }
}

#[async_trait]
impl Harness for Stream {
    type Trigger = NatsJetStreamTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    async fn set_value(&self, value: f64) {
        let mut nats = self.control.lock().await;
        nats.request("$JS.API.STREAM.PURGE.orders", "").await;
        nats.publish(value as usize).await;
        // The consumer hears of messages a little after the stream.
        for _ in 0..100 {
            let consumer = nats.request("$JS.API.CONSUMER.INFO.orders.packers", "").await;
            if consumer["num_pending"].as_f64() == Some(value) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the consumer does not hear of the messages");
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(15.0)
    }

    fn context(&self) -> Context {
        let timeout = Duration::from_millis(1000);
        context().with_timeout(timeout).with(self.http.clone())
    }
}

#[tokio::test]
async fn a_stream_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("nats") else { return };
    let stream = Stream::of(&server).await;
    LIVE.conforms(&stream).await;
    for (messages, active) in [(10, false), (15, false), (50, true), (0, false)] {
        stream.set_value(f64::from(messages)).await;
        assert_eq!(
            value::<NatsJetStreamTrigger>(&stream.input).await,
            (f64::from(messages), active)
        );
    }
    LIVE.passed("activation, scale out, drained");
    stream.set_value(3.0).await;
    let mut nats = stream.control.lock().await;
    let message = "PUB $JS.API.CONSUMER.MSG.NEXT.orders.packers elsewhere 0\r\n\r\n";
    nats.0.write_all(message.as_bytes()).await.unwrap();
    nats.request("$JS.API.INFO", "").await;
    drop(nats);
    assert_eq!(
        value::<NatsJetStreamTrigger>(&stream.input).await.0,
        3.0,
        "given, but not acknowledged"
    );
    LIVE.passed("messages that are not acknowledged");
    for (key, name) in [
        ("stream", "nowhere"),
        ("account", "OTHER"),
        ("consumer", "nobody"),
    ] {
        let unknown = with_metadata(&stream.input, &[(key, name)]);
        let found = kind::<NatsJetStreamTrigger>(&unknown).await;
        assert_eq!(found, ErrorKind::NotFound, "{key}");
    }
    LIVE.passed("unknown stream, account, consumer");
    LIVE.survives_a_restart(&stream, &mut server).await;
    LIVE.leaves_few_connections(&stream, &stream.proxy).await;
}

#[tokio::test]
async fn a_certificate_of_nobody_is_refused() {
    let Some(server) = start_with("nats", &Authority::new().options()) else {
        return;
    };
    let metadata = [
        ("natsServerMonitoringEndpoint", server.detail("monitoring")),
        ("account", server.detail("account")),
        ("stream", "orders"),
        ("consumer", "packers"),
        ("useHttps", "true"),
    ];
    assert_eq!(
        kind::<NatsJetStreamTrigger>(&input(&metadata, &[])).await,
        ErrorKind::Unavailable
    );
    LIVE.passed("TLS with the wrong CA");
}
