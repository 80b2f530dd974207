#![doc = include_str!("docs.md")]

mod address;

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, Secret, Source, SourceKey, Trigger,
    TriggerSettings, normalize_name, observe::Observer,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    http::{self, Answer, Caller, Tls},
    json_path::{self, Found},
    target,
};

const A_M: &[Source] = &[Source::Authentication, Source::Metadata];
const A_E_M: &[Source] = &[Source::Authentication, Source::Environment, Source::Metadata];

const FIELDS: &[Field] = &[
    Field::new("addresses", "URLs of the nodes: `url,url`.").from(A_M),
    Field::new("username", "User, with `addresses`.").from(A_M),
    Field::new("password", "Password of the user.")
        .from(A_E_M)
        .secret(),
    Field::new("cloudID", "Deployment of Elastic Cloud, in place of `addresses`.").from(A_M),
    Field::new("apiKey", "Key of the API, with `cloudID`.")
        .from(A_M)
        .secret(),
    Field::new("index", "Indices that are searched: `index;index`.")
        .from(A_M)
        .required(),
    Field::new("searchTemplateName", "Search template that is asked.").from(A_M),
    Field::new(
        "parameters",
        "Parameters of the template: `name:value;name:value`.",
    ),
    Field::new("query", "Body of a search, in JSON, in place of a template.").from(A_M),
    Field::new(
        "valueLocation",
        "Where the number stands in the answer, as a GJSON path.",
    )
    .from(A_M)
    .required(),
    Field::new("targetValue", "Value that one replica is to carry.")
        .from(A_M)
        .required(),
    Field::new("activationTargetValue", "The trigger is active above this value.").default("0"),
    Field::new(
        "ignoreNullValues",
        "Whether an answer without the number gives 0, in place of an error.",
    )
    .default("false"),
    http::UNSAFE_SSL,
    Field::new("metricName", "Read by KEDA, and without effect there and here."),
];

/// The metadata of `elasticsearch`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElasticsearchTrigger {
    #[serde(default)]
    addresses: Vec<String>,
    username: Option<Secret>,
    password: Option<Secret>,
    #[serde(rename = "cloudID")]
    cloud_id: Option<String>,
    api_key: Option<Secret>,
    index: String,
    search_template_name: Option<String>,
    parameters: Option<String>,
    query: Option<String>,
    value_location: String,
    target_value: f64,
    activation_target_value: f64,
    ignore_null_values: bool,
    unsafe_ssl: bool,
    #[serde(rename = "metricName")]
    _metric_name: Option<String>,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl ElasticsearchTrigger {
    fn metric_name(&self) -> String {
        let name = self.search_template_name.as_deref().unwrap_or("query");
        normalize_name(&format!("elasticsearch-{name}"))
    }

    /// The nodes, of which any can be asked.
    fn nodes(&self) -> Result<Vec<Url>, (&'static str, String)> {
        if let Some(cloud) = &self.cloud_id {
            let url = address::of_cloud(cloud).and_then(|url| http::url("cloudID", &url));
            return Ok(vec![url.map_err(|message| ("cloudID", message))?]);
        }
        let urls = self.addresses.iter().map(|text| http::url("addresses", text));
        urls.collect::<Result<_, _>>()
            .map_err(|message| ("addresses", message))
    }

    /// What is asked: the path behind the indices, and the body.
    fn question(&self) -> Result<(&'static str, String), String> {
        let Some(template) = &self.search_template_name else {
            return Ok(("_search", self.query.clone().unwrap_or_default()));
        };
        let mut parameters = BTreeMap::new();
        let text = self.parameters.as_deref().unwrap_or_default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split(':').map(str::trim);
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                return Err(format!("parameters: {pair:?} is not name:value"));
            };
            parameters.insert(name, value);
        }
        let mut question = json!({"id": template});
        if !parameters.is_empty() {
            question["params"] = json!(parameters);
        }
        Ok(("_search/template", question.to_string()))
    }

    fn indices(&self) -> String {
        let indices: Vec<_> = self.index.split(';').map(str::trim).collect();
        indices.join(",")
    }

    fn check_places(&self, problems: &mut Problems) {
        let is_cloud = self.cloud_id.is_some() || self.api_key.is_some();
        let is_nodes = !self.addresses.is_empty() || self.username.is_some() || self.password.is_some();
        match (is_cloud, is_nodes) {
            (true, true) => problems.error(
                "cloudID",
                "",
                "can't provide both cloud config and endpoint addresses",
            ),
            (false, false) => problems.error(
                "addresses",
                "",
                "must provide either cloud config or endpoint addresses",
            ),
            (true, false) if self.cloud_id.is_none() || self.api_key.is_none() => problems.error(
                "cloudID",
                "",
                "both cloudID and apiKey must be provided when cloudID or apiKey is used",
            ),
            (false, true) if self.addresses.is_empty() => {
                problems.error("addresses", "", "addresses must be provided with username");
            }
            (false, true) if self.username.is_none() || self.password.is_none() => problems.error(
                "username",
                "",
                "both username and password must be provided when addresses is used",
            ),
            _ => {}
        }
        if let Err((field, message)) = self.nodes() {
            problems.error(field, "", message);
        }
    }

    fn check_question(&self, problems: &mut Problems) {
        match (&self.search_template_name, &self.query) {
            (None, None) => problems.error(
                "searchTemplateName",
                "",
                "either searchTemplateName or query must be provided",
            ),
            (Some(_), Some(_)) => {
                problems.error("query", "", "cannot provide both searchTemplateName and query")
            }
            (None, Some(query)) => {
                if let Err(error) = serde_json::from_str::<serde_json::Value>(query) {
                    problems.error("query", query, format!("query is not JSON: {error}"));
                }
            }
            (Some(_), None) => {
                if let Err(message) = self.question() {
                    problems.error(
                        "parameters",
                        self.parameters.as_deref().unwrap_or_default(),
                        message,
                    );
                }
            }
        }
    }
}

