#![doc = include_str!("docs.md")]

mod read;
mod session;

use std::{collections::BTreeMap, env, fmt, fs, time::Duration};

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, Url};
use scaler_api::{
    Context, Error, ErrorKind, Secret,
    secret_store::{
        SERVICE_ACCOUNT_TOKEN, SecretBlock, SecretRequest, SecretStore, StoredSecrets,
        blocks::{HashiCorpVault, VaultSecret},
    },
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http::{self, Answer, Caller, Tls};
use read::{Place, value_of};
use session::{Login, Session, Sessions};

/// Vault and what speaks its API, such as OpenBao.
#[derive(Clone, Default)]
pub struct VaultStore {
    /// The token of the program, for blocks that bring none.
    token: Option<Secret>,
    tls: Tls,
    sessions: Sessions,
}

impl VaultStore {
    /// One whose blocks all bring their own token.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes `VAULT_TOKEN`, `VAULT_CACERT` (a file) and `VAULT_SKIP_VERIFY` from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let token = env::var("VAULT_TOKEN").ok().filter(|token| !token.is_empty());
        let ca = env::var("VAULT_CACERT")
            .ok()
            .and_then(|file| fs::read_to_string(file).ok());
        let skip =
            env::var("VAULT_SKIP_VERIFY").is_ok_and(|text| matches!(&*text, "1" | "t" | "true" | "TRUE"));
        Self {
            token: token.map(Secret::new),
            tls: Tls {
                unsafe_ssl: skip,
                ca: ca.map(Secret::new),
                identity: None,
            },
            sessions: Sessions::default(),
        }
    }

    /// The token for blocks that bring none.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }
}

impl fmt::Debug for VaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for VaultStore {
    fn field(&self) -> &'static str {
        "hashiCorpVault"
    }

    async fn read(&self, request: &SecretRequest, context: &Context) -> Result<StoredSecrets, Error> {
        let SecretBlock::HashiCorpVault(block) = &request.block else {
            return Err(Error::new(ErrorKind::Internal, "the block is not one of Vault"));
        };
        let server = Server {
            caller: Caller::new(context, &self.tls, None)?,
            address: http::url("hashiCorpVault.address", &block.address).map_err(Error::invalid)?,
            namespace: block.namespace.clone().filter(|namespace| !namespace.is_empty()),
            now: context.clock.now().as_second(),
        };
        let login = self.login(block, request)?;
        let slot = self
            .sessions
            .slot(&server.address, server.namespace.as_deref(), &login);
        let mut session = slot.lock().await;
        let started_with = session.is_some();
        let found = self.read_all(&server, &login, &mut session, block).await;
        match found {
            // What was logged in with may have been revoked since.
            Err(error) if error.kind() == ErrorKind::Unauthorized && started_with && login.can_repeat() => {
                *session = None;
                self.read_all(&server, &login, &mut session, block).await
            }
            found => found,
        }
    }
}

impl VaultStore {
    fn login(&self, block: &HashiCorpVault, request: &SecretRequest) -> Result<Login, Error> {
        let credential = block.credential.clone().unwrap_or_default();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match block.authentication.as_str() {
            "token" => given(credential.token)
                .map(Secret::new)
                .or_else(|| self.token.clone())
                .map(Login::Token)
                .ok_or_else(|| {
                    unauthorized("hashiCorpVault.credential.token is not given, and neither is VAULT_TOKEN")
                }),
            "kubernetes" => {
                let needed = |field: &'static str, text: &Option<String>| {
                    given(text.clone()).ok_or_else(|| {
                        Error::invalid(format!(
                            "hashiCorpVault.{field} is not given: authentication kubernetes needs it"
                        ))
                    })
                };
                Ok(Login::Kubernetes {
                    mount: needed("mount", &block.mount)?,
                    role: needed("role", &block.role)?,
                    token: match request.credentials.get(SERVICE_ACCOUNT_TOKEN) {
                        Some(token) => session::Jwt::Given(token.clone()),
                        None => session::Jwt::File(needed(
                            "credential.serviceAccount",
                            &credential.service_account,
                        )?),
                    },
                })
            }
            other => Err(Error::invalid(format!(
                "hashiCorpVault.authentication {other:?} is not known, expected token or kubernetes"
            ))),
        }
    }

    async fn read_all(
        &self,
        server: &Server,
        login: &Login,
        session: &mut Option<Session>,
        block: &HashiCorpVault,
    ) -> Result<StoredSecrets, Error> {
        let session = match session {
            Some(session) if session.is_valid() => session,
            slot => slot.insert(login.enter(server).await?),
        };
        session.renew(server).await;
        let mut found = StoredSecrets {
            ask_again: session.ask_again(),
            ..StoredSecrets::default()
        };
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for secret in &block.secrets {
            // A certificate and its key must be of one issue, and a path is read once for all of its keys.
            let name = format!("{:?} {} {:?}", secret.type_, secret.path, secret.pki_data);
            let place = match places.remove(&name) {
                Some(place) => place,
                None => session.place(server, &name, secret).await?,
            };
            match value_of(&place, secret) {
                Ok(value) => _ = found.parameters.insert(secret.parameter.clone(), value),
                Err(problem) => _ = found.missing.insert(secret.parameter.clone(), problem),
            }
            places.insert(name, place);
        }
        let leases = places.values().filter_map(|place| place.ask_again);
        found.ask_again = leases.chain(found.ask_again).min();
        Ok(found)
    }
}

/// One namespace of one server.
#[derive(Debug)]
struct Server {
    caller: Caller,
    address: Url,
    namespace: Option<String>,
    /// What time it is, in seconds of Unix time.
    now: i64,
}

impl Server {
    /// A request under `/v1/`.
    fn request(&self, method: Method, path: &str, token: Option<&Secret>) -> Result<RequestBuilder, Error> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid("hashiCorpVault.address cannot carry a path"))?
            .pop_if_empty()
            .push("v1")
            .extend(
                path.split('/')
                    .filter(|segment| !matches!(*segment, "" | "." | "..")),
            );
        let mut request = self
            .caller
            .request(method, url)?
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("x-vault-token", http::sensitive(token)?);
        }
        Ok(request)
    }

    async fn get(&self, path: &str, token: &Secret) -> Result<Answer, Error> {
        http::send(self.request(Method::GET, path, Some(token))?).await
    }

    async fn post(&self, path: &str, token: Option<&Secret>, body: &Value) -> Result<Answer, Error> {
        http::send(self.request(Method::POST, path, token)?.json(body)).await
    }
}

/// What an answer holds, or what its status means. The server's own words are kept: they quote no secret.
fn data(what: &str, answer: &Answer) -> Result<Value, Error> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return match body {
            Value::Object(_) => Ok(body),
            _ => Err(Error::unavailable(format!(
                "{what}: the server answered no JSON object"
            ))),
        };
    }
    let words = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let words = words.collect::<Vec<_>>().join(", ");
    let error = answer.error(format!("{what}: status {}", answer.status.as_u16()));
    // 472 and 473: a standby that does not answer reads.
    let error = match answer.status.as_u16() {
        412 | 472 | 473 => Error::unavailable(error.to_string()),
        _ => error,
    };
    Err(match words.is_empty() {
        true => error,
        false => error.with_source(words),
    })
}

fn unauthorized(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthorized, message)
}
