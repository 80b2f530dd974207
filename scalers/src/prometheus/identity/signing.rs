//! The signature of Amazon Managed Prometheus.

use aws_config::SdkConfig;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use scaler_api::{Error, ErrorKind, SharedClock};

use crate::aws::signing::{self, Unsigned};

/// The service as signatures name it.
const SERVICE: &str = "aps";

/// Who signs.
pub(in crate::prometheus) struct Signer {
    pub(super) config: SdkConfig,
    pub(super) region: String,
    pub(super) clock: SharedClock,
}

/// The URL with its query written as signatures read it, lest the service read a plus as one.
pub(super) fn canonical(mut url: Url) -> Url {
    if let Some(query) = url.query() {
        let query = query.replace('+', "%20").replace('*', "%2A").replace("%7E", "~");
        url.set_query(Some(&query));
    }
    url
}

impl Signer {
    /// The headers that sign a request for `url`.
    ///
    /// # Errors
    /// If there are no credentials.
    pub(super) async fn headers(&self, url: &Url) -> Result<HeaderMap, Error> {
        let credentials = signing::credentials(&self.config).await?;
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let signed = signing::headers(
            &credentials,
            Unsigned {
                service: SERVICE,
                region: &self.region,
                method: "GET",
                url: url.as_str(),
                headers: &[("host", &host)],
                body: b"",
                time: self.clock.now().into(),
            },
        )?;
        let bad = |_| Error::new(ErrorKind::Unauthorized, "the signature cannot stand in a header");
        let mut headers = HeaderMap::new();
        for (name, value) in signed {
            let name = HeaderName::try_from(name)
                .map_err(|_| Error::new(ErrorKind::Internal, "the signature has no headers"))?;
            let mut value = HeaderValue::try_from(value).map_err(bad)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

    use super::*;

    #[derive(Debug)]
    struct Noon;

    impl scaler_api::Clock for Noon {
        fn now(&self) -> jiff::Timestamp {
            "2026-01-01T12:00:00Z".parse().unwrap()
        }
    }

    /// The signatures are those that AWS's description of version 4, written down in Python, gives.
    #[tokio::test]
    async fn signatures_are_those_of_the_vectors() {
        let mut url: Url = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/query"
            .parse()
            .unwrap();
        url.query_pairs_mut()
            .append_pair("query", "sum(rate(x{a=\"b c*~+\"}[2m]))")
            .append_pair("time", "2026-01-01T12:00:00Z");
        let url = canonical(url);
        let query =
            "query=sum%28rate%28x%7Ba%3D%22b%20c%2A~%2B%22%7D%5B2m%5D%29%29&time=2026-01-01T12%3A00%3A00Z";
        assert_eq!(url.query(), Some(query));
        for (session, signature) in [
            (
                None,
                "75c7408b47e9c04b2bb08aced8e3a4b150ba9f4db056d13fa128cf5cc6a4d3c5",
            ),
            (
                Some("t+/="),
                "49cae0a6f158ed80ad43eb13da4762ece1dd7cf415e4e79fe276ffc918191c2e",
            ),
        ] {
            let session = session.map(str::to_owned);
            let keys = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG",
                session.clone(),
                None,
                "test",
            );
            let signer = Signer {
                config: SdkConfig::builder()
                    .credentials_provider(SharedCredentialsProvider::new(keys))
                    .build(),
                region: "eu-west-1".to_owned(),
                clock: std::sync::Arc::new(Noon),
            };
            let headers = signer.headers(&url).await.unwrap();
            let authorization = headers["authorization"].to_str().unwrap();
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{authorization}"
            );
            let token = headers
                .get("x-amz-security-token")
                .map(|token| token.to_str().unwrap());
            assert_eq!(token, session.as_deref());
        }
    }
}
