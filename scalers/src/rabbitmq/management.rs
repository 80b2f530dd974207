//! What the management API tells of queues.

use reqwest::Url;
use scaler_api::{Error, ErrorKind};
use serde::Deserialize;

/// How several queues are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    Sum,
    Avg,
    Max,
}

/// One queue, or several as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) messages: f64,
    pub(super) published: f64,
    pub(super) delivered: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Queue {
    messages: Option<u64>,
    messages_ready: Option<u64>,
    #[serde(default)]
    message_stats: Stats,
}

#[derive(Debug, Default, Deserialize)]
struct Stats {
    #[serde(default)]
    publish_details: Details,
    #[serde(default)]
    deliver_get_details: Details,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    rate: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    items: Vec<Queue>,
    #[serde(default)]
    page_count: u64,
}

impl Queue {
    /// Statistics are absent until they are first collected; that is not the same as none.
    pub(super) fn counts(&self, only_ready: bool) -> Result<Counts, Error> {
        let messages = if only_ready {
            self.messages_ready
        } else {
            self.messages
        };
        let messages = messages.ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the broker has no statistics of the queue yet",
            )
        })?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "queues hold far fewer than 2^52 messages"
        )]
        let messages = messages as f64;
        Ok(Counts {
            messages,
            published: self.message_stats.publish_details.rate,
            delivered: self.message_stats.deliver_get_details.rate,
        })
    }
}

impl Page {
    /// All queues as one; none is empty.
    pub(super) fn counts(&self, only_ready: bool, operation: Operation) -> Result<Counts, Error> {
        if self.page_count > 1 {
            return Err(Error::invalid(
                "regex matches more queues than can be recovered at once",
            ));
        }
        let queues: Result<Vec<_>, Error> = self.items.iter().map(|queue| queue.counts(only_ready)).collect();
        let queues = queues?;
        let of = |part: fn(&Counts) -> f64| {
            let parts = queues.iter().map(part);
            match operation {
                Operation::Max => parts.fold(0.0, f64::max),
                Operation::Sum | Operation::Avg => parts.sum(),
            }
        };
        let mut counts = Counts {
            messages: of(|queue| queue.messages),
            published: of(|queue| queue.published),
            delivered: of(|queue| queue.delivered),
        };
        if operation == Operation::Avg && !queues.is_empty() {
            #[allow(clippy::cast_precision_loss, reason = "a page has few queues")]
            let number = queues.len() as f64;
            // Messages are whole.
            counts.messages = (counts.messages / number).floor();
            counts.published /= number;
            counts.delivered /= number;
        }
        Ok(counts)
    }
}

/// The URL at which the API tells of queues: the last part of the host's path is the virtual host.
pub(super) fn queues(host: &Url, vhost: Option<&str>) -> String {
    let path = host.path();
    let (rest, last) = path.rsplit_once('/').unwrap_or(("", path));
    let vhost = match vhost {
        Some(vhost) => escape(vhost, "%20"),
        None if last.is_empty() => "%2F".to_owned(),
        None => last.to_owned(),
    };
    let mut url = host.clone();
    url.set_path(&format!("{rest}/api/queues/{vhost}"));
    url.set_query(None);
    url.to_string()
}

/// Escapes as Go's `url.QueryEscape` does, which writes a space as `+`.
pub(super) fn escape(text: &str, space: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b' ' => escaped.push_str(space),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_virtual_host_is_the_last_part_of_the_path() {
        for (host, vhost, expected) in [
            ("http://h:15672/", None, "http://h:15672/api/queues/%2F"),
            ("http://h", None, "http://h/api/queues/%2F"),
            ("http://h/shop", None, "http://h/api/queues/shop"),
            ("http://h/a/%2Fb", None, "http://h/a/api/queues/%2Fb"),
            ("http://h/shop", Some("a b/c"), "http://h/api/queues/a%20b%2Fc"),
        ] {
            assert_eq!(queues(&host.parse().unwrap(), vhost), expected, "{host}");
        }
        assert_eq!(escape("a b/c~é", "+"), "a+b%2Fc~%C3%A9");
    }

    #[test]
    fn several_queues_are_one() {
        let queue = |messages: u64, rate: f64| {
            json!({"messages": messages, "messages_ready": 1, "message_stats": {
                "publish_details": {"rate": rate}, "deliver_get_details": {"rate": 2.0},
            }})
        };
        let page: Page =
            serde_json::from_value(json!({"items": [queue(3, 1.0), queue(4, 4.0)], "page_count": 1}))
                .unwrap();
        for (operation, expected) in [
            (Operation::Sum, (7.0, 5.0, 4.0)),
            (Operation::Avg, (3.0, 2.5, 2.0)),
            (Operation::Max, (4.0, 4.0, 2.0)),
        ] {
            let counts = page.counts(false, operation).unwrap();
            assert_eq!(
                (counts.messages, counts.published, counts.delivered),
                expected,
                "{operation:?}"
            );
        }
        assert_eq!(page.counts(true, Operation::Sum).unwrap().messages, 2.0);
        let many: Page = serde_json::from_value(json!({"items": [], "page_count": 2})).unwrap();
        assert!(many.counts(false, Operation::Sum).is_err());
        let new: Queue = serde_json::from_value(json!({"name": "new"})).unwrap();
        assert_eq!(
            new.counts(false).unwrap_err().kind(),
            ErrorKind::Unavailable,
            "unknown is not none"
        );
    }
}
