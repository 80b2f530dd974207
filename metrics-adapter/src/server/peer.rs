//! Who is at the other end of a connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::pki_types::CertificateDer;

use super::delegated::CertificateIdentity;

/// The other end of the connection that a request came by: an extension of every request.
///
/// [`serve`](super::serve) puts it there, so a service can trust it. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    /// What the certificate was found to prove, so that it is not verified again for every request.
    identity: Mutex<Option<Arc<CertificateIdentity>>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.shared.address)
            .field("certificates", &self.shared.certificates.len())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer that showed these certificates, its own first.
    #[must_use]
    pub fn new(address: SocketAddr, certificates: Vec<CertificateDer<'static>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                address,
                certificates,
                identity: Mutex::new(None),
            }),
        }
    }

    /// Where it connected from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The certificates that it showed, its own first; empty if it showed none. One of the listener's authorities
    /// had signed them when the connection was made.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.shared.certificates
    }

    pub(super) fn identity(&self) -> Option<Arc<CertificateIdentity>> {
        self.shared
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn remember(&self, identity: &Arc<CertificateIdentity>) {
        *self
            .shared
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(identity));
    }
}
