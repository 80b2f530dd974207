//! What every Google Cloud scaler and store of secrets shares: who it is.

#[cfg(any(feature = "gcp-pubsub", feature = "prometheus"))]
mod environment;
mod federation;
mod key;
mod login;

use reqwest::{Method, Url};
use scaler_api::Error;

#[cfg(any(feature = "gcp-pubsub", feature = "prometheus"))]
pub use self::environment::GcpEnvironment;
#[cfg(any(feature = "gcp-pubsub", feature = "prometheus"))]
pub(crate) use self::environment::{TriggerIdentity, check_identity, fields};
#[cfg(feature = "gcp-secret-manager")]
pub(crate) use self::login::credentials_file;
pub(crate) use self::{key::ServiceAccountKey, login::Login};
use crate::http::{self, Answer, Caller};

/// The metadata server of a machine of Google Cloud.
pub(crate) const METADATA: &str = "http://metadata.google.internal/";

/// The project of the machine.
#[cfg(any(feature = "gcp-pubsub", feature = "gcp-secret-manager"))]
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
