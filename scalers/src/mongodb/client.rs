//! The driver: one client for all samples of a scaler, made with the first.

use std::{fmt, time::Duration};

use mongodb::{
    Client,
    bson::Document,
    error::ErrorKind as Kind,
    options::{ClientOptions, ConnectionString},
};
use scaler_api::{Error, ErrorKind, Secret};
use tokio::sync::OnceCell;

use super::files::Tls;
use crate::tcp;

/// Codes of the server: who asks is unknown, or may not.
const UNAUTHORIZED: &[i32] = &[8000, 13, 18];
/// The server does not understand the question.
const INVALID: &[i32] = &[2, 9, 14, 17287, 40324];

/// One collection with the filter that is asked of it.
pub(super) struct Collection {
    address: Secret,
    tls: Option<Tls>,
    timeout: Duration,
    database: String,
    collection: String,
    filter: Document,
    client: OnceCell<Client>,
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("database", &self.database)
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

/// Whether the driver can read an address.
pub(super) fn is_address(address: &Secret) -> bool {
    ConnectionString::parse(address.expose()).is_ok()
}

impl Collection {
    pub(super) fn new(
        address: Secret,
        tls: Option<Tls>,
        timeout: Duration,
        database: String,
        collection: String,
        filter: Document,
    ) -> Self {
        Self {
            address,
            tls,
            timeout,
            database,
            collection,
            filter,
            client: OnceCell::new(),
        }
    }

    pub(super) async fn count(&self) -> Result<u64, Error> {
        let counting = async {
            let client = self.client.get_or_try_init(|| self.connect()).await?;
            let collection = client
                .database(&self.database)
                .collection::<Document>(&self.collection);
            let counted = collection.count_documents(self.filter.clone()).await;
            counted.map_err(|error| failure(&error))
        };
        let counted = tcp::within(self.timeout, counting).await;
        counted.map_err(|error| error.with_context("collection", &self.collection))
    }

    /// No traffic, but where a name has to be resolved to find the servers.
    async fn connect(&self) -> Result<Client, Error> {
        let mut options =
            ClientOptions::parse(self.address.expose())
                .await
                .map_err(|error| match *error.kind {
                    Kind::DnsResolve { .. } => failure(&error),
                    // The message could quote a credential.
                    _ => Error::invalid("the address of MongoDB cannot be read"),
                })?;
        // Before the deadline, so that what is down says so.
        options.server_selection_timeout = Some(self.timeout * 3 / 4);
        options.connect_timeout = Some(self.timeout * 3 / 4);
        options.app_name.get_or_insert_with(|| "autoscaler".to_owned());
        options.max_pool_size.get_or_insert(4);
        let files = self.tls.as_ref().map(Tls::files).transpose()?;
        if let Some(files) = &files {
            options.tls = Some(mongodb::options::Tls::Enabled(files.options()));
        }
        // It has read the files when it is there.
        Client::with_options(options).map_err(|error| failure(&error))
    }
}

impl Drop for Collection {
    /// The driver's own tasks end a while after the client; this way its connections are closed at once.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { client.shutdown().immediate(true).await });
        }
    }
}

/// What an error of the driver means.
fn failure(error: &mongodb::error::Error) -> Error {
    let kind = match error.kind.as_ref() {
        Kind::Authentication { .. } => ErrorKind::Unauthorized,
        Kind::Command(command) if UNAUTHORIZED.contains(&command.code) => ErrorKind::Unauthorized,
        Kind::Command(command) if INVALID.contains(&command.code) => ErrorKind::Invalid,
        Kind::InvalidArgument { .. } | Kind::InvalidTlsConfig { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let message = match kind {
        ErrorKind::Unauthorized => "mongodb refuses the login",
        ErrorKind::Invalid => "mongodb does not understand the question",
        _ => "mongodb does not answer",
    };
    Error::new(kind, message).with_source(error.kind.to_string())
}
