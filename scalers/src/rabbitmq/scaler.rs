//! One sample of a queue, by either protocol.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use reqwest::{Method, StatusCode, Url};
use scaler_api::{Context, Error, Sample, Scaler, Secret, observe::Observer};
use serde::de::DeserializeOwned;

use super::{
    Protocol, RabbitmqTrigger,
    amqp::Amqp,
    management::{self, Counts, Operation, Page, Queue},
    mode::Mode,
};
use crate::{
    azure::{self, AzureEnvironment},
    http::{self, Answer, Caller},
    logins::Reader,
    oauth2::{self, ClientCredentials, TokenSource},
    tcp::{self, Kept, Tls},
};

/// Reads one queue, or several that are one.
pub struct RabbitmqScaler {
    broker: Broker,
    mode: Mode,
    activation: f64,
    metric: String,
    queue: String,
}

enum Broker {
    Amqp(Box<Kept<Amqp>>),
    Http(Box<Api>),
}

/// The management API.
struct Api {
    caller: Caller,
    observer: Observer,
    url: Url,
    username: String,
    password: Secret,
    tokens: Option<Arc<TokenSource>>,
    azure: Option<Azure>,
    only_ready: bool,
    /// How queues are made one, where the name is an expression.
    operation: Option<Operation>,
}

/// An identity of Azure that asks.
struct Azure {
    environment: AzureEnvironment,
    login: azure::Login,
    caller: Caller,
}

impl Azure {
    fn of(trigger: &RabbitmqTrigger, context: &Context) -> Result<Option<Self>, Error> {
        let Some((identity, scope)) = trigger.azure() else {
            return Ok(None);
        };
        let environment = AzureEnvironment::of(context);
        Ok(Some(Self {
            login: environment.login("rabbitmq", azure::PUBLIC, &scope, &identity)?,
            caller: Caller::new(context, &http::Tls::default(), None)?,
            environment,
        }))
    }
}

impl RabbitmqScaler {
    pub(super) fn new(trigger: &RabbitmqTrigger, context: &Context) -> Result<Self, Error> {
        let broker = match trigger.protocol().map_err(Error::invalid)? {
            Protocol::Amqp => Broker::Amqp(Box::new(Kept::new(amqp(trigger)?, context.timeout))),
            Protocol::Http => Broker::Http(Box::new(api(trigger, context)?)),
        };
        Ok(Self {
            broker,
            mode: trigger.mode().map_err(Error::invalid)?.0,
            activation: trigger.activation_value,
            metric: trigger.metric_name(),
            queue: trigger.queue_name.clone(),
        })
    }

    async fn counts(&self) -> Result<Counts, Error> {
        match &self.broker {
            Broker::Amqp(broker) => Ok(Counts {
                messages: f64::from(broker.ask().await?),
                ..Counts::default()
            }),
            Broker::Http(api) => api.counts().await,
        }
    }
}

fn amqp(trigger: &RabbitmqTrigger) -> Result<Amqp, Error> {
    let url = trigger.url().map_err(Error::invalid)?;
    let is_encrypted = url.scheme() == "amqps";
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port().unwrap_or(if is_encrypted { 5671 } else { 5672 });
    let is_on = trigger.tls == "enable";
    let tls = Tls {
        unsafe_ssl: trigger.unsafe_ssl,
        ca: trigger.ca.clone().filter(|_| is_on),
        cert: trigger.cert.clone().filter(|_| is_on),
        key: trigger.key.clone().filter(|_| is_on),
        key_password: trigger.key_password.clone(),
        ..Tls::default()
    };
    let of_url = url.path().strip_prefix('/').filter(|path| !path.is_empty());
    let vhost = match (&trigger.vhost_name, of_url) {
        (Some(name), _) => name.clone(),
        (None, Some(path)) => tcp::unescaped(path),
        (None, None) => "/".to_owned(),
    };
    let (username, password) = trigger.credentials(&url);
    Ok(Amqp {
        address: format!("{host}:{port}"),
        tls: is_encrypted.then_some(tls),
        username,
        password,
        vhost,
        queue: trigger.queue_name.clone(),
    })
}

