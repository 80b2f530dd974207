//! Where Google Cloud is to a scaler, and who it is there.

use std::{env, fmt, path::PathBuf, sync::OnceLock};

use reqwest::Url;
use scaler_api::{Context, Error, PodIdentity, Problems, Secret, SourceKey};

use super::{Login, METADATA, ServiceAccountKey, login::credentials_file};
use crate::{http, logins::Logins};

/// The parameter of a TriggerAuthentication that carries a key.
const KEY: &str = "GoogleApplicationCredentials";

/// The keys by which a trigger carries the key of a service account.
pub(crate) mod fields {
    use scaler_api::{Field, Source};

    pub(crate) const KEY: Field = Field::new(
        "GoogleApplicationCredentials",
        "JSON key of a service account of Google Cloud.",
    )
    .from(&[Source::Authentication])
    .secret();
    pub(crate) const CREDENTIALS: Field = Field::new(
        "credentials",
        "JSON key of a service account of Google Cloud, in an environment variable of the target's container.",
    )
    .from(&[Source::Environment])
    .secret();
    pub(crate) const FILE: Field = Field::new(
        "credentialsFromEnvFile",
        "Refused: KEDA reads the key from a file of the operator's own.",
    );
}

/// How this process reaches Google Cloud; put one into a [`Context`] to change it. Without one, scalers share that of the
/// process's environment.
#[derive(Clone, Default)]
pub struct GcpEnvironment {
    #[cfg(feature = "gcp-pubsub")]
    pub(crate) endpoint: Option<String>,
    metadata: Option<String>,
    #[cfg(feature = "gcp-pubsub")]
    pub(crate) project: Option<String>,
    credentials_file: Option<PathBuf>,
    pub(crate) logins: Logins<Login>,
}

impl GcpEnvironment {
    /// The public one, with the metadata server of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes from the environment what a pod identity is: `GOOGLE_APPLICATION_CREDENTIALS`, a file with the key of a
    /// service account or of workload identity federation, or else `GCE_METADATA_HOST`, a metadata server as a host with or without port; and
    /// `CLOUDSDK_CORE_PROJECT`, its project.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            metadata: given("GCE_METADATA_HOST").map(|host| format!("http://{host}/")),
            #[cfg(feature = "gcp-pubsub")]
            project: given("CLOUDSDK_CORE_PROJECT"),
            credentials_file: credentials_file(),
            ..Self::default()
        }
    }

    /// Asks the server at this URL for metrics of Cloud Monitoring.
    #[cfg(feature = "gcp-pubsub")]
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Asks the metadata server at this URL.
    #[must_use]
    pub fn with_metadata_server(mut self, url: impl Into<String>) -> Self {
        self.metadata = Some(url.into());
        self
    }

    /// Takes what this file says for a pod identity, the key of a service account or an `external_account`, in place of the
    /// metadata server.
    #[must_use]
    pub fn with_credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// The environment of `context`, or the one that the process shares.
    pub(crate) fn of(context: &Context) -> Self {
        static SHARED: OnceLock<GcpEnvironment> = OnceLock::new();
        context.get::<Self>().map_or_else(
            || SHARED.get_or_init(Self::from_environment).clone(),
            |environment| (*environment).clone(),
        )
    }

    /// The metadata server.
    pub(crate) fn metadata(&self) -> Result<Url, Error> {
        http::url("GCE_METADATA_HOST", self.metadata.as_deref().unwrap_or(METADATA)).map_err(Error::invalid)
    }

    /// How to log in as what a trigger says.
    pub(crate) fn login(&self, identity: &TriggerIdentity) -> Login {
        match identity {
            TriggerIdentity::Process => Login::of_process(self.credentials_file.as_deref()),
            TriggerIdentity::Key(text) => Login::Key(KEY, text.clone()),
        }
    }
}

impl fmt::Debug for GcpEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpEnvironment")
            .field("metadata", &self.metadata)
            .field("credentials_file", &self.credentials_file)
            .finish_non_exhaustive()
    }
}

/// Who a trigger is to Google Cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TriggerIdentity {
    /// Whoever this process is: a pod identity of provider `gcp`.
    Process,
    /// The service account of a key.
    Key(Secret),
}

impl TriggerIdentity {
    /// By the rules of KEDA: a pod identity, then a key of the TriggerAuthentication, then one of the target's environment.
    pub(crate) fn of(
        pod_identity: Option<&PodIdentity>,
        authentication: Option<&Secret>,
        environment: Option<&Secret>,
    ) -> Option<Self> {
        if pod_identity.is_some_and(|identity| identity.provider == "gcp") {
            return Some(Self::Process);
        }
        authentication.or(environment).cloned().map(Self::Key)
    }

    /// Adds it to a source key; a key as a digest.
    pub(crate) fn add_to(&self, key: SourceKey) -> SourceKey {
        match self {
            Self::Process => key.with("identity", "gcp"),
            Self::Key(text) => key.secret("key", text),
        }
    }
}

/// Reports a key that is none, and the file that is not read.
pub(crate) fn check_identity(
    identity: Option<&TriggerIdentity>,
    credentials_from_env_file: Option<&str>,
    problems: &mut Problems,
) {
    if let Some(variable) = credentials_from_env_file {
        let message =
            "credentialsFromEnvFile is not supported, expected credentialsFromEnv or a TriggerAuthentication";
        problems.error("credentialsFromEnvFile", variable, message);
    }
    if let Some(TriggerIdentity::Key(text)) = identity
        && let Err(error) = ServiceAccountKey::read(KEY, text)
    {
        problems.error(KEY, "***", error.to_string());
    }
}
