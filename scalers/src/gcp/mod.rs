//! What every Google Cloud scaler and store of secrets shares: who it is.

mod key;

use reqwest::{Method, Url};
use scaler_api::{Error, Secret};

pub(crate) use self::key::ServiceAccountKey;
use crate::{
    http::{self, Answer, Caller},
    logins,
};

/// The metadata server of a machine of Google Cloud.
pub(crate) const METADATA: &str = "http://metadata.google.internal/";
/// RFC 7523.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How a block or a trigger logs in.
#[derive(Clone, PartialEq)]
pub(crate) enum Login {
    /// With the key of a service account.
    Key(Secret),
    /// As the service account of the machine.
    Metadata,
}

/// Asks for a token at `now`, in seconds of Unix time: with a key, or else the metadata server.
pub(crate) async fn log_in(
    caller: &Caller,
    key: Option<&ServiceAccountKey>,
    metadata: &Url,
    now: i64,
) -> Result<Answer, Error> {
    let Some(key) = key else {
        return ask_metadata(caller, metadata, "instance/service-accounts/default/token").await;
    };
    let assertion = key.assertion(now)?;
    let form = vec![("grant_type", GRANT), ("assertion", assertion.expose())];
    logins::post(caller, key.token_url()?, form).await
}

/// The project of the machine.
pub(crate) async fn project(caller: &Caller, metadata: &Url) -> Result<String, Error> {
    let answer = ask_metadata(caller, metadata, "project/project-id").await?;
    let text = String::from_utf8(answer.body.clone()).unwrap_or_default();
    match (answer.status.is_success(), text.trim()) {
        (true, "") => Err(Error::unavailable("the metadata server answered no project")),
        (true, project) => Ok(project.to_owned()),
        (false, _) => {
            let status = answer.status.as_u16();
            Err(answer.error(format!("the metadata server answered {status} for the project")))
        }
    }
}

async fn ask_metadata(caller: &Caller, metadata: &Url, path: &str) -> Result<Answer, Error> {
    let mut url = metadata.clone();
    url.path_segments_mut()
        .map_err(|()| Error::invalid("the URL of the metadata server cannot carry a path"))?
        .pop_if_empty()
        .extend(["computeMetadata", "v1"].into_iter().chain(path.split('/')));
    let request = caller
        .request(Method::GET, url)?
        .header("metadata-flavor", "Google");
    http::send(request)
        .await
        .map_err(|error| error.with_context("server", "metadata"))
}
