//! TriggerAuthentication and ClusterTriggerAuthentication: where the credentials of triggers come from.
#![allow(
    unreachable_pub,
    reason = "the schema derive repeats the struct inside a function"
)]

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};
use kube::{
    CustomResource, CustomResourceExt, KubeSchema, Resource,
    core::{ApiResource, ClusterResourceScope, ObjectMeta},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};

use super::{
    AwsSecretManager, AzureKeyVault, AzureServicePrincipal, GcpSecretManager, HashiCorpVault,
    PodIdentitySpec, SecretValue, common::Unknown,
};

/// Where the parameters of a trigger's authentication come from. Of several sources for one parameter the later one
/// in this order wins.
#[allow(clippy::duplicated_attributes, reason = "columns repeat their type")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    plural = "triggerauthentications",
    shortname = "ta",
    shortname = "triggerauth",
    namespaced,
    status = "TriggerAuthenticationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "TriggerAuthentication tells where the credentials of triggers come from.",
    printcolumn(
        name = "PodIdentity",
        type_ = "string",
        json_path = ".spec.podIdentity.provider"
    ),
    printcolumn(
        name = "Secret",
        type_ = "string",
        json_path = ".spec.secretTargetRef[*].name"
    ),
    printcolumn(name = "Env", type_ = "string", json_path = ".spec.env[*].name"),
    printcolumn(
        name = "VaultAddress",
        type_ = "string",
        json_path = ".spec.hashiCorpVault.address"
    ),
    printcolumn(
        name = "ScaledObjects",
        type_ = "string",
        priority = 1,
        json_path = ".status.scaledobjects"
    ),
    printcolumn(
        name = "ScaledJobs",
        type_ = "string",
        priority = 1,
        json_path = ".status.scaledjobs"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerAuthenticationSpec {
    /// Who the scaler is when it talks to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentitySpec>,
    /// Environment variables of the target's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<AuthenticationEnvironment>>,
    /// A file of the operator with a JSON object of parameters; for ClusterTriggerAuthentications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Keys of ConfigMaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_target_ref: Option<Vec<AuthenticationTargetRef>>,
    /// Keys of Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_target_ref: Option<Vec<AuthenticationTargetRef>>,
    /// HashiCorp Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashi_corp_vault: Option<HashiCorpVault>,
    /// Azure Key Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<AzureKeyVault>,
    /// A service principal of Microsoft Entra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_service_principal: Option<AzureServicePrincipal>,
    /// Google Cloud Secret Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp_secret_manager: Option<GcpSecretManager>,
    /// AWS Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_secret_manager: Option<AwsSecretManager>,
    /// Tokens of ServiceAccounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_service_account_token: Option<Vec<BoundServiceAccountToken>>,
    /// OAuth 2 client credentials.
    #[serde(default, rename = "oauth2", skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Who uses the authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerAuthenticationStatus {
    /// Names of ScaledObjects, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledobjects: Option<String>,
    /// Names of ScaledJobs, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledjobs: Option<String>,
}

/// A [`TriggerAuthentication`] for all namespaces.
///
/// Written out rather than derived, because a derive would want a second type for the same spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ClusterTriggerAuthentication {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// Where parameters come from.
    pub spec: TriggerAuthenticationSpec,
    /// Who uses it.
    #[serde(default)]
    pub status: Option<TriggerAuthenticationStatus>,
}

/// A parameter from a key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationTargetRef {
    /// The parameter.
    pub parameter: String,
    /// The Secret or ConfigMap.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// A parameter from an environment variable of the target's container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationEnvironment {
    /// The parameter.
    pub parameter: String,
    /// The variable.
    pub name: String,
    /// The container; that of the trigger by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// A parameter that is a token of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundServiceAccountToken {
    /// The parameter.
    pub parameter: String,
    /// The ServiceAccount.
    pub service_account_name: String,
}

/// OAuth 2 client credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// The grant.
    #[serde(rename = "type", default = "client_credentials")]
    #[schemars(extend("enum" = ["clientCredentials"]))]
    pub type_: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretValue>,
    /// Where tokens are issued.
    pub token_url: String,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// More parameters of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url_params: Option<BTreeMap<String, String>>,
}

fn client_credentials() -> String {
    "clientCredentials".to_owned()
}

impl Resource for ClusterTriggerAuthentication {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ClusterTriggerAuthentication".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        super::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        super::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "clustertriggerauthentications".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl ClusterTriggerAuthentication {
    /// An authentication with a name.
    #[must_use]
    pub fn new(name: &str, spec: TriggerAuthenticationSpec) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            spec,
            status: None,
        }
    }
}

impl Serialize for ClusterTriggerAuthentication {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ClusterTriggerAuthentication", 5)?;
        object.serialize_field("apiVersion", &Self::api_version(&()))?;
        object.serialize_field("kind", &Self::kind(&()))?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &self.spec)?;
        match &self.status {
            Some(status) => object.serialize_field("status", status)?,
            None => object.skip_field("status")?,
        }
        object.end()
    }
}

impl CustomResourceExt for ClusterTriggerAuthentication {
    fn crd() -> CustomResourceDefinition {
        let mut crd = TriggerAuthentication::crd();
        crd.metadata.name = Some(Self::crd_name().to_owned());
        crd.spec.scope = "Cluster".to_owned();
        let names = &mut crd.spec.names;
        names.kind = Self::kind(&()).into_owned();
        names.plural = Self::plural(&()).into_owned();
        names.singular = Some("clustertriggerauthentication".to_owned());
        names.short_names = Some(Self::shortnames().iter().map(|&name| name.to_owned()).collect());
        for version in &mut crd.spec.versions {
            let columns = version.additional_printer_columns.get_or_insert_default();
            columns.insert(columns.len().min(3), file_path_column());
            if let Some(schema) = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                schema.title = Some(names.kind.clone());
                schema.description = Some(
                    "ClusterTriggerAuthentication is a TriggerAuthentication for all namespaces.".to_owned(),
                );
            }
        }
        crd
    }

    fn crd_name() -> &'static str {
        "clustertriggerauthentications.keda.sh"
    }

    fn api_resource() -> ApiResource {
        ApiResource::erase::<Self>(&())
    }

    fn shortnames() -> &'static [&'static str] {
        &["cta", "clustertriggerauth"]
    }
}

fn file_path_column() -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: "FilePath".to_owned(),
        type_: "string".to_owned(),
        json_path: ".spec.filePath".to_owned(),
        ..CustomResourceColumnDefinition::default()
    }
}
