//! `aws-dynamodb`, `aws-dynamodb-streams`, `aws-kinesis-stream` and `aws-cloudwatch` on moto.
//!
//! moto looks at credentials only when it is told to, and then at the signatures as well.

use std::{marker::PhantomData, time::Duration};

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, Scaler as _, Trigger, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{
    aws::AwsEnvironment, aws_cloudwatch::CloudwatchTrigger, aws_dynamodb::DynamodbTrigger,
    aws_dynamodb_streams::DynamodbStreamsTrigger, aws_kinesis_stream::KinesisTrigger, http::HttpEnvironment,
};
use serde_json::{Value, json};
use xtask::services::Server;

use super::{
    measure,
    proxy::Proxy,
    support::{Live, break_with, connect_in, context, input, start, with_auth, with_metadata},
};

/// Calls services of AWS without credentials.
#[derive(Clone)]
pub(crate) struct Control {
    url: String,
    client: reqwest::Client,
}

impl Control {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: reqwest::Client::new(),
        }
    }

    fn post(&self, path: &str, service: &str) -> reqwest::RequestBuilder {
        let scope = format!("20260101/eu-west-1/{service}/aws4_request");
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential=AKIATEST/{scope}, SignedHeaders=host, Signature=none");
        let request = self.client.post(format!("{}{path}", self.url));
        request.header("authorization", authorization)
    }

    async fn send(request: reqwest::RequestBuilder) -> String {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        text
    }

    /// An operation of the JSON protocol.
    pub(crate) async fn call(&self, service: &str, target: &str, body: Value) -> Value {
        let request = self
            .post("/", service)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0");
        let text = Self::send(request.body(body.to_string())).await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// An operation of the query protocol.
    pub(crate) async fn query(&self, service: &str, form: &str) -> String {
        let request = self
            .post("/", service)
            .header("content-type", "application/x-www-form-urlencoded");
        Self::send(request.body(form.to_owned())).await
    }

    /// Makes moto forget everything.
    async fn reset(&self) {
        Self::send(self.post("/moto-api/reset", "moto")).await;
    }

    /// Whether moto looks at credentials and signatures.
    pub(crate) async fn check_credentials(&self, is_on: bool) {
        let free_calls = if is_on { "0" } else { "inf" };
        Self::send(self.post("/moto-api/reset-auth", "moto").body(free_calls)).await;
    }

    /// The keys of a new user, who may do everything or nothing.
    pub(crate) async fn user(&self, name: &str, may: bool) -> (String, String) {
        let iam = async |action: &str| {
            let form = format!("Version=2010-05-08&UserName={name}&Action={action}");
            self.query("iam", &form).await
        };
        iam("CreateUser").await;
        if may {
            let policy = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}";
            iam(&format!("PutUserPolicy&PolicyName=all&PolicyDocument={policy}")).await;
        }
        let answer = iam("CreateAccessKey").await;
        let text = |tag: &str| {
            let (_, after) = answer.split_once(&format!("<{tag}>")).unwrap();
            after.split_once('<').unwrap().0.to_owned()
        };
        (text("AccessKeyId"), text("SecretAccessKey"))
    }

    async fn create_table(&self, stream: bool) {
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let body = json!({
            "TableName": "orders", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [key("state", "HASH"), key("id", "RANGE")],
            "AttributeDefinitions": [text("state"), text("id")],
            "StreamSpecification": {"StreamEnabled": stream, "StreamViewType": "KEYS_ONLY"},
        });
        let mut body = body;
        if !stream {
            body.as_object_mut().unwrap().remove("StreamSpecification");
        }
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", body).await;
    }

    async fn put_item(&self, state: &str, id: usize) {
        let item = json!({"state": {"S": state}, "id": {"S": id.to_string()}});
        let body = json!({"TableName": "orders", "Item": item});
        self.call("dynamodb", "DynamoDB_20120810.PutItem", body).await;
    }

    async fn create_stream(&self, shards: usize) {
        let body = json!({"StreamName": "clicks", "ShardCount": shards});
        self.call("kinesis", "Kinesis_20131202.CreateStream", body).await;
    }

    async fn put_metric(&self, value: f64) {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(150);
        let member = "MetricData.member.1";
        let form = format!(
            "Action=PutMetricData&Version=2010-08-01&Namespace=Shop&{member}.MetricName=Orders&{member}.Value={value}&\
             {member}.Timestamp={}&{member}.Dimensions.member.1.Name=Queue&{member}.Dimensions.member.1.Value=orders",
            time.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        self.query("monitoring", &form).await;
    }
}

