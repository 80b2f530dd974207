//! Logins: a token, until when it is good, and the certificates that were issued with it.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Duration, Error, ErrorKind, Instant, Place, Secret, Server, Url, Value, VaultSecret, data, json, read,
    unauthorized,
};

/// Logins that are kept; more at a time log in more often.
const KEPT: usize = 256;
/// Bytes of a token's file that are read.
const MAX_TOKEN: usize = 64 * 1024;

/// How a block logs in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Login {
    /// With a token.
    Token(Secret),
    /// As a ServiceAccount.
    Kubernetes { mount: String, role: String, token: Jwt },
}

/// A ServiceAccount's token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Jwt {
    Given(Secret),
    /// In a file, which is read anew for every login.
    File(String),
}

/// What a login came to.
#[derive(Debug)]
pub(super) struct Session {
    token: Secret,
    renewable: bool,
    lives: Option<Duration>,
    since: Instant,
    /// Certificates and leased secrets, and until when they are given out.
    kept: BTreeMap<String, (Place, Instant)>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;
type Known = Vec<((Url, Option<String>, Login), Slot)>;

/// All logins. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Known>>);

impl Sessions {
    /// Where the session of a login is.
    pub(super) fn slot(&self, address: &Url, namespace: Option<&str>, login: &Login) -> Slot {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.clone(), namespace.map(str::to_owned), login.clone());
        if let Some((_, slot)) = known.iter().find(|(other, _)| *other == key) {
            return Arc::clone(slot);
        }
        if known.len() == KEPT {
            known.remove(0);
        }
        let slot = Slot::default();
        known.push((key, Arc::clone(&slot)));
        slot
    }
}

impl Login {
    /// Whether it may come to another token than the last time.
    pub(super) fn can_repeat(&self) -> bool {
        matches!(self, Self::Kubernetes { .. })
    }

    pub(super) async fn enter(&self, server: &Server) -> Result<Session, Error> {
        match self {
            Self::Token(token) => Ok(look_up(server, token).await),
            Self::Kubernetes { mount, role, token } => {
                let jwt = token.read()?;
                let path = format!("auth/{mount}/login");
                let body = json!({"role": role, "jwt": jwt.expose()});
                let answer = server.post(&path, None, &body).await?;
                let found = data("cannot log in", &answer).map_err(|error| match error.kind() {
                    // It says by 400 and 500 what it does not like about a token.
                    ErrorKind::Invalid | ErrorKind::NotFound => {
                        Error::new(ErrorKind::Unauthorized, error.to_string())
                    }
                    _ => error,
                })?;
                let auth = &found["auth"];
                let Some(token) = auth["client_token"].as_str().filter(|token| !token.is_empty()) else {
                    return Err(unauthorized("cannot log in: the server answered no token"));
                };
                Ok(Session::new(
                    Secret::new(token),
                    &auth["lease_duration"],
                    &auth["renewable"],
                ))
            }
        }
    }
}

impl Jwt {
    fn read(&self) -> Result<Secret, Error> {
        let path = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::File(path) => path,
        };
        let text = fs::read_to_string(path).map_err(|error| {
            Error::unavailable(format!(
                "hashiCorpVault.credential.serviceAccount {path:?} cannot be read"
            ))
            .with_source(error)
        })?;
        // Nothing else leaves this machine: whoever may write a TriggerAuthentication names file and server.
        let token = text.trim();
        let is_part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_token =
            token.len() <= MAX_TOKEN && token.split('.').count() == 3 && token.split('.').all(is_part);
        if !is_token {
            return Err(Error::invalid(format!(
                "hashiCorpVault.credential.serviceAccount {path:?} holds no token of a ServiceAccount"
            )));
        }
        Ok(Secret::new(token))
    }
}

/// How long a token lives. Not every token may ask that of itself; it is used all the same.
async fn look_up(server: &Server, token: &Secret) -> Session {
    let found = async {
        data(
            "cannot look up the token",
            &server.get("auth/token/lookup-self", token).await?,
        )
    };
    let found = found.await.unwrap_or_default();
    Session::new(token.clone(), &found["data"]["ttl"], &found["data"]["renewable"])
}

impl Session {
    fn new(token: Secret, seconds: &Value, renewable: &Value) -> Self {
        Self {
            token,
            renewable: renewable.as_bool() == Some(true),
            lives: seconds
                .as_u64()
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            since: Instant::now(),
            kept: BTreeMap::new(),
        }
    }

    /// Whether the token is not at its end.
    pub(super) fn is_valid(&self) -> bool {
        self.lives
            .is_none_or(|lives| self.since.elapsed() < lives.mul_f64(0.9))
    }

    /// How soon to come back so that the token can be renewed in time.
    pub(super) fn ask_again(&self) -> Option<Duration> {
        self.lives.map(|lives| (lives / 3).max(Duration::from_secs(1)))
    }

    /// Renews the token in the second half of its life. Where that fails, it is used to its end.
    pub(super) async fn renew(&mut self, server: &Server) {
        let is_old = self.lives.is_some_and(|lives| self.since.elapsed() >= lives / 2);
        if !self.renewable || !is_old {
            return;
        }
        let renewed = async {
            let answer = server
                .post("auth/token/renew-self", Some(&self.token), &json!({}))
                .await?;
            data("cannot renew the token", &answer)
        };
        match renewed.await {
            Ok(found) => {
                let auth = &found["auth"];
                let lives = auth["lease_duration"].as_u64().filter(|seconds| *seconds > 0);
                self.lives = lives.map(Duration::from_secs);
                self.since = Instant::now();
                self.renewable = auth["renewable"].as_bool() == Some(true);
            }
            Err(error) => tracing::warn!(%error, "a token of Vault was not renewed"),
        }
    }

    /// What stands at a path; what was issued for a while is given out for most of that.
    pub(super) async fn place(
        &mut self,
        server: &Server,
        name: &str,
        secret: &VaultSecret,
    ) -> Result<Place, Error> {
        let now = Instant::now();
        self.kept.retain(|_, (_, until)| *until > now);
        if let Some((place, _)) = self.kept.get(name) {
            return Ok(place.clone());
        }
        let answer = match read::certificate(secret) {
            Some(body) => {
                server
                    .post(&secret.path, Some(&self.token), &Value::Object(body))
                    .await?
            }
            None => server.get(&secret.path, &self.token).await?,
        };
        let what = format!("cannot read {:?}", secret.path);
        let place = match data(&what, &answer) {
            Ok(found) => Place::of(&found, server.now),
            Err(error) if error.kind() == ErrorKind::NotFound => Place::nothing(&secret.path),
            Err(error) => return Err(error),
        };
        if let Some(lives) = place.ask_again {
            self.kept.insert(name.to_owned(), (place.clone(), now + lives));
        }
        Ok(place)
    }
}
