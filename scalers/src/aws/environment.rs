//! How SDK clients are configured: one HTTP client, one configuration per identity and region, time that can be virtual.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, SharedAsyncSleep, TokioSleep},
    time::{SharedTimeSource, TimeSource},
};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::{
    http::{HttpClient, SharedHttpClient},
    stalled_stream_protection::StalledStreamProtectionConfig,
};
use scaler_api::{Context, SharedClock};

use super::{
    AwsIdentity,
    credentials::{Kept, RoleProvider},
};

/// How this process reaches AWS; put one into a [`Context`] to change it.
///
/// Without one, scalers share an HTTPS client of their own and the SDK's default chain of credentials. SDK retries are
/// off in either case: retrying is what a layer around the scaler is for.
///
/// ```
/// use scalers::aws::AwsEnvironment;
/// # fn with(endpoint: impl aws_smithy_runtime_api::client::http::HttpClient + 'static, clock: scaler_api::SharedClock) {
/// let context = scaler_api::Context::new().with(AwsEnvironment::in_memory(endpoint, clock));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct AwsEnvironment {
    http_client: Option<SharedHttpClient>,
    credentials: Option<SharedCredentialsProvider>,
    time_source: Option<SharedTimeSource>,
    sleep: Option<SharedAsyncSleep>,
    cache: Arc<Cache>,
}

/// What is made once and shared by every clone.
#[derive(Default)]
struct Cache {
    http_client: OnceLock<SharedHttpClient>,
    /// By region and identity.
    configs: Mutex<Vec<(ConfigKey, SdkConfig)>>,
}

/// Region and identity.
type ConfigKey = (String, AwsIdentity);

/// Configurations that are kept; with more identities at a time, credentials are asked for more often.
const KEPT: usize = 256;

impl AwsEnvironment {
    /// The real one: HTTPS, the default chain, the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that never leaves the process: `http_client` answers every request, `clock` signs them, timers are tokio's, and
    /// a made-up access key stands in for the default chain and for roles.
    pub fn in_memory(http_client: impl HttpClient + 'static, clock: SharedClock) -> Self {
        Self::new()
            .with_http_client(http_client)
            .with_credentials(Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "secret",
                None,
                None,
                "in-memory",
            ))
            .with_time_source(ClockTimeSource(clock))
            .with_sleep(TokioSleep::new())
    }

    /// The environment of `context`, or the one that the process shares.
    pub(crate) fn of(context: &Context) -> Self {
        static SHARED: OnceLock<AwsEnvironment> = OnceLock::new();
        context.get::<Self>().map_or_else(
            || SHARED.get_or_init(Self::new).clone(),
            |environment| (*environment).clone(),
        )
    }

    /// Sends every request, those for credentials included, through `http_client`.
    #[must_use]
    pub fn with_http_client(mut self, http_client: impl HttpClient + 'static) -> Self {
        self.http_client = Some(SharedHttpClient::new(http_client));
        self.without_cache()
    }

    /// Takes credentials from `provider` in place of the default chain and of roles; fixed keys stay what they are.
    #[must_use]
    pub fn with_credentials(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.credentials = Some(SharedCredentialsProvider::new(provider));
        self.without_cache()
    }

    /// Signs requests, and ages credentials, by `time_source`.
    #[must_use]
    pub fn with_time_source(mut self, time_source: impl TimeSource + 'static) -> Self {
        self.time_source = Some(SharedTimeSource::new(time_source));
        self.without_cache()
    }

    /// Waits for timeouts by `sleep`.
    #[must_use]
    pub fn with_sleep(mut self, sleep: impl AsyncSleep + 'static) -> Self {
        self.sleep = Some(SharedAsyncSleep::new(sleep));
        self.without_cache()
    }

    fn without_cache(mut self) -> Self {
        self.cache = Arc::default();
        self
    }

    /// The configuration for clients of `identity` in `region`, the same one for equal arguments.
    pub async fn config(&self, identity: &AwsIdentity, region: &str) -> SdkConfig {
        let key = (region.to_owned(), identity.clone());
        if let Some(config) = self.cached(&key) {
            return config;
        }
        let config = match (identity, &self.credentials) {
            (
                AwsIdentity::Keys {
                    access_key_id,
                    secret_access_key,
                    session_token,
                },
                _,
            ) => {
                let keys = Credentials::new(
                    access_key_id.expose(),
                    secret_access_key.expose(),
                    session_token.as_ref().map(|token| token.expose().to_owned()),
                    None,
                    "trigger",
                );
                self.fixed(region, SharedCredentialsProvider::new(keys))
            }
            (_, Some(provider)) => self.fixed(region, provider.clone()),
            (_, None) => self.load(identity, region).await,
        };
        let mut configs = self.cache.configs.lock().unwrap_or_else(PoisonError::into_inner);
        // Two first users may both have loaded it; the first one in is kept, so that all share its credentials.
        if let Some((_, known)) = configs.iter().find(|(known, _)| *known == key) {
            return known.clone();
        }
        if configs.len() == KEPT {
            configs.remove(0);
        }
        configs.push((key, config.clone()));
        config
    }

    fn cached(&self, key: &ConfigKey) -> Option<SdkConfig> {
        self.cache
            .configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, config)| config.clone())
    }

    /// A configuration that reads neither environment variables nor files.
    fn fixed(&self, region: &str, credentials: SharedCredentialsProvider) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(behavior_version())
            .region(Region::new(region.to_owned()))
            .http_client(self.http_client())
            .credentials_provider(credentials)
            .time_source(self.time_source())
            .sleep_impl(self.sleep())
            .identity_cache(aws_config::identity::IdentityCache::lazy().build())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    async fn load(&self, identity: &AwsIdentity, region: &str) -> SdkConfig {
        let config = aws_config::defaults(behavior_version())
            .region(Region::new(region.to_owned()))
            .http_client(self.http_client())
            .time_source(self.time_source())
            .sleep_impl(self.sleep())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let provider = match identity {
            AwsIdentity::Role {
                arn,
                external_id,
                web_identity,
            } => {
                let role = RoleProvider::new(&config, arn, external_id.as_deref(), *web_identity).await;
                Some(SharedCredentialsProvider::new(role))
            }
            _ => config.credentials_provider(),
        };
        let Some(provider) = provider else { return config };
        let kept = Kept::new(provider, self.time_source());
        let builder = config.into_builder();
        builder
            .credentials_provider(SharedCredentialsProvider::new(kept))
            .build()
    }

    fn http_client(&self) -> SharedHttpClient {
        self.http_client.clone().unwrap_or_else(|| {
            let https = || {
                aws_smithy_http_client::Builder::new()
                    .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
                    .build_https()
            };
            self.cache.http_client.get_or_init(https).clone()
        })
    }

    fn time_source(&self) -> SharedTimeSource {
        self.time_source.clone().unwrap_or_default()
    }

    fn sleep(&self) -> SharedAsyncSleep {
        self.sleep
            .clone()
            .unwrap_or_else(|| SharedAsyncSleep::new(TokioSleep::new()))
    }
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsEnvironment")
            .field("own_http_client", &self.http_client.is_some())
            .field("own_credentials", &self.credentials.is_some())
            .field("own_time", &self.time_source.is_some())
            .finish_non_exhaustive()
    }
}

