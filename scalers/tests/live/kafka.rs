//! `kafka` and `apache-kafka` on Apache Kafka.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, Scaler as _, Trigger, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::kafka::{ApacheKafkaTrigger, KafkaTrigger};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use xtask::services::Server;

use super::{
    kafka_admin::Admin,
    proxy::Proxy,
    support::{
        Authority, Live, break_with, connect, context, input, kind, sample, start_with, value, with_auth,
        with_metadata,
    },
};

const KAFKA: Live = Live {
    trigger: "kafka",
    server: "kafka",
};
const APACHE_KAFKA: Live = Live {
    trigger: "apache-kafka",
    server: "kafka",
};

/// A trigger on one of a server's listeners.
fn at(server: &Server, listener: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let servers = input(&[("bootstrapServers", server.detail(listener))], &[]);
    with_metadata(&servers, pairs)
}

async fn lag(server: &Server, pairs: &[(&str, &str)]) -> (f64, bool) {
    let input = at(server, "plain", pairs);
    let one = value::<KafkaTrigger>(&input).await;
    assert_eq!(one, value::<ApacheKafkaTrigger>(&input).await, "{pairs:?}");
    one
}

/// What passes for one of the two types passes for the other.
fn passed(case: &str) {
    KAFKA.passed(case);
    APACHE_KAFKA.passed(case);
}

/// keda.md §9: threshold 1, activation 1, three partitions.
async fn scales_with_the_lag(server: &Server, admin: &Admin) {
    let trigger = [
        ("topic", "orders"),
        ("consumerGroup", "packers"),
        ("lagThreshold", "1"),
        ("activationLagThreshold", "1"),
    ];
    admin.create("orders", 3).await;
    for partition in 0..3 {
        admin.commit("packers", "orders", partition, 0).await;
    }
    assert_eq!(lag(server, &trigger).await, (0.0, false));
    admin.produce("orders", 0, 1).await;
    assert_eq!(lag(server, &trigger).await, (1.0, false));
    admin.produce("orders", 1, 1).await;
    assert_eq!(lag(server, &trigger).await, (2.0, true));
    admin.produce("orders", 2, 5).await;
    assert_eq!(lag(server, &trigger).await, (3.0, true));
    passed("activation, scale out, never beyond the partitions");
    let idle = [&trigger[..], &[("allowIdleConsumers", "true")]].concat();
    assert_eq!(lag(server, &idle).await, (7.0, true));
    passed("idle consumers");
    let only = [&idle[..], &[("partitionLimitation", "0-1,17")]].concat();
    assert_eq!(lag(server, &only).await, (2.0, true));
    let none = [&idle[..], &[("partitionLimitation", "17")]].concat();
    let none = at(server, "plain", &none);
    assert_eq!(kind::<KafkaTrigger>(&none).await, ErrorKind::NotFound);
    passed("some of the partitions");
    for (partition, end) in [(0, 1), (1, 1), (2, 5)] {
        admin.commit("packers", "orders", partition, end).await;
    }
    assert_eq!(lag(server, &trigger).await, (0.0, false));
    passed("drained");
    admin.commit("packers", "orders", 0, 9).await;
    admin.commit("packers", "orders", 2, 3).await;
    assert_eq!(lag(server, &trigger).await, (2.0, true));
    passed("a group that is ahead of the end");
}

/// keda.md §9: policies, several topics, scaleToZeroOnInvalidOffset.
async fn follows_the_policy(server: &Server, admin: &Admin) {
    admin.create("policy", 2).await;
    admin.produce("policy", 0, 4).await;
    let trigger = |policy: &'static str, zero: &'static str| {
        [
            ("topic", "policy"),
            ("consumerGroup", "nobody-yet"),
            ("lagThreshold", "3"),
            ("offsetResetPolicy", policy),
            ("scaleToZeroOnInvalidOffset", zero),
        ]
    };
    for (policy, zero, expected) in [
        ("latest", "false", (2.0, true)),
        ("latest", "true", (0.0, false)),
        ("earliest", "false", (4.0, true)),
        ("earliest", "true", (0.0, false)),
    ] {
        let found = lag(server, &trigger(policy, zero)).await;
        assert_eq!(found, expected, "{policy} {zero}");
    }
    passed("each offsetResetPolicy, and scaleToZeroOnInvalidOffset");
    admin.commit("nobody-yet", "policy", 0, 1).await;
    for (policy, expected) in [("latest", 3.0 + 1.0), ("earliest", 3.0)] {
        let found = lag(server, &trigger(policy, "false")).await;
        assert_eq!(found.0, expected, "{policy}");
    }
    passed("a group that has committed to some of the partitions");
}

