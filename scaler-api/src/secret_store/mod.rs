//! Stores of secrets outside the cluster.
//!
//! A [`SecretStore`] answers one block of a TriggerAuthentication's spec. Whoever asks resolves the block's own
//! credentials first, asks again from time to time, and keeps what it gets in memory only; a store keeps nothing but its
//! logins.

pub mod blocks;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

#[cfg(feature = "keda")]
use crate::keda::TriggerAuthenticationSpec;
use crate::{Context, Error, Secret};
use blocks::{AwsSecretManager, AzureKeyVault, GcpSecretManager, HashiCorpVault, PodIdentitySpec};

/// The name of a credential: `clientSecret`, of Azure and Google Cloud.
pub const CLIENT_SECRET: &str = "clientSecret";
/// The name of a credential: `accessKey`, of AWS.
pub const ACCESS_KEY: &str = "accessKey";
/// The name of a credential: `accessSecretKey`, of AWS.
pub const ACCESS_SECRET_KEY: &str = "accessSecretKey";
/// The name of a credential: `accessToken`, of AWS.
pub const ACCESS_TOKEN: &str = "accessToken";
/// The name of a credential: a token of the ServiceAccount that a block names, for Vault.
pub const SERVICE_ACCOUNT_TOKEN: &str = "serviceAccountToken";

/// A kind of store. Clients of one kind share its logins.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// The field of a TriggerAuthentication's spec that it answers, such as `hashiCorpVault`.
    fn field(&self) -> &'static str;

    /// Reads every parameter of a block in time, by the timeout of `context`.
    ///
    /// # Errors
    /// If the store cannot be asked or refuses; an outage is [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable),
    /// never an empty value. A secret that the store does not have is no error but named in the answer.
    async fn read(&self, request: &SecretRequest, context: &Context) -> Result<StoredSecrets, Error>;
}

/// What a store is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretRequest {
    /// The block.
    pub block: SecretBlock,
    /// The credentials that the block refers to, by their names here.
    pub credentials: BTreeMap<&'static str, Secret>,
}

/// What a store answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredSecrets {
    /// The parameters that there are.
    pub parameters: BTreeMap<String, Secret>,
    /// The parameters that the store does not have: their names, and why in words.
    pub missing: BTreeMap<String, String>,
    /// When to ask again at the latest; none leaves it to whoever asks.
    pub ask_again: Option<Duration>,
}

/// A block of a TriggerAuthentication's spec that a store answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SecretBlock {
    /// `hashiCorpVault`
    HashiCorpVault(HashiCorpVault),
    /// `azureKeyVault`
    AzureKeyVault(AzureKeyVault),
    /// `gcpSecretManager`
    GcpSecretManager(GcpSecretManager),
    /// `awsSecretManager`
    AwsSecretManager(AwsSecretManager),
}

impl SecretBlock {
    /// The blocks of a spec, in the order in which later ones win.
    #[cfg(feature = "keda")]
    #[must_use]
    pub fn all_of(spec: &TriggerAuthenticationSpec) -> Vec<Self> {
        let blocks = [
            spec.hashi_corp_vault.clone().map(Self::HashiCorpVault),
            spec.azure_key_vault.clone().map(Self::AzureKeyVault),
            spec.gcp_secret_manager.clone().map(Self::GcpSecretManager),
            spec.aws_secret_manager.clone().map(Self::AwsSecretManager),
        ];
        blocks.into_iter().flatten().collect()
    }

