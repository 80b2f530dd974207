//! Stores of secrets against real servers, which `cargo xtask test` puts into the user's cache directory, and against stubs
//! of the vendors' protocols where no registry carries a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test")]
#![allow(clippy::needless_pass_by_value, reason = "blocks are made in place")]
#![allow(clippy::disallowed_methods, reason = "a real server takes real time")]

mod aws;
mod azure;
mod gcp;
mod server;
mod stub;
mod vault;

use std::{collections::BTreeMap, sync::Arc};

use scaler_api::{
    Context, Error, Secret, SystemClock,
    secret_store::{SecretBlock, SecretRequest, SecretStore, StoredSecrets},
};

/// Asks a store for a block with credentials.
async fn ask(
    store: &dyn SecretStore,
    block: SecretBlock,
    credentials: &[(&'static str, &str)],
) -> Result<StoredSecrets, Error> {
    let credentials = credentials
        .iter()
        .map(|(name, value)| (*name, Secret::new(*value)));
    let request = SecretRequest {
        block,
        credentials: credentials.collect(),
    };
    let context = Context::new().with_clock(Arc::new(SystemClock));
    store.read(&request, &context).await
}

/// The values of an answer as text.
fn shown(found: &StoredSecrets) -> BTreeMap<String, String> {
    let values = found.parameters.iter();
    values
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}
