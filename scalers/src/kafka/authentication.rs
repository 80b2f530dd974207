//! The keys that say how to connect and log in.

use reqwest::Url;
use scaler_api::{Context, Error, PodIdentity, Problems, Secret, SourceKey};
use serde::Deserialize;

use super::{
    sasl::{Login, User},
    scram::Digest,
};
use crate::{
    http::{self, Caller},
    oauth2::{ClientCredentials, TokenSource},
    tcp::Tls,
};

/// A part of the metadata.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authentication {
    tls: String,
    unsafe_ssl: bool,
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
    key_password: Option<Secret>,
    sasl: Mechanism,
    username: Option<Secret>,
    password: Option<Secret>,
    sasl_token_provider: TokenProvider,
    oauth_token_endpoint_uri: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    oauth_extensions: Option<String>,
    aws_region: Option<String>,
    #[serde(rename = "awsEndpoint")]
    _aws_endpoint: Option<String>,
    aws: AwsKeys,
    #[serde(rename = "kerberos")]
    _kerberos: Kerberos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mechanism {
    None,
    Plaintext,
    ScramSha256,
    ScramSha512,
    Oauthbearer,
    AwsMskIam,
    Gssapi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TokenProvider {
    Bearer,
    AwsMskIam,
}

/// The credentials of AWS; they are keys of the trigger in every build.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsKeys {
    identity_owner: Option<String>,
    #[serde(rename = "awsRoleArn")]
    role_arn: Option<String>,
    #[serde(rename = "awsAccessKeyID")]
    access_key_id: Option<Secret>,
    #[serde(rename = "awsSecretAccessKey")]
    secret_access_key: Option<Secret>,
    #[serde(rename = "awsSessionToken")]
    session_token: Option<Secret>,
}

/// Keys of `gssapi`, which are read so that nobody takes them for misspelt.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "gssapi is refused")]
struct Kerberos {
    keytab: Option<Secret>,
    realm: Option<String>,
    kerberos_config: Option<Secret>,
    kerberos_service_name: String,
    #[serde(rename = "kerberosDisableFAST")]
    kerberos_disable_fast: bool,
}

impl Authentication {
    /// What connections are encrypted with, if they are.
    pub(super) fn tls(&self) -> Option<Tls> {
        (self.tls == "enable").then(|| Tls {
            unsafe_ssl: self.unsafe_ssl,
            any_name: false,
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            key_password: self.key_password.clone(),
        })
    }

    fn is_iam(&self) -> bool {
        self.sasl == Mechanism::AwsMskIam
            || (self.sasl == Mechanism::Oauthbearer && self.sasl_token_provider == TokenProvider::AwsMskIam)
    }