async fn takes_all_topics_of_the_group(server: &Server, admin: &Admin) {
    let trigger = [("consumerGroup", "all"), ("lagThreshold", "3")];
    assert_eq!(lag(server, &trigger).await, (0.0, false));
    passed("unknown group without a topic");
    admin.create("one", 1).await;
    admin.create("two", 2).await;
    admin.produce("one", 0, 4).await;
    admin.produce("two", 1, 2).await;
    admin.commit("all", "one", 0, 1).await;
    admin.commit("all", "two", 1, 0).await;
    // The partition of which nothing is committed counts as one.
    assert_eq!(lag(server, &trigger).await, (6.0, true));
    passed("no topic");
    let both = [&trigger[..], &[("topic", "one,two")]].concat();
    assert_eq!(lag(server, &both).await, (6.0, true));
    passed("two topics");
}

/// keda.md §9: limited to partitions with lag 1, then 2; even distribution of 10 partitions, lag 5 -> 5 and 8 -> 10.
async fn is_bounded(server: &Server, admin: &Admin) {
    admin.create("ten", 10).await;
    for partition in 0..10 {
        admin.commit("limited", "ten", partition, 0).await;
    }
    let trigger = [
        ("topic", "ten"),
        ("consumerGroup", "limited"),
        ("lagThreshold", "1"),
    ];
    let limited = [&trigger[..], &[("limitToPartitionsWithLag", "true")]].concat();
    let even = [&trigger[..], &[("ensureEvenDistributionOfPartitions", "true")]].concat();
    assert_eq!(lag(server, &even).await, (1.0, false));
    admin.produce("ten", 3, 5).await;
    assert_eq!(lag(server, &limited).await, (1.0, true));
    assert_eq!(lag(server, &even).await, (5.0, true));
    admin.produce("ten", 4, 3).await;
    assert_eq!(lag(server, &limited).await, (2.0, true));
    assert_eq!(lag(server, &even).await, (10.0, true));
    passed("limitToPartitionsWithLag");
    passed("ensureEvenDistributionOfPartitions");
}

/// keda.md §9: persistent lag keeps the one replica that is there, and asks for no other.
async fn leaves_persistent_lag_out(server: &Server, admin: &Admin) {
    admin.create("stuck", 1).await;
    admin.produce("stuck", 0, 5).await;
    admin.commit("stuck", "stuck", 0, 1).await;
    let trigger = [
        ("topic", "stuck"),
        ("consumerGroup", "stuck"),
        ("lagThreshold", "3"),
        ("excludePersistentLag", "true"),
    ];
    let scaler = connect::<KafkaTrigger>(&at(server, "plain", &trigger))
        .await
        .unwrap();
    let mut found = Vec::new();
    for committed in [1, 1, 3, 3] {
        admin.commit("stuck", "stuck", 0, committed).await;
        let sample = scaler.sample().await.unwrap();
        found.push((sample.values[0].value, sample.active));
    }
    assert_eq!(found, [(4.0, true), (0.0, true), (2.0, true), (0.0, true)]);
    passed("persistent lag");
}

async fn tells_what_is_not_there(server: &Server, admin: &Admin) {
    let trigger = at(
        server,
        "plain",
        &[("topic", "nowhere"), ("consumerGroup", "packers")],
    );
    for _ in 0..2 {
        let error = sample::<KafkaTrigger>(&trigger).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("topic=nowhere"), "{error}");
        assert_eq!(kind::<ApacheKafkaTrigger>(&trigger).await, ErrorKind::NotFound);
    }
    assert_eq!(
        admin.try_create("nowhere", 1).await,
        0,
        "asking for a topic must not make it"
    );
    passed("unknown topic");
    let nobody = [("topic", "orders"), ("consumerGroup", "nobody")];
    assert_eq!(lag(server, &nobody).await, (3.0, true));
    passed("unknown group");
    let down = with_metadata(&trigger, &[("bootstrapServers", "127.0.0.1:1")]);
    assert_eq!(kind::<KafkaTrigger>(&down).await, ErrorKind::Unavailable);
    let second = format!("127.0.0.1:1,{}", server.detail("plain"));
    let second = [&nobody[..], &[("bootstrapServers", &second)]].concat();
    assert_eq!(lag(server, &second).await, (3.0, true));
    passed("another server where one is down");
}

