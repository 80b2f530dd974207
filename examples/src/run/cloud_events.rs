//! CloudEvents over HTTP.

use std::error::Error as _;

use async_trait::async_trait;
use controller_runtime::cloud_events::Sink;

/// Posts events with one client, which keeps its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpSink {
    client: reqwest::Client,
}

#[async_trait]
impl Sink for HttpSink {
    async fn post(&self, request: http::Request<Vec<u8>>) -> Result<http::StatusCode, String> {
        let request = reqwest::Request::try_from(request).map_err(in_words)?;
        let response = self.client.execute(request).await.map_err(in_words)?;
        Ok(response.status())
    }
}

/// With its causes; the URI is left out, as a key may stand in it.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words.push_str(": ");
        words.push_str(&next.to_string());
        cause = next.source();
    }
    words
}
