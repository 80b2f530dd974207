#![doc = include_str!("docs.md")]

mod account;

use async_trait::async_trait;
use reqwest::Method;
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, Problems, Quantity, Sample, Scaler, Secret, SharedClock,
    Source, SourceKey, Trigger, TriggerSettings, observe::Observer,
};
use serde::Deserialize;

use self::account::{Account, Proof, Wanted};
use crate::{
    azure::{self, AzureEnvironment, CloudKeys, fields},
    http::{self, Answer, Caller, Tls},
    logins::Reader,
    target,
};

/// The version of the service's API.
const VERSION: &str = "2021-12-02";
/// The most messages that can be looked at.
const MOST: usize = 32;
const STRATEGIES: &[&str] = &["all", "visibleonly"];

/// The metadata of `azure-queue`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureQueueTrigger {
    queue_name: String,
    queue_length: i64,
    activation_queue_length: i64,
    queue_length_strategy: String,
    connection: Option<Secret>,
    account_name: Option<String>,
    place: CloudKeys,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("queueName", "Name of the queue.").required(),
    Field::new("queueLength", "Messages that one replica is to carry.").default("5"),
    Field::new(
        "activationQueueLength",
        "The trigger is active above this number of messages.",
    )
    .default("0"),
    Field::new(
        "queueLengthStrategy",
        "Which messages count: `all`, or `visibleonly`, which leaves out those that a consumer holds as long as there are fewer \
         than 32.",
    )
    .allowed(STRATEGIES)
    .default("all"),
    Field::new(
        "connection",
        "Connection string of the storage account; needed without a pod identity.",
    )
    .from(&[Source::Authentication, Source::Metadata, Source::Environment])
    .secret(),
    Field::new("accountName", "Storage account, which a pod identity needs."),
    fields::CLOUD,
    fields::ENDPOINT_SUFFIX,
];

impl AzureQueueTrigger {
    fn account(&self) -> Result<Account, String> {
        Account::of(
            self.connection.as_ref(),
            self.account_name.as_deref(),
            &self.place,
            azure::identity_of(self.settings.pod_identity.as_ref()),
        )
    }
}

impl Trigger for AzureQueueTrigger {
    const TYPE: &'static str = "azure-queue";
    type Scaler = AzureQueueScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "queueName: orders\n\
         queueLength: \"5\"\n\
         connectionFromEnv: AZURE_STORAGE_CONNECTION_STRING\n"
    }

    fn summary() -> &'static str {
        "the number of messages in a queue of Azure Storage"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        target::check_positive("queueLength", self.queue_length, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.place.check(problems);
        if !account::is_name(&self.queue_name) {
            let message = "queueName is no name of a queue, expected lower case letters, digits and -";
            problems.error("queueName", &self.queue_name, message);
        }
        if azure::needs_connection(self.settings.pod_identity.as_ref(), problems) {
            match (&self.connection, self.account()) {
                (None, _) => problems.error("connection", "", "no connection setting given"),
                (Some(_), Err(message)) => problems.error("connection", "***", message),
                (Some(_), Ok(_)) => {}
            }
        } else if self
            .account_name
            .as_deref()
            .is_none_or(|name| !account::is_name(name))
        {
            let name = self.account_name.as_deref().unwrap_or_default();
            problems.error("accountName", name, "no accountName given");
        }
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &metric_name(&self.queue_name),
            self.settings.metric_type,
            Quantity::from_units(self.queue_length),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let given = |text: &Option<String>| text.clone().unwrap_or_default();
        let key = SourceKey::new(Self::TYPE)
            .with("queue", &self.queue_name)
            .with("strategy", &self.queue_length_strategy)
            .with("account", given(&self.account_name))
            .with("cloud", given(&self.place.cloud))
            .with("suffix", given(&self.place.endpoint_suffix))
            .with("activation", self.activation_queue_length);
        let key = match azure::identity_of(self.settings.pod_identity.as_ref()) {
            Some(identity) => identity.add_to(key),
            None => key,
        };
        match &self.connection {
            Some(connection) => key.secret("connection", connection),
            None => key,
        }
    }

    async fn connect(self, context: &Context) -> Result<AzureQueueScaler, Error> {
        Ok(AzureQueueScaler {
            caller: Caller::new(context, &Tls::default(), None)?,
            observer: Observer::of(context),
            clock: context.clock.clone(),
            account: self.account().map_err(Error::invalid)?,
            environment: AzureEnvironment::of(context),
            trigger: self,
        })
    }
}