fn api(trigger: &RabbitmqTrigger, context: &Context) -> Result<Api, Error> {
    let mut url = trigger.url().map_err(Error::invalid)?;
    let (username, password) = trigger.credentials(&url);
    // Neither may stand in an error.
    url.set_username("").ok();
    url.set_password(None).ok();
    let queues = management::queues(&url, trigger.vhost_name.as_deref());
    let name = management::escape(&trigger.queue_name, "%20");
    let url = match trigger.use_regex {
        true => format!(
            "{queues}?page=1&use_regex=true&pagination=false&name={name}&page_size={}",
            trigger.page_size
        ),
        false => format!("{queues}/{name}"),
    };
    let caller = Caller::new(context, &trigger.http_tls(), trigger.timeout)?;
    let tokens = oauth(trigger)?.map(|client| Arc::new(TokenSource::new(caller.clone(), client)));
    Ok(Api {
        caller,
        observer: Observer::of(context),
        url: http::url("host", &url).map_err(Error::invalid)?,
        username,
        password,
        tokens,
        azure: Azure::of(trigger, context)?,
        only_ready: trigger.exclude_unacknowledged,
        operation: trigger.use_regex.then_some(trigger.operation),
    })
}

fn oauth(trigger: &RabbitmqTrigger) -> Result<Option<ClientCredentials>, Error> {
    let (Some(uri), Some(id)) = (&trigger.oauth_token_uri, &trigger.client_id) else {
        return Ok(None);
    };
    Ok(Some(ClientCredentials {
        token_url: http::url("oauthTokenURI", uri).map_err(Error::invalid)?,
        client_id: id.clone(),
        client_secret: trigger.client_secret.clone().unwrap_or_default(),
        scopes: trigger.scopes.clone(),
        parameters: oauth2::parameters(trigger.endpoint_params.as_deref().unwrap_or_default()),
    }))
}

impl Api {
    async fn counts(&self) -> Result<Counts, Error> {
        let answer = self.answer().await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(answer.error(format!("error requesting RabbitMQ API status: {status}")));
        }
        match self.operation {
            Some(operation) => read::<Page>(&answer)?.counts(self.only_ready, operation),
            None => read::<Queue>(&answer)?.counts(self.only_ready),
        }
    }

    /// Asks with a password, or with a token; one that is refused is asked for anew, once.
    async fn answer(&self) -> Result<Answer, Error> {
        if let Some(azure) = &self.azure {
            return azure.environment.logins.read(&azure.login, self).await;
        }
        let Some(tokens) = &self.tokens else {
            return self.send(None).await;
        };
        let token = tokens.token().await?;
        let answer = self.send(Some(&token)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        tokens.forget(&token).await;
        self.send(Some(&tokens.token().await?)).await
    }

    async fn send(&self, token: Option<&Secret>) -> Result<Answer, Error> {
        let request = self.caller.request(Method::GET, self.url.clone())?;
        let request = match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request.basic_auth(&self.username, Some(self.password.expose())),
        };
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        Ok(answer)
    }
}

#[async_trait]
impl Reader for Api {
    type Found = Answer;

    async fn log_in(&self) -> Result<Answer, Error> {
        match &self.azure {
            Some(azure) => azure.login.enter(&azure.caller).await,
            None => Err(Error::new(
                scaler_api::ErrorKind::Internal,
                "there is no identity to log in as",
            )),
        }
    }

    async fn read(&self, token: &Secret) -> Result<Answer, Error> {
        let answer = self.send(Some(token)).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => {
                Err(answer.error("error requesting RabbitMQ API status: 401".to_owned()))
            }
            _ => Ok(answer),
        }
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Error::invalid("the answer is not one of RabbitMQ's API").with_source(error))
}

#[async_trait]
impl Scaler for RabbitmqScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let counts = self.counts().await;
        let counts = counts.map_err(|error| error.with_context("queue", &self.queue))?;
        let (value, active) = self.mode.value(counts, self.activation);
        Ok(Sample::single(&self.metric, value, active))
    }
}

impl fmt::Debug for RabbitmqScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitmqScaler")
            .field("queue", &self.queue)
            .field("mode", &self.mode)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}
