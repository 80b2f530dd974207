//! The serving certificate of a process outside the cluster: made at its start, and gone with it.
//!
//! Only the leader is registered, with its own address, so nobody else has to show the same certificate.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use metrics_adapter::server::ServingCertificate;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

/// A certificate that signed itself, and what clients have to trust.
#[derive(Clone, Debug)]
pub(super) struct OwnCertificate {
    pub(super) serving: ServingCertificate,
    /// PEM.
    pub(super) authority: String,
}

impl OwnCertificate {
    /// For the Service's names, as the aggregation layer asks for, and for the address, as webhooks by URL do.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn make(service: &str, namespace: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let host = format!("{service}.{namespace}.svc");
        let mut parameters =
            CertificateParams::new(vec![host.clone()]).with_context(|| format!("{host} is no host name"))?;
        parameters
            .subject_alt_names
            .push(SanType::IpAddress(address.into()));
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, host);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().context("no key can be made")?;
        let certificate = parameters
            .self_signed(&key)
            .context("no certificate can be made")?;
        let authority = certificate.pem();
        let serving = ServingCertificate::empty();
        serving
            .replace(authority.as_bytes(), key.serialize_pem().as_bytes())
            .context("the certificate cannot be used")?;
        Ok(Self { serving, authority })
    }
}
