#![doc = include_str!("docs.md")]

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, Problems, Sample, Scaler, Secret, Source, SourceKey,
    Trigger, TriggerSettings, observe::Observer,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{self, Answer, Caller, Tls},
    private_key, target,
};

const A: &[Source] = &[Source::Authentication];
const A_E: &[Source] = &[Source::Authentication, Source::Environment];

const FIELDS: &[Field] = &[
    Field::new("endpoints", "The members: `host:port,host:port`, or URLs.").required(),
    Field::new("watchKey", "Key whose value, a number, counts.").required(),
    Field::new("value", "Value that one replica is to carry.").required(),
    Field::new("activationValue", "The trigger is active above this value.").default("0"),
    Field::new(
        "watchProgressNotifyInterval",
        "Seconds after which a watch without news counts as dead; read, but without effect, since values are polled.",
    )
    .default("600"),
    Field::new("username", "User, together with `password`.").from(A_E),
    Field::new("password", "Password of the user.").from(A_E).secret(),
    Field::new("tls", "Whether to use TLS: `enable` or `disable`.")
        .from(A)
        .allowed(&["enable", "disable"])
        .default("disable"),
    Field::new("ca", "Certificates, in PEM, that are trusted beside the system's.")
        .from(A)
        .secret(),
    Field::new("cert", "Client certificate, in PEM.").from(A).secret(),
    Field::new("key", "Key of the client certificate, in PEM.").from(A).secret(),
    Field::new(
        "keyPassword",
        "Password of the key, if that is encrypted as PKCS#8 does it.",
    )
    .from(A)
    .secret(),
];

/// The metadata of `etcd`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdTrigger {
    endpoints: Vec<String>,
    watch_key: String,
    value: f64,
    activation_value: f64,
    watch_progress_notify_interval: i64,
    username: Option<Secret>,
    password: Option<Secret>,
    tls: String,
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
    key_password: Option<Secret>,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl EtcdTrigger {
    fn metric_name(&self) -> String {
        scaler_api::normalize_name(&format!("etcd-{}", self.watch_key))
    }

    /// The URL of a member.
    fn url(&self, endpoint: &str) -> Result<Url, String> {
        if endpoint.contains("://") {
            return http::url("endpoints", endpoint);
        }
        let scheme = if self.tls == "enable" { "https" } else { "http" };
        http::url("endpoints", &format!("{scheme}://{endpoint}"))
    }

    fn tls(&self) -> Tls {
        match self.tls.as_str() {
            "enable" => Tls {
                unsafe_ssl: false,
                ca: self.ca.clone(),
                identity: private_key::identity(
                    self.cert.as_ref(),
                    self.key.as_ref(),
                    self.key_password.as_ref(),
                ),
            },
            _ => Tls::default(),
        }
    }

    fn check_pairs(&self, problems: &mut Problems) {
        let pairs = [
            (
                "username",
                self.username.is_some(),
                "password",
                self.password.is_some(),
            ),
            ("cert", self.cert.is_some(), "key", self.key.is_some()),
        ];
        for (one, has_one, other, has_other) in pairs {
            if has_one != has_other {
                let (missing, given) = if has_one { (other, one) } else { (one, other) };
                problems.error(missing, "", format!("{missing} must be provided with {given}"));
            }
        }
        private_key::check(self.key.as_ref(), self.key_password.as_ref(), problems);
    }
}

