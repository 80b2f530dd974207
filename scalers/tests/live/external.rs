//! `external` and `external-push` on a scaler in Go with KEDA's own code of the protocol, and that code against our server.

use std::{process::Command, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt as _;
use scaler_api::{
    Context, ErrorKind, MetricTarget, Quantity, Registry, Scaler as _, Trigger as _, TriggerInput,
    conformance::{Harness, Levels, Outage},
    metadata,
};
use scalers::external::{ExternalEnvironment, ExternalTrigger, server::ExternalServer};
use serde_json::Value;
use xtask::services::Server;

use super::{
    proxy::{Mode, Proxy},
    support::{
        Authority, Live, break_with, connect, context, input, kind, start, start_with, value, with_auth,
        with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "external",
    server: "Go with KEDA's protocol",
};
const PUSH: Live = Live {
    trigger: "external-push",
    server: "Go with KEDA's protocol",
};

/// Steers the scaler, and tells what it was asked last.
async fn steer(control: &str, query: &str) -> Value {
    let answer = reqwest::get(format!("{control}?{query}")).await.unwrap();
    answer.json().await.unwrap()
}

/// A scaler in Go behind a proxy.
struct Warehouse<const PUSHES: bool> {
    proxy: Proxy,
    control: String,
    environment: ExternalEnvironment,
    input: TriggerInput,
}

impl<const PUSHES: bool> Warehouse<PUSHES> {
    async fn of(server: &Server) -> Self {
        let proxy = Proxy::start(server.detail("address")).await;
        let metadata = [
            ("scalerAddress", proxy.address()),
            ("queue", "orders"),
            ("activation", "10"),
            ("passwordFromEnv", "PASSWORD"),
        ];
        let mut input = input(&metadata, &[]);
        input
            .environment
            .insert("PASSWORD".into(), "hunter2hunter2".into());
        input.settings.namespace = "shop".into();
        input.settings.name = "worker".into();
        Self {
            control: server.detail("control").to_owned(),
            environment: ExternalEnvironment::new(),
            input,
            proxy,
        }
    }
}

#[async_trait]
impl<const PUSHES: bool> Harness for Warehouse<PUSHES> {
    type Trigger = ExternalTrigger<PUSHES>;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2hunter2".to_owned()]
    }

    async fn set_value(&self, value: f64) {
        steer(&self.control, &format!("value={value}")).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(10.0)
    }

    fn context(&self) -> Context {
        let timeout = Duration::from_millis(1000);
        context().with_timeout(timeout).with(self.environment.clone())
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        let mut input = self.input.clone();
        input.environment.insert("PASSWORD".into(), "wrong".into());
        Some(input)
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.environment.connections())
    }

    async fn push_activation(&self) -> bool {
        while steer(&self.control, "").await["streams"] == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        steer(&self.control, "push=true").await;
        true
    }
}

#[tokio::test]
async fn external_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("external-scaler") else {
        return;
    };
    let warehouse = Warehouse::<false>::of(&server).await;
    LIVE.conforms(&warehouse).await;
    for (set, expected) in [
        ("value=10", (10.0, false)),
        ("value=25", (25.0, true)),
        ("value=6.111", (6.111, false)),
        ("value=12&old=true", (12.0, true)),
        ("value=0&old=false", (0.0, false)),
    ] {
        steer(&warehouse.control, set).await;
        assert_eq!(
            value::<ExternalTrigger>(&warehouse.input).await,
            expected,
            "{set}"
        );
    }
    LIVE.passed("activation, scale out, drained");
    let asked = steer(&warehouse.control, "").await;
    assert_eq!(asked["metric"], "orders", "without the trigger's place");
    assert_eq!(asked["last"]["name"], "worker");
    assert_eq!(asked["last"]["namespace"], "shop");
    let passed = &asked["last"]["scalerMetadata"];
    assert_eq!(passed["queue"], "orders");
    assert_eq!(passed["passwordFromEnv"], "hunter2hunter2");
    LIVE.passed("metadata is passed on");
    let unknown = with_metadata(&warehouse.input, &[("queue", "unknown")]);
    assert_eq!(kind::<ExternalTrigger>(&unknown).await, ErrorKind::NotFound);
    for (code, expected) in [(2, ErrorKind::Unavailable), (8, ErrorKind::Throttled)] {
        steer(&warehouse.control, &format!("refuse={code}")).await;
        assert_eq!(kind::<ExternalTrigger>(&warehouse.input).await, expected);
    }
    steer(&warehouse.control, "refuse=0").await;
    LIVE.passed("unknown queue, and what the scaler refuses");
    LIVE.survives_a_restart(&warehouse, &mut server).await;
    LIVE.leaves_no_connection(&warehouse, &warehouse.proxy, 1).await;
}

#[tokio::test]
async fn targets_are_the_scalers_and_outlive_it() {
    let Some(mut server) = start("external-scaler") else {
        return;
    };
    let warehouse = Warehouse::<false>::of(&server).await;
    let (trigger, _) = metadata::parse::<ExternalTrigger>(&warehouse.input).unwrap();
    for (set, millis) in [
        ("target=10", 10_000),
        ("target=2.5", 2500),
        ("target=7&old=true", 7000),
    ] {
        steer(&warehouse.control, set).await;
        let metrics = trigger.discover(&warehouse.context()).await.unwrap();
        let target = MetricTarget::AverageValue(Quantity::from_millis(millis));
        assert_eq!(*metrics[0].target(), target, "{set}");
        assert_eq!(metrics[0].external_name(), Some("orders"));
    }
    server.stop();
    let metrics = trigger.discover(&warehouse.context()).await.unwrap();
    assert_eq!(metrics.len(), 1);
    LIVE.passed("metrics outlive the scaler");
}

