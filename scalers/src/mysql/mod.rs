#![doc = include_str!("docs.md")]

mod address;
mod client;

use async_trait::async_trait;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, Secret, Source, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

use self::{address::Address, client::Mysql};
use crate::{target, tcp::Kept};

const M_A: &[Source] = &[Source::Metadata, Source::Authentication];
const M_A_E: &[Source] = &[Source::Metadata, Source::Authentication, Source::Environment];
const A_E: &[Source] = &[Source::Authentication, Source::Environment];

const FIELDS: &[Field] = &[
    Field::new("query", "SQL that gives one row of one number.").required(),
    Field::new("queryValue", "Value that one replica is to carry.").required(),
    Field::new("activationQueryValue", "The trigger is active above this value.").default("0"),
    Field::new(
        "connectionString",
        "Where the server is and who asks it: `user:password@tcp(host:port)/database?tls=true`.",
    )
    .from(A_E)
    .secret(),
    Field::new("host", "The server's host, where there is no `connectionString`.").from(M_A),
    Field::new("port", "The server's port.").from(M_A),
    Field::new("username", "User of the server.").from(M_A_E),
    Field::new("dbName", "The database.").from(M_A),
    Field::new("password", "Password of the user.").from(A_E).secret(),
    Field::new(
        "metricName",
        "Read, but without effect: the metric is named after the database.",
    ),
];

/// The metadata of `mysql`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MysqlTrigger {
    query: String,
    query_value: f64,
    activation_query_value: f64,
    connection_string: Option<Secret>,
    host: Option<String>,
    port: Option<String>,
    username: Option<Secret>,
    db_name: Option<String>,
    password: Option<Secret>,
    #[serde(rename = "metricName")]
    _metric_name: Option<String>,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl MysqlTrigger {
    fn address(&self) -> Result<Address, Error> {
        if let Some(connection) = &self.connection_string {
            return Address::parse(connection);
        }
        Address::of_parts(
            self.host.as_deref().unwrap_or_default(),
            self.port.as_deref().unwrap_or_default(),
            self.username.as_ref(),
            self.password.as_ref(),
            self.db_name.as_deref().unwrap_or_default(),
        )
    }

    fn metric_name(&self) -> String {
        let database = match &self.connection_string {
            Some(connection) => address::database(connection.expose()),
            None => self.db_name.as_deref().unwrap_or_default(),
        };
        scaler_api::normalize_name(&format!("mysql-{database}"))
    }
}

impl Trigger for MysqlTrigger {
    const TYPE: &'static str = "mysql";
    type Scaler = MysqlScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "host: mysql.shop.svc\n\
         port: \"3306\"\n\
         username: scaler\n\
         dbName: shop\n\
         passwordFromEnv: MYSQL_PASSWORD\n\
         query: SELECT count(*) FROM orders WHERE state = 'new'\n\
         queryValue: \"4\"\n"
    }

    fn summary() -> &'static str {
        "the number that a query of MySQL or MariaDB gives"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        let parts = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("username", self.username.is_some()),
            ("dbName", self.db_name.is_some()),
            ("password", self.password.is_some()),
        ];
        let missing = parts.into_iter().filter(|(_, given)| !given);
        let missing: Vec<_> = missing.filter(|_| self.connection_string.is_none()).collect();
        for (field, _) in &missing {
            problems.error(*field, "", format!("no {field} given"));
        }
        if missing.is_empty()
            && let Err(error) = self.address()
        {
            problems.error("connectionString", "***", error.message());
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
            .with("query", &self.query)
            .with("activation", self.activation_query_value)
            .with("host", self.host.as_deref().unwrap_or_default())
            .with("port", self.port.as_deref().unwrap_or_default())
            .with("dbName", self.db_name.as_deref().unwrap_or_default());
        let secrets = [
            ("connectionString", &self.connection_string),
            ("username", &self.username),
            ("password", &self.password),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    async fn connect(self, context: &Context) -> Result<MysqlScaler, Error> {
        let mysql = Mysql {
            options: self.address()?.options(),
            query: self.query.clone(),
        };
        Ok(MysqlScaler {
            peer: Kept::new(mysql, context.timeout),
            metric: self.metric_name(),
            activation: self.activation_query_value,
        })
    }
}

/// Asks one query of one server.
#[derive(Debug)]
pub struct MysqlScaler {
    peer: Kept<Mysql>,
    metric: String,
    activation: f64,
}

#[async_trait]
impl Scaler for MysqlScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self.peer.ask().await?;
        Ok(Sample::single(&self.metric, value, value > self.activation))
    }
}

#[cfg(test)]
mod tests;
