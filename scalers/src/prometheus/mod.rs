#![doc = include_str!("docs.md")]

mod identity;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, SharedClock, Source, SourceKey, Trigger,
    TriggerSettings, metadata::GoDuration, observe::Observer,
};
use serde::Deserialize;

use self::identity::{Identity, IdentityKeys};
use crate::{
    azure, gcp,
    http::{self, Authentication, fields},
    target, vector,
};

/// The metadata of `prometheus`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusTrigger {
    server_address: String,
    query: String,
    threshold: f64,
    activation_threshold: f64,
    namespace: Option<String>,
    #[serde(default)]
    custom_headers: BTreeMap<String, String>,
    #[serde(default)]
    query_parameters: BTreeMap<String, String>,
    ignore_null_values: bool,
    unsafe_ssl: bool,
    timeout: Option<GoDuration>,
    authentication: Authentication,
    identity: IdentityKeys,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// The metric's name; the trigger's index tells several apart.
const METRIC: &str = "prometheus";

const FIELDS: &[Field] = &[
    Field::new("serverAddress", "URL of the server, without the path of its API.").required(),
    Field::new("query", "PromQL that gives one element.").required(),
    Field::new("threshold", "Value that one replica is to carry.").required(),
    Field::new("activationThreshold", "The trigger is active above this value.").default("0"),
    Field::new(
        "namespace",
        "Namespace that the server is to confine the query to, for servers with tenants.",
    ),
    Field::new("customHeaders", "More headers: `name=value,name=value`."),
    Field::new("queryParameters", "More parameters: `name=value,name=value`."),
    Field::new(
        "ignoreNullValues",
        "Whether a query without a result gives 0, in place of an error.",
    )
    .default("true"),
    http::UNSAFE_SSL,
    http::TIMEOUT,
    fields::MODES,
    fields::API_KEY,
    fields::METHOD,
    fields::KEY_PARAM_NAME,
    fields::USERNAME,
    fields::PASSWORD,
    fields::BEARER_TOKEN,
    fields::OAUTH_TOKEN_URI,
    fields::CLIENT_ID,
    fields::CLIENT_SECRET,
    fields::SCOPES,
    fields::ENDPOINT_PARAMS,
    fields::CUSTOM_HEADER,
    fields::CUSTOM_VALUE,
    fields::CA,
    fields::CERT,
    fields::KEY,
    Field::new(
        "awsRegion",
        "AWS region of the workspace, for Amazon Managed Prometheus.",
    )
    .from(&[Source::Metadata, Source::Authentication]),
    Field::new(
        "identityOwner",
        "Whose credentials sign for Amazon Managed Prometheus where the TriggerAuthentication names no identity: `pod` (keys \
         or a role given in it) or `operator` (the default chain of this process).",
    ),
    Field::new("awsRoleArn", "Role to assume for Amazon Managed Prometheus.").from(A),
    Field::new("awsAccessKeyID", "Access key for Amazon Managed Prometheus.")
        .aliases(&["awsAccessKeyId"])
        .from(&[Source::Authentication, Source::Metadata, Source::Environment])
        .secret(),
    Field::new("awsSecretAccessKey", "Secret of the access key.")
        .from(&[Source::Authentication, Source::Environment])
        .secret(),
    Field::new("awsSessionToken", "Session token of a temporary access key.")
        .from(A)
        .secret(),
    azure::fields::CLOUD,
    Field::new(
        "azureManagedPrometheusResourceURL",
        "What the token of an Azure identity is for, which `cloud: Private` needs.",
    ),
    gcp::fields::KEY,
    gcp::fields::CREDENTIALS,
    gcp::fields::FILE,
];

const A: &[Source] = &[Source::Authentication];

impl PrometheusTrigger {
    /// The URL of the query at `now`.
    fn url(&self, now: Timestamp) -> Result<Url, String> {
        let address = self.server_address.trim_end_matches('/');
        let mut url = http::url("serverAddress", &format!("{address}/api/v1/query"))?;
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("query", &self.query);
        pairs.append_pair("time", &now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if let Some(namespace) = &self.namespace {
            pairs.append_pair("namespace", namespace);
        }
        pairs.extend_pairs(&self.query_parameters);
        drop(pairs);
        Ok(url)
    }
}

impl Trigger for PrometheusTrigger {
    const TYPE: &'static str = "prometheus";
    type Scaler = PrometheusScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "serverAddress: http://prometheus.monitoring.svc:9090\n\
         query: sum(rate(http_requests_total{deployment=\"shop\"}[2m]))\n\
         threshold: \"100.5\"\n"
    }

    fn summary() -> &'static str {
        "the result of a PromQL query"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        http::check_url("serverAddress", &self.server_address, problems);
        target::check_positive_fraction("threshold", self.threshold, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        for (name, value) in &self.custom_headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::from_str(value).is_err() {
                problems.error(
                    "customHeaders",
                    name,
                    format!("customHeaders: {name:?} and its value make no header"),
                );
            }
        }
        self.identity
            .check(&self.settings, self.authentication.is_used(), problems);
        self.authentication.check(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            METRIC,
            self.settings.metric_type,
            target::fraction(self.threshold),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("server", &self.server_address)
            .with("query", &self.query)
            .with("namespace", self.namespace.as_deref().unwrap_or_default())
            .with("headers", format_args!("{:?}", self.custom_headers))
            .with("parameters", format_args!("{:?}", self.query_parameters))
            .with("ignoreNull", self.ignore_null_values)
            .with("activation", self.activation_threshold);
        let key = http::add_to(key, &self.authentication, self.unsafe_ssl, self.timeout);
        self.identity
            .add_to(key, &self.settings, self.authentication.is_used())
    }

    async fn connect(self, context: &Context) -> Result<PrometheusScaler, Error> {
        let source = http::Source::new(
            context,
            self.authentication.clone(),
            self.unsafe_ssl,
            self.timeout,
        )?;
        Ok(PrometheusScaler {
            source,
            identity: self
                .identity
                .connect(&self.settings, self.authentication.is_used(), context)
                .await?,
            clock: context.clock.clone(),
            observer: Observer::of(context),
            trigger: self,
        })
    }
}

/// Asks one query of one server.
#[derive(Debug)]
pub struct PrometheusScaler {
    source: http::Source,
    identity: Identity,
    clock: SharedClock,
    observer: Observer,
    trigger: PrometheusTrigger,
}

impl PrometheusScaler {
    async fn value(&self) -> Result<f64, Error> {
        let url = self.trigger.url(self.clock.now()).map_err(Error::invalid)?;
        let headers = &self.trigger.custom_headers;
        let answer = self.identity.get(&self.source, url, headers).await?;
        let is_zero = self.trigger.ignore_null_values;
        let rules = vector::Rules {
            what: "prometheus metrics 'prometheus' target",
            // It is reported as 0, as every negative value is.
            null: -1.0,
            ignore_null: is_zero,
        };
        vector::value(&answer.body, rules, || self.observer.empty_answer(is_zero)).map_err(Error::invalid)
    }
}

#[async_trait]
impl Scaler for PrometheusScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let in_context = |error: Error| error.with_context("query", &self.trigger.query);
        let value = self.value().await.map_err(in_context)?;
        Ok(Sample::single(
            METRIC,
            value,
            value > self.trigger.activation_threshold,
        ))
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
