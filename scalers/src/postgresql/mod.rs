#![doc = include_str!("docs.md")]

mod address;
#[cfg(feature = "postgresql-azure")]
mod azure;
mod client;

use std::time::Duration;

use async_trait::async_trait;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, Secret, Source, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

use self::{address::Address, client::Postgres};
use crate::{target, tcp::Kept};

const A_M: &[Source] = &[Source::Authentication, Source::Metadata];
const A_E: &[Source] = &[Source::Authentication, Source::Environment];

const FIELDS: &[Field] = &[
    Field::new("query", "SQL that gives one row of one number.").required(),
    Field::new("targetQueryValue", "Value that one replica is to carry."),
    Field::new(
        "activationTargetQueryValue",
        "The trigger is active above this value.",
    )
    .default("0"),
    Field::new(
        "connection",
        "Where the server is and who asks it: a URL, or `host=... port=... user=... dbname=...`.",
    )
    .from(A_E)
    .secret(),
    Field::new("host", "The server's host, where there is no `connection`.").from(A_M),
    Field::new("port", "The server's port.").from(A_M),
    Field::new("userName", "User of the server.").from(A_M),
    Field::new("dbName", "The database.").from(A_M),
    Field::new(
        "sslmode",
        "Whether to use TLS: disable, allow, prefer, require, verify-ca or verify-full.",
    )
    .from(A_M)
    .allowed(address::SSL_MODES),
    Field::new("password", "Password of the user.").from(A_E).secret(),
];

/// The metadata of `postgresql`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresqlTrigger {
    query: String,
    target_query_value: Option<f64>,
    activation_target_query_value: f64,
    connection: Option<Secret>,
    host: Option<String>,
    port: Option<String>,
    user_name: Option<String>,
    db_name: Option<String>,
    sslmode: Option<String>,
    password: Option<Secret>,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// The metric's name; the trigger's index tells several apart.
const METRIC: &str = "postgresql";

impl PostgresqlTrigger {
    /// The parts of the address, each with its key.
    fn parts(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("host", &self.host),
            ("port", &self.port),
            ("userName", &self.user_name),
            ("dbName", &self.db_name),
            ("sslmode", &self.sslmode),
        ]
    }

    /// Whether the password is a token of Azure, which stands with the parts of an address.
    fn is_azure(&self) -> bool {
        let identity = self.settings.pod_identity.as_ref();
        identity.is_some_and(|identity| identity.provider == "azure-workload")
    }

    fn address(&self) -> Result<Address, Error> {
        match self.connection.as_ref().filter(|_| !self.is_azure()) {
            Some(connection) => Address::parse(connection, self.password.as_ref()),
            None => {
                let [host, port, user, database, mode] =
                    self.parts().map(|(_, value)| value.clone().unwrap_or_default());
                Address::of_parts(&host, &port, &user, &database, &mode, self.password.as_ref())
            }
        }
    }

    fn check_identity(&self, problems: &mut Problems) {
        let identity = self.settings.pod_identity.as_ref();
        if let Some(provider) = identity
            .map(|identity| identity.provider.as_str())
            .filter(|provider| !matches!(*provider, "" | "none"))
            .filter(|provider| *provider != "azure-workload" || cfg!(not(feature = "postgresql-azure")))
        {
            let message = match provider {
                "azure-workload" => {
                    "a token of Azure needs the feature `postgresql-azure` of the crate `scalers`".to_owned()
                }
                other => format!(
                    "podIdentity.provider {other:?} is not supported here, expected azure-workload or none"
                ),
            };
            problems.error("podIdentity.provider", provider, message);
        }
    }
}

impl Trigger for PostgresqlTrigger {
    const TYPE: &'static str = "postgresql";
    type Scaler = PostgresqlScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "host: postgresql.shop.svc\n\
         port: \"5432\"\n\
         userName: scaler\n\
         dbName: shop\n\
         sslmode: require\n\
         passwordFromEnv: PGPASSWORD\n\
         query: SELECT count(*) FROM orders WHERE state = 'new'\n\
         targetQueryValue: \"4\"\n"
    }

    fn summary() -> &'static str {
        "the number that a query of PostgreSQL gives"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        let missing = self.parts().into_iter().filter(|(_, value)| value.is_none());
        let missing: Vec<_> = missing
            .filter(|_| self.connection.is_none() || self.is_azure())
            .collect();
        for (field, _) in &missing {
            problems.error(*field, "", format!("no {field} given"));
        }
        if missing.is_empty()
            && let Err(error) = self.address()
        {
            problems.error("connection", "***", error.message());
        }
        target::check_metric_source(
            "targetQueryValue",
            self.target_query_value,
            &self.settings,
            problems,
        );
        target::check_metric_type(self.settings.metric_type, problems);
        self.check_identity(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            METRIC,
            self.settings.metric_type,
            target::fraction(self.target_query_value.unwrap_or_default()),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("query", &self.query)
            .with("activation", self.activation_target_query_value);
        let key = self.parts().into_iter().fold(key, |key, (name, value)| {
            key.with(name, value.as_deref().unwrap_or_default())
        });
        let key = key.with("identity", format_args!("{:?}", self.settings.pod_identity));
        let secrets = [("connection", &self.connection), ("password", &self.password)];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    async fn connect(self, context: &Context) -> Result<PostgresqlScaler, Error> {
        let timeout: Duration = context.timeout;
        let postgres = Postgres {
            address: self.address()?,
            query: self.query.clone(),
            #[cfg(feature = "postgresql-azure")]
            azure: azure::Azure::of(self.settings.pod_identity.as_ref(), context)?,
        };
        Ok(PostgresqlScaler {
            peer: Kept::new(postgres, timeout),
            activation: self.activation_target_query_value,
        })
    }
}

/// Asks one query of one server.
#[derive(Debug)]
pub struct PostgresqlScaler {
    peer: Kept<Postgres>,
    activation: f64,
}

#[async_trait]
impl Scaler for PostgresqlScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self.peer.ask().await?;
        Ok(Sample::single(METRIC, value, value > self.activation))
    }
}

#[cfg(test)]
mod tests;
