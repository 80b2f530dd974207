//! `etcd` on etcd.

use std::time::Duration;

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{etcd::EtcdTrigger, http::HttpEnvironment};
use serde_json::{Value, json};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, base64, break_with, context, input, kind, start, start_with, value, with_auth,
        with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "etcd",
    server: "etcd",
};

/// Calls the gateway of a member.
async fn call(endpoint: &str, path: &str, token: Option<&str>, body: Value) -> Value {
    let mut request = reqwest::Client::new().post(format!("{endpoint}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let answer = request.body(body.to_string()).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{path}: {}",
        answer.text().await.unwrap()
    );
    answer.json().await.unwrap()
}

async fn put(endpoint: &str, token: Option<&str>, key: &str, value: &str) {
    let body = json!({"key": base64(key), "value": base64(value)});
    call(endpoint, "/v3/kv/put", token, body).await;
}

/// Turns authentication on, and gives a token of root and a user who may read.
async fn protect(endpoint: &str) -> String {
    for (path, body) in [
        ("/v3/auth/user/add", json!({"name": "root", "password": "root"})),
        ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
        ("/v3/auth/role/add", json!({"name": "reader"})),
        (
            "/v3/auth/role/grant",
            json!({"name": "reader", "perm": {"permType": "READ", "key": base64("orders")}}),
        ),
        (
            "/v3/auth/user/add",
            json!({"name": "scaler", "password": "hunter2hunter2"}),
        ),
        ("/v3/auth/user/grant", json!({"user": "scaler", "role": "reader"})),
        ("/v3/auth/enable", json!({})),
    ] {
        if path.ends_with("user/grant") && body["user"] == "root" {
            call(endpoint, "/v3/auth/role/add", None, json!({"name": "root"})).await;
        }
        call(endpoint, path, None, body).await;
    }
    let login = json!({"name": "root", "password": "root"});
    let answer = call(endpoint, "/v3/auth/authenticate", None, login).await;
    answer["token"].as_str().unwrap().to_owned()
}

/// A key behind a proxy.
struct Key {
    proxy: Proxy,
    endpoint: String,
    token: String,
    http: HttpEnvironment,
    input: TriggerInput,
}

impl Key {
    async fn of(server: &Server) -> Self {
        let endpoint = server.detail("endpoint").to_owned();
        let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
        let token = protect(&endpoint).await;
        let metadata = [
            ("endpoints", proxy.address()),
            ("watchKey", "orders"),
            ("value", "5"),
            ("activationValue", "10.5"),
        ];
        let input = input(
            &metadata,
            &[("username", "scaler"), ("password", "hunter2hunter2")],
        );
        Self {
            proxy,
            endpoint,
            token,
            http: HttpEnvironment::new(),
            input,
        }
    }
}

#[async_trait]
impl Harness for Key {
    type Trigger = EtcdTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2hunter2".to_owned()]
    }

    async fn set_value(&self, value: f64) {
        put(&self.endpoint, Some(&self.token), "orders", &value.to_string()).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(10.5)
    }

    fn context(&self) -> Context {
        let timeout = Duration::from_millis(1000);
        context().with_timeout(timeout).with(self.http.clone())
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input, &[("password", "wrong")]))
    }
}

#[tokio::test]
async fn a_key_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("etcd") else { return };
    let key = Key::of(&server).await;
    LIVE.conforms(&key).await;
    for (text, expected) in [
        ("4", (4.0, false)),
        ("10.5", (10.5, false)),
        ("50", (50.0, true)),
        ("0", (0.0, false)),
    ] {
        put(&key.endpoint, Some(&key.token), "orders", text).await;
        assert_eq!(value::<EtcdTrigger>(&key.input).await, expected, "{text}");
    }
    LIVE.passed("activation, scale out, drained");
    put(&key.endpoint, Some(&key.token), "orders", "many").await;
    assert_eq!(kind::<EtcdTrigger>(&key.input).await, ErrorKind::Invalid);
    let call = call(
        &key.endpoint,
        "/v3/kv/deleterange",
        Some(&key.token),
        json!({"key": base64("orders")}),
    );
    call.await;
    assert_eq!(kind::<EtcdTrigger>(&key.input).await, ErrorKind::NotFound);
    LIVE.passed("unknown key, and a value that is no number");
    let other = with_metadata(&key.input, &[("watchKey", "secrets")]);
    assert_eq!(kind::<EtcdTrigger>(&other).await, ErrorKind::Unauthorized);
    LIVE.passed("a key that the user may not read");
    key.set_value(3.0).await;
    let endpoints = format!("127.0.0.1:1,{}", key.proxy.address());
    let second = with_metadata(&key.input, &[("endpoints", &endpoints)]);
    assert_eq!(value::<EtcdTrigger>(&second).await.0, 3.0);
    LIVE.passed("another member where one is down");
    // A login is kept; the tokens of the server are not, when it is started anew.
    LIVE.survives_a_restart(&key, &mut server).await;
    LIVE.leaves_few_connections(&key, &key.proxy).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("etcd", &authority.options()) else {
        return;
    };
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let body = json!({"key": base64("orders"), "value": base64("7")});
    let request = client.post(format!("{}/v3/kv/put", server.detail("endpoint")));
    request.body(body.to_string()).send().await.unwrap();
    let endpoint = server.detail("endpoint").trim_start_matches("https://");
    let metadata = [("endpoints", endpoint), ("watchKey", "orders"), ("value", "5")];
    let input = input(&metadata, &[("tls", "enable")]);
    LIVE.checks_certificates::<EtcdTrigger>(&input, &authority).await;
}
