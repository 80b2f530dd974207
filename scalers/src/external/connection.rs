//! Connections to external scalers: one for each address and TLS identity, as long as anybody needs it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use scaler_api::{Context, Error, Quantity, SourceKey};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tcp::{self, Tls};

/// Answers about metrics are forgotten when nobody has asked for them as long as this.
const FORGET: Duration = Duration::from_secs(3600);

/// The connections to external scalers of a program, and what those said of their metrics; put one into a [`Context`] to
/// give it its own. Without one, scalers share those of the process.
#[derive(Clone, Default)]
pub struct ExternalEnvironment {
    shared: Arc<Shared>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<BTreeMap<SourceKey, Weak<Connection>>>,
    metrics: Mutex<BTreeMap<SourceKey, Known>>,
}

/// A metric, as an external scaler describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) target: Quantity,
}

struct Known {
    metrics: Arc<[Described]>,
    used: Instant,
}

impl ExternalEnvironment {
    /// An environment without connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An environment that reaches nothing: every sample is an outage. For simulations.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }

    /// The environment of `context`, or the one that the process shares.
    pub(super) fn of(context: &Context) -> Self {
        static SHARED: OnceLock<ExternalEnvironment> = OnceLock::new();
        context.get::<Self>().map_or_else(
            || SHARED.get_or_init(Self::new).clone(),
            |environment| (*environment).clone(),
        )
    }

    /// How many connections scalers hold now.
    #[must_use]
    pub fn connections(&self) -> usize {
        let connections = lock(&self.shared.connections);
        connections
            .values()
            .filter(|held| held.strong_count() > 0)
            .count()
    }

    /// The connection called `key`, which is made where nobody has it; no traffic yet.
    pub(super) fn connection(
        &self,
        key: SourceKey,
        make: impl FnOnce() -> Result<Connection, Error>,
    ) -> Result<Arc<Connection>, Error> {
        if self.closed {
            return Err(Error::unavailable(
                "this program makes no connections to external scalers",
            ));
        }
        let mut connections = lock(&self.shared.connections);
        if let Some(connection) = connections.get(&key).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        connections.retain(|_, held| held.strong_count() > 0);
        let connection = Arc::new(make()?);
        connections.insert(key, Arc::downgrade(&connection));
        Ok(connection)
    }

    /// What was last said of the metrics of a source.
    pub(super) fn known(&self, source: &SourceKey) -> Option<Arc<[Described]>> {
        let mut metrics = lock(&self.shared.metrics);
        let known = metrics.get_mut(source)?;
        known.used = Instant::now();
        Some(Arc::clone(&known.metrics))
    }

    pub(super) fn learn(&self, source: &SourceKey, described: Arc<[Described]>) {
        let (now, mut metrics) = (Instant::now(), lock(&self.shared.metrics));
        // Each time that there are twice as many; all at every time would cost their square.
        if metrics.len().is_power_of_two() {
            metrics.retain(|_, known| now - known.used < FORGET);
        }
        let known = Known {
            metrics: described,
            used: now,
        };
        metrics.insert(source.clone(), known);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ExternalEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalEnvironment")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// One connection, which is made when it is needed, and again when it was lost or given up.
pub(super) struct Connection {
    endpoint: Endpoint,
    address: Arc<str>,
    connector: Option<TlsConnector>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// How many were given up.
    number: u64,
    channel: Option<Channel>,
}

impl Connection {
    pub(super) fn new(address: &Address, tls: Option<&Tls>) -> Result<Self, Error> {
        let connector = match tls {
            None => None,
            Some(tls) => {
                let mut config = tls.config()?;
                config.alpn_protocols = vec![b"h2".to_vec()];
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let uri = |scheme: &str| {
            Uri::try_from(format!("{scheme}://{}", address.0))
                .map_err(|error| Error::invalid("scalerAddress is no address").with_source(error))
        };
        // The library would make TLS of its own for `https`; requests say it all the same.
        let endpoint = Endpoint::from(uri("http")?).origin(uri(scheme)?);
        Ok(Self {
            endpoint,
            address: address.0.as_str().into(),
            connector,
            current: Mutex::default(),
        })
    }

    /// The channel, and its number for [`give_up`](Self::give_up).
    pub(super) fn channel(&self) -> (u64, Channel) {
        let mut current = lock(&self.current);
        let number = current.number;
        let channel = current.channel.get_or_insert_with(|| self.open()).clone();
        (number, channel)
    }

    /// Whoever asks next gets another channel than this one, which does not answer.
    pub(super) fn give_up(&self, number: u64) {
        let mut current = lock(&self.current);
        if current.number == number {
            current.number += 1;
            current.channel = None;
        }
    }

    fn open(&self) -> Channel {
        let (address, connector) = (Arc::clone(&self.address), self.connector.clone());
        self.endpoint
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let (address, connector) = (Arc::clone(&address), connector.clone());
                async move {
                    let stream = tcp::connect_with(&address, connector.as_ref()).await;
                    stream.map(TokioIo::new)
                }
            }))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) String);

impl Address {
    /// Reads a target as Go's gRPC library does: `host:port`, or `dns:///host:port`; the port is 443 by default.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected host:port";
        let bad = || format!("scalerAddress {text:?} is no address, {expected}");
        let mut rest = text;
        for scheme in ["dns:///", "passthrough:///", "dns:", "passthrough:"] {
            if let Some(after) = text.strip_prefix(scheme) {
                rest = after;
                break;
            }
        }
        if rest.contains("://") || rest.contains('/') {
            return Err(format!(
                "scalerAddress {text:?} is no address, {expected} without a scheme and a path"
            ));
        }
        let has_port = match rest.strip_prefix('[') {
            Some(address) => address.split_once(']').ok_or_else(bad)?.1.starts_with(':'),
            None => rest.contains(':'),
        };
        let full = if has_port {
            rest.to_owned()
        } else {
            format!("{rest}:443")
        };
        let authority: http::uri::Authority = full.parse().map_err(|_| bad())?;
        match authority.port_u16() {
            Some(port) if port > 0 && !authority.host().is_empty() && !full.contains('@') => Ok(Self(full)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_gos_library_reads_them() {
        for (text, expected) in [
            ("scaler.shop.svc:9090", "scaler.shop.svc:9090"),
            ("dns:///scaler:1", "scaler:1"),
            ("passthrough:///10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]:80", "[::1]:80"),
            ("scaler", "scaler:443"),
            ("[::1]", "[::1]:443"),
        ] {
            assert_eq!(Address::parse(text), Ok(Address(expected.to_owned())), "{text}");
        }
        for text in [
            "",
            "http://a:1",
            "a:1/path",
            "a:many",
            "a:0",
            "unix:///run/a",
            "a b:1",
            "[::1",
            "me@a:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten() {
        let environment = ExternalEnvironment::new();
        let key = |name: u32| SourceKey::new("external").with("name", name);
        let described: Arc<[Described]> = Arc::new([]);
        for name in 0..4 {
            environment.learn(&key(name), Arc::clone(&described));
        }
        tokio::time::advance(FORGET).await;
        assert!(environment.known(&key(1)).is_some(), "it is kept until then");
        environment.learn(&key(9), described);
        assert!(environment.known(&key(1)).is_some());
        assert!(environment.known(&key(2)).is_none());
    }
}
