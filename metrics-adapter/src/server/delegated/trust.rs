//! Whom the cluster trusts: what `kube-system/extension-apiserver-authentication` says.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use ring::{digest, hmac};
use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    super::{AuthoritiesError, Peer, authorities::client_verifier},
    User,
};

/// The name of the ConfigMap in `kube-system`.
pub(super) const CONFIG_MAP: &str = "extension-apiserver-authentication";
const CLIENT_CA: &str = "client-ca-file";
const FRONT_PROXY_CA: &str = "requestheader-client-ca-file";
/// The extra under which the API server notes which credential was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why the ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("{key} is unusable: {source}")]
    Authorities {
        key: &'static str,
        #[source]
        source: AuthoritiesError,
    },
    #[error("{key} is no JSON list of texts: {source}")]
    List {
        key: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{key} names {name:?}, which cannot be a header")]
    Header { key: &'static str, name: String },
}

/// Whom to believe what.
#[derive(Default)]
pub(super) struct Trust {
    front_proxy: Option<FrontProxy>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Every authority, for the listener's handshakes.
    pub(super) authorities: Vec<u8>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("front_proxy", &self.front_proxy.is_some())
            .field("clients", &self.clients.is_some())
            .finish_non_exhaustive()
    }
}

/// The aggregation layer, which says on whose behalf it asks.
struct FrontProxy {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The common names that it may have; any if there are none.
    allowed_names: Vec<String>,
    username_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    /// In lower case.
    extra_prefixes: Vec<String>,
}

/// What a client certificate proves, found out once per connection.
pub(in super::super) struct CertificateIdentity {
    /// Under which trust it was found out.
    trust: Arc<Trust>,
    /// The certificate is the front proxy's.
    pub(super) is_front_proxy: bool,
    /// Who the certificate itself says it is, if an authority for clients signed it.
    pub(super) user: Option<Arc<User>>,
    /// Seconds since 1970 after which it proves nothing.
    not_after: i64,
}

impl Trust {
    /// What the data of the ConfigMap says.
    pub(super) fn parse(data: &BTreeMap<String, String>) -> Result<Self, TrustError> {
        let text = |key: &str| data.get(key).map(String::as_str).unwrap_or_default();
        let verifier = |key| {
            client_verifier(text(key).as_bytes()).map_err(|source| TrustError::Authorities { key, source })
        };
        let clients = verifier(CLIENT_CA)?;
        let front_proxy = match verifier(FRONT_PROXY_CA)? {
            Some(verifier) => Some(FrontProxy::parse(data, verifier)?),
            None => None,
        };
        let authorities = format!("{}\n{}", text(FRONT_PROXY_CA), text(CLIENT_CA)).into_bytes();
        Ok(Self {
            front_proxy,
            clients,
            authorities,
        })
    }

    /// What the peer's certificate proves; none if it showed none.
    pub(super) fn identify(
        self: &Arc<Self>,
        peer: &Peer,
        key: &hmac::Key,
    ) -> Option<Arc<CertificateIdentity>> {
        let (leaf, intermediates) = peer.certificates().split_first()?;
        let now = UnixTime::now();
        let known = peer.identity().filter(|known| {
            let holds = i64::try_from(now.as_secs()).is_ok_and(|now| now <= known.not_after);
            holds && Arc::ptr_eq(&known.trust, self)
        });
        if known.is_some() {
            return known;
        }
        let identity = Arc::new(self.verify(leaf, intermediates, now, key));
        peer.remember(&identity);
        Some(identity)
    }

    fn verify(
        self: &Arc<Self>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        key: &hmac::Key,
    ) -> CertificateIdentity {
        let mut identity = CertificateIdentity {
            trust: Arc::clone(self),
            is_front_proxy: false,
            user: None,
            not_after: i64::MIN,
        };
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
            return identity;
        };
        let vouches = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, intermediates, now).is_ok()
        };
        identity.not_after = certificate.validity().not_after.timestamp();
        let name = common_name(&certificate);
        identity.is_front_proxy = self.front_proxy.as_ref().is_some_and(|proxy| {
            let is_allowed = proxy.allowed_names.is_empty() || proxy.allowed_names.contains(&name);
            is_allowed && vouches(&proxy.verifier)
        });
        if !name.is_empty() && self.clients.as_ref().is_some_and(vouches) {
            identity.user = Some(Arc::new(user(key, leaf, &certificate, name)));
        }
        identity
    }

    /// On whose behalf the front proxy asks, if it says so.
    pub(super) fn forwarded_user(&self, headers: &HeaderMap, key: &hmac::Key) -> Option<User> {
        let proxy = self.front_proxy.as_ref()?;
        let name = first(headers, &proxy.username_headers)?;
        let uid = first(headers, &proxy.uid_headers).unwrap_or_default();
        let groups = proxy
            .group_headers
            .iter()
            .flat_map(|header| headers.get_all(header));
        let groups = groups.map(text).filter(|group| !group.is_empty()).collect();
        Some(User::authenticated(key, name, uid, groups, proxy.extra(headers)))
    }

    /// Takes away what only the front proxy may say, so that nothing behind believes it.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(http::header::AUTHORIZATION);
        let claims: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                let standard = name.as_str().starts_with("x-remote-");
                standard || self.front_proxy.as_ref().is_some_and(|proxy| proxy.claims(name))
            })
            .cloned()
            .collect();
        for name in claims {
            headers.remove(name);
        }
    }
}

impl FrontProxy {
    fn parse(
        data: &BTreeMap<String, String>,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            verifier,
            allowed_names: list(data, "requestheader-allowed-names")?,
            username_headers: header_names(data, "requestheader-username-headers")?,
            uid_headers: header_names(data, "requestheader-uid-headers")?,
            group_headers: header_names(data, "requestheader-group-headers")?,
            extra_prefixes: list(data, "requestheader-extra-headers-prefix")?
                .into_iter()
                .map(|prefix| prefix.to_ascii_lowercase())
                .collect(),
        })
    }

    fn claims(&self, name: &HeaderName) -> bool {
        let exact = [&self.username_headers, &self.uid_headers, &self.group_headers];
        exact.into_iter().any(|names| names.contains(name))
            || self
                .extra_prefixes
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(prefix.as_str()) {
                    let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                    extra.entry(key).or_default().push(text(value));
                }
            }
        }
        extra
    }
}

fn list(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, TrustError> {
    match data.get(key).map(|text| text.trim()) {
        None | Some("") => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(|source| TrustError::List { key, source }),
    }
}

fn header_names(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<HeaderName>, TrustError> {
    let names = list(data, key)?.into_iter();
    names
        .map(|name| HeaderName::from_str(name.trim()).map_err(|_| TrustError::Header { key, name }))
        .collect()
}

/// The first header of these with a value.
fn first(headers: &HeaderMap, names: &[HeaderName]) -> Option<String> {
    let values = names.iter().filter_map(|name| headers.get(name));
    values.map(text).find(|value| !value.is_empty())
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    let mut names = certificate.subject().iter_common_name();
    names
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// The user that a client certificate names: the common name, in the organisations as groups.
fn user(key: &hmac::Key, leaf: &CertificateDer<'_>, certificate: &X509Certificate<'_>, name: String) -> User {
    let organizations = certificate.subject().iter_organization();
    let groups = organizations
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    let hash: String = digest::digest(&digest::SHA256, leaf)
        .as_ref()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hash}")])]);
    User::authenticated(key, name, String::new(), groups, extra)
}
