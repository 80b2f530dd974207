#![doc = include_str!("docs.md")]

mod answer;

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, Source, SourceKey, Trigger,
    TriggerSettings, observe::Observer,
};
use serde::{Deserialize, de::DeserializeOwned};

use self::answer::{Found, JetStream, Server};
use crate::{
    http::{self, Caller, Tls},
    target,
};

const A_M: &[Source] = &[Source::Authentication, Source::Metadata];

const FIELDS: &[Field] = &[
    Field::new(
        "natsServerMonitoringEndpoint",
        "Where a server is monitored: `host:port`.",
    )
    .required()
    .from(A_M),
    Field::new("account", "Name of the account.").from(A_M),
    Field::new("accountID", "Id of the account, where it is not its name.").from(A_M),
    Field::new("stream", "The stream.").required(),
    Field::new("consumer", "The consumer of the stream whose lag counts.").required(),
    Field::new("lagThreshold", "Messages that one replica is to carry.").default("10"),
    Field::new(
        "activationLagThreshold",
        "The trigger is active above this number of messages.",
    )
    .default("0"),
    Field::new("useHttps", "Whether the endpoint is one of HTTPS.").default("false"),
];

/// The metadata of `nats-jetstream`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NatsJetStreamTrigger {
    nats_server_monitoring_endpoint: String,
    account: Option<String>,
    #[serde(rename = "accountID")]
    account_id: Option<String>,
    stream: String,
    consumer: String,
    lag_threshold: i64,
    activation_lag_threshold: i64,
    use_https: bool,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl NatsJetStreamTrigger {
    fn metric_name(&self) -> String {
        scaler_api::normalize_name(&format!("nats-jetstream-{}", self.stream))
    }

    /// A path of the server at `host:port`.
    fn url(&self, endpoint: &str, path: &str) -> Result<Url, String> {
        let scheme = if self.use_https { "https" } else { "http" };
        http::url(
            "natsServerMonitoringEndpoint",
            &format!("{scheme}://{endpoint}{path}"),
        )
    }

    /// What the server tells of the account's streams.
    fn streams_url(&self, endpoint: &str) -> Result<Url, String> {
        let mut url = self.url(endpoint, "/jsz")?;
        let account = self.account_id.as_ref().or(self.account.as_ref());
        let account = account.map(String::as_str).unwrap_or_default();
        url.query_pairs_mut()
            .append_pair("acc", account)
            // Without it, servers from 2.12 on leave the account's streams out.
            .append_pair("accounts", "true")
            .append_pair("config", "true")
            .append_pair("consumers", "true");
        Ok(url)
    }
}

impl Trigger for NatsJetStreamTrigger {
    const TYPE: &'static str = "nats-jetstream";
    type Scaler = NatsJetStreamScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "natsServerMonitoringEndpoint: nats.shop.svc:8222\n\
         account: $G\n\
         stream: orders\n\
         consumer: packers\n\
         lagThreshold: \"10\"\n"
    }

    fn summary() -> &'static str {
        "how far a consumer of a NATS JetStream stream is behind"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if self.account.is_none() && self.account_id.is_none() {
            problems.error("account", "", "no account name or id given");
        }
        if let Err(message) = self.streams_url(&self.nats_server_monitoring_endpoint) {
            let endpoint = &self.nats_server_monitoring_endpoint;
            problems.error("natsServerMonitoringEndpoint", endpoint, message);
        }
        target::check_positive("lagThreshold", self.lag_threshold, problems);
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = Quantity::from_units(self.lag_threshold);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
            .with("endpoint", &self.nats_server_monitoring_endpoint)
            .with("https", self.use_https)
            .with("account", self.account.as_deref().unwrap_or_default())
            .with("accountID", self.account_id.as_deref().unwrap_or_default())
            .with("stream", &self.stream)
            .with("consumer", &self.consumer)
            .with("activation", self.activation_lag_threshold)
    }

    async fn connect(self, context: &Context) -> Result<NatsJetStreamScaler, Error> {
        Ok(NatsJetStreamScaler {
            caller: Caller::new(context, &Tls::default(), None)?,
            observer: Observer::of(context),
            leader: Mutex::default(),
            trigger: self,
        })
    }
}

