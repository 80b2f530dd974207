//! The keys by which every AWS scaler says where its service is and who it is there.

use aws_config::SdkConfig;
#[cfg(feature = "aws-clients")]
use aws_config::timeout::TimeoutConfig;
use scaler_api::{Context, Error, ErrorKind, Problems, SourceKey, TriggerSettings};
use serde::Deserialize;

#[cfg(feature = "aws-clients")]
use super::environment::deadline;
use super::{AwsEnvironment, AwsIdentity, CredentialKeys};

/// Region, endpoint and credentials; a struct to nest in the metadata of a trigger.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    pub(crate) aws_region: String,
    aws_endpoint: Option<String>,
    credentials: CredentialKeys,
}

/// What a client of the SDK is made from.
pub(crate) struct Client {
    pub(crate) config: SdkConfig,
    #[cfg(feature = "aws-clients")]
    pub(crate) timeouts: TimeoutConfig,
    /// Of `awsEndpoint`.
    pub(crate) endpoint: Option<String>,
}

impl Connection {
    pub(crate) fn identity(&self, settings: &TriggerSettings) -> Result<AwsIdentity, Problems> {
        AwsIdentity::decide(settings.pod_identity.as_ref(), &self.credentials)
    }

    pub(crate) fn check(&self, settings: &TriggerSettings, problems: &mut Problems) {
        self.credentials.check(problems);
        if let Some(endpoint) = &self.aws_endpoint
            && let Err(error) = url::Url::parse(endpoint)
        {
            problems.error(
                "awsEndpoint",
                endpoint,
                format!("awsEndpoint {endpoint:?} is not a URL: {error}"),
            );
        }
        if let Err(missing) = self.identity(settings) {
            problems.extend(missing);
        }
    }

    /// Adds region, endpoint and identity to a source key.
    pub(crate) fn add_to(&self, key: SourceKey, settings: &TriggerSettings) -> SourceKey {
        let key = key
            .with("region", &self.aws_region)
            .with("endpoint", self.aws_endpoint.as_deref().unwrap_or_default());
        match self.identity(settings) {
            Ok(identity) => identity.add_to(key),
            Err(_) => key.with("identity", "none"),
        }
    }

    /// The configuration that all triggers of this identity and region share, and what is this one's own.
    ///
    /// # Errors
    /// If the metadata has no credentials.
    pub(crate) async fn client(
        &self,
        settings: &TriggerSettings,
        context: &Context,
    ) -> Result<Client, Error> {
        let identity = self.identity(settings).map_err(|problems| {
            Error::new(ErrorKind::Unauthorized, "no AWS credentials").with_source(problems.to_string())
        })?;
        Ok(Client {
            config: AwsEnvironment::of(context)
                .config(&identity, &self.aws_region)
                .await,
            #[cfg(feature = "aws-clients")]
            timeouts: deadline(context.timeout),
            endpoint: self.aws_endpoint.clone(),
        })
    }
}

/// The configuration of one service's client.
#[cfg(feature = "aws-clients")]
macro_rules! service_config {
    ($sdk:ident, $client:expr) => {{
        let client: $crate::aws::Client = $client;
        let mut config = $sdk::config::Builder::from(&client.config).timeout_config(client.timeouts);
        if let Some(endpoint) = client.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config.build()
    }};
}
#[cfg(feature = "aws-clients")]
pub(crate) use service_config;
