//! A watch as it comes over the wire.

use std::{pin::Pin, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

/// An open watch. Dropping it closes it.
pub(crate) struct Watch {
    body: Pin<Box<Body>>,
    rest: Vec<u8>,
    /// How long an event may take.
    limit: Duration,
}

impl Watch {
    pub(crate) fn new(body: Body, limit: Duration) -> Self {
        Self {
            body: Box::pin(body),
            rest: Vec::new(),
            limit,
        }
    }

    /// The next event: its type and object. `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).context("an event is no JSON")?;
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                return Ok(Some((kind, event["object"].take())));
            }
            let frame = tokio::time::timeout(self.limit, self.body.frame());
            match frame.await.context("no event came in time")? {
                Some(frame) => {
                    if let Ok(data) = frame.context("the watch broke")?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None if self.rest.is_empty() => return Ok(None),
                None => bail!("the watch ended within an event"),
            }
        }
    }

    /// The object of the next event, which is of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> anyhow::Result<Value> {
        match self.next().await? {
            Some((found, object)) if found == kind => Ok(object),
            Some((found, object)) => bail!("expected {kind}, got {found}: {object}"),
            None => bail!("expected {kind}, but the watch ended"),
        }
    }

    /// The next event is of this type, for the object of this name.
    pub(crate) async fn expect_name(&mut self, kind: &str, name: &str) -> anyhow::Result<Value> {
        let object = self.expect(kind).await?;
        if object["metadata"]["name"] != name {
            bail!("expected {kind} of {name}: {object}");
        }
        Ok(object)
    }

    /// Nothing comes any more, and the server ends the watch.
    pub(crate) async fn expect_end(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            None => Ok(()),
            Some((kind, object)) => bail!("expected the end, got {kind}: {object}"),
        }
    }
}