impl Trigger for ElasticsearchTrigger {
    const TYPE: &'static str = "elasticsearch";
    type Scaler = ElasticsearchScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "addresses: https://elastic-0.shop.svc:9200,https://elastic-1.shop.svc:9200\n\
         username: scaler\n\
         passwordFromEnv: ELASTIC_PASSWORD\n\
         index: orders;returns\n\
         searchTemplateName: open-orders\n\
         parameters: state:open;shop:north\n\
         valueLocation: hits.total.value\n\
         targetValue: \"10\"\n"
    }

    fn summary() -> &'static str {
        "a number in the answer of a search of Elasticsearch"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        self.check_places(problems);
        self.check_question(problems);
        target::check_positive_fraction("targetValue", self.target_value, problems);
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target::fraction(self.target_value),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let question = self.question().unwrap_or_default();
        let key = SourceKey::new(Self::TYPE)
            .with("addresses", self.addresses.join(","))
            .with("cloud", self.cloud_id.as_deref().unwrap_or_default())
            .with("index", self.indices())
            .with("path", question.0)
            .with("question", question.1)
            .with("location", &self.value_location)
            .with("ignoreNull", self.ignore_null_values)
            .with("unsafeSsl", self.unsafe_ssl)
            .with("activation", self.activation_target_value);
        let secrets = [
            ("username", &self.username),
            ("password", &self.password),
            ("apiKey", &self.api_key),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    async fn connect(self, context: &Context) -> Result<ElasticsearchScaler, Error> {
        let tls = Tls {
            unsafe_ssl: self.unsafe_ssl,
            ..Tls::default()
        };
        let (path, question) = self.question().map_err(Error::invalid)?;
        let nodes = self.nodes().map_err(|(_, message)| Error::invalid(message))?;
        let path = format!("{}/{path}", self.indices());
        Ok(ElasticsearchScaler {
            caller: Caller::new(context, &tls, None)?,
            observer: Observer::of(context),
            nodes: nodes.into_iter().map(|node| address::at(node, &path)).collect(),
            question,
            metric_name: self.metric_name(),
            trigger: self,
        })
    }
}

/// Asks one search.
#[derive(Clone, Debug)]
pub struct ElasticsearchScaler {
    caller: Caller,
    observer: Observer,
    nodes: Vec<Url>,
    question: String,
    metric_name: String,
    trigger: ElasticsearchTrigger,
}

impl ElasticsearchScaler {
    async fn search(&self, url: &Url) -> Result<Answer, Error> {
        let request = self.caller.request(Method::POST, url.clone())?;
        let mut request = request
            .header("content-type", "application/json")
            .body(self.question.clone());
        if let Some(key) = &self.trigger.api_key {
            let header = Secret::new(format!("ApiKey {}", key.expose()));
            request = request.header("authorization", http::sensitive(&header)?);
        } else if let Some(username) = &self.trigger.username {
            let password = self.trigger.password.as_ref().map(Secret::expose);
            request = request.basic_auth(username.expose(), password);
        }
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        match answer.status.is_success() {
            true => Ok(answer),
            false => {
                let status = answer.status.as_u16();
                let error = answer.error(format!("elasticsearch answers with status {status}"));
                Err(match address::reason(&answer.body) {
                    Some(reason) => error.with_source(reason),
                    None => error,
                })
            }
        }
    }

    /// Asks the nodes in turn until one answers.
    async fn answer(&self) -> Result<Answer, Error> {
        let mut last = Error::invalid("there is no address");
        for node in &self.nodes {
            match self.search(node).await {
                Err(error) if error.is_transient() => {
                    last = error.with_context("host", node.host_str().unwrap_or_default());
                }
                other => return other,
            }
        }
        Err(last)
    }

    async fn value(&self) -> Result<f64, Error> {
        let answer = self.answer().await?;
        let text = String::from_utf8(answer.body).map_err(|_| Error::invalid("the answer is not UTF-8"))?;
        let location = &self.trigger.value_location;
        let found = json_path::find(&text, location).map_err(Error::invalid)?;
        let expected = |got: &str| {
            let message =
                format!("valueLocation {location:?} must point to value of type number but got: '{got}'");
            Error::invalid(message)
        };
        match found {
            Found::Number(number) => Ok(number),
            Found::Text(text) => match text.parse() {
                Ok(number) if f64::is_finite(number) => Ok(number),
                _ => Err(expected(&text)),
            },
            Found::Nothing => {
                let is_zero = self.trigger.ignore_null_values;
                self.observer.empty_answer(is_zero);
                if is_zero { Ok(0.0) } else { Err(expected("Null")) }
            }
            other => Err(expected(other.name())),
        }
    }
}

#[async_trait]
impl Scaler for ElasticsearchScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self.value().await;
        let value = value.map_err(|error| error.with_context("index", self.trigger.indices()))?;
        let active = value > self.trigger.activation_target_value;
        Ok(Sample::single(&self.metric_name, value, active))
    }
}

#[cfg(test)]
mod tests;