    /// The field of the spec.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::HashiCorpVault(_) => "hashiCorpVault",
            Self::AzureKeyVault(_) => "azureKeyVault",
            Self::GcpSecretManager(_) => "gcpSecretManager",
            Self::AwsSecretManager(_) => "awsSecretManager",
        }
    }

    /// The identity that the block logs in with, if it names one.
    #[must_use]
    pub fn pod_identity(&self) -> Option<&PodIdentitySpec> {
        let identity = match self {
            Self::HashiCorpVault(_) => None,
            Self::AzureKeyVault(block) => block.pod_identity.as_ref(),
            Self::GcpSecretManager(block) => block.pod_identity.as_ref(),
            Self::AwsSecretManager(block) => block.pod_identity.as_ref(),
        };
        identity.filter(|identity| !matches!(identity.provider.as_str(), "" | "none"))
    }

    /// The parameters that the block is to give.
    #[must_use]
    pub fn parameters(&self) -> Vec<&str> {
        match self {
            Self::HashiCorpVault(block) => block.secrets.iter().map(|secret| &*secret.parameter).collect(),
            Self::AzureKeyVault(block) => block.secrets.iter().map(|secret| &*secret.parameter).collect(),
            Self::GcpSecretManager(block) => block.secrets.iter().map(|secret| &*secret.parameter).collect(),
            Self::AwsSecretManager(block) => block.secrets.iter().map(|secret| &*secret.parameter).collect(),
        }
    }

    /// The keys of Secrets that the block takes its credentials from: the credential, the Secret's name, the key.
    #[must_use]
    pub fn credential_references(&self) -> Vec<(&'static str, &str, &str)> {
        let references = match self {
            Self::HashiCorpVault(_) => Vec::new(),
            Self::AzureKeyVault(block) => {
                let credentials = block.credentials.iter();
                credentials
                    .map(|credentials| (CLIENT_SECRET, &credentials.client_secret))
                    .collect()
            }
            Self::GcpSecretManager(block) => {
                let credentials = block.credentials.iter();
                credentials
                    .map(|credentials| (CLIENT_SECRET, &credentials.client_secret))
                    .collect()
            }
            Self::AwsSecretManager(block) => {
                let Some(credentials) = &block.credentials else {
                    return Vec::new();
                };
                let fixed = [
                    (ACCESS_KEY, &credentials.access_key),
                    (ACCESS_SECRET_KEY, &credentials.access_secret_key),
                ];
                let token = credentials.access_token.iter().map(|token| (ACCESS_TOKEN, token));
                fixed.into_iter().chain(token).collect()
            }
        };
        references
            .into_iter()
            .map(|(credential, value)| {
                let reference = &value.value_from.secret_key_ref;
                (credential, reference.name.as_str(), reference.key.as_str())
            })
            .collect()
    }

    /// The ServiceAccount whose token the block logs in with, if it names one.
    #[must_use]
    pub fn service_account_name(&self) -> Option<&str> {
        let Self::HashiCorpVault(block) = self else {
            return None;
        };
        let name = block.credential.as_ref()?.service_account_name.as_deref()?;
        (block.authentication == "kubernetes" && !name.is_empty()).then_some(name)
    }
}

/// The stores that a program knows, at most one for each block. An instance, not a global. Clones share the stores.
#[derive(Clone, Debug, Default)]
pub struct SecretStores {
    stores: BTreeMap<&'static str, Arc<dyn SecretStore>>,
}

impl SecretStores {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store; a later one for the same field wins.
    pub fn register(&mut self, store: impl SecretStore) -> &mut Self {
        self.stores.insert(store.field(), Arc::new(store));
        self
    }

    /// The store that answers a field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Arc<dyn SecretStore>> {
        self.stores.get(field)
    }

    /// The fields that are answered, sorted.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.stores.keys().copied()
    }
}

#[cfg(test)]
#[cfg(feature = "keda")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_come_in_the_order_of_precedence_and_say_what_they_need() {
        let key = |name: &str| json!({"valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
        let spec: TriggerAuthenticationSpec = serde_json::from_value(json!({
            "awsSecretManager": {
                "secrets": [{"parameter": "a", "name": "n"}],
                "credentials": {"accessKey": key("id"), "accessSecretKey": key("secret")},
            },
            "gcpSecretManager": {"secrets": [{"parameter": "g", "id": "n"}], "podIdentity": {"provider": "none"}},
            "hashiCorpVault": {
                "address": "https://v", "authentication": "kubernetes",
                "credential": {"serviceAccountName": "reader"},
                "secrets": [{"parameter": "v", "path": "p", "key": "k"}],
            },
        }))
        .unwrap();
        let blocks = SecretBlock::all_of(&spec);
        let fields: Vec<_> = blocks.iter().map(SecretBlock::field).collect();
        assert_eq!(fields, ["hashiCorpVault", "gcpSecretManager", "awsSecretManager"]);
        let parameters: Vec<_> = blocks.iter().flat_map(SecretBlock::parameters).collect();
        assert_eq!(parameters, ["v", "g", "a"]);
        assert_eq!(blocks[0].service_account_name(), Some("reader"));
        assert_eq!(blocks[1].pod_identity(), None);
        assert_eq!(
            blocks[2].credential_references(),
            [(ACCESS_KEY, "id", "k"), (ACCESS_SECRET_KEY, "secret", "k")]
        );
    }
}
