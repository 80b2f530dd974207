//! Serving over TLS behind an API server's aggregation layer (feature `server`).
//!
//! [`serve`] is the listener: HTTP/1.1 and HTTP/2 over TLS for any tower service, with a [`ServingCertificate`] and
//! [`ClientAuthorities`] that may change while it serves. [`Delegated`] asks the API server who sent a request and
//! whether they may; it is a layer around the service.

mod authorities;
mod certificate;
mod delegated;
mod listener;
mod peer;

pub use authorities::{AuthoritiesError, ClientAuthorities};
pub use certificate::{CertificateError, ServingCertificate};
pub use delegated::{Delegated, DelegatedOptions, DelegatedService, User};
pub use listener::{Limits, serve, serve_with_limits};
pub use peer::Peer;