/// The right keys, whose signature the server checks, and wrong ones.
pub(crate) async fn checks_credentials<T: Trigger>(
    live: Live,
    control: &Control,
    input: &TriggerInput,
    context: &Context,
) {
    let (key, secret) = control.user("scaler", true).await;
    let (idle_key, idle_secret) = control.user("idler", false).await;
    control.check_credentials(true).await;
    let sample = async |key: &str, secret: &str| {
        let pairs = [("awsAccessKeyID", key), ("awsSecretAccessKey", secret)];
        let scaler = connect_in::<T>(&with_auth(input, &pairs), context).await.unwrap();
        scaler.sample().await
    };
    sample(&key, &secret).await.unwrap();
    for (key, secret) in [
        (key.as_str(), "wrong"),
        ("AKIANOBODY", secret.as_str()),
        (&idle_key, &idle_secret),
    ] {
        let error = sample(key, secret).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    }
    control.check_credentials(false).await;
    live.passed("wrong secret, unknown key, a user without rights");
}

/// What is set for a trigger to see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Items,
    Shards,
    Metric,
}

/// moto behind a proxy, for the trigger `T`.
struct Moto<T> {
    control: Control,
    proxy: Proxy,
    context: Context,
    input: TriggerInput,
    source: Source,
    levels: Levels,
    trigger: PhantomData<fn() -> T>,
}

impl<T: Trigger> Moto<T> {
    async fn of(server: &Server, source: Source, levels: Levels, metadata: &[(&str, &str)]) -> Self {
        let url = server.detail("url");
        let proxy = Proxy::start(url.trim_start_matches("http://")).await;
        let connection = [
            ("awsRegion", "eu-west-1"),
            ("awsEndpoint", &format!("http://{}", proxy.address())),
        ];
        let keys = [
            ("awsAccessKeyID", "AKIASCALER"),
            ("awsSecretAccessKey", "hunter2hunter2"),
        ];
        Self {
            control: Control::new(url),
            context: context().with(AwsEnvironment::new()).with(HttpEnvironment::new()),
            input: with_metadata(&input(&connection, &keys), metadata),
            proxy,
            source,
            levels,
            trigger: PhantomData,
        }
    }

    async fn value(&self, pairs: &[(&str, &str)]) -> (f64, bool) {
        let input = with_metadata(&self.input, pairs);
        let scaler = connect_in::<T>(&input, &self.context).await.unwrap();
        let sample = scaler.sample().await.unwrap();
        (sample.values[0].value, sample.active)
    }

    async fn kind(&self, pairs: &[(&str, &str)]) -> ErrorKind {
        let input = with_metadata(&self.input, pairs);
        let scaler = connect_in::<T>(&input, &self.context).await.unwrap();
        scaler.sample().await.unwrap_err().kind()
    }

