//! Whose client certificates a listener accepts, replaceable while it serves.

use std::{fmt, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;
use tracing::debug;

/// Why certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// What was given is no PEM of certificates.
    #[error("the bundle of certificate authorities is no PEM: {0}")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// There is text, but no certificate in it that can be used.
    #[error("the bundle of certificate authorities holds no usable certificate")]
    Empty,
    /// The certificates cannot verify anybody.
    #[error("the certificate authorities cannot be used: {0}")]
    Unusable(#[source] rustls::server::VerifierBuilderError),
}

/// The authorities that may sign client certificates, for any number of listeners. Clones share them.
///
/// A listener with authorities asks for a certificate but insists on none: a client without one is served with no
/// identity, a client with a certificate of another authority fails the handshake. After
/// [`replace`](Self::replace) new handshakes use the new authorities, and connections that were made under the old
/// ones are ended as soon as they are idle, so that no client goes on with an identity that nobody vouches for.
#[derive(Clone)]
pub struct ClientAuthorities {
    current: Arc<watch::Sender<Current>>,
}

/// What handshakes use now.
#[derive(Clone, Default)]
struct Current {
    pem: Vec<u8>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthorities")
            .field("asks", &self.current.borrow().verifier.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for ClientAuthorities {
    fn default() -> Self {
        Self::none()
    }
}

impl ClientAuthorities {
    /// No authority: clients are not asked for a certificate.
    #[must_use]
    pub fn none() -> Self {
        Self {
            current: Arc::new(watch::Sender::new(Current::default())),
        }
    }

    /// Accepts certificates of these authorities (PEM) from now on; an empty text asks for none.
    ///
    /// # Errors
    /// If there is no usable certificate in a text that is not empty; what was accepted before stays.
    pub fn replace(&self, pem: &[u8]) -> Result<(), AuthoritiesError> {
        let verifier = client_verifier(pem)?;
        self.current.send_if_modified(|current| {
            let changes = current.pem != pem;
            if changes {
                *current = Current {
                    pem: pem.to_vec(),
                    verifier,
                };
            }
            changes
        });
        Ok(())
    }

    pub(super) fn subscribe(&self) -> Handshakes {
        Handshakes {
            current: self.current.subscribe(),
        }
    }
}

/// A listener's view of the authorities.
pub(super) struct Handshakes {
    current: watch::Receiver<Current>,
}

impl Handshakes {
    /// Resolves when the authorities have changed since the last [`config`](Self::config).
    pub(super) async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            // The listener itself holds a sender, so there is always one.
            std::future::pending::<()>().await;
        }
    }

    /// How to shake hands from now on.
    ///
    /// Every change makes a configuration of its own, with a session store of its own: a session that was made
    /// under other authorities is not resumed.
    pub(super) fn config(
        &mut self,
        certificate: Arc<dyn ResolvesServerCert>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = self.current.borrow_and_update().verifier.clone();
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A verifier of certificates that these authorities (PEM) signed, none if the text is empty.
pub(super) fn client_verifier(pem: &[u8]) -> Result<Option<Arc<dyn ClientCertVerifier>>, AuthoritiesError> {
    if pem.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(AuthoritiesError::Pem)?;
    let mut roots = RootCertStore::empty();
    let (used, ignored) = roots.add_parsable_certificates(certificates);
    if ignored > 0 {
        debug!(
            used,
            ignored, "ignoring certificate authorities that cannot be parsed"
        );
    }
    if roots.is_empty() {
        return Err(AuthoritiesError::Empty);
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map(Some)
        .map_err(AuthoritiesError::Unusable)
}

/// The process's provider of cryptography, ring if none was installed.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_replaced_only_by_certificates() {
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()])
            .unwrap()
            .cert
            .pem();
        let authorities = ClientAuthorities::none();
        let mut handshakes = authorities.subscribe();
        authorities.replace(b" \n").unwrap();
        assert!(
            !handshakes.current.has_changed().unwrap_or(true)
                || handshakes.current.borrow().verifier.is_none()
        );
        authorities.replace(authority.as_bytes()).unwrap();
        assert!(handshakes.current.borrow_and_update().verifier.is_some());
        let nothing = authorities.replace(b"no certificate");
        assert!(matches!(nothing, Err(AuthoritiesError::Empty)), "{nothing:?}");
        assert!(handshakes.current.borrow().verifier.is_some());
    }

    #[test]
    fn the_same_authorities_again_are_no_change() {
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()])
            .unwrap()
            .cert
            .pem();
        let authorities = ClientAuthorities::none();
        authorities.replace(authority.as_bytes()).unwrap();
        let handshakes = authorities.subscribe();
        authorities.replace(authority.as_bytes()).unwrap();
        assert!(!handshakes.current.has_changed().unwrap());
        authorities.replace(b"").unwrap();
        assert!(handshakes.current.has_changed().unwrap());
    }
}