/// An authorization server that gives out tokens which nobody signed, and keeps what it was asked.
async fn token_endpoint(token: &'static Mutex<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let mut request = String::new();
            while !request.contains("grant_type") {
                let read = stream.read(&mut buffer).await.unwrap();
                request += std::str::from_utf8(&buffer[..read]).unwrap();
            }
            requests.lock().unwrap().push(request);
            let body = format!(
                "{{\"access_token\":\"{}\",\"expires_in\":3600}}",
                token.lock().unwrap()
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn unsigned(expires: i64) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = format!("{{\"sub\":\"scaler\",\"iat\":1000000000,\"exp\":{expires}}}");
    format!("{}.{}.", encode("{\"alg\":\"none\"}".to_owned()), encode(claims))
}

async fn logs_in(server: &Server, listener: &str, more: &[(&str, &str)]) {
    let trigger = [("topic", "orders"), ("consumerGroup", "nobody")];
    let login = [
        ("username", server.detail("username")),
        ("password", server.detail("password")),
    ];
    let base = with_auth(&at(server, listener, &trigger), more);
    let right = with_auth(&base, &login);
    for (sasl, name) in [
        ("plaintext", "PLAIN"),
        ("scram_sha256", "SCRAM-SHA-256"),
        ("scram_sha512", "SCRAM-SHA-512"),
    ] {
        let right = with_metadata(&right, &[("sasl", sasl)]);
        assert_eq!(value::<KafkaTrigger>(&right).await, (3.0, true), "{sasl}");
        assert_eq!(value::<ApacheKafkaTrigger>(&right).await, (3.0, true), "{sasl}");
        for wrong in [("password", "hunter2"), ("username", "nobody")] {
            let wrong = with_auth(&right, &[wrong]);
            let error = sample::<KafkaTrigger>(&wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{sasl}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        passed(&format!("{name} on {listener}, and the wrong password"));
    }
    assert_eq!(kind::<KafkaTrigger>(&base).await, ErrorKind::Unavailable);
    passed(&format!("no login on {listener}"));
}

async fn logs_in_with_a_token(server: &Server) {
    static TOKEN: Mutex<String> = Mutex::new(String::new());
    let (url, asked) = token_endpoint(&TOKEN).await;
    let trigger = [
        ("topic", "orders"),
        ("consumerGroup", "nobody"),
        ("sasl", "oauthbearer"),
    ];
    let login = [
        ("username", "client"),
        ("password", "hunter2"),
        ("oauthTokenEndpointUri", &url),
        ("scopes", "one,two"),
        ("oauthExtensions", "cluster=c1,pool=p"),
    ];
    let input = with_auth(&at(server, "sasl", &trigger), &login);
    let scaler = connect::<KafkaTrigger>(&input).await.unwrap();
    *TOKEN.lock().unwrap() = unsigned(1_000_000_001);
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    passed("OAUTHBEARER with a token that has expired");
    // A token that was refused is not used again.
    *TOKEN.lock().unwrap() = unsigned(4_000_000_000);
    for _ in 0..2 {
        assert_eq!(scaler.sample().await.unwrap().values[0].value, 3.0);
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].contains("scope=one+two"), "{}", asked[1]);
    let basic = format!("Basic {}", super::support::base64("client:hunter2"));
    assert!(asked[1].contains(&basic), "{}", asked[1]);
    passed("OAUTHBEARER");
}

/// A group behind a proxy, which the broker says to be itself.
struct Group<'a, T> {
    server: &'a Server,
    proxy: &'a Proxy,
    admin: &'a Admin,
    trigger: PhantomData<T>,
}

#[async_trait]
impl<T: Trigger> Harness for Group<'_, T> {
    type Trigger = T;

    fn input(&self) -> TriggerInput {
        let trigger = [
            ("bootstrapServers", self.proxy.address()),
            ("topic", "conformance"),
            ("consumerGroup", "conformance"),
            ("activationLagThreshold", "5"),
            ("sasl", "scram_sha256"),
        ];
        let login = [
            ("username", self.server.detail("username")),
            ("password", self.server.detail("password")),
        ];
        input(&trigger, &login)
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server.detail("password").to_owned()]
    }

    async fn set_value(&self, value: f64) {
        #[allow(clippy::cast_possible_truncation, reason = "these are small")]
        let committed = 100 - value as i64;
        self.admin
            .commit("conformance", "conformance", 0, committed)
            .await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        context()
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input(), &[("password", "wrong")]))
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.proxy.open())
    }
}