    /// moto closes every connection after its answer, and forgets everything when it ends.
    async fn lasts(&self, live: Live, server: &mut Server, again: impl AsyncFn(&Control)) {
        if measure::is_on() {
            return Box::pin(measure::run(&live, self, &self.proxy)).await;
        }
        Box::pin(checks_credentials::<T>(
            live,
            &self.control,
            &self.input,
            &self.context,
        ))
        .await;
        let scaler = connect_in::<T>(&self.input, &self.context).await.unwrap();
        for _ in 0..1000 {
            scaler.sample().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(
            self.proxy.open() <= 4,
            "{} connections are open",
            self.proxy.open()
        );
        live.passed("1,000 samples leave no connection behind");
        server.stop();
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        live.passed("the server is down");
        server.start_again().unwrap();
        again(&self.control).await;
        scaler.sample().await.unwrap();
        live.passed("the server is restarted");
    }
}

#[async_trait]
impl<T: Trigger> Harness for Moto<T> {
    type Trigger = T;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    async fn set_value(&self, value: f64) {
        let control = &self.control;
        control.reset().await;
        match self.source {
            Source::Items => {
                control.create_table(true).await;
                for id in 0..value as usize {
                    control.put_item("open", id).await;
                }
                control.put_item("closed", 0).await;
            }
            Source::Shards => control.create_stream(value as usize).await,
            Source::Metric => control.put_metric(value).await,
        }
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        self.levels.clone()
    }

