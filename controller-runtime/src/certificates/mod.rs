//! The certificate of the process's listeners: made, kept in a Secret, rotated, and made known to the API server.
//!
//! The metrics adapter and the admission webhook are called by the API server, which accepts only a certificate that
//! the `caBundle` of their APIService and ValidatingWebhookConfiguration vouches for. A [`Keeper`] sees to both sides.
//! Every replica runs one: all of them load the certificate and replace it when it changes, the leader alone writes.
//!
//! - [`options`]: where certificates come from, and for which names and how long they are made.
//! - `material`: what the Secret holds, and what its certificates say.
//! - [`decision`]: what is to be done about a Secret now, as a pure function.
//! - `issue`: makes authorities and certificates.
//! - `bundle`: what the objects of the API server lack.
//! - `keeper`: reads, decides, writes.
//!
//! A rotation of the authority has three steps, so that whoever trusts the current bundle accepts the certificate that
//! is served at any time: a new authority joins the bundle; once every named object carries the bundle, a certificate
//! is issued by it; when all that the old authority may have signed has expired, it leaves the bundle.

mod bundle;
pub mod decision;
mod issue;
mod keeper;
mod material;
pub mod options;

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;

pub use self::{
    keeper::Keeper,
    material::Material,
    options::{Options, Source},
};

/// Why certificates could not be made or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What should be a certificate is none.
    #[error("{what}: {problem}")]
    Unreadable {
        /// Which part, e.g. `ca.crt`.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The API server refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The listener cannot use the certificate.
    #[error(transparent)]
    Serving(#[from] metrics_adapter::server::CertificateError),
}
