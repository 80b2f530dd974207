#![doc = include_str!("docs.md")]

mod connection;
#[rustfmt::skip]
#[allow(
    missing_docs, clippy::all, clippy::allow_attributes_without_reason, clippy::too_many_lines, unreachable_pub, dead_code,
    reason = "this is generated from externalscaler.proto"
)]
mod protocol;
mod scaler;
#[cfg(feature = "external-server")]
pub mod server;

use std::{collections::BTreeMap, sync::Arc};

use scaler_api::{
    Context, Error, Field, MetricSpec, MetricTarget, MetricType, Problems, Secret, Source, SourceKey,
    Trigger, TriggerInput, TriggerSettings,
};
use serde::Deserialize;

use self::connection::{Address, Connection, Described};
pub use self::{connection::ExternalEnvironment, scaler::ExternalScaler};
use crate::{
    target,
    tcp::{Tls, tls},
};

const FIELDS: &[Field] = &[
    Field::new("scalerAddress", "The external scaler: `host:port`.").required(),
    Field::new(
        "enableTLS",
        "Whether to use TLS; a certificate below turns it on too.",
    )
    .default("false"),
    Field::new("unsafeSsl", "Whether any certificate of the scaler is accepted.").default("false"),
    Field::new(
        "caCert",
        "Certificates, in PEM, that are trusted beside the system's.",
    )
    .from(&[Source::Authentication])
    .secret(),
    Field::new("tlsClientCert", "Client certificate, in PEM.")
        .from(&[Source::Authentication])
        .secret(),
    Field::new("tlsClientKey", "Key of the client certificate, in PEM.")
        .from(&[Source::Authentication])
        .secret(),
];

/// The metadata of `external`, and with `PUSH` of `external-push`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalTrigger<const PUSH: bool = false> {
    scaler_address: String,
    #[serde(rename = "enableTLS")]
    enable_tls: bool,
    unsafe_ssl: bool,
    ca_cert: Option<Secret>,
    tls_client_cert: Option<Secret>,
    tls_client_key: Option<Secret>,
    #[serde(skip)]
    settings: TriggerSettings,
    /// What the external scaler gets to see; values of the environment are among it.
    #[serde(skip)]
    metadata: BTreeMap<String, Secret>,
}

/// The metadata of `external-push`.
pub type ExternalPushTrigger = ExternalTrigger<true>;

impl<const PUSH: bool> ExternalTrigger<PUSH> {
    fn tls(&self) -> Option<Tls> {
        let is_on = self.enable_tls || self.tls_client_cert.is_some() || self.ca_cert.is_some();
        is_on.then(|| Tls {
            unsafe_ssl: self.unsafe_ssl,
            ca: self.ca_cert.clone(),
            cert: self.tls_client_cert.clone(),
            key: self.tls_client_key.clone(),
            ..Tls::default()
        })
    }

    fn secrets(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let secrets = [
            ("caCert", &self.ca_cert),
            ("tlsClientCert", &self.tls_client_cert),
            ("tlsClientKey", &self.tls_client_key),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
    }

    /// What a connection depends on.
    fn connection_key(&self) -> SourceKey {
        let key = SourceKey::new("external")
            .with("address", &self.scaler_address)
            .with("tls", self.enable_tls)
            .with("unsafeSsl", self.unsafe_ssl);
        self.secrets()
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    fn check_certificates(&self, problems: &mut Problems) {
        if self.tls_client_cert.is_some() != self.tls_client_key.is_some() {
            let (missing, given) = match self.tls_client_cert {
                Some(_) => ("tlsClientKey", "tlsClientCert"),
                None => ("tlsClientCert", "tlsClientKey"),
            };
            problems.error(missing, "", format!("{missing} must be provided with {given}"));
        }
        if let Some(Err(error)) = self.ca_cert.as_ref().map(|ca| tls::certificates("caCert", ca)) {
            problems.error("caCert", "***", error.message().to_owned());
        }
        if self.tls().is_some_and(|tls| tls.identity().is_err()) {
            let message = "tlsClientCert and tlsClientKey are not a certificate and its key in PEM";
            problems.error("tlsClientCert", "***", message);
        }
    }

    fn scaler(&self, context: &Context) -> Result<ExternalScaler<PUSH>, Error> {
        let environment = ExternalEnvironment::of(context);
        let connection = environment.connection(self.connection_key(), || {
            let address = Address::parse(&self.scaler_address).map_err(Error::invalid)?;
            Connection::new(&address, self.tls().as_ref())
        })?;
        let object = protocol::ScaledObjectRef {
            name: self.settings.name.clone(),
            namespace: self.settings.namespace.clone(),
            scaler_metadata: self
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.expose().to_owned()))
                .collect(),
        };
        Ok(ExternalScaler {
            connection,
            environment,
            timeout: context.timeout,
            source: Trigger::source_key(self),
            address: self.scaler_address.clone(),
            object,
        })
    }

    fn specs(&self, described: &[Described]) -> Vec<MetricSpec> {
        let spec = |metric: &Described| MetricSpec::External {
            name: metric.name.clone(),
            target: match self.settings.metric_type {
                MetricType::Value => MetricTarget::Value(metric.target),
                // `Utilization` was refused by the check.
                MetricType::AverageValue | MetricType::Utilization => {
                    MetricTarget::AverageValue(metric.target)
                }
            },
        };
        described.iter().map(spec).collect()
    }
}

impl<const PUSH: bool> Trigger for ExternalTrigger<PUSH> {
    const TYPE: &'static str = if PUSH { "external-push" } else { "external" };
    type Scaler = ExternalScaler<PUSH>;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "scalerAddress: warehouse-scaler.shop.svc:9090\n\
         warehouse: north\n\
         tokenFromEnv: WAREHOUSE_TOKEN\n"
    }

    fn summary() -> &'static str {
        if PUSH {
            "what another process says that speaks KEDA's protocol for external scalers, and when it becomes active"
        } else {
            "what another process says that speaks KEDA's protocol for external scalers"
        }
    }

    fn takes_any_key() -> bool {
        true
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn input(&mut self, input: &TriggerInput) {
        let passed = |(key, value): (&String, &String)| {
            let value = match key.ends_with("FromEnv") {
                false => value,
                true => input.environment.get(value).filter(|value| !value.is_empty())?,
            };
            Some((key.clone(), Secret::new(value.as_str())))
        };
        self.metadata = input.metadata.iter().filter_map(passed).collect();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(message) = Address::parse(&self.scaler_address) {
            problems.error("scalerAddress", &self.scaler_address, message);
        }
        target::check_metric_type(self.settings.metric_type, problems);
        self.check_certificates(problems);
    }

    /// None: only the external scaler knows.
    fn metrics(&self) -> Vec<MetricSpec> {
        Vec::new()
    }

    async fn discover(&self, context: &Context) -> Result<Vec<MetricSpec>, Error> {
        let scaler = self.scaler(context)?;
        let described: Arc<[Described]> = match scaler.describe().await {
            Ok(described) => described,
            Err(error) => scaler.environment.known(&scaler.source).ok_or(error)?,
        };
        Ok(self.specs(&described))
    }

    fn source_key(&self) -> SourceKey {
        let key = self
            .connection_key()
            .with("push", PUSH)
            .with("namespace", &self.settings.namespace)
            .with("name", &self.settings.name);
        self.metadata
            .iter()
            .fold(key, |key, (name, value)| key.secret(name, value))
    }

    async fn connect(self, context: &Context) -> Result<ExternalScaler<PUSH>, Error> {
        self.scaler(context)
    }
}

#[cfg(test)]
mod tests;
