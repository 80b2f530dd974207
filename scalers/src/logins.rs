//! Access tokens of stores of secrets and of scalers: each is asked for once, used until shortly before its end, and shared by every
//! block that logs in the same way.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{Error, ErrorKind, Secret};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    http::{self, Answer, Caller},
    oauth2,
};

/// Logins that are kept; more at a time log in more often.
const KEPT: usize = 256;

type Slot = Arc<tokio::sync::Mutex<Option<(Secret, Instant)>>>;

/// The tokens by what they are asked for with. Clones share them.
pub(crate) struct Logins<K>(Arc<Mutex<Vec<(K, Slot)>>>);

impl<K> Clone for Logins<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Logins<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> fmt::Debug for Logins<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

impl<K: Clone + PartialEq> Logins<K> {
    fn slot(&self, key: &K) -> Slot {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = known.iter().find(|(other, _)| other == key) {
            return Arc::clone(slot);
        }
        if known.len() == KEPT {
            known.remove(0);
        }
        let slot = Slot::default();
        known.push((key.clone(), Arc::clone(&slot)));
        slot
    }

    /// Reads with a token that is known, or asked for. One that is refused is asked for anew, once: it may have been revoked
    /// since.
    ///
    /// # Errors
    /// Of the reader.
    pub(crate) async fn read<R: Reader>(&self, key: &K, reader: &R) -> Result<R::Found, Error> {
        let slot = self.slot(key);
        let (token, is_new) = token(&slot, reader).await?;
        match reader.read(&token).await {
            Err(error) if error.kind() == ErrorKind::Unauthorized && !is_new => {
                let mut state = slot.lock().await;
                if state.as_ref().is_some_and(|(known, _)| *known == token) {
                    *state = None;
                }
                drop(state);
                let (token, _) = self::token(&slot, reader).await?;
                reader.read(&token).await
            }
            found => found,
        }
    }
}

/// What logs in, and reads.
#[async_trait]
pub(crate) trait Reader: Sync {
    /// What is read.
    type Found: Send;

    /// What the authorization server answers.
    async fn log_in(&self) -> Result<Answer, Error>;

    /// Reads with a token.
    async fn read(&self, token: &Secret) -> Result<Self::Found, Error>;
}

/// A token, and whether it was asked for just now. Whoever asks while one is being issued waits for that one.
async fn token(slot: &Slot, reader: &impl Reader) -> Result<(Secret, bool), Error> {
    let mut state = slot.lock().await;
    if let Some((token, until)) = &*state
        && *until > Instant::now()
    {
        return Ok((token.clone(), false));
    }
    let answer = reader.log_in().await?;
    let (token, until) = oauth2::read(&answer).map_err(|error| match words(&answer) {
        Some(words) => error.with_source(words),
        None => error,
    })?;
    *state = Some((token.clone(), until));
    Ok((token, true))
}

/// RFC 6749 §5.2. The servers that are asked here quote no secret in their words.
fn words(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let code = body["error"].as_str()?;
    let words = body["error_description"].as_str().unwrap_or_default();
    let line = words.lines().next().unwrap_or_default();
    Some(match line.is_empty() {
        true => code.to_owned(),
        false => format!("{code}: {line}"),
    })
}

/// Asks an authorization server for a token.
///
/// # Errors
/// If it cannot be asked.
pub(crate) async fn post(caller: &Caller, url: Url, form: Vec<(&str, &str)>) -> Result<Answer, Error> {
    let request = caller
        .request(Method::POST, url)?
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(oauth2::encode(form));
    http::send(request).await
}

/// Whether a part of a path names one thing there.
#[cfg(any(
    feature = "azure-key-vault",
    feature = "azure-identity",
    feature = "gcp-secret-manager"
))]
pub(crate) fn is_segment(text: &str, also: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || also.contains(char))
}
