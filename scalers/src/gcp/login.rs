//! Logins to Google Cloud: with the key of a service account, or as the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use reqwest::Url;
use scaler_api::{Error, ErrorKind, Secret};
use serde::Deserialize;

use super::{ServiceAccountKey, ask_metadata, federation::Federation};
use crate::{
    http::{Answer, Caller},
    logins,
};

/// RFC 7523.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The variable of Google's clients that names a file with a key.
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// How a block or a trigger logs in.
#[derive(Clone, PartialEq)]
pub(crate) enum Login {
    /// With the key of a service account; the field that it stands in is what errors name.
    Key(&'static str, Secret),
    /// As a file of this process says, with a key or by federation; it is read anew for every login.
    File(PathBuf),
    /// As the service account of the machine.
    Metadata,
}

/// What a login shows.
enum Proof {
    Key(ServiceAccountKey),
    Federation(Federation),
    Machine,
}

/// What a file of credentials is.
#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default, rename = "type")]
    type_: String,
}

/// The file that the environment of the process names.
pub(crate) fn credentials_file() -> Option<PathBuf> {
    env::var_os(FILE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

impl Login {
    /// That of a pod identity: with the key that the environment of the process names, else as the machine.
    pub(crate) fn of_process(file: Option<&Path>) -> Self {
        file.map_or(Self::Metadata, |file| Self::File(file.to_owned()))
    }

    /// The key, if the login has one.
    ///
    /// # Errors
    /// If the key is none, or its file cannot be read.
    pub(crate) fn key(&self) -> Result<Option<ServiceAccountKey>, Error> {
        Ok(match self.proof()? {
            Proof::Key(key) => Some(key),
            Proof::Federation(_) | Proof::Machine => None,
        })
    }

    fn proof(&self) -> Result<Proof, Error> {
        let file = match self {
            Self::Metadata => return Ok(Proof::Machine),
            Self::Key(field, text) => return ServiceAccountKey::read(field, text).map(Proof::Key),
            Self::File(file) => file,
        };
        let text = fs::read_to_string(file).map_err(|error| {
            let message = format!("{FILE} {file:?} cannot be read");
            Error::new(ErrorKind::Unauthorized, message).with_source(error)
        })?;
        let text = Secret::new(text);
        let kind: Kind = serde_json::from_str(text.expose()).unwrap_or_default();
        if kind.type_ != "external_account" {
            return ServiceAccountKey::read(FILE, &text).map(Proof::Key);
        }
        // What the parser says is dropped on purpose: it could quote a credential.
        serde_json::from_str(text.expose())
            .map(Proof::Federation)
            .map_err(|_| {
                let message = format!("{FILE} {file:?} is no whole external_account");
                Error::new(ErrorKind::Unauthorized, message)
            })
    }

    /// Asks for a token at `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// If there is no key where one should be, or the server cannot be asked.
    pub(crate) async fn enter(&self, caller: &Caller, metadata: &Url, now: i64) -> Result<Answer, Error> {
        let key = match self.proof()? {
            Proof::Key(key) => key,
            Proof::Federation(federation) => return federation.enter(caller, now).await,
            Proof::Machine => {
                return ask_metadata(caller, metadata, "instance/service-accounts/default/token").await;
            }
        };
        let assertion = key.assertion(now)?;
        let form = vec![("grant_type", GRANT), ("assertion", assertion.expose())];
        logins::post(caller, key.token_url()?, form).await
    }
}