#[tokio::test]
async fn external_push_conforms_and_a_stream_that_breaks_is_told() {
    let Some(server) = start("external-scaler") else {
        return;
    };
    let warehouse = Warehouse::<true>::of(&server).await;
    PUSH.conforms(&warehouse).await;
    let scaler = connect::<ExternalTrigger<true>>(&warehouse.input).await.unwrap();
    let push = scaler.push().unwrap();
    let mut activations = push.activations();
    for active in [true, false, true] {
        let pushing = async {
            warehouse.push_activation().await;
            if !active {
                steer(&warehouse.control, "push=false").await;
            }
        };
        let (heard, ()) = tokio::join!(activations.next(), pushing);
        assert!(heard.unwrap().unwrap(), "true comes first each time");
        if !active {
            assert!(!activations.next().await.unwrap().unwrap());
        }
    }
    warehouse.proxy.set(Mode::Refuse);
    let broken = activations.next().await.unwrap().unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::Unavailable, "{broken}");
    assert!(activations.next().await.is_none());
    drop(activations);
    warehouse.proxy.set(Mode::Forward);
    let mut again = push.activations();
    let (heard, _) = tokio::join!(again.next(), warehouse.push_activation());
    assert!(heard.unwrap().unwrap());
    PUSH.passed("a stream that breaks is told, and opened anew");
    drop(again);
    drop(scaler);
    PUSH.leaves_no_connection(&warehouse, &warehouse.proxy, 1).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("external-scaler", &authority.options()) else {
        return;
    };
    steer(server.detail("control"), "value=7").await;
    let plain = input(&[("scalerAddress", server.detail("address"))], &[]);
    assert_eq!(
        kind::<ExternalTrigger>(&plain).await,
        ErrorKind::Unavailable,
        "no TLS where it is asked for"
    );
    let system = with_metadata(&plain, &[("enableTLS", "true")]);
    assert_eq!(
        kind::<ExternalTrigger>(&system).await,
        ErrorKind::Unavailable,
        "nobody knows the authority"
    );
    let careless = with_metadata(&system, &[("unsafeSsl", "true")]);
    assert_eq!(value::<ExternalTrigger>(&careless).await.0, 7.0);
    let right = with_auth(&plain, &[("caCert", &authority.certificate)]);
    assert_eq!(value::<ExternalTrigger>(&right).await.0, 7.0);
    LIVE.passed("TLS");
    let wrong = with_auth(&plain, &[("caCert", &Authority::new().certificate)]);
    assert_eq!(kind::<ExternalTrigger>(&wrong).await, ErrorKind::Unavailable);
    LIVE.passed("TLS with the wrong CA");
}

/// Serves every scaler of this crate on loopback; `cron` is always on here.
async fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> String {
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = ExternalServer::new(registry, context());
    tokio::spawn(server.serve(listener, tls, std::future::pending()));
    address
}

/// What KEDA's code makes of it.
async fn call(program: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(program);
    command.args(arguments).arg("call");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[tokio::test]
async fn kedas_code_reads_our_scalers() {
    let Some(server) = start("external-scaler") else {
        return;
    };
    let program = server.detail("program");
    let window = "triggerType=cron,timezone=UTC,start=0 0 * * *,end=59 23 * * *,desiredReplicas=4";
    let address = serve(None).await;
    let answer = call(program, &["-address", &address, "-metadata", window])
        .await
        .unwrap();
    assert_eq!(answer["name"], "cron-UTC-00xxx-5923xxx");
    assert_eq!((&answer["target"], &answer["oldTarget"]), (&1.into(), &1.into()));
    // All day but for its last minute.
    if answer["active"] == true {
        assert_eq!((&answer["value"], &answer["oldValue"]), (&4.into(), &4.into()));
        assert_eq!(answer["pushed"], true);
    }
    for (arguments, expected) in [
        (["-metadata", "triggerType=cron"], "missing required parameter"),
        (["-metadata", "timezone=UTC"], "triggerType"),
    ] {
        let mut all = vec!["-address", &address];
        all.extend(arguments);
        let error = call(program, &all).await.unwrap_err();
        assert!(
            error.contains("InvalidArgument") && error.contains(expected),
            "{error}"
        );
    }
    let other = ["-address", &address, "-metadata", window, "-metric", "other"];
    let error = call(program, &other).await.unwrap_err();
    assert!(error.contains("NotFound"), "{error}");
    LIVE.passed("KEDA's code reads our scalers");
    let authority = Authority::new();
    let address = serve(Some(authority.server_config())).await;
    let trusted = server.folder().join("trusted.pem");
    std::fs::write(&trusted, &authority.certificate).unwrap();
    let trusted = trusted.display().to_string();
    let arguments = ["-address", &address, "-metadata", window];
    let answer = call(program, &[&arguments[..], &["-certificate", &trusted]].concat()).await;
    assert_eq!(answer.unwrap()["name"], "cron-UTC-00xxx-5923xxx");
    std::fs::write(&trusted, &Authority::new().certificate).unwrap();
    let error = call(program, &[&arguments[..], &["-certificate", &trusted]].concat()).await;
    assert!(error.unwrap_err().contains("certificate"));
    LIVE.passed("KEDA's code reads our scalers over TLS");
}
