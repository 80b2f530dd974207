//! `metrics-api` on a real HTTP server.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{http::HttpEnvironment, metrics_api::MetricsApiTrigger};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, break_with, context, input, kind, start, start_with, value, with_auth, with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "metrics-api",
    server: "Python's HTTP server",
};

/// A file for one user behind a proxy.
struct Stats {
    proxy: Proxy,
    files: PathBuf,
    password: String,
    http: HttpEnvironment,
    input: TriggerInput,
}

impl Stats {
    async fn of(server: &Server) -> Self {
        let proxy = Proxy::start(server.detail("url").trim_start_matches("http://")).await;
        let password = server.detail("password").to_owned();
        let metadata = [
            ("url", format!("http://{}/private/stats", proxy.address())),
            ("valueLocation", "orders.pending".to_owned()),
            ("targetValue", "5".to_owned()),
            ("activationTargetValue", "20".to_owned()),
            ("authMode", "basic".to_owned()),
        ];
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let login = [
            ("username", server.detail("username")),
            ("password", password.as_str()),
        ];
        Self {
            files: PathBuf::from(server.detail("files")),
            input: input(&metadata, &login),
            http: HttpEnvironment::new(),
            password,
            proxy,
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.files.join("private/stats"), text).unwrap();
    }
}

#[async_trait]
impl Harness for Stats {
    type Trigger = MetricsApiTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.password.clone()]
    }

    async fn set_value(&self, value: f64) {
        self.write(&format!("{{\"orders\": {{\"pending\": {value}}}}}"));
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(20.0)
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
async fn a_file_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("http") else { return };
    let stats = Stats::of(&server).await;
    LIVE.conforms(&stats).await;
    for (format, location, text) in [
        ("json", "orders.pending", "{\"orders\": {\"pending\": N}}"),
        ("yaml", "orders.pending", "orders:\n  pending: N\n"),
        ("xml", "orders.pending", "<orders><pending>N</pending></orders>"),
        (
            "prometheus",
            "orders{state=\"pending\"}",
            "orders{state=\"pending\"} N\n",
        ),
    ] {
        let input = with_metadata(&stats.input, &[("format", format), ("valueLocation", location)]);
        for (number, expected) in [("10", (10.0, false)), ("50", (50.0, true)), ("4", (4.0, false))] {
            stats.write(&text.replace('N', number));
            assert_eq!(value::<MetricsApiTrigger>(&input).await, expected, "{format}");
        }
    }
    LIVE.passed("activation, scale out, drained, in every format");
    let url = format!("http://{}/private/nothing", stats.proxy.address());
    let nowhere = with_metadata(&stats.input, &[("url", &url)]);
    assert_eq!(kind::<MetricsApiTrigger>(&nowhere).await, ErrorKind::NotFound);
    stats.write("{\"orders\": 1}");
    assert_eq!(kind::<MetricsApiTrigger>(&stats.input).await, ErrorKind::Invalid);
    LIVE.passed("unknown path, and an answer without the number");
    stats.set_value(3.0).await;
    LIVE.survives_a_restart(&stats, &mut server).await;
    LIVE.leaves_few_connections(&stats, &stats.proxy).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("http", &authority.options()) else {
        return;
    };
    std::fs::write(PathBuf::from(server.detail("files")).join("stats"), "{\"n\": 1}").unwrap();
    let url = format!("{}/stats", server.detail("url"));
    let input = input(
        &[("url", &url), ("valueLocation", "n"), ("targetValue", "5")],
        &[],
    );
    LIVE.checks_certificates::<MetricsApiTrigger>(&input, &authority)
        .await;
}