impl Trigger for EtcdTrigger {
    const TYPE: &'static str = "etcd";
    type Scaler = EtcdScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "endpoints: etcd-0.shop.svc:2379,etcd-1.shop.svc:2379\n\
         watchKey: orders\n\
         value: \"5\"\n\
         activationValue: \"10\"\n"
    }

    fn summary() -> &'static str {
        "a number that stands under a key of etcd"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        for endpoint in &self.endpoints {
            if let Err(message) = self.url(endpoint) {
                problems.error("endpoints", endpoint, message);
            }
        }
        let interval = self.watch_progress_notify_interval;
        target::check_positive("watchProgressNotifyInterval", interval, problems);
        target::check_positive_fraction("value", self.value, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.check_pairs(problems);
        http::check_tls(&self.tls(), problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target::fraction(self.value),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("endpoints", self.endpoints.join(","))
            .with("key", &self.watch_key)
            .with("tls", &self.tls)
            .with("activation", self.activation_value);
        let secrets = [
            ("username", &self.username),
            ("password", &self.password),
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("clientKey", &self.key),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    async fn connect(self, context: &Context) -> Result<EtcdScaler, Error> {
        Ok(EtcdScaler {
            caller: Caller::new(context, &self.tls(), None)?,
            observer: Observer::of(context),
            token: tokio::sync::Mutex::new(None),
            trigger: self,
        })
    }
}

/// Reads one key.
#[derive(Debug)]
pub struct EtcdScaler {
    caller: Caller,
    observer: Observer,
    /// What the last login gave.
    token: tokio::sync::Mutex<Option<Secret>>,
    trigger: EtcdTrigger,
}

impl EtcdScaler {
    async fn post(
        &self,
        endpoint: &str,
        path: &str,
        body: Value,
        token: Option<&Secret>,
    ) -> Result<Answer, Error> {
        let mut url = self.trigger.url(endpoint).map_err(Error::invalid)?;
        url.set_path(path);
        let mut request = self.caller.request(Method::POST, url)?.body(body.to_string());
        if let Some(token) = token {
            request = request.header("authorization", http::sensitive(token)?);
        }
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        Ok(answer)
    }

    /// A token for this user, if there is one; whoever comes while one is asked for waits for it.
    async fn token(&self, endpoint: &str) -> Result<Option<Secret>, Error> {
        let (Some(username), Some(password)) = (&self.trigger.username, &self.trigger.password) else {
            return Ok(None);
        };
        let mut token = self.token.lock().await;
        if token.is_none() {
            let body = json!({"name": username.expose(), "password": password.expose()});
            let answer = self.post(endpoint, "/v3/auth/authenticate", body, None).await?;
            let answer = read(&answer)?;
            let given = answer["token"]
                .as_str()
                .ok_or_else(|| Error::invalid("the member gives no token"))?;
            *token = Some(Secret::new(given));
        }
        Ok(token.clone())
    }

    async fn range(&self, endpoint: &str) -> Result<Value, Error> {
        let body = || json!({"key": STANDARD.encode(&self.trigger.watch_key)});
        let token = self.token(endpoint).await?;
        let answer = self
            .post(endpoint, "/v3/kv/range", body(), token.as_ref())
            .await?;
        match read(&answer) {
            // Tokens end; the member does not tell when.
            Err(error) if error.kind() == ErrorKind::Unauthorized && token.is_some() => {
                let mut kept = self.token.lock().await;
                if *kept == token {
                    *kept = None;
                }
                drop(kept);
                let token = self.token(endpoint).await?;
                read(
                    &self
                        .post(endpoint, "/v3/kv/range", body(), token.as_ref())
                        .await?,
                )
            }
            answer => answer,
        }
    }

    /// Asks the members in turn until one answers.
    async fn value(&self) -> Result<f64, Error> {
        let mut last = Error::invalid("no endpoint is given");
        for endpoint in &self.trigger.endpoints {
            match self.range(endpoint).await {
                Ok(answer) => return number(&answer),
                Err(error) if error.is_transient() => last = error.with_context("endpoint", endpoint),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// The value of the only key of an answer.
fn number(answer: &Value) -> Result<f64, Error> {
    let Some(found) = answer["kvs"].get(0) else {
        return Err(Error::not_found("watchKey doesn't exist"));
    };
    // An empty value is left out.
    let value = found["value"].as_str().unwrap_or_default();
    let text = STANDARD.decode(value).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| Error::invalid(format!("the value of watchKey is {text:?}, expected a number")))
}

/// The body of an answer, or the error that it is.
fn read(answer: &Answer) -> Result<Value, Error> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return Ok(body);
    }
    let words = body["message"]
        .as_str()
        .or(body["error"].as_str())
        .unwrap_or_default();
    // The codes of gRPC; a gateway turns most of them into 400 and 500.
    let kind = match body["code"].as_i64() {
        Some(7 | 16) => Some(ErrorKind::Unauthorized),
        Some(3) if words.contains("authentication failed") || words.contains("user name is empty") => {
            Some(ErrorKind::Unauthorized)
        }
        Some(4 | 14) => Some(ErrorKind::Unavailable),
        _ => None,
    };
    let message = format!("the member answers with status {}", answer.status.as_u16());
    let error = match kind {
        Some(kind) => Error::new(kind, message),
        None => answer.error(message),
    };
    Err(error.with_source(words.to_owned()))
}

#[async_trait]
impl Scaler for EtcdScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self.value().await;
        let value = value.map_err(|error| error.with_context("watchKey", &self.trigger.watch_key))?;
        let active = value > self.trigger.activation_value;
        Ok(Sample::single(self.trigger.metric_name(), value, active))
    }
}

#[cfg(test)]
mod tests;