    fn context(&self) -> Context {
        self.context.clone()
    }
}

#[tokio::test]
async fn items_of_a_table_conform() {
    const LIVE: Live = Live {
        trigger: "aws-dynamodb",
        server: "moto",
    };
    let Some(mut server) = start("moto") else { return };
    let metadata = [
        ("tableName", "orders"),
        ("keyConditionExpression", "#state = :state"),
        ("expressionAttributeNames", r##"{"#state": "state"}"##),
        ("expressionAttributeValues", r#"{":state": {"S": "open"}}"#),
        ("targetValue", "1"),
        ("activationTargetValue", "4"),
    ];
    let table = Moto::<DynamodbTrigger>::of(&server, Source::Items, Levels::around(4.0), &metadata).await;
    LIVE.conforms(&table).await;
    for (items, expected) in [
        (3.0, (3.0, false)),
        (4.0, (4.0, false)),
        (6.0, (6.0, true)),
        (0.0, (0.0, false)),
    ] {
        table.set_value(items).await;
        assert_eq!(table.value(&[]).await, expected, "{items}");
    }
    LIVE.passed("activation, scale out, drained");
    table.set_value(6.0).await;
    let filter = [
        ("filterExpression", "#id < :id"),
        ("keyConditionExpression", "#state = :state"),
        (
            "expressionAttributeNames",
            r##"{"#state": "state", "#id": "id"}"##,
        ),
        (
            "expressionAttributeValues",
            r#"{":state": {"S": "open"}, ":id": {"S": "2"}}"#,
        ),
    ];
    // moto, unlike DynamoDB, takes a key in a filter.
    assert_eq!(table.value(&filter).await.0, 2.0);
    LIVE.passed("a filter");
    assert_eq!(table.kind(&[("tableName", "none")]).await, ErrorKind::NotFound);
    LIVE.passed("unknown table");
    let odd = [("keyConditionExpression", "#state IS :state")];
    assert_eq!(table.kind(&odd).await, ErrorKind::Invalid);
    LIVE.passed("an expression that is none");
    let again = async |control: &Control| control.create_table(true).await;
    Box::pin(table.lasts(LIVE, &mut server, again)).await;
}

#[tokio::test]
async fn shards_of_a_tables_stream_are_counted_and_conform() {
    const LIVE: Live = Live {
        trigger: "aws-dynamodb-streams",
        server: "moto",
    };
    let Some(mut server) = start("moto") else { return };
    let metadata = [("tableName", "orders")];
    let stream =
        Moto::<DynamodbStreamsTrigger>::of(&server, Source::Items, Levels::around(0.0), &metadata).await;
    assert_eq!(Box::pin(stream.kind(&[])).await, ErrorKind::NotFound);
    LIVE.passed("unknown table");
    stream.control.create_table(false).await;
    assert_eq!(Box::pin(stream.kind(&[])).await, ErrorKind::NotFound);
    LIVE.passed("a table without a stream");
    stream.set_value(0.0).await;
    // All streams of moto have one shard.
    assert_eq!(Box::pin(stream.value(&[])).await, (1.0, true));
    assert_eq!(
        Box::pin(stream.value(&[("activationShardCount", "1")])).await,
        (1.0, false)
    );
    LIVE.passed("activation");
    if measure::is_on() {
        return Box::pin(measure::run(&LIVE, &stream, &stream.proxy)).await;
    }
    let credentials =
        checks_credentials::<DynamodbStreamsTrigger>(LIVE, &stream.control, &stream.input, &stream.context);
    Box::pin(credentials).await;
    stream.set_outage(Some(Outage::Silent)).await;
    assert_eq!(Box::pin(stream.kind(&[])).await, ErrorKind::Timeout);
    stream.set_outage(None).await;
    LIVE.passed("the server hangs");
    let scaler = connect_in::<DynamodbStreamsTrigger>(&stream.input, &stream.context)
        .await
        .unwrap();
    scaler.sample().await.unwrap();
    server.stop();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.start_again().unwrap();
    stream.control.create_table(true).await;
    // The stream of the new table may have another name than that of the old one.
    scaler.sample().await.ok();
    assert_eq!(scaler.sample().await.unwrap().values[0].value, 1.0);
    LIVE.passed("the server is restarted");
}

#[tokio::test]
async fn shards_of_a_stream_conform() {
    const LIVE: Live = Live {
        trigger: "aws-kinesis-stream",
        server: "moto",
    };
    let Some(mut server) = start("moto") else { return };
    let metadata = [("streamName", "clicks"), ("activationShardCount", "3")];
    let levels = Levels {
        idle: vec![1.0, 3.0],
        active: 4.0,
    };
    let stream = Moto::<KinesisTrigger>::of(&server, Source::Shards, levels, &metadata).await;
    LIVE.conforms(&stream).await;
    stream.set_value(4.0).await;
    assert_eq!(stream.value(&[]).await, (4.0, true));
    let body = json!({"StreamName": "clicks", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"});
    let update = stream
        .control
        .call("kinesis", "Kinesis_20131202.UpdateShardCount", body);
    update.await;
    // What was merged is closed, and does not count.
    assert_eq!(stream.value(&[]).await, (2.0, false));
    LIVE.passed("activation, scale out, shards that are closed");
    assert_eq!(stream.kind(&[("streamName", "none")]).await, ErrorKind::NotFound);
    LIVE.passed("unknown stream");
    let again = async |control: &Control| control.create_stream(1).await;
    Box::pin(stream.lasts(LIVE, &mut server, again)).await;
}

#[tokio::test]
async fn a_metric_conforms() {
    const LIVE: Live = Live {
        trigger: "aws-cloudwatch",
        server: "moto",
    };
    let Some(mut server) = start("moto") else { return };
    let metadata = [
        ("namespace", "Shop"),
        ("metricName", "Orders"),
        ("dimensionName", "Queue"),
        ("dimensionValue", "orders"),
        ("targetMetricValue", "1"),
        ("activationTargetMetricValue", "5.5"),
        ("minMetricValue", "2"),
        ("metricStatPeriod", "60"),
    ];
    let metric = Moto::<CloudwatchTrigger>::of(&server, Source::Metric, Levels::around(5.5), &metadata).await;
    LIVE.conforms(&metric).await;
    for (value, expected) in [(4.0, (4.0, false)), (10.0, (10.0, true)), (0.0, (0.0, false))] {
        metric.set_value(value).await;
        assert_eq!(metric.value(&[]).await, expected, "{value}");
    }
    LIVE.passed("activation, scale out, drained");
    let other = ("dimensionValue", "returns");
    assert_eq!(metric.value(&[other]).await, (2.0, false));
    assert_eq!(
        metric.kind(&[other, ("ignoreNullValues", "false")]).await,
        ErrorKind::NotFound
    );
    LIVE.passed("unknown metric");
    let again = async |control: &Control| control.put_metric(1.0).await;
    Box::pin(metric.lasts(LIVE, &mut server, again)).await;
}
