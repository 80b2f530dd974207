//! What every AWS scaler shares: who it is, how it reaches AWS, and what an SDK error means.
//!
//! [`AwsIdentity`] is decided from metadata alone; [`AwsEnvironment`] turns it into a configuration for SDK clients,
//! and is where a test or a simulator puts an in-memory endpoint and virtual time.

#[cfg(feature = "aws-scalers")]
mod connection;
mod credentials;
mod environment;
mod error;
mod identity;
#[cfg(feature = "aws-cloudwatch")]
pub(crate) mod json;
#[cfg(any(
    feature = "aws-cloudwatch",
    feature = "aws-secret-manager",
    feature = "kafka-msk-iam",
    feature = "prometheus-aws"
))]
#[cfg_attr(
    not(any(
        feature = "aws-cloudwatch",
        feature = "aws-secret-manager",
        feature = "prometheus-aws"
    )),
    allow(dead_code, reason = "Kafka signs in its own way")
)]
pub(crate) mod signing;
#[cfg(all(test, feature = "aws-scalers", feature = "http-base"))]
pub(crate) mod test_service;

#[cfg(feature = "aws-scalers")]
pub(crate) use connection::Connection;
#[cfg(feature = "aws-clients")]
pub(crate) use connection::{Client, service_config};
pub use environment::{AwsEnvironment, ClockTimeSource};
#[cfg(feature = "aws-secret-manager")]
pub(crate) use error::kind_of_code;
#[cfg(feature = "aws-clients")]
pub(crate) use error::service_error;
pub use identity::AwsIdentity;
pub(crate) use identity::CredentialKeys;
#[cfg(feature = "aws-scalers")]
pub(crate) use identity::fields;
