//! `prometheus` on Prometheus, which scrapes a real server of files.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{http::HttpEnvironment, prometheus::PrometheusTrigger};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{Live, break_with, context, input, kind, sample, start, value, with_metadata},
};

const LIVE: Live = Live {
    trigger: "prometheus",
    server: "Prometheus",
};

const QUERY: &str = "sum(orders_pending{shop=\"north\"})";

/// Prometheus behind a proxy, and what it scrapes.
struct Orders {
    proxy: Proxy,
    direct: String,
    file: PathBuf,
    http: HttpEnvironment,
}

impl Orders {
    async fn of(server: &Server, files: &Server) -> Self {
        let url = server.detail("url");
        let orders = Self {
            proxy: Proxy::start(url.trim_start_matches("http://")).await,
            direct: url.to_owned(),
            file: PathBuf::from(files.detail("files")).join("metrics"),
            http: HttpEnvironment::new(),
        };
        orders.write(0.0);
        let target = files.detail("url").trim_start_matches("http://");
        let targets = format!("[{{\"targets\": [\"{target}\"]}}]");
        std::fs::write(server.detail("targets"), targets).unwrap();
        orders
    }

    fn write(&self, value: f64) {
        let text = format!("orders_pending{{shop=\"north\"}} {value}\norders_pending{{shop=\"south\"}} 1\n");
        std::fs::write(&self.file, text).unwrap();
    }

    fn query(&self, query: &str) -> TriggerInput {
        query_of(&format!("http://{}", self.proxy.address()), query)
    }
}

fn query_of(address: &str, query: &str) -> TriggerInput {
    let metadata = [
        ("serverAddress", address),
        ("query", query),
        ("threshold", "20"),
        ("activationThreshold", "20"),
    ];
    input(&metadata, &[])
}

#[async_trait]
impl Harness for Orders {
    type Trigger = PrometheusTrigger;

    fn input(&self) -> TriggerInput {
        self.query(QUERY)
    }

    /// Waits until it is scraped.
    async fn set_value(&self, value: f64) {
        self.write(value);
        let direct = with_metadata(&query_of(&self.direct, QUERY), &[("ignoreNullValues", "false")]);
        for _ in 0..400 {
            let taken = sample::<PrometheusTrigger>(&direct).await;
            if taken.is_ok_and(|taken| (taken.values[0].value - value).abs() < 1e-6) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{value} is not scraped");
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
}

#[tokio::test]
async fn a_query_conforms_and_survives_a_restart_without_leaving_connections() {
    let (Some(files), Some(mut server)) = (start("http"), start("prometheus")) else {
        return;
    };
    let orders = Orders::of(&server, &files).await;
    LIVE.conforms(&orders).await;
    for (pending, expected) in [(20.0, (20.0, false)), (100.0, (100.0, true)), (0.0, (0.0, false))] {
        orders.set_value(pending).await;
        assert_eq!(value::<PrometheusTrigger>(&orders.input()).await, expected);
    }
    LIVE.passed("activation, scale out, drained");
    assert_eq!(
        kind::<PrometheusTrigger>(&orders.query("orders_pending")).await,
        ErrorKind::Invalid,
        "two elements"
    );
    let nothing = orders.query("orders_nowhere");
    assert_eq!(value::<PrometheusTrigger>(&nothing).await, (0.0, false));
    let strict = with_metadata(&nothing, &[("ignoreNullValues", "false")]);
    assert_eq!(kind::<PrometheusTrigger>(&strict).await, ErrorKind::Invalid);
    LIVE.passed("several elements, and none");
    for (query, expected) in [
        ("vector(20.5)", (20.5, true)),
        ("-vector(3)", (-3.0, false)),
        ("vector(0)/0", (0.0, false)),
    ] {
        let found = value::<PrometheusTrigger>(&orders.query(query)).await;
        assert_eq!(found, expected, "{query}");
    }
    for query in ["sum(", "20", "\"text\""] {
        let found = kind::<PrometheusTrigger>(&orders.query(query)).await;
        assert_eq!(found, ErrorKind::Invalid, "{query}");
    }
    LIVE.passed("queries that are none, and results that are no vector");
    LIVE.survives_a_restart(&orders, &mut server).await;
    LIVE.leaves_few_connections(&orders, &orders.proxy).await;
}