    fn extensions(&self) -> Result<Vec<(String, String)>, String> {
        let text = self.oauth_extensions.as_deref().unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| match part.split_once('=') {
                Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
                _ => Err(format!("oauthExtensions: {part:?} is not name=value")),
            })
            .collect()
    }

    fn token_url(&self) -> Result<Url, String> {
        match &self.oauth_token_endpoint_uri {
            None => Err("no oauthTokenEndpointUri given".to_owned()),
            Some(uri) => http::url("oauthTokenEndpointUri", uri),
        }
    }

    pub(super) fn check(&self, pod_identity: Option<&PodIdentity>, problems: &mut Problems) {
        if let Some(tls) = self.tls() {
            tls.check(problems);
        }
        match self.sasl {
            Mechanism::None => {}
            Mechanism::Gssapi => {
                let message = "sasl gssapi (Kerberos) is not supported, expected none, plaintext, scram_sha256, \
                               scram_sha512, oauthbearer or aws_msk_iam";
                problems.error("sasl", "gssapi", message);
            }
            _ if self.is_iam() => self.check_iam(pod_identity, problems),
            _ => {
                for (field, given) in [("username", &self.username), ("password", &self.password)] {
                    if given.is_none() {
                        problems.error(field, "", format!("no {field} given, which sasl wants"));
                    }
                }
            }
        }
        if self.sasl == Mechanism::Oauthbearer && !self.is_iam() {
            if let Err(message) = self.token_url() {
                let uri = self.oauth_token_endpoint_uri.clone().unwrap_or_default();
                problems.error("oauthTokenEndpointUri", uri, message);
            }
            if let Err(message) = self.extensions() {
                problems.error("oauthExtensions", "", message);
            }
        }
    }

    fn check_iam(&self, pod_identity: Option<&PodIdentity>, problems: &mut Problems) {
        if self.tls != "enable" {
            problems.error("tls", &self.tls, "TLS is required for MSK");
        }
        if self.aws_region.is_none() {
            problems.error("awsRegion", "", "no awsRegion given");
        }
        #[cfg(feature = "kafka-msk-iam")]
        {
            let keys = self.aws.keys();
            keys.check(problems);
            if let Err(missing) = crate::aws::AwsIdentity::decide(pod_identity, &keys) {
                problems.extend(missing);
            }
        }
        #[cfg(not(feature = "kafka-msk-iam"))]
        {
            let _: Option<&PodIdentity> = pod_identity;
            let message = "a login by IAM needs the feature `kafka-msk-iam` of the crate `scalers`";
            problems.error("sasl", "aws_msk_iam", message);
        }
    }

    /// Adds it to a source key; credentials as digests.
    pub(super) fn add_to(&self, key: SourceKey, pod_identity: Option<&PodIdentity>) -> SourceKey {
        let key = key
            .with("tls", &self.tls)
            .with(
                "sasl",
                format_args!("{:?} {:?}", self.sasl, self.sasl_token_provider),
            )
            .with(
                "tokens",
                format_args!(
                    "{:?} {:?} {:?}",
                    self.oauth_token_endpoint_uri, self.scopes, self.oauth_extensions
                ),
            );
        let key = match self.tls() {
            Some(tls) => tls.add_to(key),
            None => key,
        };
        let key = self.aws.add_to(key, self.aws_region.as_deref(), pod_identity);
        let secrets = [("username", &self.username), ("password", &self.password)];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }

    fn user(&self) -> User {
        User {
            name: self.username.clone().unwrap_or_default().expose().to_owned(),
            password: self.password.clone().unwrap_or_default(),
        }
    }

    /// How to log in.
    pub(super) async fn login(
        &self,
        pod_identity: Option<&PodIdentity>,
        context: &Context,
    ) -> Result<Login, Error> {
        if self.is_iam() {
            // The default chain of AWS is large, and seldom used.
            return Box::pin(self.iam(pod_identity, context)).await;
        }
        Ok(match self.sasl {
            Mechanism::None => Login::None,
            Mechanism::Plaintext => Login::Plain(self.user()),
            Mechanism::ScramSha256 => Login::Scram(Digest::Sha256, self.user()),
            Mechanism::ScramSha512 => Login::Scram(Digest::Sha512, self.user()),
            Mechanism::Oauthbearer => {
                let user = self.user();
                let client = ClientCredentials {
                    token_url: self.token_url().map_err(Error::invalid)?,
                    client_id: user.name,
                    client_secret: user.password,
                    scopes: self.scopes.clone(),
                    parameters: Vec::new(),
                };
                let caller = Caller::new(context, &http::Tls::default(), None)?;
                Login::Bearer {
                    tokens: Box::new(TokenSource::new(caller, client)),
                    extensions: self.extensions().map_err(Error::invalid)?,
                }
            }
            Mechanism::Gssapi | Mechanism::AwsMskIam => {
                return Err(Error::invalid(format!("sasl {:?} is not supported", self.sasl)));
            }
        })
    }

    #[cfg(feature = "kafka-msk-iam")]
    async fn iam(&self, pod_identity: Option<&PodIdentity>, context: &Context) -> Result<Login, Error> {
        let identity = crate::aws::AwsIdentity::decide(pod_identity, &self.aws.keys());
        let identity = identity.map_err(|problems| {
            Error::new(scaler_api::ErrorKind::Unauthorized, "no AWS credentials")
                .with_source(problems.to_string())
        })?;
        let region = self.aws_region.clone().unwrap_or_default();
        let environment = crate::aws::AwsEnvironment::of(context);
        let iam = Box::new(super::msk::Iam {
            config: environment.config(&identity, &region).await,
            region,
            clock: context.clock.clone(),
        });
        Ok(match self.sasl {
            Mechanism::AwsMskIam => Login::Iam(iam),
            _ => Login::IamBearer(iam),
        })
    }

    #[cfg(not(feature = "kafka-msk-iam"))]
    #[allow(clippy::unused_async, reason = "the one with the feature is")]
    async fn iam(&self, _: Option<&PodIdentity>, _: &Context) -> Result<Login, Error> {
        Err(Error::new(
            scaler_api::ErrorKind::Unsupported,
            "a login by IAM needs the feature `kafka-msk-iam` of the crate `scalers`",
        ))
    }
}

impl AwsKeys {
    #[cfg(feature = "kafka-msk-iam")]
    fn keys(&self) -> crate::aws::CredentialKeys {
        crate::aws::CredentialKeys {
            identity_owner: self.identity_owner.clone(),
            role_arn: self.role_arn.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            session_token: self.session_token.clone(),
        }
    }

    fn add_to(&self, key: SourceKey, region: Option<&str>, pod_identity: Option<&PodIdentity>) -> SourceKey {
        let key = key.with("region", region.unwrap_or_default()).with(
            "aws",
            format_args!("{:?} {:?} {pod_identity:?}", self.identity_owner, self.role_arn),
        );
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
