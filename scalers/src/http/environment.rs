//! HTTP clients: one for each TLS identity, so that scalers share connections and trust stores are read once.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use reqwest::{Certificate, Client, Identity};
use scaler_api::{Context, Error, Secret};

/// Clients that are kept; more TLS identities than this at a time are slower, not wrong.
const KEPT: usize = 64;

/// Connections to one server that are kept open between samples: a burst of samples opens more of them, and lets them go.
const IDLE_CONNECTIONS: usize = 32;

/// The HTTP clients of a program; put one into a [`Context`] to give it clients of its own. Without one, scalers share
/// those of the process.
///
/// TLS goes through rustls with the process's default provider, which the program installs; without one, making a client is
/// an error.
#[derive(Clone, Default)]
pub struct HttpEnvironment {
    pub(super) clients: Arc<Mutex<Vec<(Tls, Client)>>>,
    closed: bool,
}

/// What a client's TLS depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) unsafe_ssl: bool,
    pub(crate) ca: Option<Secret>,
    pub(crate) identity: Option<(Secret, Secret)>,
}

impl HttpEnvironment {
    /// An environment without clients.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An environment that reaches nothing: every sample is an outage. For simulations, where a real socket would make
    /// virtual time jump and the result depend on the network.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The environment of `context`, or the one that the process shares.
    pub(super) fn of(context: &Context) -> Self {
        static SHARED: OnceLock<HttpEnvironment> = OnceLock::new();
        context.get::<Self>().map_or_else(
            || SHARED.get_or_init(Self::new).clone(),
            |environment| (*environment).clone(),
        )
    }

    pub(super) fn client(&self, tls: &Tls) -> Result<Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| known == tls) {
            return Ok(client.clone());
        }
        let client = build(tls)?;
        if clients.len() == KEPT {
            clients.remove(0);
        }
        clients.push((tls.clone(), client.clone()));
        Ok(client)
    }
}

fn build(tls: &Tls) -> Result<Client, Error> {
    // The HTTP library panics without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Error::new(
            scaler_api::ErrorKind::Internal,
            "no TLS provider is installed: the program must call rustls::crypto::ring::default_provider().install_default()",
        ));
    }
    let mut builder = Client::builder()
        .tls_danger_accept_invalid_certs(tls.unsafe_ssl)
        .pool_max_idle_per_host(IDLE_CONNECTIONS);
    if let Some(ca) = &tls.ca {
        builder = builder.tls_certs_merge(certificates(ca)?);
    }
    if let Some((certificate, key)) = &tls.identity {
        builder = builder.identity(identity(certificate, key)?);
    }
    builder
        .build()
        .map_err(|error| Error::invalid("cannot make an HTTP client").with_source(super::causes(&error)))
}

// What the parsers say is dropped on purpose: it could quote a credential.

pub(super) fn certificates(ca: &Secret) -> Result<Vec<Certificate>, Error> {
    let bad = || Error::invalid("ca is not a PEM certificate");
    let certificates = Certificate::from_pem_bundle(ca.expose().as_bytes()).map_err(|_| bad())?;
    if certificates.is_empty() {
        Err(bad())
    } else {
        Ok(certificates)
    }
}

pub(super) fn identity(certificate: &Secret, key: &Secret) -> Result<Identity, Error> {
    let pem = format!("{}\n{}", certificate.expose(), key.expose());
    Identity::from_pem(pem.as_bytes())
        .map_err(|_| Error::invalid("cert and key are not a PEM certificate and its key"))
}

impl fmt::Debug for HttpEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEnvironment").finish_non_exhaustive()
    }
}
