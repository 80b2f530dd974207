//! Where the server is, who asks it, and whom to trust: of a connection string or of its parts.

use std::fs;

use scaler_api::{Error, Secret};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use crate::tcp::{self, Tls};

pub(super) const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Everything that a connection needs.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    /// `host:port`, to be tried in turn.
    pub(super) servers: Vec<String>,
    pub(super) tls: Tls,
}

/// What a connection string says of TLS.
#[derive(Clone, Copy, Default)]
struct OfTls<'a> {
    mode: Option<&'a str>,
    authority: Option<&'a str>,
    cert: Option<&'a str>,
    key: Option<&'a str>,
    password: Option<&'a str>,
}

impl Address {
    pub(super) fn of_parts(
        host: &str,
        port: &str,
        user: &str,
        database: &str,
        mode: &str,
        password: Option<&Secret>,
    ) -> Result<Self, Error> {
        let port = port
            .parse()
            .map_err(|_| Error::invalid(format!("port is {port:?}, expected a number up to 65535")))?;
        let mut config = Config::new();
        config.host(host).port(port).user(user).dbname(database);
        let of_tls = OfTls {
            mode: Some(mode),
            ..OfTls::default()
        };
        Self::new(config, of_tls, password)
    }

    /// Reads a URL or a list of `key=value`. What is wrong is told without the string, which holds a password.
    pub(super) fn parse(connection: &Secret, password: Option<&Secret>) -> Result<Self, Error> {
        let text = connection.expose();
        let (text, settings) = match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => take_of_url(text),
            _ => take_of_pairs(text),
        };
        let config = text.parse().map_err(|_| {
            Error::invalid("connection is neither a URL of postgresql nor a list of key=value")
        })?;
        let of = |wanted: &str| {
            let mut found = settings.iter().rev();
            found
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.as_str())
        };
        let of_tls = OfTls {
            mode: of("sslmode"),
            authority: of("sslrootcert"),
            cert: of("sslcert"),
            key: of("sslkey"),
            password: of("sslpassword"),
        };
        Self::new(config, of_tls, password)
    }

    fn new(mut config: Config, of_tls: OfTls<'_>, password: Option<&Secret>) -> Result<Self, Error> {
        let mode = of_tls.mode.unwrap_or("prefer");
        if !SSL_MODES.contains(&mode) {
            let expected = SSL_MODES.join(", ");
            return Err(Error::invalid(format!(
                "sslmode is {mode:?}, expected one of {expected}"
            )));
        }
        config.ssl_mode(match mode {
            "disable" | "allow" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if let Some(password) = password.filter(|_| config.get_password().is_none()) {
            config.password(password.expose());
        }
        if of_tls.cert.is_some() != of_tls.key.is_some() {
            return Err(Error::invalid("both sslcert and sslkey are required"));
        }
        let ca = file("sslrootcert", of_tls.authority)?;
        let tls = Tls {
            // As with PostgreSQL's own clients: an authority that was named is asked, even by `require`.
            unsafe_ssl: !mode.starts_with("verify") && ca.is_none(),
            any_name: mode != "verify-full",
            ca,
            cert: file("sslcert", of_tls.cert)?,
            key: file("sslkey", of_tls.key)?,
            key_password: of_tls.password.map(Secret::new),
        };
        tls.identity()?;
        let servers = servers(&config)?;
        Ok(Self { config, servers, tls })
    }
}

/// What is in a file that a connection string names.
fn file(field: &str, path: Option<&str>) -> Result<Option<Secret>, Error> {
    let text = path.map(fs::read_to_string).transpose();
    let text = text.map_err(|error| Error::invalid(format!("{field} cannot be read")).with_source(error))?;
    Ok(text.map(Secret::new))
}

fn servers(config: &Config) -> Result<Vec<String>, Error> {
    let ports = config.get_ports();
    let mut servers = Vec::new();
    for (number, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(number).or(ports.last()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) if host.contains(':') => servers.push(format!("[{host}]:{port}")),
            Host::Tcp(host) => servers.push(format!("{host}:{port}")),
            #[cfg(unix)]
            Host::Unix(_) => {}
        }
    }
    match servers.is_empty() {
        true => Err(Error::invalid("no host given")),
        false => Ok(servers),
    }
}

type Settings = Vec<(String, String)>;

fn is_of_tls(key: &str) -> bool {
    matches!(
        key,
        "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "sslpassword"
    )
}

/// Takes what is about TLS out of a URL: the library knows only a part of it.
fn take_of_url(url: &str) -> (String, Settings) {
    let Some((rest, query)) = url.split_once('?') else {
        return (url.to_owned(), Vec::new());
    };
    let (taken, left): (Vec<_>, Vec<_>) = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .partition(|(key, _)| is_of_tls(key));
    let left: Vec<_> = left.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = match left.is_empty() {
        true => rest.to_owned(),
        false => format!("{rest}?{}", left.join("&")),
    };
    let taken = taken
        .into_iter()
        .map(|(key, value)| (key.to_owned(), tcp::unescaped(value)));
    (text, taken.collect())
}

/// Takes what is about TLS out of `key=value key='a value'`.
fn take_of_pairs(text: &str) -> (String, Settings) {
    let (mut left, mut taken) = (String::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = value_end(rest);
        let (pair, after) = rest.split_at(end);
        match pair.split_once('=') {
            Some((key, value)) if is_of_tls(key.trim()) => {
                let value = value.trim().trim_matches('\'');
                taken.push((key.trim().to_owned(), value.to_owned()));
            }
            _ => {
                left.push_str(pair);
                left.push(' ');
            }
        }
        rest = after.trim_start();
    }
    (left.trim_end().to_owned(), taken)
}

/// Where the first `key = value` of a list ends.
fn value_end(text: &str) -> usize {
    let Some(equals) = text.find('=') else {
        return text.len();
    };
    let value = text[equals + 1..].trim_start();
    let start = text.len() - value.len();
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, char) in value.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' => is_quoted = !is_quoted,
            char if char.is_whitespace() && !is_quoted => return start + index,
            _ => {}
        }
    }
    text.len()
}
