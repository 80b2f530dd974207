//! `elasticsearch` on Elasticsearch.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{elasticsearch::ElasticsearchTrigger, http::HttpEnvironment};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{Live, break_with, context, input, kind, start, value, with_auth, with_metadata},
};

const LIVE: Live = Live {
    trigger: "elasticsearch",
    server: "Elasticsearch",
};

/// An index behind a proxy; what counts in it is one document's number, or how many documents are open.
struct Index {
    proxy: Proxy,
    url: String,
    login: (String, String),
    http: HttpEnvironment,
    input: TriggerInput,
    /// How many documents there are.
    documents: Mutex<usize>,
}

impl Index {
    async fn of(server: &Server) -> Self {
        let url = server.detail("url").to_owned();
        let login = (
            server.detail("username").to_owned(),
            server.detail("password").to_owned(),
        );
        let proxy = Proxy::start(url.trim_start_matches("http://")).await;
        let metadata = [
            ("addresses", format!("http://{}", proxy.address())),
            ("index", "orders".to_owned()),
            (
                "query",
                r#"{"size": 0, "aggs": {"open": {"sum": {"field": "open"}}}}"#.to_owned(),
            ),
            ("valueLocation", "aggregations.open.value".to_owned()),
            ("targetValue", "1".to_owned()),
            ("activationTargetValue", "4.5".to_owned()),
        ];
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let input = input(
            &metadata,
            &[("username", login.0.as_str()), ("password", login.1.as_str())],
        );
        let index = Self {
            proxy,
            url,
            login,
            http: HttpEnvironment::new(),
            input,
            documents: Mutex::default(),
        };
        let mapping = json!({
            "settings": {"number_of_replicas": 0},
            "mappings": {"properties": {"open": {"type": "double"}, "state": {"type": "keyword"}}}
        });
        index.call(Method::PUT, "orders", mapping).await;
        let template = json!({"script": {"lang": "mustache", "source": {
            "size": 0, "query": {"term": {"state": "{{state}}"}}
        }}});
        index.call(Method::PUT, "_scripts/by-state", template).await;
        index
    }

    async fn call(&self, method: Method, path: &str, body: Value) {
        let request = reqwest::Client::new()
            .request(method, format!("{}/{path}", self.url))
            .basic_auth(&self.login.0, Some(&self.login.1));
        let request = match body.is_null() {
            true => request,
            false => request.json(&body),
        };
        let answer = request.send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap()
        );
    }

    /// Makes it so many documents of the state `open`.
    async fn set_documents(&self, wanted: usize) {
        let mut documents = self.documents.lock().await;
        while *documents < wanted {
            *documents += 1;
            let path = format!("orders/_doc/{}?refresh=true", *documents);
            self.call(Method::PUT, &path, json!({"state": "open"})).await;
        }
        while *documents > wanted {
            let path = format!("orders/_doc/{}?refresh=true", *documents);
            self.call(Method::DELETE, &path, Value::Null).await;
            *documents -= 1;
        }
    }
}

#[async_trait]
impl Harness for Index {
    type Trigger = ElasticsearchTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.login.1.clone()]
    }

    async fn set_value(&self, value: f64) {
        let document = json!({"open": value});
        self.call(Method::PUT, "orders/_doc/number?refresh=true", document)
            .await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(4.5)
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
async fn a_search_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("elasticsearch") else {
        return;
    };
    let index = Index::of(&server).await;
    LIVE.conforms(&index).await;
    let mut template = with_metadata(
        &index.input,
        &[
            ("searchTemplateName", "by-state"),
            ("parameters", "state: open"),
            ("valueLocation", "hits.total.value"),
            ("activationTargetValue", "4"),
        ],
    );
    template.metadata.remove("query");
    for (documents, active) in [(4, false), (10, true), (0, false)] {
        index.set_documents(documents).await;
        #[allow(clippy::cast_precision_loss, reason = "they are few")]
        let expected = (documents as f64, active);
        assert_eq!(value::<ElasticsearchTrigger>(&template).await, expected);
    }
    LIVE.passed("activation, scale out, drained");
    let other = with_metadata(&template, &[("parameters", "state:closed")]);
    assert_eq!(value::<ElasticsearchTrigger>(&other).await, (0.0, false));
    let unknown = with_metadata(
        &template,
        &[("index", "orders;returns"), ("ignoreNullValues", "true")],
    );
    assert_eq!(
        kind::<ElasticsearchTrigger>(&unknown).await,
        ErrorKind::NotFound,
        "no zero for what is not there"
    );
    let unknown = with_metadata(&template, &[("searchTemplateName", "nothing")]);
    assert_eq!(kind::<ElasticsearchTrigger>(&unknown).await, ErrorKind::NotFound);
    LIVE.passed("unknown index, and unknown template");
    let nowhere = with_metadata(&index.input, &[("valueLocation", "aggregations.closed.value")]);
    assert_eq!(kind::<ElasticsearchTrigger>(&nowhere).await, ErrorKind::Invalid);
    let ignored = with_metadata(&nowhere, &[("ignoreNullValues", "true")]);
    assert_eq!(value::<ElasticsearchTrigger>(&ignored).await, (0.0, false));
    LIVE.passed("ignoreNullValues");
    let broken = with_metadata(&index.input, &[("query", r#"{"size": "many"}"#)]);
    assert_eq!(kind::<ElasticsearchTrigger>(&broken).await, ErrorKind::Invalid);
    LIVE.passed("a query that the server does not understand");
    index.set_value(3.0).await;
    let addresses = format!("http://127.0.0.1:1,http://{}", index.proxy.address());
    let second = with_metadata(&index.input, &[("addresses", &addresses)]);
    assert_eq!(value::<ElasticsearchTrigger>(&second).await.0, 3.0);
    LIVE.passed("another node where one is down");
    LIVE.leaves_few_connections(&index, &index.proxy).await;
    index.set_value(3.0).await;
    // What the index has is on the disk, but it takes a while until it is read from there again.
    server.stop();
    assert_eq!(
        kind::<ElasticsearchTrigger>(&index.input).await,
        ErrorKind::Unavailable
    );
    server.start_again().unwrap();
    let mut waited = 0;
    while value_or_nothing(&index.input).await != Some(3.0) {
        waited += 1;
        assert!(waited < 1200, "the index does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    LIVE.passed("the server is restarted");
}

async fn value_or_nothing(input: &TriggerInput) -> Option<f64> {
    let sample = super::support::sample::<ElasticsearchTrigger>(input).await.ok()?;
    Some(sample.values[0].value)
}
