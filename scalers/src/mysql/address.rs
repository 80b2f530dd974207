//! Where the server is and who asks it: of a connection string as Go's driver has them, or of its parts.

use std::time::Duration;

use mysql_async::{Opts, OptsBuilder, SslOpts};
use scaler_api::{Error, Secret};

/// A server that is gone without a word is noticed after some of these.
const KEEPALIVE: Duration = Duration::from_secs(10);
const PORT: u16 = 3306;

/// Everything that a connection needs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: String,
    pub(super) tls: Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    On,
    AnyCertificate,
}

/// The database of a connection string: what stands behind the last slash.
pub(super) fn database(connection: &str) -> &str {
    let last = connection.rsplit_once('/').map_or("", |(_, last)| last);
    last.split('?').next().unwrap_or_default()
}

impl Address {
    pub(super) fn of_parts(
        host: &str,
        port: &str,
        user: Option<&Secret>,
        password: Option<&Secret>,
        database: &str,
    ) -> Result<Self, Error> {
        let text = |secret: Option<&Secret>| secret.map(|secret| secret.expose().to_owned());
        Ok(Self {
            host: host.to_owned(),
            port: number(port)?,
            user: text(user),
            password: text(password),
            database: database.to_owned(),
            tls: Tls::Off,
        })
    }

    /// Reads `[user[:password]@]tcp(host[:port])/database[?name=value&...]`. What is wrong is told without the string,
    /// which holds a password.
    pub(super) fn parse(connection: &Secret) -> Result<Self, Error> {
        let bad =
            || Error::invalid("connectionString is not of the form user:password@tcp(host:port)/database");
        let (before, after) = connection.expose().rsplit_once('/').ok_or_else(bad)?;
        let (who, place) = match before.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, before),
        };
        let place = match place.split_once('(') {
            Some(("tcp", rest)) => rest.strip_suffix(')').ok_or_else(bad)?,
            Some(_) => return Err(Error::invalid("connectionString: the network must be tcp")),
            None if matches!(place, "" | "tcp") => "127.0.0.1",
            None => return Err(bad()),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, number(port)?),
            _ => (place, PORT),
        };
        let (user, password) = match who {
            None => (None, None),
            Some(who) => match who.split_once(':') {
                Some((user, password)) => (Some(user), Some(password)),
                None => (Some(who), None),
            },
        };
        let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            database: database.to_owned(),
            tls: tls(parameters)?,
        })
    }

    pub(super) fn options(&self) -> Opts {
        let tls = match self.tls {
            Tls::Off => None,
            Tls::On => Some(SslOpts::default()),
            Tls::AnyCertificate => Some(
                SslOpts::default()
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
        };
        OptsBuilder::default()
            .ip_or_hostname(&self.host)
            .tcp_port(self.port)
            .user(self.user.clone())
            .pass(self.password.clone())
            .db_name(Some(self.database.clone()).filter(|name| !name.is_empty()))
            .ssl_opts(tls)
            .tcp_keepalive(Some(KEEPALIVE))
            // A server on this machine would be asked over its socket.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .into()
    }
}

fn number(port: &str) -> Result<u16, Error> {
    port.parse()
        .map_err(|_| Error::invalid(format!("port is {port:?}, expected a number up to 65535")))
}

/// `tls` among the parameters; the others tell Go's driver how to read values and how long to wait.
fn tls(parameters: &str) -> Result<Tls, Error> {
    let mut parameters = parameters
        .split('&')
        .filter_map(|parameter| parameter.split_once('='));
    match parameters
        .find(|(name, _)| *name == "tls")
        .map(|(_, value)| value)
    {
        None | Some("false") => Ok(Tls::Off),
        Some("true") => Ok(Tls::On),
        Some("skip-verify") => Ok(Tls::AnyCertificate),
        Some(other) => Err(Error::invalid(format!(
            "connectionString: tls is {other:?}, expected one of true, false, skip-verify"
        ))),
    }
}
