//! TLS of connections: who is trusted, and who we are.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use scaler_api::{Error, ErrorKind, Secret};
#[cfg(any(feature = "kafka", feature = "redis"))]
use scaler_api::{Problems, SourceKey};
#[cfg(any(
    feature = "kafka",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
use tokio_rustls::TlsConnector;

/// The keys of the block.
#[cfg(feature = "redis")]
pub(crate) mod fields {
    use scaler_api::{Field, Source};

    pub(crate) const UNSAFE_SSL: Field =
        Field::new("unsafeSsl", "Whether any certificate of the server is accepted.").default("false");
    pub(crate) const CA: Field = Field::new(
        "ca",
        "Certificates, in PEM, that are trusted beside the system's.",
    )
    .from(&[Source::Authentication])
    .secret();
    pub(crate) const CERT: Field = Field::new("cert", "Client certificate, in PEM.")
        .aliases(&["Cert"])
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const KEY: Field = Field::new("key", "Key of the client certificate, in PEM.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const KEY_PASSWORD: Field = Field::new(
        "keyPassword",
        "Password of the key, if that is encrypted as PKCS#8 does it.",
    )
    .from(&[Source::Authentication])
    .secret();
}

/// What a connection's TLS depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) unsafe_ssl: bool,
    /// Whether a certificate may be for any name.
    pub(crate) any_name: bool,
    pub(crate) ca: Option<Secret>,
    pub(crate) cert: Option<Secret>,
    pub(crate) key: Option<Secret>,
    #[cfg(feature = "key-passwords")]
    pub(crate) key_password: Option<Secret>,
}

impl Tls {
    /// Reports what cannot be read, and what is there without its counterpart.
    #[cfg(any(feature = "kafka", feature = "redis"))]
    pub(crate) fn check(&self, problems: &mut Problems) {
        for (field, given, other) in [
            ("cert", self.cert.is_none() && self.key.is_some(), "key"),
            ("key", self.key.is_none() && self.cert.is_some(), "cert"),
        ] {
            if given {
                problems.error(field, "", format!("{field} must be provided with {other}"));
            }
        }
        if let Some(Err(error)) = self.ca.as_ref().map(|ca| certificates("ca", ca)) {
            problems.error("ca", "***", error.message());
        }
        crate::private_key::check(self.key.as_ref(), self.key_password.as_ref(), problems);
        if let Err(error) = self.identity() {
            problems.error("cert", "***", error.message());
        }
    }

    /// Adds it to a source key; credentials as digests.
    #[cfg(any(feature = "kafka", feature = "redis"))]
    pub(crate) fn add_to(&self, key: SourceKey) -> SourceKey {
        let secrets = [
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("key", &self.key),
            ("keyPassword", &self.key_password),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key.with("unsafeSsl", self.unsafe_ssl), |key, (name, secret)| {
                key.secret(name, secret)
            })
    }

    pub(crate) fn identity(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Error> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        #[cfg(feature = "key-passwords")]
        let opened = match &self.key_password {
            Some(password) => Some(crate::private_key::open(key, password).map_err(Error::invalid)?),
            None => None,
        };
        #[cfg(feature = "key-passwords")]
        let key = opened.as_ref().unwrap_or(key);
        // What the parser says is dropped on purpose: it could quote the key.
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| Error::invalid("key is not a key in PEM"))?;
        Ok(Some((certificates("cert", cert)?, key)))
    }

    /// The configuration of a client.
    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        // Another library may have installed it, and rustls panics without one.
        let provider = CryptoProvider::get_default().cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "no TLS provider is installed: the program must call rustls::crypto::ring::default_provider().install_default()",
            )
        })?;
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid("no version of TLS is possible").with_source(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match self.identity()? {
            None => Ok(builder.with_no_client_auth()),
            Some((certificates, key)) => builder
                .with_client_auth_cert(certificates, key)
                .map_err(|_| Error::invalid("cert and key are not a certificate and its key")),
        }
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        if self.unsafe_ssl {
            return Ok(Arc::new(AnyCertificate(Arc::clone(provider))));
        }
        let extra = match &self.ca {
            Some(ca) => certificates("ca", ca)?,
            None => Vec::new(),
        };
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(provider))
            .map_err(|error| Error::invalid("no certificate can be checked").with_source(error))?;
        Ok(match self.any_name {
            true => Arc::new(AnyName(Arc::new(verifier))),
            false => Arc::new(verifier),
        })
    }

    #[cfg(any(
        feature = "kafka",
        feature = "postgresql",
        feature = "rabbitmq",
        feature = "redis"
    ))]
    pub(crate) fn connector(&self) -> Result<TlsConnector, Error> {
        Ok(TlsConnector::from(Arc::new(self.config()?)))
    }
}

/// The name that a certificate must be for.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::invalid(format!("{host:?} is no name of a host")))
}

pub(crate) fn certificates(field: &str, pem: &Secret) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::invalid(format!("{field} is not a certificate in PEM"))),
    }
}

/// Trusts whoever has a certificate of an authority, whatever its name.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(certificate, chain, name, stapled, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Trusts anybody, as `unsafeSsl` asks for; signatures are checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