/// The SDK behaviour that this crate was tested with; an update of the SDK does not change it.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

#[cfg(feature = "aws-clients")]
/// The deadline of one call, connecting included.
pub(crate) fn deadline(timeout: std::time::Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_timeout(timeout)
        .connect_timeout(timeout)
        .build()
}

/// A [`scaler_api::Clock`] as the SDK's source of time.
#[derive(Clone, Debug)]
pub struct ClockTimeSource(pub SharedClock);

impl TimeSource for ClockTimeSource {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scaler_api::{Secret, SystemClock};

    use super::*;

    fn environment() -> AwsEnvironment {
        let never =
            aws_smithy_runtime_api::client::http::http_client_fn(|_, _| unreachable!("no request is made"));
        AwsEnvironment::in_memory(never, Arc::new(SystemClock))
    }

    async fn access_key(config: &SdkConfig) -> String {
        let provider = config.credentials_provider().unwrap();
        provider
            .provide_credentials()
            .await
            .unwrap()
            .access_key_id()
            .to_owned()
    }

    #[tokio::test]
    async fn fixed_keys_win_over_the_environments_credentials_and_roles_do_not() {
        let keys = AwsIdentity::Keys {
            access_key_id: Secret::new("AKIAMINE"),
            secret_access_key: Secret::new("s"),
            session_token: None,
        };
        let role = AwsIdentity::Role {
            arn: "arn:r".into(),
            external_id: None,
            web_identity: true,
        };
        let environment = environment();
        assert_eq!(
            access_key(&environment.config(&keys, "eu-west-1").await).await,
            "AKIAMINE"
        );
        assert_eq!(
            access_key(&environment.config(&role, "eu-west-1").await).await,
            "AKIAIOSFODNN7EXAMPLE"
        );
    }

    #[tokio::test]
    async fn a_configuration_is_kept_per_identity_and_region() {
        let environment = environment();
        let keys = |key: &str| AwsIdentity::Keys {
            access_key_id: Secret::new(key),
            secret_access_key: Secret::new("s"),
            session_token: None,
        };
        let role = |external_id: Option<&str>| AwsIdentity::Role {
            arn: "arn:r".into(),
            external_id: external_id.map(str::to_owned),
            web_identity: false,
        };
        let identities = [
            AwsIdentity::DefaultChain,
            keys("AKIAONE"),
            keys("AKIATWO"),
            role(None),
            role(Some("x")),
        ];
        for _ in 0..3 {
            for region in ["eu-west-1", "us-east-2"] {
                for identity in &identities {
                    let config = environment.config(identity, region).await;
                    assert_eq!(config.region().unwrap().as_ref(), region);
                }
            }
        }
        assert_eq!(environment.cache.configs.lock().unwrap().len(), 10);
    }

    /// Counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicU32);

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let count = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let end = SystemTime::UNIX_EPOCH + Duration::from_secs(3600) * (count + 1);
            let keys = Credentials::new(format!("AKIA{count}"), "s", None, Some(end), "test");
            aws_credential_types::provider::future::ProvideCredentials::ready(Ok(keys))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_asked_for_again_shortly_before_their_end() {
        let clock = scaler_api::TokioClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let time = SharedTimeSource::new(ClockTimeSource(Arc::new(clock)));
        let kept = Kept::new(SharedCredentialsProvider::new(Counting::default()), time);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(
                kept.provide_credentials()
                    .await
                    .unwrap()
                    .access_key_id()
                    .to_owned(),
            );
            tokio::time::sleep(Duration::from_secs(1790)).await;
        }
        // After 0, 1790, 3580 and 5370 seconds: the first keys end after 3600.
        assert_eq!(seen, ["AKIA0", "AKIA0", "AKIA1", "AKIA1"]);
    }
}
