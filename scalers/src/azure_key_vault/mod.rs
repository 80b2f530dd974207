#![doc = include_str!("docs.md")]

mod cloud;

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, ErrorKind, Secret,
    secret_store::{
        CLIENT_SECRET, SecretBlock, SecretRequest, SecretStore, StoredSecrets,
        blocks::{AzureKeyVault, AzureKeyVaultSecret},
    },
};
use serde_json::Value;

pub use crate::azure::WorkloadIdentity;
use crate::{
    azure::{Identity, Login, Purpose, WORKLOAD},
    http::{self, Answer, Caller, Tls},
    logins::{Logins, Reader, is_segment},
};
use cloud::Cloud;

/// The version of the vaults' API.
const API_VERSION: &str = "7.4";

/// Azure Key Vault.
#[derive(Clone, Debug, Default)]
pub struct AzureKeyVaultStore {
    workload: WorkloadIdentity,
    logins: Logins<Login>,
}

impl AzureKeyVaultStore {
    /// One whose blocks all bring their own credentials.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One with the [`WorkloadIdentity`] of the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new().with_workload_identity(WorkloadIdentity::from_environment())
    }

    /// The identity for blocks of provider `azure-workload`.
    #[must_use]
    pub fn with_workload_identity(mut self, identity: WorkloadIdentity) -> Self {
        self.workload = identity;
        self
    }
}

#[async_trait]
impl SecretStore for AzureKeyVaultStore {
    fn field(&self) -> &'static str {
        "azureKeyVault"
    }

    async fn read(&self, request: &SecretRequest, context: &Context) -> Result<StoredSecrets, Error> {
        let SecretBlock::AzureKeyVault(block) = &request.block else {
            return Err(Error::new(ErrorKind::Internal, "the block is not one of Azure"));
        };
        let cloud = Cloud::of(block.cloud.as_ref())?;
        let vault = Vault {
            caller: Caller::new(context, &Tls::default(), None)?,
            uri: cloud.vault(&block.vault_uri)?,
        };
        check(block)?;
        let login = login(block, request, &cloud, &self.workload)?;
        let reader = VaultReader {
            vault,
            login: &login,
            secrets: &block.secrets,
        };
        self.logins.read(&login, &reader).await
    }
}

/// How a block logs in.
fn login(
    block: &AzureKeyVault,
    request: &SecretRequest,
    cloud: &Cloud,
    workload: &WorkloadIdentity,
) -> Result<Login, Error> {
    let scope = cloud.scope();
    let purpose = Purpose {
        block: "azureKeyVault",
        authority: cloud.authority.as_deref(),
        scope: &scope,
    };
    if let Some(identity) = request.block.pod_identity() {
        if identity.provider != WORKLOAD {
            return Err(Error::invalid(format!(
                "azureKeyVault.podIdentity.provider is {:?}, expected azure-workload",
                identity.provider
            )));
        }
        let identity = Identity {
            client_id: identity.identity_id.clone(),
            tenant_id: identity.identity_tenant_id.clone(),
            authority_host: identity.identity_authority_host.clone(),
        };
        return Login::of_workload(purpose, &identity, workload);
    }
    let Some(credentials) = &block.credentials else {
        return Err(Error::invalid(
            "azureKeyVault names neither credentials nor a podIdentity of provider azure-workload",
        ));
    };
    let secret = request.credentials.get(CLIENT_SECRET);
    let secret =
        secret.ok_or_else(|| Error::new(ErrorKind::Internal, "the credentials were not resolved"))?;
    let application = (credentials.tenant_id.as_str(), credentials.client_id.as_str());
    Login::of_application(purpose, application, secret.clone())
}

/// Names that would lead elsewhere than to a secret.
fn check(block: &AzureKeyVault) -> Result<(), Error> {
    for secret in &block.secrets {
        let version = version_of(secret).unwrap_or("-");
        for (field, text) in [("name", secret.name.as_str()), ("version", version)] {
            if !is_segment(text, "-") {
                return Err(Error::invalid(format!(
                    "azureKeyVault.secrets: {field} {text:?} of parameter {:?} is not one, expected letters, digits and -",
                    secret.parameter
                )));
            }
        }
    }
    Ok(())
}

fn version_of(secret: &AzureKeyVaultSecret) -> Option<&str> {
    secret.version.as_deref().filter(|version| !version.is_empty())
}

/// What reads the secrets of one block.
struct VaultReader<'a> {
    vault: Vault,
    login: &'a Login,
    secrets: &'a [AzureKeyVaultSecret],
}

#[async_trait]
impl Reader for VaultReader<'_> {
    type Found = StoredSecrets;

    async fn log_in(&self) -> Result<Answer, Error> {
        self.login.enter(&self.vault.caller).await
    }

    async fn read(&self, token: &Secret) -> Result<StoredSecrets, Error> {
        self.vault.read_all(self.secrets, token).await
    }
}

/// One vault.
struct Vault {
    caller: Caller,
    uri: Url,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("uri", &self.uri.as_str())
            .finish_non_exhaustive()
    }
}

impl Vault {
    async fn read_all(
        &self,
        secrets: &[AzureKeyVaultSecret],
        token: &Secret,
    ) -> Result<StoredSecrets, Error> {
        let mut found = StoredSecrets::default();
        let mut read: BTreeMap<_, Result<Secret, String>> = BTreeMap::new();
        for secret in secrets {
            let name = (secret.name.as_str(), version_of(secret));
            let value = match read.remove(&name) {
                Some(value) => value,
                None => self.get(name, token).await?,
            };
            match &value {
                Ok(value) => _ = found.parameters.insert(secret.parameter.clone(), value.clone()),
                Err(problem) => _ = found.missing.insert(secret.parameter.clone(), problem.clone()),
            }
            read.insert(name, value);
        }
        Ok(found)
    }

    /// The value of a secret; what is not there is the inner error.
    async fn get(
        &self,
        (name, version): (&str, Option<&str>),
        token: &Secret,
    ) -> Result<Result<Secret, String>, Error> {
        let mut url = self.uri.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid("azureKeyVault.vaultUri cannot carry a path"))?
            .pop_if_empty()
            .extend(["secrets", name].into_iter().chain(version));
        url.set_query(Some(&format!("api-version={API_VERSION}")));
        let bearer = http::sensitive(&Secret::new(format!("Bearer {}", token.expose())))?;
        let request = self.caller.request(Method::GET, url)?;
        let answer = http::send(request.header("authorization", bearer)).await?;
        if answer.status.is_success() {
            return value(&answer).map(Ok);
        }
        let error = refusal(&answer);
        if error.kind() == ErrorKind::NotFound {
            return Ok(Err(format!("secret {name:?}: {error}")));
        }
        Err(error.with_context("secret", name))
    }
}

fn value(answer: &Answer) -> Result<Secret, Error> {
    let found: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let value = found["value"].as_str().map(Secret::new);
    value.ok_or_else(|| Error::unavailable("Azure Key Vault answered no secret"))
}

/// The error of an answer: `{"error": {"code": "...", "message": "...", "innererror": {"code": "..."}}}`.
fn refusal(answer: &Answer) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().unwrap_or_default();
    let words = error["message"].as_str().unwrap_or_default();
    let message = format!("Azure Key Vault answered {}", answer.status.as_u16());
    let refused = match error["innererror"]["code"].as_str() {
        Some("SecretDisabled") => Error::new(ErrorKind::NotFound, message),
        _ => answer.error(message),
    };
    match (code, words) {
        ("", "") => refused,
        _ => refused.with_source(format!("{code}: {}", words.lines().next().unwrap_or_default())),
    }
}