async fn conforms<T: Trigger>(live: Live, server: &Server, proxy: &Proxy, admin: &Admin) {
    let group = Group::<T> {
        server,
        proxy,
        admin,
        trigger: PhantomData,
    };
    live.conforms(&group).await;
    live.leaves_no_connection(&group, proxy, 1).await;
}

async fn checks_certificates(server: &Server, authority: &Authority) {
    let trigger = [
        ("topic", "orders"),
        ("consumerGroup", "nobody"),
        ("tls", "enable"),
    ];
    let input = at(server, "tls", &trigger);
    KAFKA.checks_certificates::<KafkaTrigger>(&input, authority).await;
    APACHE_KAFKA
        .checks_certificates::<ApacheKafkaTrigger>(&input, authority)
        .await;
    let mutual = with_auth(
        &at(server, "mutual-tls", &trigger),
        &[("ca", &authority.certificate)],
    );
    assert_eq!(kind::<KafkaTrigger>(&mutual).await, ErrorKind::Unavailable);
    let (cert, key) = &authority.server;
    let known = with_auth(&mutual, &[("cert", cert), ("key", key)]);
    assert_eq!(value::<KafkaTrigger>(&known).await, (3.0, true));
    passed("a client's certificate, and none");
    let plain = with_metadata(&input, &[("tls", "disable")]);
    let error = sample::<KafkaTrigger>(&plain).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("expected tls: enable"), "{error}");
    passed("no TLS where the broker wants it");
}

/// One broker for everything, since it takes long to start; what stops it comes last.
#[tokio::test]
async fn a_broker_conforms_and_tells_every_lag_in_every_way() {
    let authority = Authority::new();
    let Some(mut server) = start_with("kafka", &authority.options()) else {
        return;
    };
    let admin = Admin::new(server.detail("plain"));
    scales_with_the_lag(&server, &admin).await;
    follows_the_policy(&server, &admin).await;
    takes_all_topics_of_the_group(&server, &admin).await;
    is_bounded(&server, &admin).await;
    leaves_persistent_lag_out(&server, &admin).await;
    tells_what_is_not_there(&server, &admin).await;
    logs_in(&server, "sasl", &[]).await;
    let tls = [("tls", "enable"), ("ca", &*authority.certificate)];
    logs_in(&server, "sasl-tls", &tls).await;
    logs_in_with_a_token(&server).await;
    checks_certificates(&server, &authority).await;
    admin.create("conformance", 1).await;
    admin.produce("conformance", 0, 100).await;
    let proxy = Proxy::start_at(server.detail("proxy"), server.detail("proxied")).await;
    conforms::<KafkaTrigger>(KAFKA, &server, &proxy, &admin).await;
    conforms::<ApacheKafkaTrigger>(APACHE_KAFKA, &server, &proxy, &admin).await;
    hangs_and_restarts(&mut server).await;
}

async fn hangs_and_restarts(server: &mut Server) {
    let trigger = [("topic", "orders"), ("consumerGroup", "packers")];
    let scaler = connect::<KafkaTrigger>(&at(server, "plain", &trigger))
        .await
        .unwrap();
    scaler.sample().await.unwrap();
    server.hold();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Timeout);
    server.release();
    scaler.sample().await.unwrap();
    passed("the server hangs");
    server.stop();
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    passed("the server is down");
    server.start_again().unwrap();
    let mut sample = scaler.sample().await;
    // The broker reads the offsets of its groups when it listens already.
    for _ in 0..1000 {
        match &sample {
            Err(error) => assert!(error.is_transient(), "{error}"),
            Ok(_) => break,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        sample = scaler.sample().await;
    }
    assert_eq!(sample.unwrap().values[0].value, 2.0);
    passed("the server is restarted");
}
