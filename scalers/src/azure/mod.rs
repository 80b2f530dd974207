//! What every Azure scaler and store of secrets shares: who it is, where it logs in, and how keys sign.

#[cfg(feature = "azure-identity")]
mod cloud;
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
mod connection;
mod login;
#[cfg(feature = "azure-servicebus")]
pub(crate) mod xml;

use std::{env, path::PathBuf};

#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
pub(crate) use cloud::CloudKeys;
#[cfg(feature = "azure-identity")]
pub(crate) use cloud::fields;
#[cfg(feature = "prometheus")]
pub(crate) use cloud::managed_prometheus;
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
pub(crate) use connection::{ConnectionString, mac};
#[cfg(any(feature = "rabbitmq", feature = "postgresql-azure"))]
pub(crate) use login::PUBLIC;
#[cfg(feature = "azure-key-vault")]
pub(crate) use login::WORKLOAD;
#[cfg(feature = "azure-identity")]
pub(crate) use login::identity_of;
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
pub(crate) use login::needs_connection;
pub(crate) use login::{Identity, Login, Purpose};

#[cfg(feature = "azure-identity")]
use crate::logins::Logins;

/// What the process has of an identity of Microsoft Entra; a block or a trigger may name another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadIdentity {
    /// The application.
    pub client_id: Option<String>,
    /// Its tenant.
    pub tenant_id: Option<String>,
    /// Where to log in: a URL without the tenant.
    pub authority_host: Option<String>,
    /// The file with the token of the process's ServiceAccount.
    pub token_file: Option<PathBuf>,
}

impl WorkloadIdentity {
    /// `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_AUTHORITY_HOST` and `AZURE_FEDERATED_TOKEN_FILE`.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            client_id: given("AZURE_CLIENT_ID"),
            tenant_id: given("AZURE_TENANT_ID"),
            authority_host: given("AZURE_AUTHORITY_HOST"),
            token_file: given("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
        }
    }
}

/// Who this process is to Azure, and its tokens; put one into a [`Context`](scaler_api::Context) to change it. Without one,
/// scalers share that of the process's environment.
#[cfg(feature = "azure-identity")]
#[derive(Clone, Debug, Default)]
pub struct AzureEnvironment {
    pub(crate) workload: WorkloadIdentity,
    pub(crate) logins: Logins<Login>,
}

#[cfg(feature = "azure-identity")]
impl AzureEnvironment {
    /// One with this identity and no tokens yet.
    #[must_use]
    pub fn new(workload: WorkloadIdentity) -> Self {
        Self {
            workload,
            ..Self::default()
        }
    }

    /// The login of a trigger of this type as what its pod identity names; `authority` is where its cloud logs in, unless the
    /// process says it otherwise.
    pub(crate) fn login(
        &self,
        block: &str,
        authority: &str,
        scope: &str,
        identity: &Identity,
    ) -> Result<Login, scaler_api::Error> {
        let workload = &self.workload;
        let purpose = Purpose {
            block,
            authority: workload.authority_host.is_none().then_some(authority),
            scope,
        };
        Login::of_workload(purpose, identity, workload)
    }

    /// The environment of `context`, or the one that the process shares.
    pub(crate) fn of(context: &scaler_api::Context) -> Self {
        static SHARED: std::sync::OnceLock<AzureEnvironment> = std::sync::OnceLock::new();
        context.get::<Self>().map_or_else(
            || {
                SHARED
                    .get_or_init(|| Self::new(WorkloadIdentity::from_environment()))
                    .clone()
            },
            |environment| (*environment).clone(),
        )
    }
}
