//! A namespace of Service Bus: where it is, and how requests prove who asks.

use std::fmt;

use reqwest::Url;
use scaler_api::{Error, Secret};

use super::entity::PAGE;
use crate::{
    azure::{AzureEnvironment, CloudKeys, ConnectionString, Identity, Login, mac},
    http,
    logins::is_segment,
    oauth2,
};

/// The version of the management API.
const API_VERSION: &str = "2021-05";
/// What tokens are for, in every cloud.
const SCOPE: &str = "https://servicebus.azure.net/.default";
/// How long a signature is good, in seconds.
const LIFETIME: i64 = 3600;

/// One namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub(super) base: Url,
    pub(super) authority: &'static str,
    pub(super) proof: Proof,
}

#[derive(Clone)]
pub(super) enum Proof {
    /// The name of a key, and the key.
    Key(String, Secret),
    /// A signature that was made elsewhere.
    Signature(Secret),
    Identity(Identity),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(..) => "Key(***)",
            Self::Signature(_) => "Signature(***)",
            Self::Identity(_) => "Identity",
        })
    }
}

/// Whether a pod identity knows where to go.
pub(super) fn check(namespace: Option<&str>) -> Result<&str, String> {
    match namespace {
        None => Err("namespace are required when using pod identity".to_owned()),
        Some(name) if is_segment(name, "-") => Ok(name),
        Some(name) => Err(format!(
            "namespace {name:?} is not the name of one, expected letters, digits and -"
        )),
    }
}

impl Namespace {
    pub(super) fn of(
        connection: Option<&Secret>,
        namespace: Option<&str>,
        place: &CloudKeys,
        identity: Option<Identity>,
    ) -> Result<Self, String> {
        let authority = place.authority()?;
        let (base, proof) = match identity {
            Some(identity) => {
                let name = check(namespace)?;
                let host = format!("https://{name}.{}/", place.service_bus()?);
                (http::url("endpointSuffix", &host)?, Proof::Identity(identity))
            }
            None => {
                let text = connection.ok_or("no connection setting given")?;
                of_connection(&ConnectionString::read(text)?)?
            }
        };
        Ok(Self {
            base,
            authority,
            proof,
        })
    }

    pub(super) fn login(&self, identity: &Identity, environment: &AzureEnvironment) -> Result<Login, Error> {
        environment.login("azure-servicebus", self.authority, SCOPE, identity)
    }

    /// Where an entity is, or a list of entities from the one at `skip` on.
    pub(super) fn url(&self, path: &[String], skip: Option<usize>) -> Result<Url, Error> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid("the endpoint of connection cannot carry a path"))?
            .pop_if_empty()
            .extend(path);
        let page = skip.map_or_else(String::new, |skip| format!("$skip={skip}&$top={PAGE}&"));
        url.set_query(Some(&format!("{page}api-version={API_VERSION}")));
        Ok(url)
    }
}

/// `Endpoint=sb://NAMESPACE/;SharedAccessKeyName=NAME;SharedAccessKey=KEY`, or with `SharedAccessSignature=...` in place of the key.
fn of_connection(connection: &ConnectionString) -> Result<(Url, Proof), String> {
    let endpoint = connection.needed("Endpoint")?;
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let is_emulator = connection
        .get("UseDevelopmentEmulator")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let scheme = if is_emulator { "http" } else { "https" };
    let base = http::url("connection", &format!("{scheme}://{host}"))
        .map_err(|_| "Endpoint of connection is not one, expected sb://NAMESPACE/".to_owned())?;
    let proof = match connection.get("SharedAccessSignature") {
        Some(signature) => Proof::Signature(Secret::new(signature)),
        None => Proof::Key(
            connection.needed("SharedAccessKeyName")?.to_owned(),
            Secret::new(connection.needed("SharedAccessKey")?),
        ),
    };
    Ok((base, proof))
}

impl Proof {
    /// The value of `Authorization` for a request at `now`, in seconds of Unix time.
    pub(super) fn token(&self, url: &Url, now: i64) -> Result<Secret, Error> {
        match self {
            Self::Key(name, key) => Ok(sign(name, key, url, now + LIFETIME)),
            Self::Signature(signature) => Ok(signature.clone()),
            Self::Identity(_) => Err(Error::new(
                scaler_api::ErrorKind::Internal,
                "an identity has no signature",
            )),
        }
    }
}

/// A shared access signature for what stands at `url`, good until `end`.
pub(super) fn sign(name: &str, key: &Secret, url: &Url, end: i64) -> Secret {
    let mut resource = url.clone();
    resource.set_query(None);
    let resource = encoded(&resource.as_str().to_lowercase()).to_lowercase();
    let signature = mac(key.expose().as_bytes(), &format!("{resource}\n{end}"));
    Secret::new(format!(
        "SharedAccessSignature sr={resource}&sig={}&se={end}&skn={}",
        encoded(&signature),
        encoded(name)
    ))
}

/// As a value of a query.
fn encoded(text: &str) -> String {
    oauth2::encode(vec![("", text)])
        .trim_start_matches('=')
        .to_owned()
}
