//! How authentications are resolved.

use std::{path::PathBuf, time::Duration};

/// The lifetime of a ServiceAccount's token, as KEDA has it: an hour unless set, and never outside of these.
const TOKEN_LIFETIME: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(6 * 3600));

/// How authentications are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where ClusterTriggerAuthentications find their Secrets, ConfigMaps and ServiceAccounts.
    pub cluster_object_namespace: String,
    /// Whether Secrets of that namespace alone are read (`KEDA_RESTRICT_SECRET_ACCESS`).
    pub restrict_secret_access: bool,
    /// The folder of the files that ClusterTriggerAuthentications may name; without one none may.
    pub file_root: Option<PathBuf>,
    /// The lifetime of tokens of ServiceAccounts; see [`token_lifetime`](Self::token_lifetime).
    pub token_lifetime: Duration,
    /// How often stores of secrets are asked again, unless they say otherwise.
    pub secret_refresh: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_object_namespace: "keda".to_owned(),
            restrict_secret_access: false,
            file_root: None,
            token_lifetime: TOKEN_LIFETIME.0,
            secret_refresh: Duration::from_secs(120),
        }
    }
}

impl Settings {
    /// The lifetime of tokens that is asked for: between one hour and six.
    #[must_use]
    pub fn token_lifetime(&self) -> Duration {
        self.token_lifetime.clamp(TOKEN_LIFETIME.0, TOKEN_LIFETIME.1)
    }

    /// Whether Secrets of `namespace` may be read.
    #[must_use]
    pub fn may_read_secrets(&self, namespace: &str) -> bool {
        !self.restrict_secret_access || namespace == self.cluster_object_namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_live_between_one_hour_and_six() {
        for (asked, expected) in [(1, 3600), (3600, 3600), (7200, 7200), (90_000, 21_600)] {
            let settings = Settings {
                token_lifetime: Duration::from_secs(asked),
                ..Settings::default()
            };
            assert_eq!(settings.token_lifetime().as_secs(), expected, "{asked}");
        }
    }
}
