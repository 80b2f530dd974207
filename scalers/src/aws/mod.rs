//! What every AWS scaler shares: who it is, how it reaches AWS, and what an SDK error means.
//!
//! [`AwsIdentity`] is decided from metadata alone; [`AwsEnvironment`] turns it into a configuration for SDK clients,
//! and is where a test or a simulator puts an in-memory endpoint and virtual time.

mod credentials;
mod environment;
mod error;
mod identity;

pub(crate) use environment::deadline;
pub use environment::{AwsEnvironment, ClockTimeSource};
pub(crate) use error::service_error;
pub use identity::AwsIdentity;
pub(crate) use identity::{CredentialKeys, fields};
