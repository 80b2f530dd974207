//! Logins to Microsoft Entra: an application with its secret, or one with the token of a ServiceAccount.

use std::{fs, path::PathBuf};

use reqwest::Url;
use scaler_api::{
    Error, ErrorKind, Secret,
    secret_store::{
        CLIENT_SECRET, SecretRequest,
        blocks::{AzureKeyVault, PodIdentitySpec},
    },
};

use super::{Cloud, WorkloadIdentity};
use crate::{
    http::{self, Answer, Caller},
    logins::{self, is_segment},
};

/// RFC 7523.
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a block logs in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Login {
    token_url: Url,
    client_id: String,
    scope: String,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq)]
enum Proof {
    Secret(Secret),
    /// A token in a file, which is read anew for every login.
    File(PathBuf),
}

impl Login {
    pub(super) fn of(
        block: &AzureKeyVault,
        request: &SecretRequest,
        cloud: &Cloud,
        workload: &WorkloadIdentity,
    ) -> Result<Self, Error> {
        if let Some(identity) = request.block.pod_identity() {
            return Self::of_workload(identity, cloud, workload);
        }
        let Some(credentials) = &block.credentials else {
            return Err(Error::invalid(
                "azureKeyVault names neither credentials nor a podIdentity of provider azure-workload",
            ));
        };
        let secret = request.credentials.get(CLIENT_SECRET);
        let secret =
            secret.ok_or_else(|| Error::new(ErrorKind::Internal, "the credentials were not resolved"))?;
        let authority = cloud.authority.as_deref().unwrap_or(Cloud::default_authority());
        Ok(Self {
            token_url: token_url(authority, &credentials.tenant_id)?,
            client_id: credentials.client_id.clone(),
            scope: cloud.scope(),
            proof: Proof::Secret(secret.clone()),
        })
    }

    fn of_workload(
        identity: &PodIdentitySpec,
        cloud: &Cloud,
        workload: &WorkloadIdentity,
    ) -> Result<Self, Error> {
        if identity.provider != "azure-workload" {
            return Err(Error::invalid(format!(
                "azureKeyVault.podIdentity.provider is {:?}, expected azure-workload",
                identity.provider
            )));
        }
        let first = |own: &Option<String>, other: &Option<String>| {
            own.clone()
                .filter(|text| !text.is_empty())
                .or_else(|| other.clone())
        };
        let needed = |found: Option<String>, field: &str, variable: &str| {
            found.ok_or_else(|| {
                Error::invalid(format!(
                    "azureKeyVault.podIdentity.{field} is not given, and neither is {variable}"
                ))
            })
        };
        let client_id = first(&identity.identity_id, &workload.client_id);
        let tenant_id = first(&identity.identity_tenant_id, &workload.tenant_id);
        let tenant_id = needed(tenant_id, "identityTenantId", "AZURE_TENANT_ID")?;
        let authority = first(&identity.identity_authority_host, &cloud.authority)
            .or_else(|| workload.authority_host.clone());
        let file = workload.token_file.clone().ok_or_else(|| {
            Error::invalid("azureKeyVault.podIdentity: AZURE_FEDERATED_TOKEN_FILE is not given")
        })?;
        Ok(Self {
            token_url: token_url(
                authority.as_deref().unwrap_or(Cloud::default_authority()),
                &tenant_id,
            )?,
            client_id: needed(client_id, "identityId", "AZURE_CLIENT_ID")?,
            scope: cloud.scope(),
            proof: Proof::File(file),
        })
    }

    /// Asks for a token.
    pub(super) async fn enter(&self, caller: &Caller) -> Result<Answer, Error> {
        let proof = self.proof.read()?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
        ];
        match self.proof {
            Proof::Secret(_) => form.push(("client_secret", proof.expose())),
            Proof::File(_) => form.extend([
                ("client_assertion_type", ASSERTION),
                ("client_assertion", proof.expose()),
            ]),
        }
        let answer = logins::post(caller, self.token_url.clone(), form).await;
        answer.map_err(|error| error.with_context("server", "Microsoft Entra"))
    }
}

impl Proof {
    fn read(&self) -> Result<Secret, Error> {
        let file = match self {
            Self::Secret(secret) => return Ok(secret.clone()),
            Self::File(file) => file,
        };
        let text = fs::read_to_string(file).map_err(|error| {
            Error::unavailable(format!("AZURE_FEDERATED_TOKEN_FILE {file:?} cannot be read"))
                .with_source(error)
        })?;
        match text.trim() {
            "" => Err(Error::unavailable(format!(
                "AZURE_FEDERATED_TOKEN_FILE {file:?} is empty"
            ))),
            token => Ok(Secret::new(token)),
        }
    }
}

/// `{authority}/{tenant}/oauth2/v2.0/token`
fn token_url(authority: &str, tenant: &str) -> Result<Url, Error> {
    let mut url =
        http::url("azureKeyVault.cloud.activeDirectoryEndpoint", authority).map_err(Error::invalid)?;
    if !is_segment(tenant, "-.") {
        return Err(Error::invalid(format!(
            "the tenant {tenant:?} of azureKeyVault is not one, expected a UUID or a domain"
        )));
    }
    url.path_segments_mut()
        .map_err(|()| Error::invalid("the endpoint of azureKeyVault cannot carry a path"))?
        .pop_if_empty()
        .extend([tenant, "oauth2", "v2.0", "token"]);
    Ok(url)
}
