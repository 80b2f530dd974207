#![doc = include_str!("docs.md")]

mod endpoints;
mod location;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use reqwest::{StatusCode, Url};
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, Problems, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings, metadata::GoDuration, normalize_name,
};
use serde::Deserialize;

pub use self::endpoints::{Endpoint, ServiceEndpoints, SharedServiceEndpoints};
use self::{endpoints::Aggregation, location::Format};
use crate::{
    http::{self, Authentication, fields},
    target,
};

/// The metadata of `metrics-api`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsApiTrigger {
    url: String,
    value_location: String,
    format: Format,
    target_value: Option<f64>,
    activation_target_value: f64,
    aggregate_from_kube_service_endpoints: bool,
    aggregation_type: Aggregation,
    unsafe_ssl: bool,
    timeout: Option<GoDuration>,
    authentication: Authentication,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// Endpoints that are asked at once.
const AT_ONCE: usize = 5;

const FIELDS: &[Field] = &[
    Field::new("url", "URL of the endpoint.").required(),
    Field::new(
        "valueLocation",
        "Where the number stands in the answer, in the terms of the format.",
    )
    .required(),
    Field::new("format", "Format of the answer.")
        .default("json")
        .allowed(&["json", "prometheus", "xml", "yaml"]),
    Field::new(
        "targetValue",
        "Value that one replica is to carry; required unless the trigger feeds a formula.",
    ),
    Field::new("activationTargetValue", "The trigger is active above this value.").default("0"),
    Field::new(
        "aggregateFromKubeServiceEndpoints",
        "Whether every endpoint of the Service in the URL's host is asked.",
    )
    .default("false"),
    Field::new(
        "aggregationType",
        "What is made of the numbers of several endpoints.",
    )
    .default("average")
    .allowed(&["average", "sum", "max", "min"]),
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

impl MetricsApiTrigger {
    fn metric_name(&self) -> String {
        normalize_name(&format!("metric-api-{}", self.value_location))
    }
}

impl Trigger for MetricsApiTrigger {
    const TYPE: &'static str = "metrics-api";
    type Scaler = MetricsApiScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "url: https://shop.example.com/api/stats\n\
         valueLocation: orders.pending\n\
         targetValue: \"8\"\n"
    }

    fn summary() -> &'static str {
        "a number in the answer of an HTTP endpoint"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        http::check_url("url", &self.url, problems);
        if let Err(message) = self.format.check(&self.value_location) {
            problems.error("valueLocation", "", message);
        }
        match self.target_value {
            Some(value) => target::check_positive_fraction("targetValue", value, problems),
            None if self.settings.as_metric_source => {}
            None => problems.error(
                "targetValue",
                "",
                "missing required parameter \"targetValue\" in [triggerMetadata]",
            ),
        }
        if self.aggregate_from_kube_service_endpoints
            && let Ok(url) = http::url("url", &self.url)
            && let Err(message) = endpoints::service(&url)
        {
            problems.error("url", &self.url, message);
        }
        target::check_metric_type(self.settings.metric_type, problems);
        self.authentication.check(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = target::fraction(self.target_value.unwrap_or_default());
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("url", &self.url)
            .with("location", &self.value_location)
            .with("format", format_args!("{:?}", self.format))
            .with("aggregate", self.aggregate_from_kube_service_endpoints)
            .with("aggregation", format_args!("{:?}", self.aggregation_type))
            .with("activation", self.activation_target_value);
        http::add_to(key, &self.authentication, self.unsafe_ssl, self.timeout)
    }

    async fn connect(self, context: &Context) -> Result<MetricsApiScaler, Error> {
        let source = http::Source::new(
            context,
            self.authentication.clone(),
            self.unsafe_ssl,
            self.timeout,
        )?;
        let endpoints = match self.aggregate_from_kube_service_endpoints {
            false => None,
            true => Some(context.get::<SharedServiceEndpoints>().ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    "aggregateFromKubeServiceEndpoints needs a ServiceEndpoints, and this program gives none",
                )
            })?),
        };
        Ok(MetricsApiScaler {
            endpoints: endpoints.map(|shared| Arc::clone(&shared.0)),
            aggregation: self.aggregation_type,
            url: http::url("url", &self.url).map_err(Error::invalid)?,
            source,
            metric_name: self.metric_name(),
            location: self.value_location,
            format: self.format,
            activation: self.activation_target_value,
        })
    }
}

/// Reads one number from one endpoint.
#[derive(Clone, Debug)]
pub struct MetricsApiScaler {
    source: http::Source,
    /// Where the endpoints of Services are found, if each of them is asked.
    endpoints: Option<Arc<dyn ServiceEndpoints>>,
    aggregation: Aggregation,
    url: Url,
    metric_name: String,
    location: String,
    format: Format,
    activation: f64,
}

impl MetricsApiScaler {
    async fn value(&self) -> Result<f64, Error> {
        match &self.endpoints {
            None => self.value_at(self.url.clone()).await,
            Some(endpoints) => self.aggregate(&**endpoints).await,
        }
    }

    /// One number of all endpoints that give one.
    async fn aggregate(&self, endpoints: &dyn ServiceEndpoints) -> Result<f64, Error> {
        let (service, namespace) = endpoints::service(&self.url).map_err(Error::invalid)?;
        let found = endpoints.endpoints(namespace, service).await?;
        let urls: Vec<Url> = found
            .iter()
            .filter_map(|endpoint| endpoints::at(&self.url, endpoint))
            .collect();
        let answers: Vec<_> = stream::iter(urls)
            .map(|url| self.value_at(url))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let numbers: Vec<f64> = answers.iter().flatten().copied().collect();
        let failure = answers.into_iter().find_map(Result::err);
        self.aggregation.of(&numbers).ok_or_else(|| {
            failure
                .unwrap_or_else(|| Error::not_found("the Service has no ready endpoints"))
                .with_context("service", format!("{namespace}/{service}"))
        })
    }

    async fn value_at(&self, url: Url) -> Result<f64, Error> {
        let path = url.path().to_owned();
        let answer = self.source.get(url, &BTreeMap::new()).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.error(format!("{}: api returned {}", path, answer.status.as_u16())));
        }
        let text = String::from_utf8(answer.body).map_err(|_| Error::invalid("the answer is not UTF-8"))?;
        self.format.find(&text, &self.location).map_err(Error::invalid)
    }
}

#[async_trait]
impl Scaler for MetricsApiScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let host = self.url.host_str().unwrap_or_default();
        let value = self
            .value()
            .await
            .map_err(|error| error.with_context("host", host))?;
        Ok(Sample::single(&self.metric_name, value, value > self.activation))
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
