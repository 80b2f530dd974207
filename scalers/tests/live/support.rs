//! What the suites of all servers share.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use scaler_api::{
    Context, Error, ErrorKind, Sample, Scaler, Secret, Trigger, TriggerInput,
    conformance::{self, Harness, Outage, Outcome},
    metadata,
};
use tokio::time::Instant;
use xtask::services::{self, Options, Server};

use super::{
    measure,
    proxy::{Mode, Proxy},
};

/// How long a sample may take here.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// A trigger type on a server, and which cases it has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) trigger: &'static str,
    pub(crate) server: &'static str,
}

impl Live {
    /// Notes a case for the table at the end of `cargo xtask test`.
    pub(crate) fn passed(&self, case: &str) {
        let Some(path) = std::env::var_os(services::CASES) else {
            return;
        };
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        // One write, since other tests write beside this one.
        let line = format!("{}\t{}\t{case}\n", self.trigger, self.server);
        file.write_all(line.as_bytes()).unwrap();
    }

    /// The suite of `scaler_api`.
    pub(crate) async fn conforms<H: Harness>(&self, harness: &H) {
        if measure::is_on() {
            return;
        }
        let report = conformance::run(harness).await;
        assert!(report.passed(), "{}:\n{report}", self.trigger);
        for case in report.cases() {
            if case.outcome == Outcome::Passed {
                self.passed(case.name);
            }
        }
    }

    /// A scaler that is sampled often keeps one connection, and none when it is gone.
    pub(crate) async fn leaves_no_connection<H: Harness>(&self, harness: &H, proxy: &Proxy, at_most: usize) {
        if measure::is_on() {
            return measure::run(self, harness, proxy).await;
        }
        let scaler = connect::<H::Trigger>(&harness.input()).await.unwrap();
        let before = proxy.made();
        for _ in 0..1000 {
            scaler.sample().await.unwrap();
        }
        let made = proxy.made() - before;
        assert!(made <= at_most, "{made} connections were made for 1000 samples");
        drop(scaler);
        let start = Instant::now();
        while proxy.open() > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{} connections stay open",
                proxy.open()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.passed("1,000 samples leave no connection behind");
    }

    /// Scalers over HTTP share a pool of connections, which keeps a few for a while.
    pub(crate) async fn leaves_few_connections<H: Harness>(&self, harness: &H, proxy: &Proxy) {
        if measure::is_on() {
            return measure::run(self, harness, proxy).await;
        }
        let scaler = connect_in::<H::Trigger>(&harness.input(), &harness.context())
            .await
            .unwrap();
        scaler.sample().await.unwrap();
        let before = proxy.made();
        for _ in 0..1000 {
            scaler.sample().await.unwrap();
        }
        let made = proxy.made() - before;
        assert!(made <= 1, "{made} connections were made for 1000 samples");
        assert!(proxy.open() <= 4, "{} connections are open", proxy.open());
        self.passed("1,000 samples leave no connection behind");
    }

    /// The same scaler goes on when the server comes back, and says so while it is away.
    pub(crate) async fn survives_a_restart<H: Harness>(&self, harness: &H, server: &mut Server) {
        if measure::is_on() {
            return;
        }
        let scaler = connect::<H::Trigger>(&harness.input()).await.unwrap();
        scaler.sample().await.unwrap();
        server.stop();
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        server.start_again().unwrap();
        serves_again(harness).await;
        scaler.sample().await.unwrap();
        // Restarted between two samples: the connection that is kept has ended meanwhile.
        server.start_again().unwrap();
        serves_again(harness).await;
        scaler.sample().await.unwrap();
        self.passed("the server is restarted");
    }

