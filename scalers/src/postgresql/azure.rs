//! Azure Database for PostgreSQL takes a token of Microsoft Entra for a password.

use async_trait::async_trait;
use scaler_api::{Context, Error, PodIdentity, Secret};

use super::client::{Postgres, Session};
use crate::{
    azure::{self, AzureEnvironment, Login},
    http::{Answer, Caller, Tls},
    logins::Reader,
};

/// What tokens are for.
const SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

/// Who connects.
pub(super) struct Azure {
    environment: AzureEnvironment,
    login: Login,
    caller: Caller,
}

impl Azure {
    /// The identity of a trigger that has one.
    pub(super) fn of(pod_identity: Option<&PodIdentity>, context: &Context) -> Result<Option<Self>, Error> {
        let Some(identity) = azure::identity_of(pod_identity) else {
            return Ok(None);
        };
        let environment = AzureEnvironment::of(context);
        Ok(Some(Self {
            login: environment.login("postgresql", azure::PUBLIC, SCOPE, &identity)?,
            caller: Caller::new(context, &Tls::default(), None)?,
            environment,
        }))
    }

    /// Connects with a token that is known, or asked for. One that is refused is asked for anew, once.
    pub(super) async fn connect(&self, postgres: &Postgres, server: &str) -> Result<Session, Error> {
        let connecting = Connecting {
            azure: self,
            postgres,
            server,
        };
        self.environment.logins.read(&self.login, &connecting).await
    }
}

/// A connection that needs a token.
struct Connecting<'a> {
    azure: &'a Azure,
    postgres: &'a Postgres,
    server: &'a str,
}

#[async_trait]
impl Reader for Connecting<'_> {
    type Found = Session;

    async fn log_in(&self) -> Result<Answer, Error> {
        self.azure.login.enter(&self.azure.caller).await
    }

    async fn read(&self, token: &Secret) -> Result<Session, Error> {
        let mut config = self.postgres.address.config.clone();
        config.password(token.expose());
        self.postgres.connect_as(self.server, &config).await
    }
}