/// §2.1: `azure-queue-<queue>`.
fn metric_name(queue: &str) -> String {
    scaler_api::normalize_name(&format!("azure-queue-{queue}"))
}

/// Counts the messages of one queue.
#[derive(Debug)]
pub struct AzureQueueScaler {
    caller: Caller,
    observer: Observer,
    clock: SharedClock,
    account: Account,
    environment: AzureEnvironment,
    trigger: AzureQueueTrigger,
}

impl AzureQueueScaler {
    async fn length(&self) -> Result<i64, Error> {
        if self.trigger.queue_length_strategy == "visibleonly" {
            let visible = messages(&self.ask(Wanted::Messages).await?)?;
            if visible < MOST {
                return Ok(i64::try_from(visible).unwrap_or(i64::MAX));
            }
        }
        approximate_count(&self.ask(Wanted::Properties).await?)
    }

    async fn ask(&self, wanted: Wanted) -> Result<Answer, Error> {
        match &self.account.proof {
            Proof::Identity(identity) => {
                let login = self.account.login(identity, &self.environment)?;
                let reader = QueueReader {
                    scaler: self,
                    login: &login,
                    wanted,
                };
                self.environment.logins.read(&login, &reader).await
            }
            _ => self.send(wanted, None).await,
        }
    }

    async fn send(&self, wanted: Wanted, token: Option<&Secret>) -> Result<Answer, Error> {
        let url = self.account.url(&self.trigger.queue_name, wanted)?;
        let date = account::date(self.clock.now());
        let mut request = self
            .caller
            .request(Method::GET, url.clone())?
            .header("x-ms-date", &date)
            .header("x-ms-version", VERSION);
        let authorization = match token {
            Some(token) => Some(Secret::new(format!("Bearer {}", token.expose()))),
            None => self.account.authorization(&url, &date, VERSION),
        };
        if let Some(authorization) = &authorization {
            request = request.header("authorization", http::sensitive(authorization)?);
        }
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(refusal(&answer)),
        }
    }
}

/// What asks one queue with a token.
struct QueueReader<'a> {
    scaler: &'a AzureQueueScaler,
    login: &'a azure::Login,
    wanted: Wanted,
}

#[async_trait]
impl Reader for QueueReader<'_> {
    type Found = Answer;

    async fn log_in(&self) -> Result<Answer, Error> {
        self.login.enter(&self.scaler.caller).await
    }

    async fn read(&self, token: &Secret) -> Result<Answer, Error> {
        self.scaler.send(self.wanted, Some(token)).await
    }
}

/// How many messages a list has: text in them is escaped, so that no tag stands in it.
fn messages(answer: &Answer) -> Result<usize, Error> {
    let text = String::from_utf8_lossy(&answer.body);
    if !text.contains("<QueueMessagesList") {
        return Err(Error::invalid("the answer is no list of messages"));
    }
    Ok(text.matches("<QueueMessage>").count())
}

fn approximate_count(answer: &Answer) -> Result<i64, Error> {
    let header = answer.headers.get("x-ms-approximate-messages-count");
    let text = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.parse()
        .map_err(|_| Error::invalid(format!("the answer says that the queue has {text:?} messages")))
}

/// The error of an answer, whose header has the code.
fn refusal(answer: &Answer) -> Error {
    let code = answer.headers.get("x-ms-error-code");
    let code = code.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = format!("the storage account answered {}", answer.status.as_u16());
    let error = match code {
        "ServerBusy" => Error::new(ErrorKind::Throttled, message),
        _ => answer.error(message),
    };
    match code {
        "" => error,
        code => error.with_source(code.to_owned()),
    }
}

#[async_trait]
impl Scaler for AzureQueueScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let queue = &self.trigger.queue_name;
        let length = self
            .length()
            .await
            .map_err(|error| error.with_context("queue", queue))?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "queues hold far fewer than 2^52 messages"
        )]
        let value = length as f64;
        let active = length > self.trigger.activation_queue_length;
        Ok(Sample::single(metric_name(queue), value, active))
    }
}

#[cfg(test)]
mod tests;
