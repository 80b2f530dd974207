//! Whose queries they are where a TriggerAuthentication names an identity: of AWS, which signs each request, or of Azure or
//! Google Cloud, whose token each request carries.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap},
};
use scaler_api::{Context, Error, Problems, Secret, SharedClock, SourceKey, TriggerSettings};
use serde::Deserialize;

use crate::{
    azure::{self, AzureEnvironment},
    gcp::{self, GcpEnvironment, TriggerIdentity},
    http::{self, Answer, Caller, Source, Tls},
    logins::Reader,
};

#[cfg(feature = "prometheus-aws")]
mod signing;

/// The keys that say who asks; a part of the metadata.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdentityKeys {
    aws_region: Option<String>,
    identity_owner: Option<String>,
    #[serde(rename = "awsRoleArn")]
    role_arn: Option<String>,
    #[serde(rename = "awsAccessKeyID")]
    access_key_id: Option<Secret>,
    #[serde(rename = "awsSecretAccessKey")]
    secret_access_key: Option<Secret>,
    #[serde(rename = "awsSessionToken")]
    session_token: Option<Secret>,
    cloud: Option<String>,
    #[serde(rename = "azureManagedPrometheusResourceURL")]
    resource: Option<String>,
    #[serde(rename = "GoogleApplicationCredentials")]
    google_application_credentials: Option<Secret>,
    credentials: Option<Secret>,
    credentials_from_env_file: Option<String>,
}

/// What of a cloud a trigger asks as.
#[derive(Clone, Debug)]
enum Wanted {
    None,
    Aws,
    Azure(azure::Identity),
    Gcp(TriggerIdentity),
}

impl IdentityKeys {
    /// Whether keys of AWS are to sign, without an identity of a TriggerAuthentication.
    fn has_aws_keys(&self) -> bool {
        let owner = self.identity_owner.as_deref().is_some_and(|owner| owner != "pod");
        let keys = self.access_key_id.is_some() && self.secret_access_key.is_some();
        self.aws_region.is_some() && (owner || self.role_arn.is_some() || keys)
    }

    /// Nobody where `authModes` says who asks.
    fn wanted(&self, settings: &TriggerSettings, has_modes: bool) -> Wanted {
        if has_modes {
            return Wanted::None;
        }
        let pod_identity = settings.pod_identity.as_ref();
        let provider = pod_identity.map_or("", |identity| identity.provider.as_str());
        if matches!(provider, "aws" | "aws-eks") || self.has_aws_keys() {
            return Wanted::Aws;
        }
        if let Some(identity) = azure::identity_of(pod_identity) {
            return Wanted::Azure(identity);
        }
        let key = self.google_application_credentials.as_ref();
        match TriggerIdentity::of(pod_identity, key, self.credentials.as_ref()) {
            Some(identity) => Wanted::Gcp(identity),
            None => Wanted::None,
        }
    }

    /// Reports what an identity lacks, and authentication beside one.
    pub(super) fn check(&self, settings: &TriggerSettings, has_modes: bool, problems: &mut Problems) {
        let pod_identity = settings.pod_identity.as_ref();
        let provider = pod_identity.map_or("", |identity| identity.provider.as_str());
        if has_modes {
            if !matches!(provider, "" | "none") {
                problems.error("authModes", "", "authModes and podIdentity exclude each other");
            }
            return;
        }
        let wanted = self.wanted(settings, has_modes);
        let google = match &wanted {
            Wanted::Gcp(identity) => Some(identity),
            _ => None,
        };
        gcp::check_identity(google, self.credentials_from_env_file.as_deref(), problems);
        match wanted {
            Wanted::Aws => self.check_aws(settings, problems),
            Wanted::Azure(_) => {
                if let Err(message) = self.managed() {
                    problems.error("cloud", self.cloud.as_deref().unwrap_or_default(), message);
                }
            }
            Wanted::Gcp(_) | Wanted::None => {}
        }
    }

