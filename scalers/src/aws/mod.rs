//! What every AWS scaler shares: who it is, how it reaches AWS, and what an SDK error means.
//!
//! [`AwsIdentity`] is decided from metadata alone; [`AwsEnvironment`] turns it into a configuration for SDK clients,
//! and is where a test or a simulator puts an in-memory endpoint and virtual time.

mod credentials;
mod environment;
mod error;
mod identity;
#[cfg(any(feature = "aws-secret-manager", feature = "kafka-msk-iam"))]
#[cfg_attr(
    not(feature = "aws-secret-manager"),
    allow(dead_code, reason = "Kafka signs in its own way")
)]
pub(crate) mod signing;

#[cfg(feature = "sqs")]
pub(crate) use environment::deadline;
pub use environment::{AwsEnvironment, ClockTimeSource};
#[cfg(feature = "aws-secret-manager")]
pub(crate) use error::kind_of_code;
#[cfg(feature = "sqs")]
pub(crate) use error::service_error;
pub use identity::AwsIdentity;
pub(crate) use identity::CredentialKeys;
#[cfg(feature = "sqs")]
pub(crate) use identity::fields;