/// Reads the lag of one consumer.
#[derive(Debug)]
pub struct NatsJetStreamScaler {
    caller: Caller,
    observer: Observer,
    /// The server of a cluster that led the consumer when it was last asked.
    leader: Mutex<Option<String>>,
    trigger: NatsJetStreamTrigger,
}

impl NatsJetStreamScaler {
    async fn get<T: DeserializeOwned>(&self, url: Result<Url, String>) -> Result<T, Error> {
        let request = self.caller.request(Method::GET, url.map_err(Error::invalid)?)?;
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(answer.error(format!("the monitoring endpoint answers with status {status}")));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            Error::invalid("the monitoring endpoint does not answer as one of JetStream does")
                .with_source(error)
        })
    }

    async fn streams(&self, endpoint: &str) -> Result<JetStream, Error> {
        self.get(self.trigger.streams_url(endpoint)).await
    }

    fn find(&self, streams: &JetStream) -> Result<Found, Error> {
        let trigger = &self.trigger;
        let account = (trigger.account.as_deref(), trigger.account_id.as_deref());
        streams.find(account, &trigger.stream, &trigger.consumer)
    }

    /// The lag by what the server at `endpoint` tells, if that is the one that knows it.
    async fn known_at(&self, endpoint: &str) -> Result<Option<i64>, Error> {
        let found = self.find(&self.streams(endpoint).await?)?;
        let knows = match &found.leader {
            Some(leader) => self.is_called(endpoint, leader).await,
            None => true,
        };
        Ok(knows.then_some(found.lag))
    }

    async fn lag(&self) -> Result<i64, Error> {
        let endpoint = &self.trigger.nats_server_monitoring_endpoint;
        let known = self.leader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(leader) = known
            && let Ok(Some(lag)) = self.known_at(&leader).await
        {
            self.remember(leader);
            return Ok(lag);
        }
        let streams = self.streams(endpoint).await?;
        let found = self.find(&streams);
        if !streams.is_clustered() {
            return found.map(|found| found.lag);
        }
        let server: Server = self.get(self.trigger.url(endpoint, "/varz")).await?;
        let is_leader = |leader: &String| *leader == server.server_name;
        if let Ok(found) = &found
            && found.leader.as_ref().is_none_or(is_leader)
        {
            return Ok(found.lag);
        }
        self.lag_of_others(found, server.others(endpoint)).await
    }

    /// Asks the other servers: only the consumer's leader knows how far it is, and only those that hold the stream know it.
    async fn lag_of_others(&self, found: Result<Found, Error>, others: Vec<String>) -> Result<i64, Error> {
        let mut last = match found {
            Ok(found) => Error::unavailable("the server that leads the consumer cannot be found")
                .with_context("leader", found.leader.unwrap_or_default()),
            Err(error) => error,
        };
        for other in others {
            match self.known_at(&other).await {
                Ok(Some(lag)) => {
                    self.remember(other);
                    return Ok(lag);
                }
                Ok(None) => {}
                // Whoever is out may be the one that knows.
                Err(error) if error.is_transient() => last = error.with_context("server", other),
                Err(_) => {}
            }
        }
        Err(last)
    }

    async fn is_called(&self, endpoint: &str, name: &str) -> bool {
        let server: Result<Server, Error> = self.get(self.trigger.url(endpoint, "/varz")).await;
        server.is_ok_and(|server| server.server_name == name)
    }

    fn remember(&self, leader: String) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = Some(leader);
    }
}

#[async_trait]
impl Scaler for NatsJetStreamScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let lag = self.lag().await.map_err(|error| {
            error
                .with_context("stream", &self.trigger.stream)
                .with_context("consumer", &self.trigger.consumer)
        })?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "streams hold far fewer than 2^52 messages"
        )]
        let value = lag as f64;
        let active = lag > self.trigger.activation_lag_threshold;
        Ok(Sample::single(self.trigger.metric_name(), value, active))
    }
}

#[cfg(test)]
mod tests;