    #[cfg(feature = "prometheus-aws")]
    fn check_aws(&self, settings: &TriggerSettings, problems: &mut Problems) {
        if self.aws_region.is_none() {
            problems.error("awsRegion", "", "no awsRegion given");
        }
        let keys = self.aws_keys();
        keys.check(problems);
        if let Err(missing) = crate::aws::AwsIdentity::decide(settings.pod_identity.as_ref(), &keys) {
            problems.extend(missing);
        }
    }

    #[cfg(not(feature = "prometheus-aws"))]
    #[allow(clippy::unused_self, reason = "the one with the feature uses it")]
    fn check_aws(&self, _: &TriggerSettings, problems: &mut Problems) {
        let message = "a signature of AWS needs the feature `prometheus-aws` of the crate `scalers`";
        problems.error("podIdentity.provider", "aws", message);
    }

    #[cfg(feature = "prometheus-aws")]
    fn aws_keys(&self) -> crate::aws::CredentialKeys {
        crate::aws::CredentialKeys {
            identity_owner: self.identity_owner.clone(),
            role_arn: self.role_arn.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            session_token: self.session_token.clone(),
        }
    }

    fn managed(&self) -> Result<(&'static str, String), String> {
        azure::managed_prometheus(self.cloud.as_deref(), self.resource.as_deref())
    }

    /// Adds it to a source key; credentials as digests.
    pub(super) fn add_to(&self, key: SourceKey, settings: &TriggerSettings, has_modes: bool) -> SourceKey {
        match self.wanted(settings, has_modes) {
            Wanted::None => key,
            Wanted::Gcp(identity) => identity.add_to(key.with("provider", "gcp")),
            Wanted::Azure(identity) => identity.add_to(
                key.with("cloud", self.cloud.as_deref().unwrap_or_default())
                    .with("resource", self.resource.as_deref().unwrap_or_default()),
            ),
            Wanted::Aws => {
                let role = format!("{:?} {:?}", self.identity_owner, self.role_arn);
                let key = key
                    .with("region", self.aws_region.as_deref().unwrap_or_default())
                    .with("aws", format_args!("{role} {:?}", settings.pod_identity));
                let secrets = [
                    ("accessKeyId", &self.access_key_id),
                    ("secretAccessKey", &self.secret_access_key),
                    ("sessionToken", &self.session_token),
                ];
                secrets
                    .into_iter()
                    .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
                    .fold(key, |key, (name, secret)| key.secret(name, secret))
            }
        }
    }

    /// Who asks.
    ///
    /// # Errors
    /// If the process lacks what the identity needs.
    pub(super) async fn connect(
        &self,
        settings: &TriggerSettings,
        has_modes: bool,
        context: &Context,
    ) -> Result<Identity, Error> {
        let caller = || Caller::new(context, &Tls::default(), None);
        Ok(match self.wanted(settings, has_modes) {
            Wanted::None => Identity::None,
            Wanted::Aws => return Box::pin(self.signer(settings, context)).await,
            Wanted::Azure(identity) => {
                let environment = AzureEnvironment::of(context);
                let (authority, scope) = self.managed().map_err(Error::invalid)?;
                Identity::Azure(Box::new(Microsoft {
                    login: environment.login("prometheus", authority, &scope, &identity)?,
                    caller: caller()?,
                    environment,
                }))
            }
            Wanted::Gcp(identity) => {
                let environment = GcpEnvironment::of(context);
                Identity::Gcp(Box::new(Google {
                    login: environment.login(&identity),
                    metadata: environment.metadata()?,
                    caller: caller()?,
                    clock: context.clock.clone(),
                    environment,
                }))
            }
        })
    }

