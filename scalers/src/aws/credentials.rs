//! Credentials of a role: by web identity where the process has a token, else by assuming it.

use std::{
    env,
    time::{Duration, SystemTime},
};

use aws_config::{
    SdkConfig,
    provider_config::ProviderConfig,
    sts::AssumeRoleProvider,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_smithy_async::{
    future::timeout::Timeout,
    rt::sleep::{AsyncSleep, SharedAsyncSleep},
    time::SharedTimeSource,
};
use tokio::sync::Mutex;

/// The session name that KEDA uses, so that trust policies and trails that name it keep working.
const SESSION_NAME: &str = "KEDA";

/// How long web identity may take before the role is assumed instead.
const WEB_IDENTITY_PATIENCE: Duration = Duration::from_secs(5);

/// How long before their end credentials are no longer used; the SDK's own cache waits until ten seconds before it.
const EARLY: Duration = Duration::from_secs(60);

/// How long credentials are used that say nothing of their end, as in the SDK's own cache.
const UNSAID: Duration = Duration::from_secs(15 * 60);

/// Credentials that are asked for once and used until shortly before their end, whoever of a configuration's users asks.
#[derive(Debug)]
pub(super) struct Kept {
    provider: SharedCredentialsProvider,
    time: SharedTimeSource,
    known: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Kept {
    pub(super) fn new(provider: SharedCredentialsProvider, time: SharedTimeSource) -> Self {
        Self {
            provider,
            time,
            known: Mutex::default(),
        }
    }

    async fn credentials(&self) -> provider::Result {
        let mut known = self.known.lock().await;
        let now = self.time.now();
        if let Some((credentials, until)) = &*known
            && *until > now
        {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        let until = match credentials.expiry() {
            Some(end) => end - EARLY,
            None => now + UNSAID,
        };
        *known = Some((credentials.clone(), until));
        Ok(credentials)
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// Gives the credentials of one role.
#[derive(Debug)]
pub(super) struct RoleProvider {
    web_identity: Option<(WebIdentityTokenCredentialsProvider, SharedAsyncSleep)>,
    assumed: AssumeRoleProvider,
}

impl RoleProvider {
    /// A provider for the role `arn`; `config` is that of the default chain.
    pub(super) async fn new(
        config: &SdkConfig,
        arn: &str,
        external_id: Option<&str>,
        web_identity: bool,
    ) -> Self {
        let mut assumed = AssumeRoleProvider::builder(arn)
            .session_name(SESSION_NAME)
            .configure(config);
        if let Some(id) = external_id {
            assumed = assumed.external_id(id);
        }
        let assumed = match config.credentials_provider() {
            Some(base) => assumed.build_from_provider(base).await,
            None => assumed.build().await,
        };
        let token_file = env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE").filter(|_| web_identity);
        let web_identity = token_file.zip(config.sleep_impl()).map(|(file, sleep)| {
            let provider = WebIdentityTokenCredentialsProvider::builder()
                .configure(&provider_config(config))
                .static_configuration(StaticConfiguration {
                    web_identity_token_file: file.into(),
                    role_arn: arn.to_owned(),
                    session_name: SESSION_NAME.to_owned(),
                })
                .build();
            (provider, sleep)
        });
        Self {
            web_identity,
            assumed,
        }
    }

    async fn credentials(&self) -> provider::Result {
        let Some((web_identity, sleep)) = &self.web_identity else {
            return self.assumed.provide_credentials().await;
        };
        let first = Timeout::new(
            web_identity.provide_credentials(),
            sleep.sleep(WEB_IDENTITY_PATIENCE),
        )
        .await;
        let first_error = match first {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => error,
            Err(_elapsed) => CredentialsError::provider_timed_out(WEB_IDENTITY_PATIENCE),
        };
        tracing::debug!(error = %first_error, "web identity gave no credentials, assuming the role instead");
        self.assumed.provide_credentials().await
    }
}

impl ProvideCredentials for RoleProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

fn provider_config(config: &SdkConfig) -> ProviderConfig {
    let mut provider = ProviderConfig::without_region()
        .with_region(config.region().cloned())
        .with_behavior_version(config.behavior_version());
    if let Some(http_client) = config.http_client() {
        provider = provider.with_http_client(http_client);
    }
    if let Some(time_source) = config.time_source() {
        provider = provider.with_time_source(time_source);
    }
    if let Some(sleep) = config.sleep_impl() {
        provider = provider.with_sleep_impl(sleep);
    }
    provider
}
