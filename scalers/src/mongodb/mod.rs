#![doc = include_str!("docs.md")]

mod client;
mod files;

use async_trait::async_trait;
use mongodb::bson::Document;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, Secret, Source, SourceKey, Trigger,
    TriggerSettings, normalize_name,
};
use serde::Deserialize;

use self::client::Collection;
use crate::{private_key, target};

const A: &[Source] = &[Source::Authentication];
const A_M: &[Source] = &[Source::Authentication, Source::Metadata];
const A_M_E: &[Source] = &[Source::Authentication, Source::Metadata, Source::Environment];

const FIELDS: &[Field] = &[
    Field::new(
        "connectionString",
        "Where the server is and who asks it: `mongodb://...` or `mongodb+srv://...`.",
    )
    .from(A_M_E)
    .secret(),
    Field::new(
        "scheme",
        "Scheme of the address, where there is no `connectionString`.",
    )
    .from(A_M)
    .default("mongodb"),
    Field::new("host", "The server's host.").from(A_M),
    Field::new("port", "The server's port; none with `mongodb+srv`.").from(A_M),
    Field::new("username", "The user.").from(A_M),
    Field::new("password", "Password of the user.")
        .from(A_M_E)
        .secret(),
    Field::new("dbName", "The database.").from(A_M).required(),
    Field::new("collection", "The collection.").required(),
    Field::new("query", "Filter of the documents that count, in JSON.").required(),
    Field::new("queryValue", "Documents that one replica is to carry.").required(),
    Field::new("activationQueryValue", "The trigger is active above this number.").default("0"),
    Field::new("tls", "Whether to use TLS: `enable` or `disable`.")
        .from(A)
        .allowed(&["enable", "disable"])
        .default("disable"),
    Field::new(
        "ca",
        "Certificates, in PEM, that are trusted in place of the public ones.",
    )
    .from(A)
    .secret(),
    Field::new("cert", "Client certificate, in PEM.").from(A).secret(),
    Field::new("key", "Key of the client certificate, in PEM.")
        .from(A)
        .secret(),
    Field::new(
        "keyPassword",
        "Password of the key, if that is encrypted as PKCS#8 does it.",
    )
    .from(A)
    .secret(),
];

/// The metadata of `mongodb`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MongodbTrigger {
    connection_string: Option<Secret>,
    scheme: String,
    host: Option<String>,
    port: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    db_name: String,
    collection: String,
    query: String,
    query_value: f64,
    activation_query_value: f64,
    tls: String,
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
    key_password: Option<Secret>,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl MongodbTrigger {
    fn metric_name(&self) -> String {
        normalize_name(&format!("mongodb-{}", self.collection))
    }

    /// The address with its credentials.
    fn address(&self) -> Secret {
        if let Some(address) = &self.connection_string {
            return address.clone();
        }
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let host = match (part(&self.host), &self.port) {
            (host, Some(port)) if self.scheme != "mongodb+srv" => match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            },
            (host, _) => host,
        };
        Secret::new(format!(
            "{}://{}:{}@{host}/{}",
            self.scheme,
            escaped(&part(&self.username)),
            escaped(self.password.as_ref().map_or("", Secret::expose)),
            escaped(&self.db_name)
        ))
    }

    /// The filter, in MongoDB's extended JSON.
    fn filter(&self) -> Result<Document, String> {
        let filter: Document = serde_json::from_str(&self.query)
            .map_err(|error| format!("query is no filter in JSON: {error}"))?;
        match filter.is_empty() {
            true => Err("query is an empty filter, expected one that names a field".to_owned()),
            false => Ok(filter),
        }
    }

    fn check_parts(&self, problems: &mut Problems) {
        if self.connection_string.is_none() {
            let parts = [
                ("host", self.host.is_none()),
                ("port", self.port.is_none() && self.scheme != "mongodb+srv"),
                ("username", self.username.is_none()),
                ("password", self.password.is_none()),
            ];
            for (part, _) in parts.iter().filter(|(_, is_missing)| *is_missing) {
                problems.error(*part, "", format!("no {part} given"));
            }
            if parts.iter().any(|(_, is_missing)| *is_missing) {
                return;
            }
        }
        if !client::is_address(&self.address()) {
            // What is wrong with it could quote a credential.
            let field = match self.connection_string {
                Some(_) => "connectionString",
                None => "host",
            };
            problems.error(field, "***", format!("{field} makes no address of MongoDB"));
        }
    }

    fn check_tls(&self, problems: &mut Problems) {
        if self.tls != "enable" {
            return;
        }
        if self.cert.is_none() && self.key.is_none() && self.ca.is_none() {
            let message = "at least one of cert, key, or ca must be provided when TLS is enabled";
            problems.error("tls", &self.tls, message);
        }
        if self.cert.is_some() != self.key.is_some() {
            let message = "both cert and key must be provided when using client certificates";
            problems.error("cert", "", message);
        }
        private_key::check(self.key.as_ref(), self.key_password.as_ref(), problems);
    }
}

impl Trigger for MongodbTrigger {
    const TYPE: &'static str = "mongodb";
    type Scaler = MongodbScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "connectionStringFromEnv: MONGODB_ADDRESS\n\
         dbName: shop\n\
         collection: orders\n\
         query: '{\"state\": \"open\"}'\n\
         queryValue: \"5\"\n\
         activationQueryValue: \"2\"\n"
    }

    fn summary() -> &'static str {
        "the number of documents that a query of MongoDB finds"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        self.check_parts(problems);
        self.check_tls(problems);
        if let Err(message) = self.filter() {
            problems.error("query", &self.query, message);
        }
        target::check_positive_fraction("queryValue", self.query_value, problems);
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target::fraction(self.query_value),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .secret("address", &self.address())
            .with("database", &self.db_name)
            .with("collection", &self.collection)
            .with("query", &self.query)
            .with("tls", &self.tls)
            .with("activation", self.activation_query_value);
        let secrets = [
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("clientKey", &self.key),
            ("keyPassword", &self.key_password),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    async fn connect(self, context: &Context) -> Result<MongodbScaler, Error> {
        let tls = (self.tls == "enable").then(|| files::Tls {
            ca: self.ca.clone(),
            identity: private_key::identity(
                self.cert.as_ref(),
                self.key.as_ref(),
                self.key_password.as_ref(),
            ),
        });
        Ok(MongodbScaler {
            metric_name: self.metric_name(),
            activation: self.activation_query_value,
            collection: Collection::new(
                self.address(),
                tls,
                context.timeout,
                self.db_name.clone(),
                self.collection.clone(),
                self.filter().map_err(Error::invalid)?,
            ),
        })
    }
}

/// Counts the documents that a filter lets through.
#[derive(Debug)]
pub struct MongodbScaler {
    metric_name: String,
    activation: f64,
    collection: Collection,
}

#[async_trait]
impl Scaler for MongodbScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let count = self.collection.count().await?;
        #[allow(clippy::cast_precision_loss, reason = "no collection is that large")]
        let value = count as f64;
        Ok(Sample::single(&self.metric_name, value, value > self.activation))
    }
}

#[cfg(test)]
mod tests;