    #[cfg(feature = "prometheus-aws")]
    async fn signer(&self, settings: &TriggerSettings, context: &Context) -> Result<Identity, Error> {
        let identity = crate::aws::AwsIdentity::decide(settings.pod_identity.as_ref(), &self.aws_keys());
        let identity = identity.map_err(|problems| {
            Error::new(scaler_api::ErrorKind::Unauthorized, "no AWS credentials")
                .with_source(problems.to_string())
        })?;
        let region = self.aws_region.clone().unwrap_or_default();
        let environment = crate::aws::AwsEnvironment::of(context);
        Ok(Identity::Aws(Box::new(signing::Signer {
            config: environment.config(&identity, &region).await,
            region,
            clock: context.clock.clone(),
        })))
    }

    #[cfg(not(feature = "prometheus-aws"))]
    #[allow(
        clippy::unused_async,
        clippy::unused_self,
        reason = "the one with the feature is"
    )]
    async fn signer(&self, _: &TriggerSettings, _: &Context) -> Result<Identity, Error> {
        Err(Error::new(
            scaler_api::ErrorKind::Unsupported,
            "a signature of AWS needs the feature `prometheus-aws` of the crate `scalers`",
        ))
    }
}

/// Who asks.
pub(super) enum Identity {
    /// Nobody, or who `authModes` says.
    None,
    #[cfg(feature = "prometheus-aws")]
    Aws(Box<signing::Signer>),
    Azure(Box<Microsoft>),
    Gcp(Box<Google>),
}

/// An identity of Azure.
pub(super) struct Microsoft {
    environment: AzureEnvironment,
    caller: Caller,
    login: azure::Login,
}

/// An identity of Google Cloud.
pub(super) struct Google {
    environment: GcpEnvironment,
    caller: Caller,
    login: gcp::Login,
    metadata: Url,
    clock: SharedClock,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            #[cfg(feature = "prometheus-aws")]
            Self::Aws(_) => "Aws",
            Self::Azure(_) => "Azure",
            Self::Gcp(_) => "Gcp",
        })
    }
}

impl Identity {
    /// Asks for `url` as this identity. An answer that is no success is an error.
    pub(super) async fn get(
        &self,
        source: &Source,
        url: Url,
        headers: &BTreeMap<String, String>,
    ) -> Result<Answer, Error> {
        let query = Query {
            identity: self,
            source,
            url,
            headers,
        };
        match self {
            Self::None => succeeded(source.get(query.url, headers).await?),
            #[cfg(feature = "prometheus-aws")]
            Self::Aws(signer) => {
                let url = signing::canonical(query.url);
                let signature = signer.headers(&url).await?;
                succeeded(source.get_with(url, headers, signature).await?)
            }
            Self::Azure(azure) => azure.environment.logins.read(&azure.login, &query).await,
            Self::Gcp(google) => google.environment.logins.read(&google.login, &query).await,
        }
    }
}

/// What asks with a token.
struct Query<'a> {
    identity: &'a Identity,
    source: &'a Source,
    url: Url,
    headers: &'a BTreeMap<String, String>,
}

#[async_trait]
impl Reader for Query<'_> {
    type Found = Answer;

    async fn log_in(&self) -> Result<Answer, Error> {
        match self.identity {
            Identity::Azure(azure) => azure.login.enter(&azure.caller).await,
            Identity::Gcp(google) => {
                let now = google.clock.now().as_second();
                google.login.enter(&google.caller, &google.metadata, now).await
            }
            _ => Err(Error::new(
                scaler_api::ErrorKind::Internal,
                "the identity has no token",
            )),
        }
    }

    async fn read(&self, token: &Secret) -> Result<Answer, Error> {
        let bearer = http::sensitive(&Secret::new(format!("Bearer {}", token.expose())))?;
        let more = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        succeeded(self.source.get_with(self.url.clone(), self.headers, more).await?)
    }
}

fn succeeded(answer: Answer) -> Result<Answer, Error> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let status = answer.status.as_u16();
    Err(answer.error(format!("prometheus query api returned error. status: {status}")))
}

#[cfg(test)]
mod tests;
