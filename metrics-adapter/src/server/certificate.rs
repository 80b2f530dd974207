//! The certificate that a listener shows, replaceable while it serves.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// What was given is no PEM of the expected kind.
    #[error("{what} is no PEM: {source}")]
    Pem {
        /// `certificate` or `private key`.
        what: &'static str,
        /// What was wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the PEM.
    #[error("no certificate was given")]
    Empty,
    /// No TLS provider was installed.
    #[error("no TLS provider is installed in this process")]
    NoProvider,
    /// The key is of an unknown kind, or is not the certificate's.
    #[error("certificate and private key cannot be used together: {0}")]
    Unusable(#[source] rustls::Error),
}

/// A certificate and its key, for any number of listeners. Clones share it: [`replace`](Self::replace) concerns every
/// handshake from then on.
#[derive(Clone, Default)]
pub struct ServingCertificate {
    current: Arc<RwLock<Option<Arc<CertifiedKey>>>>,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate")
            .field("is_set", &self.is_set())
            .finish_non_exhaustive()
    }
}

impl ServingCertificate {
    /// No certificate yet: handshakes fail until there is one.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// What is shown now, leaf first; nothing where there is no certificate yet.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .map(|certified| certified.cert.clone())
            .unwrap_or_default()
    }

    /// Shows this certificate (PEM, leaf first) from now on.
    ///
    /// # Errors
    /// If it is no certificate, or the key is not its key; what was shown before stays.
    pub fn replace(&self, certificate_pem: &[u8], key_pem: &[u8]) -> Result<(), CertificateError> {
        let chain = CertificateDer::pem_slice_iter(certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| CertificateError::Pem {
                what: "certificate",
                source,
            })?;
        if chain.is_empty() {
            return Err(CertificateError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|source| CertificateError::Pem {
            what: "private key",
            source,
        })?;
        let provider = CryptoProvider::get_default().ok_or(CertificateError::NoProvider)?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Unusable)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_replaced_only_by_one_that_fits_its_key() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let ((first, first_key), (second, _)) = (certificate("a.example"), certificate("b.example"));
        let serving = ServingCertificate::empty();
        assert!(!serving.is_set());
        serving.replace(first.as_bytes(), first_key.as_bytes()).unwrap();
        assert!(serving.is_set());
        let wrong = serving.replace(second.as_bytes(), first_key.as_bytes());
        assert!(matches!(wrong, Err(CertificateError::Unusable(_))), "{wrong:?}");
        let none = serving.replace(b"", first_key.as_bytes());
        assert!(matches!(none, Err(CertificateError::Empty)), "{none:?}");
    }
}
