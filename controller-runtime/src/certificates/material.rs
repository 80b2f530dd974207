//! What the Secret holds, and what its certificates say.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret as CoreSecret};
use kube::{Resource, core::ObjectMeta};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};
use scaler_api::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

use super::Error;

/// A certificate with its key, and the authorities that vouch for it. All PEM; a part that is missing is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// `tls.crt`: the certificate that is served, leaf first.
    pub certificate: String,
    /// `tls.key`: its key.
    pub key: Secret,
    /// `ca.crt`: who vouches for it, the current authority first.
    pub bundle: String,
    /// `ca.key`: the key of the first authority.
    pub authority_key: Secret,
}

impl Material {
    /// The `data` of a Secret.
    pub(super) fn to_data(&self) -> Value {
        let part = |text: &str| ByteString(text.as_bytes().to_vec());
        json!({
            "tls.crt": part(&self.certificate),
            "tls.key": part(self.key.expose()),
            "ca.crt": part(&self.bundle),
            "ca.key": part(self.authority_key.expose()),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "tls.crt")]
    certificate: ByteString,
    #[serde(rename = "tls.key")]
    key: ByteString,
    #[serde(rename = "ca.crt")]
    bundle: ByteString,
    #[serde(rename = "ca.key")]
    authority_key: ByteString,
}

impl<'de> Deserialize<'de> for Material {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let data = Option::<Data>::deserialize(deserializer)?.unwrap_or_default();
        // What is no text is no PEM either.
        let text = |part: ByteString| String::from_utf8(part.0).unwrap_or_default();
        Ok(Self {
            certificate: text(data.certificate),
            key: Secret::new(text(data.key)),
            bundle: text(data.bundle),
            authority_key: Secret::new(text(data.authority_key)),
        })
    }
}

/// The Secret, as far as it matters here.
#[derive(Clone, Debug, Default, Resource, Deserialize)]
#[resource(inherit = "CoreSecret")]
pub(super) struct KeptSecret {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) data: Material,
}

impl KeptSecret {
    /// Whether cert-manager fills it.
    pub(super) fn is_provided(&self) -> bool {
        let annotations = self.metadata.annotations.iter().flatten();
        annotations
            .map(|(name, _)| name)
            .any(|name| name.starts_with("cert-manager.io/"))
    }
}

/// A certificate, read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) names: BTreeSet<String>,
    public_key: Vec<u8>,
    is_authority: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Every certificate of a PEM.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub(super) fn read_all(what: &'static str, pem: &str) -> Result<Vec<Self>, Error> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| {
                let unreadable = |problem: String| Error::Unreadable { what, problem };
                let der = der.map_err(|error| unreadable(error.to_string()))?;
                Self::read(der).map_err(unreadable)
            })
            .collect()
    }

    fn read(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        let mut names = BTreeSet::new();
        for extension in parsed.extensions() {
            if let ParsedExtension::SubjectAlternativeName(list) = extension.parsed_extension() {
                names.extend(list.general_names.iter().filter_map(in_words));
            }
        }
        Ok(Self {
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            names,
            public_key: parsed.public_key().raw.to_vec(),
            is_authority: parsed.is_ca(),
            der,
        })
    }

    /// Whether it is valid at `now`.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When two thirds of its life are over.
    pub(super) fn due(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before
            .saturating_add(life / 3 * 2)
            .unwrap_or(self.not_after)
    }

    /// Whether it is an authority to which this key belongs.
    pub(super) fn is_authority_of(&self, key: &Secret) -> bool {
        let key = KeyPair::from_pem(key.expose());
        self.is_authority && key.is_ok_and(|key| key.subject_public_key_info() == self.public_key)
    }

    /// Whether a listener can show it with this key.
    pub(super) fn is_usable_with(&self, key: &Secret) -> bool {
        let Ok(key) = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()) else {
            return false;
        };
        CertifiedKey::from_der(vec![self.der.clone()], key, &ring::default_provider()).is_ok()
    }

    /// Whether who trusts these authorities accepts it at `now` from a server that has one of its names.
    pub(super) fn is_accepted_by(&self, authorities: &[Self], now: Timestamp) -> bool {
        let name = self
            .names
            .first()
            .and_then(|name| ServerName::try_from(name.as_str()).ok());
        let mut roots = RootCertStore::empty();
        for authority in authorities.iter().filter(|authority| authority.is_valid(now)) {
            if roots.add(authority.der.clone()).is_err() {
                return false;
            }
        }
        let provider = std::sync::Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
        let (Some(name), Ok(verifier)) = (name, verifier) else {
            return false;
        };
        let since_epoch = now.duration_since(Timestamp::UNIX_EPOCH);
        let at = UnixTime::since_unix_epoch(since_epoch.unsigned_abs());
        verifier
            .verify_server_cert(&self.der, &[], &name, &[], at)
            .is_ok()
    }
}

fn in_words(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            };
            address.map(|address| address.to_string())
        }
        _ => None,
    }
}

/// `time` and `duration` later, or the end of time.
pub(super) fn after(time: Timestamp, duration: std::time::Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// `duration` before `time`, or the beginning of time.
pub(super) fn before(time: Timestamp, duration: std::time::Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Several certificates as one PEM.
pub(super) fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates
        .into_iter()
        .map(|certificate| pem(&certificate.der))
        .collect()
}

fn pem(der: &[u8]) -> String {
    // Base64 as Kubernetes' byte strings are written, in lines of 64.
    let Ok(Value::String(text)) = serde_json::to_value(ByteString(der.to_vec())) else {
        return String::new();
    };
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
