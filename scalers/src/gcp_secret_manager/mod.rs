#![doc = include_str!("docs.md")]

use std::{collections::BTreeMap, env, fmt, path::PathBuf};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, ErrorKind, Secret,
    secret_store::{
        CLIENT_SECRET, SecretBlock, SecretRequest, SecretStore, StoredSecrets,
        blocks::{GcpSecretManager, GcpSecretManagerSecret},
    },
};
use serde_json::Value;

use crate::{
    gcp::{self, Login},
    http::{self, Answer, Caller, Tls},
    logins::{Logins, Reader, is_segment},
};

const ENDPOINT: &str = "https://secretmanager.googleapis.com/";
const LATEST: &str = "latest";

/// Google Cloud Secret Manager.
#[derive(Clone, Default)]
pub struct GcpSecretManagerStore {
    endpoint: Option<String>,
    metadata: Option<String>,
    credentials_file: Option<PathBuf>,
    logins: Logins<Login>,
}

impl GcpSecretManagerStore {
    /// The public one, with the metadata server of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes from the environment what a pod identity is: `GOOGLE_APPLICATION_CREDENTIALS`, a file with the key of a
    /// service account or of workload identity federation, or else `GCE_METADATA_HOST`, a metadata server as a host with or without port.
    #[must_use]
    pub fn from_environment() -> Self {
        let host = env::var("GCE_METADATA_HOST").ok().filter(|host| !host.is_empty());
        Self {
            metadata: host.map(|host| format!("http://{host}/")),
            credentials_file: gcp::credentials_file(),
            ..Self::default()
        }
    }

    /// Asks the server at this URL for secrets.
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Asks the metadata server at this URL.
    #[must_use]
    pub fn with_metadata_server(mut self, url: impl Into<String>) -> Self {
        self.metadata = Some(url.into());
        self
    }

    /// Takes what this file says for a pod identity, the key of a service account or an `external_account`, in place of the
    /// metadata server.
    #[must_use]
    pub fn with_credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }
}

impl fmt::Debug for GcpSecretManagerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpSecretManagerStore")
            .field("endpoint", &self.endpoint)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for GcpSecretManagerStore {
    fn field(&self) -> &'static str {
        "gcpSecretManager"
    }

    async fn read(&self, request: &SecretRequest, context: &Context) -> Result<StoredSecrets, Error> {
        let SecretBlock::GcpSecretManager(block) = &request.block else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the block is not one of Google Cloud",
            ));
        };
        let login = self.login(block, request)?;
        let call = Call {
            caller: Caller::new(context, &Tls::default(), None)?,
            endpoint: base(self.endpoint.as_deref().unwrap_or(ENDPOINT))?,
            metadata: base(self.metadata.as_deref().unwrap_or(gcp::METADATA))?,
            login: &login,
            context,
        };
        let reader = VersionReader {
            names: call.names(&block.secrets).await?,
            call,
        };
        self.logins.read(&login, &reader).await
    }
}

fn base(text: &str) -> Result<Url, Error> {
    http::url("gcpSecretManager", text).map_err(Error::invalid)
}

impl GcpSecretManagerStore {
    fn login(&self, block: &GcpSecretManager, request: &SecretRequest) -> Result<Login, Error> {
        if let Some(identity) = request.block.pod_identity() {
            return match identity.provider.as_str() {
                "gcp" => Ok(Login::of_process(self.credentials_file.as_deref())),
                other => Err(Error::invalid(format!(
                    "gcpSecretManager.podIdentity.provider is {other:?}, expected gcp"
                ))),
            };
        }
        match request.credentials.get(CLIENT_SECRET) {
            Some(key) => Ok(Login::Key("clientSecret of gcpSecretManager", key.clone())),
            None if block.credentials.is_none() => Err(Error::invalid(
                "gcpSecretManager names neither credentials nor a podIdentity of provider gcp",
            )),
            None => Err(Error::new(
                ErrorKind::Internal,
                "the credentials were not resolved",
            )),
        }
    }
}

/// The whole name of a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VersionName {
    project: String,
    secret: String,
    version: String,
}

