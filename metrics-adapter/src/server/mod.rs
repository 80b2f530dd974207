//! Serving over TLS behind an API server's aggregation layer (feature `server`).

mod certificate;

pub use certificate::{CertificateError, ServingCertificate};
