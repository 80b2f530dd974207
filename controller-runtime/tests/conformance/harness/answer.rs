//! What a request was answered.

use anyhow::bail;
use http::HeaderMap;
use serde_json::Value;

/// An HTTP answer. The methods that take it apart say what was asked if it is not as expected.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Method and path.
    pub(crate) asked: String,
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    /// JSON, or the text as a JSON string.
    pub(crate) body: Value,
}

impl Answer {
    /// The body of any success.
    pub(crate) fn ok(self) -> anyhow::Result<Value> {
        if !(200..300).contains(&self.code) {
            bail!("{} got {}: {}", self.asked, self.code, self.body);
        }
        Ok(self.body)
    }

    /// The body of an answer with this code.
    pub(crate) fn with_code(self, code: u16) -> anyhow::Result<Value> {
        if self.code != code {
            bail!("{} got {}, not {code}: {}", self.asked, self.code, self.body);
        }
        Ok(self.body)
    }

    /// The `Status` of a refusal with this code, reason and message.
    pub(crate) fn refused(self, code: u16, reason: &str, message: &str) -> anyhow::Result<Value> {
        let asked = self.asked.clone();
        let status = self.refused_because(code, reason)?;
        if status["message"] != message {
            bail!(
                "{asked} was refused with\n  {}\nnot\n  \"{message}\"",
                status["message"]
            );
        }
        Ok(status)
    }

    /// The `Status` of a refusal with this code and reason, whose message contains `part`.
    pub(crate) fn refused_with(self, code: u16, reason: &str, part: &str) -> anyhow::Result<Value> {
        let asked = self.asked.clone();
        let status = self.refused_because(code, reason)?;
        if !status["message"].as_str().unwrap_or_default().contains(part) {
            bail!(
                "{asked} was refused with\n  {}\nwithout\n  \"{part}\"",
                status["message"]
            );
        }
        Ok(status)
    }

    fn refused_because(self, code: u16, reason: &str) -> anyhow::Result<Value> {
        let asked = self.asked.clone();
        let status = self.with_code(code)?;
        if status["kind"] != "Status" || status["reason"].as_str().unwrap_or_default() != reason {
            bail!("{asked} was not refused as {reason}: {status}");
        }
        if status["status"] != "Failure" || status["code"] != code {
            bail!("{asked} got an inconsistent Status: {status}");
        }
        Ok(status)
    }

    /// What the server warns of, from the `Warning` headers.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter();
        values
            .filter_map(|value| {
                let text = value.to_str().ok()?.strip_prefix("299 - \"")?;
                Some(
                    text.strip_suffix('"')?
                        .replace("\\\"", "\"")
                        .replace("\\\\", "\\"),
                )
            })
            .collect()
    }
}