impl VersionName {
    /// From a secret and the project that it is in unless it names one itself.
    fn of(secret: &GcpSecretManagerSecret, project: &str) -> Result<Self, Error> {
        let id = secret.id.as_str();
        let asked = secret.version.as_deref().filter(|version| !version.is_empty());
        let parts: Vec<_> = id.split('/').collect();
        let (project, name, version) = match (&parts[..], asked) {
            ([name], _) => (project, *name, asked),
            (["projects", project, "secrets", name], _) => (*project, *name, asked),
            (["projects", project, "secrets", name, "versions", version], asked)
                if asked.is_none_or(|asked| asked == *version) =>
            {
                (*project, *name, Some(*version))
            }
            (["projects", _, "secrets", _, "versions", _], _) => {
                return Err(Error::invalid(format!(
                    "gcpSecretManager.secrets: id {id:?} names another version than version {:?}",
                    asked.unwrap_or_default()
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "gcpSecretManager.secrets: id {id:?} is neither a secret's id nor projects/P/secrets/S[/versions/V]"
                )));
            }
        };
        let version = version.unwrap_or(LATEST);
        let checked = [
            ("project", project, "-_.:"),
            ("id", name, "-_"),
            ("version", version, "-_"),
        ];
        for (what, text, also) in checked {
            if !is_segment(text, also) {
                return Err(Error::invalid(format!(
                    "gcpSecretManager.secrets: {what} {text:?} of id {id:?} is not a name, expected letters, digits and {also}"
                )));
            }
        }
        Ok(Self {
            project: project.to_owned(),
            secret: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// What one block is asked with.
struct Call<'a> {
    caller: Caller,
    endpoint: Url,
    metadata: Url,
    login: &'a Login,
    context: &'a Context,
}

/// What reads the versions of one block.
struct VersionReader<'a> {
    call: Call<'a>,
    /// Parameters, and what they take.
    names: Vec<(&'a str, VersionName)>,
}

#[async_trait]
impl Reader for VersionReader<'_> {
    type Found = StoredSecrets;

    async fn log_in(&self) -> Result<Answer, Error> {
        let call = &self.call;
        let now = call.context.clock.now().as_second();
        call.login.enter(&call.caller, &call.metadata, now).await
    }

    async fn read(&self, token: &Secret) -> Result<StoredSecrets, Error> {
        self.call.read_all(&self.names, token).await
    }
}

impl Call<'_> {
    /// The names of versions, in the order of the parameters that take them.
    async fn names<'b>(
        &self,
        secrets: &'b [GcpSecretManagerSecret],
    ) -> Result<Vec<(&'b str, VersionName)>, Error> {
        let is_short = secrets.iter().any(|secret| !secret.id.contains('/'));
        let project = if is_short {
            self.project().await?
        } else {
            String::new()
        };
        let named = secrets
            .iter()
            .map(|secret| Ok((secret.parameter.as_str(), VersionName::of(secret, &project)?)));
        named.collect()
    }

    async fn project(&self) -> Result<String, Error> {
        if let Some(key) = self.login.key()? {
            return key.project.ok_or_else(|| {
                Error::invalid(
                    "the key of gcpSecretManager has no project_id, so secrets need their whole names",
                )
            });
        }
        gcp::project(&self.caller, &self.metadata).await
    }

    async fn read_all(&self, names: &[(&str, VersionName)], token: &Secret) -> Result<StoredSecrets, Error> {
        let mut found = StoredSecrets::default();
        let mut read: BTreeMap<&VersionName, Result<Secret, String>> = BTreeMap::new();
        for (parameter, name) in names {
            let value = match read.remove(name) {
                Some(value) => value,
                None => self.get(name, token).await?,
            };
            match &value {
                Ok(value) => _ = found.parameters.insert((*parameter).to_owned(), value.clone()),
                Err(problem) => _ = found.missing.insert((*parameter).to_owned(), problem.clone()),
            }
            read.insert(name, value);
        }
        Ok(found)
    }

