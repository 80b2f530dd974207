#![doc = include_str!("docs.md")]

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{Url, header::HeaderValue};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, SourceKey, Trigger, TriggerSettings,
    metadata::GoDuration, observe::Observer,
};
use serde::Deserialize;

use crate::{
    http::{self, Authentication, fields},
    target, vector,
};

/// The metadata of `loki`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LokiTrigger {
    server_address: String,
    query: String,
    threshold: f64,
    activation_threshold: f64,
    tenant_name: Option<String>,
    ignore_null_values: bool,
    unsafe_ssl: bool,
    timeout: Option<GoDuration>,
    authentication: Authentication,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// The metric's name; the trigger's index tells several apart.
const METRIC: &str = "loki";
/// Where a server answers queries.
const PATH: &str = "/loki/api/v1/query";
const TENANT: &str = "X-Scope-OrgID";

const FIELDS: &[Field] = &[
    Field::new(
        "serverAddress",
        "URL of the server, with or without the path of its API.",
    )
    .required(),
    Field::new("query", "LogQL that gives one element.").required(),
    Field::new("threshold", "Value that one replica is to carry.").required(),
    Field::new("activationThreshold", "The trigger is active above this value.").default("0"),
    Field::new(
        "tenantName",
        "Tenant whose logs are asked for, for servers with tenants.",
    ),
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
];

impl LokiTrigger {
    /// The URL of the query. An address that ends within the path of the API is completed.
    fn url(&self) -> Result<Url, String> {
        let mut url = http::url("serverAddress", &self.server_address)?;
        let path = url.path().trim_end_matches('/').to_owned();
        if PATH.starts_with(&path) {
            url.set_path(PATH);
        } else {
            url.set_path(&format!("{path}{PATH}"));
        }
        url.set_query(None);
        url.query_pairs_mut().append_pair("query", &self.query);
        Ok(url)
    }
}

impl Trigger for LokiTrigger {
    const TYPE: &'static str = "loki";
    type Scaler = LokiScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "serverAddress: http://loki.monitoring.svc:3100\n\
         query: sum(rate({app=\"shop\"} |= \"order\" [1m]))\n\
         threshold: \"0.7\"\n\
         tenantName: shop\n"
    }

    fn summary() -> &'static str {
        "the result of a LogQL query"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        http::check_url("serverAddress", &self.server_address, problems);
        if !self.settings.as_metric_source {
            target::check_positive_fraction("threshold", self.threshold, problems);
        }
        target::check_metric_type(self.settings.metric_type, problems);
        if let Some(tenant) = &self.tenant_name
            && HeaderValue::from_str(tenant).is_err()
        {
            let message = format!("tenantName {tenant:?} cannot stand in a header");
            problems.error("tenantName", tenant, message);
        }
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
            .with("tenant", self.tenant_name.as_deref().unwrap_or_default())
            .with("ignoreNull", self.ignore_null_values)
            .with("activation", self.activation_threshold);
        http::add_to(key, &self.authentication, self.unsafe_ssl, self.timeout)
    }

    async fn connect(self, context: &Context) -> Result<LokiScaler, Error> {
        let source = http::Source::new(
            context,
            self.authentication.clone(),
            self.unsafe_ssl,
            self.timeout,
        )?;
        let tenant = self.tenant_name.clone();
        Ok(LokiScaler {
            source,
            url: self.url().map_err(Error::invalid)?,
            headers: tenant
                .map(|tenant| (TENANT.to_owned(), tenant))
                .into_iter()
                .collect(),
            observer: Observer::of(context),
            trigger: self,
        })
    }
}

/// Asks one query of one server.
#[derive(Clone, Debug)]
pub struct LokiScaler {
    source: http::Source,
    url: Url,
    headers: BTreeMap<String, String>,
    observer: Observer,
    trigger: LokiTrigger,
}

impl LokiScaler {
    async fn value(&self) -> Result<f64, Error> {
        let answer = self.source.get(self.url.clone(), &self.headers).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(answer.error(format!("loki query api returned error. status: {status}")));
        }
        let is_zero = self.trigger.ignore_null_values;
        let rules = vector::Rules {
            what: "loki metrics",
            null: 0.0,
            ignore_null: is_zero,
        };
        vector::value(&answer.body, rules, || self.observer.empty_answer(is_zero)).map_err(Error::invalid)
    }
}

#[async_trait]
impl Scaler for LokiScaler {
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
mod tests;
