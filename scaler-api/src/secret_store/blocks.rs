//! What a TriggerAuthentication says of a store: plain types, which build without a Kubernetes client.

use std::fmt;

#[cfg(feature = "keda")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::PodIdentity;

/// HashiCorp Vault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HashiCorpVault {
    /// Its URL.
    pub address: String,
    /// How to log in.
    #[cfg_attr(feature = "keda", schemars(extend("enum" = ["token", "kubernetes"])))]
    pub authentication: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The role to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the login method is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// What to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<VaultCredential>,
    /// The parameters.
    #[cfg_attr(feature = "keda", schemars(length(min = 1)))]
    pub secrets: Vec<VaultSecret>,
}

/// What to log in to Vault with.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VaultCredential {
    /// A token; shows in no `Debug`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The path of a ServiceAccount's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// A ServiceAccount whose token is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

impl fmt::Debug for VaultCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultCredential")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("service_account", &self.service_account)
            .field("service_account_name", &self.service_account_name)
            .finish()
    }
}

/// A parameter from Vault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VaultSecret {
    /// The parameter.
    pub parameter: String,
    /// The path.
    pub path: String,
    /// The key at the path.
    pub key: String,
    /// The kind of engine; guessed where empty.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "keda", schemars(extend("enum" = ["", "secretV2", "secret", "pki"])))]
    pub type_: Option<String>,
    /// With `pki`: the certificate that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pki_data: Option<VaultPkiData>,
}

/// A certificate that Vault shall issue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VaultPkiData {
    /// Its common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Other names, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_names: Option<String>,
    /// IP addresses, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_sans: Option<String>,
    /// URIs, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_sans: Option<String>,
    /// Other kinds of names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_sans: Option<String>,
    /// How long it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Its encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Azure Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVault {
    /// Its URI.
    pub vault_uri: String,
    /// The parameters.
    #[cfg_attr(feature = "keda", schemars(length(min = 1)))]
    pub secrets: Vec<AzureKeyVaultSecret>,
    /// An application to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureKeyVaultCredentials>,
    /// An identity to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentitySpec>,
    /// The cloud, if not the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<AzureKeyVaultCloud>,
}

/// A parameter from Azure Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultSecret {
    /// The parameter.
    pub parameter: String,
    /// The secret.
    pub name: String,
    /// Its version; the latest by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An application of Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCredentials {
    /// The application.
    pub client_id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// Its secret.
    pub client_secret: SecretValue,
}

/// A cloud of Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCloud {
    /// Its name, or `Private`.
    #[serde(rename = "type")]
    pub type_: String,
    /// With `Private`: the resource.
    #[serde(
        default,
        rename = "keyVaultResourceURL",
        skip_serializing_if = "Option::is_none"
    )]
    pub key_vault_resource_url: Option<String>,
    /// With `Private`: where to log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_directory_endpoint: Option<String>,
}

/// A service principal of Microsoft Entra, for the scalers of Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AzureServicePrincipal {
    /// The tenant.
    pub tenant_id: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretValue>,
    /// Its certificate, instead of a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<SecretValue>,
    /// The certificate's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_password: Option<SecretValue>,
    /// The cloud; `AzurePublicCloud` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Where tokens are issued in a `Private` cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_directory_endpoint: Option<String>,
}

/// Google Cloud Secret Manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GcpSecretManager {
    /// The parameters.
    #[cfg_attr(feature = "keda", schemars(length(min = 1)))]
    pub secrets: Vec<GcpSecretManagerSecret>,
    /// A service account to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GcpCredentials>,
    /// An identity to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentitySpec>,
}

/// A parameter from Google Cloud Secret Manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GcpSecretManagerSecret {
    /// The parameter.
    pub parameter: String,
    /// The secret.
    pub id: String,
    /// Its version; the latest by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A service account of Google Cloud.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GcpCredentials {
    /// Its key file.
    pub client_secret: SecretValue,
}

/// AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManager {
    /// The parameters.
    #[cfg_attr(feature = "keda", schemars(length(min = 1)))]
    pub secrets: Vec<AwsSecretManagerSecret>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// An access key to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AwsSecretManagerCredentials>,
    /// An identity to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentitySpec>,
}

/// A parameter from AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManagerSecret {
    /// The parameter.
    pub parameter: String,
    /// The secret.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Its version's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_stage: Option<String>,
    /// The key, where the secret is a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// An access key of AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManagerCredentials {
    /// Its id.
    pub access_key: SecretValue,
    /// Its secret.
    pub access_secret_key: SecretValue,
    /// A session token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretValue>,
}

/// Who a scaler is when it talks to its source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodIdentitySpec {
    /// The way to an identity.
    #[cfg_attr(feature = "keda", schemars(extend("enum" = ["azure-workload", "gcp", "aws", "aws-eks", "none"])))]
    pub provider: String,
    /// Azure: the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// Azure: the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_tenant_id: Option<String>,
    /// Azure: the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_authority_host: Option<String>,
    /// AWS: the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// AWS: the external id with which the role is assumed.
    #[serde(default, rename = "externalID", skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// AWS: whose identity it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "keda", schemars(extend("enum" = ["keda", "workload"])))]
    pub identity_owner: Option<String>,
}

/// A value that stands in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretValue {
    /// Where.
    pub value_from: ValueFromSecret,
}

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ValueFromSecret {
    /// The key of a Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "keda", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl From<&PodIdentitySpec> for PodIdentity {
    fn from(spec: &PodIdentitySpec) -> Self {
        Self {
            provider: spec.provider.clone(),
            identity_id: spec.identity_id.clone(),
            identity_tenant_id: spec.identity_tenant_id.clone(),
            identity_authority_host: spec.identity_authority_host.clone(),
            role_arn: spec.role_arn.clone(),
            external_id: spec.external_id.clone(),
            identity_owner: spec.identity_owner.clone(),
        }
    }
}
