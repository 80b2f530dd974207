//! A storage account: where its queues are, and how requests prove who asks.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use reqwest::Url;
use scaler_api::{Error, Secret};

use crate::{
    azure::{AzureEnvironment, CloudKeys, ConnectionString, Identity, Login, mac},
    http,
};

/// What tokens are for, in every cloud.
const SCOPE: &str = "https://storage.azure.com/.default";

/// What a queue is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its properties, the number of messages among them.
    Properties,
    /// Its first messages, which nobody takes thereby.
    Messages,
}

/// One storage account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    endpoint: Url,
    authority: &'static str,
    pub(super) proof: Proof,
}

#[derive(Clone)]
pub(super) enum Proof {
    /// The account's key, decoded.
    Key(Vec<u8>),
    /// A shared access signature, as it stands in a query.
    Signature(Secret),
    Identity(Identity),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(***)",
            Self::Signature(_) => "Signature(***)",
            Self::Identity(_) => "Identity",
        })
    }
}

/// Whether this can be the name of a queue or an account.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-')
}

/// As RFC 1123 writes dates.
pub(super) fn date(now: Timestamp) -> String {
    let now = now.to_zoned(TimeZone::UTC);
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

impl Account {
    pub(super) fn of(
        connection: Option<&Secret>,
        account_name: Option<&str>,
        place: &CloudKeys,
        identity: Option<Identity>,
    ) -> Result<Self, String> {
        let authority = place.authority()?;
        if let Some(identity) = identity {
            let name = account_name.ok_or("no accountName given")?;
            let endpoint = format!("https://{name}.{}", place.queues()?);
            return Ok(Self {
                name: name.to_owned(),
                endpoint: http::url("endpointSuffix", &endpoint)?,
                authority,
                proof: Proof::Identity(identity),
            });
        }
        let connection = ConnectionString::read(connection.ok_or("no connection setting given")?)?;
        Self::of_connection(&connection, authority)
    }

    /// `DefaultEndpointsProtocol=https;AccountName=NAME;AccountKey=KEY;EndpointSuffix=core.windows.net`, or with
    /// `QueueEndpoint=URL`, or with `SharedAccessSignature=...` in place of the key.
    fn of_connection(connection: &ConnectionString, authority: &'static str) -> Result<Self, String> {
        let proof = match (
            connection.get("AccountKey"),
            connection.get("SharedAccessSignature"),
        ) {
            (Some(key), _) => {
                let key = STANDARD.decode(key);
                Proof::Key(key.map_err(|_| "AccountKey of connection is not base64".to_owned())?)
            }
            (None, Some(signature)) => Proof::Signature(Secret::new(signature.trim_start_matches('?'))),
            (None, None) => {
                return Err("connection has neither AccountKey nor SharedAccessSignature".to_owned());
            }
        };
        let endpoint = connection.get("QueueEndpoint");
        let name = match (&proof, endpoint) {
            (Proof::Signature(_), Some(_)) => connection.get("AccountName").unwrap_or_default(),
            _ => connection.needed("AccountName")?,
        };
        let endpoint = endpoint.map_or_else(
            || {
                let scheme = connection.get("DefaultEndpointsProtocol").unwrap_or("https");
                let suffix = connection.get("EndpointSuffix").unwrap_or("core.windows.net");
                format!("{scheme}://{name}.queue.{suffix}")
            },
            str::to_owned,
        );
        // The message of the parser would show it.
        let endpoint = http::url("connection", &endpoint)
            .map_err(|_| "the endpoint of connection is not a URL of http or https".to_owned())?;
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            authority,
            proof,
        })
    }

    pub(super) fn login(&self, identity: &Identity, environment: &AzureEnvironment) -> Result<Login, Error> {
        environment.login("azure-queue", self.authority, SCOPE, identity)
    }

    #[cfg(test)]
    pub(super) fn set_endpoint(&mut self, endpoint: Url) {
        self.endpoint = endpoint;
    }

    /// Where to ask for a queue.
    pub(super) fn url(&self, queue: &str, wanted: Wanted) -> Result<Url, Error> {
        let mut url = self.endpoint.clone();
        let path: &[&str] = match wanted {
            Wanted::Properties => &[queue],
            Wanted::Messages => &[queue, "messages"],
        };
        url.path_segments_mut()
            .map_err(|()| Error::invalid("the endpoint of connection cannot carry a path"))?
            .pop_if_empty()
            .extend(path);
        let query = match wanted {
            Wanted::Properties => "comp=metadata",
            Wanted::Messages => "peekonly=true&numofmessages=32",
        };
        url.set_query(Some(&match &self.proof {
            Proof::Signature(signature) => format!("{query}&{}", signature.expose()),
            _ => query.to_owned(),
        }));
        Ok(url)
    }

    /// The header that signs a request with the account's key.
    pub(super) fn authorization(&self, url: &Url, date: &str, version: &str) -> Option<Secret> {
        let Proof::Key(key) = &self.proof else { return None };
        let text = string_to_sign(&self.name, url, date, version);
        Some(Secret::new(format!(
            "SharedKey {}:{}",
            self.name,
            mac(key, &text)
        )))
    }
}

/// What a key signs of a GET without a body: the verb, eleven headers that are empty, those of `x-ms-`, and the resource with its
/// parameters in order.
pub(super) fn string_to_sign(account: &str, url: &Url, date: &str, version: &str) -> String {
    let mut parameters: Vec<_> = url.query_pairs().collect();
    parameters.sort();
    let parameters: String = parameters
        .iter()
        .map(|(name, value)| format!("\n{}:{value}", name.to_lowercase()))
        .collect();
    let path = url.path();
    format!(
        "GET{}x-ms-date:{date}\nx-ms-version:{version}\n/{account}{path}{parameters}",
        "\n".repeat(12)
    )
}