    /// TLS with the right authority, with none, with the wrong one, and with none asked for.
    pub(crate) async fn checks_certificates<T: Trigger>(&self, input: &TriggerInput, authority: &Authority) {
        let with = |ca: &str| with_auth(input, &[("ca", ca)]);
        sample::<T>(&with(&authority.certificate)).await.unwrap();
        self.passed("TLS");
        for untrusted in [input.clone(), with(&Authority::new().certificate)] {
            let error = sample::<T>(&untrusted).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        self.passed("TLS with the wrong CA");
        let careless = with_metadata(input, &[("unsafeSsl", "true")]);
        if T::fields().iter().any(|field| field.name == "unsafeSsl") {
            sample::<T>(&careless).await.unwrap();
            self.passed("unsafeSsl");
        }
    }
}

/// Waits until a scaler that was never connected before is answered: servers listen before they have read their data.
async fn serves_again<H: Harness>(harness: &H) {
    let start = Instant::now();
    loop {
        // Clients over HTTP look after the connections that they keep on this thread.
        tokio::time::sleep(Duration::from_millis(100)).await;
        match sample::<H::Trigger>(&harness.input()).await {
            Ok(_) => return,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{error}"),
        }
    }
}

/// Starts a server, and sees to the TLS provider that clients want.
pub(crate) fn start(name: &str) -> Option<Server> {
    start_with(name, &Options::default())
}

pub(crate) fn start_with(name: &str, options: &Options) -> Option<Server> {
    rustls::crypto::ring::default_provider().install_default().ok();
    services::start(name, options)
}

/// A certificate authority and a server's certificate of it for loopback.
pub(crate) struct Authority {
    /// The authority's own certificate.
    pub(crate) certificate: String,
    pub(crate) server: (String, String),
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, key);
        let server_key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let server = rcgen::CertificateParams::new(names).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        Self {
            certificate: certificate.pem(),
            server: (server.pem(), server_key.serialize_pem()),
        }
    }

    /// For a server in this process.
    pub(crate) fn server_config(&self) -> std::sync::Arc<rustls::ServerConfig> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let certificate = CertificateDer::from_pem_slice(self.server.0.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.server.1.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        std::sync::Arc::new(config.unwrap())
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            tls: Some(self.server.clone()),
            ..Options::default()
        }
    }
}

pub(crate) fn input(metadata: &[(&str, &str)], authentication: &[(&str, &str)]) -> TriggerInput {
    with_auth(&with_metadata(&TriggerInput::default(), metadata), authentication)
}

pub(crate) fn with_metadata(input: &TriggerInput, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = input.clone();
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    input.metadata.extend(pairs);
    input
}

pub(crate) fn with_auth(input: &TriggerInput, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = input.clone();
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)));
    input.authentication.extend(pairs.collect::<BTreeMap<_, _>>());
    input
}

pub(crate) fn context() -> Context {
    Context::new().with_timeout(TIMEOUT)
}

pub(crate) async fn connect<T: Trigger>(input: &TriggerInput) -> Result<T::Scaler, Error> {
    connect_in::<T>(input, &context()).await
}

pub(crate) async fn connect_in<T: Trigger>(
    input: &TriggerInput,
    context: &Context,
) -> Result<T::Scaler, Error> {
    let (trigger, _) =
        metadata::parse::<T>(input).map_err(|problems| Error::invalid(problems.to_string()))?;
    trigger.connect(context).await
}

pub(crate) async fn sample<T: Trigger>(input: &TriggerInput) -> Result<Sample, Error> {
    connect::<T>(input).await?.sample().await
}

/// The value and the activity of one sample.
pub(crate) async fn value<T: Trigger>(input: &TriggerInput) -> (f64, bool) {
    let sample = sample::<T>(input).await.unwrap();
    (sample.values[0].value, sample.active)
}

/// The kind of error that a sample ends with.
pub(crate) async fn kind<T: Trigger>(input: &TriggerInput) -> ErrorKind {
    sample::<T>(input).await.unwrap_err().kind()
}

pub(crate) fn break_with(proxy: &Proxy, outage: Option<Outage>) {
    proxy.set(match outage {
        None => Mode::Forward,
        Some(Outage::Silent) => Mode::Silent,
        Some(_) => Mode::Refuse,
    });
}

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