    /// The value of a version; what is not there is the inner error.
    async fn get(&self, name: &VersionName, token: &Secret) -> Result<Result<Secret, String>, Error> {
        let access = format!("{}:access", name.version);
        let path = [
            "v1",
            "projects",
            &name.project,
            "secrets",
            &name.secret,
            "versions",
            &access,
        ];
        let bearer = http::sensitive(&Secret::new(format!("Bearer {}", token.expose())))?;
        let request = self
            .caller
            .request(Method::GET, extended(&self.endpoint, path)?)?
            .header("authorization", bearer);
        let answer = http::send(request).await?;
        if answer.status.is_success() {
            return payload(&answer);
        }
        let error = refusal(&answer);
        if error.kind() == ErrorKind::NotFound {
            return Ok(Err(format!("secret {:?}: {error}", name.secret)));
        }
        Err(error.with_context("secret", &name.secret))
    }
}

fn extended<'a>(url: &Url, path: impl IntoIterator<Item = &'a str>) -> Result<Url, Error> {
    let mut url = url.clone();
    url.path_segments_mut()
        .map_err(|()| Error::invalid("the URL cannot carry a path"))?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}

fn payload(answer: &Answer) -> Result<Result<Secret, String>, Error> {
    let bad = || Error::unavailable("Google Cloud Secret Manager answered no secret");
    let found: Value = serde_json::from_slice(&answer.body).map_err(|_| bad())?;
    let data = found["payload"]["data"].as_str().ok_or_else(bad)?;
    let bytes = STANDARD.decode(data).map_err(|_| bad())?;
    Ok(String::from_utf8(bytes)
        .map(Secret::new)
        .map_err(|_| "the secret is not text".to_owned()))
}

/// The error of an answer: `{"error": {"code": 404, "status": "NOT_FOUND", "message": "..."}}`.
fn refusal(answer: &Answer) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = body["error"]["status"].as_str().unwrap_or_default();
    let words = body["error"]["message"].as_str().unwrap_or_default();
    let message = format!("Google Cloud Secret Manager answered {}", answer.status.as_u16());
    let error = match status {
        // The version is disabled or destroyed.
        "FAILED_PRECONDITION" => Error::new(ErrorKind::NotFound, message),
        _ => answer.error(message),
    };
    match (status, words) {
        ("", "") => error,
        _ => error.with_source(format!("{status}: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_or_whole_and_nothing_else() {
        let latest = "projects/home/secrets/db/versions/latest";
        let cases = [
            ("db", None, Ok(latest)),
            ("db", Some(""), Ok(latest)),
            ("db", Some("7"), Ok("projects/home/secrets/db/versions/7")),
            (
                "projects/p/secrets/db",
                None,
                Ok("projects/p/secrets/db/versions/latest"),
            ),
            (
                "projects/a.com:p/secrets/db",
                Some("2"),
                Ok("projects/a.com:p/secrets/db/versions/2"),
            ),
            (
                "projects/p/secrets/db/versions/3",
                None,
                Ok("projects/p/secrets/db/versions/3"),
            ),
            (
                "projects/p/secrets/db/versions/3",
                Some("3"),
                Ok("projects/p/secrets/db/versions/3"),
            ),
            (
                "projects/p/secrets/db/versions/3",
                Some("4"),
                Err("another version"),
            ),
            ("projects/p/locations/l/secrets/db", None, Err("neither")),
            ("secrets/db", None, Err("neither")),
            ("projects/../secrets/db", None, Err("is not a name")),
            ("", None, Err("is not a name")),
            ("a b", None, Err("is not a name")),
            ("db", Some("1:destroy"), Err("is not a name")),
        ];
        for (id, version, expected) in cases {
            let secret = GcpSecretManagerSecret {
                id: id.to_owned(),
                version: version.map(str::to_owned),
                ..GcpSecretManagerSecret::default()
            };
            match (VersionName::of(&secret, "home"), expected) {
                (Ok(name), Ok(expected)) => {
                    let shown = format!(
                        "projects/{}/secrets/{}/versions/{}",
                        name.project, name.secret, name.version
                    );
                    assert_eq!(shown, expected, "{id} {version:?}");
                }
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, expected) => assert_eq!(
                    found.map(|_| ()).map_err(|_| ""),
                    expected.map(|_| ()),
                    "{id} {version:?}"
                ),
            }
        }
    }
}
