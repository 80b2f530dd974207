//! Logins to Microsoft Entra: an application with its secret, or one with the token of a ServiceAccount.

use std::{fs, path::PathBuf};

use reqwest::Url;
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
use scaler_api::Problems;
use scaler_api::{Error, Secret};
#[cfg(feature = "azure-identity")]
use scaler_api::{PodIdentity, SourceKey};

use super::WorkloadIdentity;
use crate::{
    http::{self, Answer, Caller},
    logins::{self, is_segment},
};

/// RFC 7523.
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The provider of pod identities that logs in so.
pub(crate) const WORKLOAD: &str = "azure-workload";

/// What a block or a trigger says of the identity itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) client_id: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) authority_host: Option<String>,
}

#[cfg(feature = "azure-identity")]
impl Identity {
    /// Adds it to a source key.
    pub(crate) fn add_to(&self, key: SourceKey) -> SourceKey {
        key.with("identity", WORKLOAD)
            .with("identityId", self.client_id.as_deref().unwrap_or_default())
            .with("identityTenant", self.tenant_id.as_deref().unwrap_or_default())
            .with(
                "identityAuthority",
                self.authority_host.as_deref().unwrap_or_default(),
            )
    }
}

/// Where to log in, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    /// What messages call the block or the type of trigger.
    pub(crate) block: &'a str,
    /// Where to log in, if the block names a cloud; the environment may say it otherwise.
    pub(crate) authority: Option<&'a str>,
    pub(crate) scope: &'a str,
}

/// Where to log in if nothing says it.
pub(crate) const PUBLIC: &str = "https://login.microsoftonline.com/";

/// The identity that a trigger's `podIdentity` names.
#[cfg(feature = "azure-identity")]
pub(crate) fn identity_of(pod_identity: Option<&PodIdentity>) -> Option<Identity> {
    let identity = pod_identity.filter(|identity| identity.provider == WORKLOAD)?;
    Some(Identity {
        client_id: identity.identity_id.clone(),
        tenant_id: identity.identity_tenant_id.clone(),
        authority_host: identity.identity_authority_host.clone(),
    })
}

/// Whether a trigger needs a connection string; a provider that cannot be used is a problem.
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
pub(crate) fn needs_connection(pod_identity: Option<&PodIdentity>, problems: &mut Problems) -> bool {
    let provider = pod_identity.map_or("none", |identity| identity.provider.as_str());
    match provider {
        "" | "none" => return true,
        WORKLOAD => {}
        other => problems.error(
            "podIdentity.provider",
            other,
            format!("podIdentity.provider {other:?} is not supported here, expected azure-workload or none"),
        ),
    }
    false
}

/// A login to Microsoft Entra.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Login {
    token_url: Url,
    client_id: String,
    scope: String,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq)]
enum Proof {
    #[cfg(feature = "azure-key-vault")]
    Secret(Secret),
    /// A token in a file, which is read anew for every login.
    File(PathBuf),
}

impl Login {
    /// That of an application with its secret.
    #[cfg(feature = "azure-key-vault")]
    pub(crate) fn of_application(
        purpose: Purpose<'_>,
        (tenant_id, client_id): (&str, &str),
        secret: Secret,
    ) -> Result<Self, Error> {
        Ok(Self {
            token_url: token_url(purpose, purpose.authority.unwrap_or(PUBLIC), tenant_id)?,
            client_id: client_id.to_owned(),
            scope: purpose.scope.to_owned(),
            proof: Proof::Secret(secret),
        })
    }

    /// That of an application with the token of the process's ServiceAccount.
    pub(crate) fn of_workload(
        purpose: Purpose<'_>,
        identity: &Identity,
        workload: &WorkloadIdentity,
    ) -> Result<Self, Error> {
        let block = purpose.block;
        let first = |own: &Option<String>, other: &Option<String>| {
            own.clone()
                .filter(|text| !text.is_empty())
                .or_else(|| other.clone())
        };
        let needed = |found: Option<String>, field: &str, variable: &str| {
            found.ok_or_else(|| {
                Error::invalid(format!(
                    "{block}.podIdentity.{field} is not given, and neither is {variable}"
                ))
            })
        };
        let client_id = first(&identity.client_id, &workload.client_id);
        let tenant_id = first(&identity.tenant_id, &workload.tenant_id);
        let tenant_id = needed(tenant_id, "identityTenantId", "AZURE_TENANT_ID")?;
        let authority = first(&identity.authority_host, &purpose.authority.map(str::to_owned))
            .or_else(|| workload.authority_host.clone());
        let file = workload.token_file.clone().ok_or_else(|| {
            Error::invalid(format!(
                "{block}.podIdentity: AZURE_FEDERATED_TOKEN_FILE is not given"
            ))
        })?;
        Ok(Self {
            token_url: token_url(purpose, authority.as_deref().unwrap_or(PUBLIC), &tenant_id)?,
            client_id: needed(client_id, "identityId", "AZURE_CLIENT_ID")?,
            scope: purpose.scope.to_owned(),
            proof: Proof::File(file),
        })
    }

    /// Asks for a token.
    pub(crate) async fn enter(&self, caller: &Caller) -> Result<Answer, Error> {
        let proof = self.proof.read()?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
        ];
        match self.proof {
            #[cfg(feature = "azure-key-vault")]
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
            #[cfg(feature = "azure-key-vault")]
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
fn token_url(purpose: Purpose<'_>, authority: &str, tenant: &str) -> Result<Url, Error> {
    let mut url = http::url("activeDirectoryEndpoint", authority).map_err(Error::invalid)?;
    let block = purpose.block;
    if !is_segment(tenant, "-.") {
        return Err(Error::invalid(format!(
            "the tenant {tenant:?} of {block} is not one, expected a UUID or a domain"
        )));
    }
    url.path_segments_mut()
        .map_err(|()| Error::invalid(format!("the endpoint of {block} cannot carry a path")))?
        .pop_if_empty()
        .extend([tenant, "oauth2", "v2.0", "token"]);
    Ok(url)
}
