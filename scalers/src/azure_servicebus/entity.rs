//! Queues and subscriptions: which are asked for, what the answer says, and one value of several.

use regex::Regex;
use scaler_api::Error;

use crate::azure::xml::Element;

/// How many entities are listed at a time: as many as the service gives.
pub(super) const PAGE: usize = 100;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Entity {
    /// One entity, by its path.
    Named(Vec<String>),
    /// All that are listed at a path and match.
    Listed(Vec<String>, Pattern),
}

/// An expression that a whole name must match.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        // The expression alone must be one as well: `a)(b` is not.
        Regex::new(text).ok()?;
        Regex::new(&format!("^(?:{text})$")).ok().map(Self)
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl Entity {
    /// By the rules of KEDA; the error names the key.
    pub(super) fn of(
        queue: Option<&str>,
        topic: Option<&str>,
        subscription: Option<&str>,
        is_pattern: bool,
    ) -> Result<Self, (&'static str, String)> {
        let path = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let pattern = |field: &'static str, text: &str| {
            Pattern::new(text).ok_or_else(|| (field, format!("{field} is not a valid regular expression")))
        };
        let (listed, name) = match (queue, topic, subscription) {
            (Some(_), Some(_), _) => {
                let message = "both topic and queue name metadata provided";
                return Err(("topicName", message.to_owned()));
            }
            (Some(_), None, Some(_)) => {
                let message = "subscription name provided with queue name";
                return Err(("subscriptionName", message.to_owned()));
            }
            (None, Some(_), None) => {
                let message = "no subscription name provided with topic name";
                return Err(("subscriptionName", message.to_owned()));
            }
            (None, None, _) => {
                let message =
                    "no service bus entity type set: expected queueName, or topicName and subscriptionName";
                return Err(("queueName", message.to_owned()));
            }
            (Some(queue), None, None) => (path(&["$Resources", "Queues"]), ("queueName", vec![queue])),
            (None, Some(topic), Some(subscription)) => (
                path(&[topic, "Subscriptions"]),
                ("subscriptionName", vec![topic, "Subscriptions", subscription]),
            ),
        };
        let (field, name) = name;
        match name.last() {
            Some(text) if is_pattern => Ok(Self::Listed(listed, pattern(field, text)?)),
            // Queues may have slashes in their names, which separate parts of the path.
            _ => Ok(Self::Named(
                name.iter()
                    .flat_map(|part| part.split('/'))
                    .map(str::to_owned)
                    .collect(),
            )),
        }
    }
}

/// The entities of an answer, with their active messages: an entry, or a feed of entries. A feed without any is how the service says
/// that there is no such entity.
pub(super) fn read(answer: &Element) -> Result<Vec<(String, i64)>, Error> {
    let entries: Vec<_> = match answer.name.as_str() {
        "entry" => vec![answer],
        "feed" => answer.all("entry").collect(),
        other => {
            return Err(Error::invalid(format!(
                "Service Bus answered <{other}>, expected an entry or a feed"
            )));
        }
    };
    entries.into_iter().map(read_entry).collect()
}

fn read_entry(entry: &Element) -> Result<(String, i64), Error> {
    let title = entry
        .find("title")
        .map(|title| title.text.clone())
        .unwrap_or_default();
    let counts = entry.find("CountDetails");
    let active = counts.and_then(|counts| counts.find("ActiveMessageCount"));
    let text = active.map(|active| active.text.as_str()).unwrap_or_default();
    let count = text.parse().map_err(|_| {
        Error::invalid(format!(
            "ActiveMessageCount of {title:?} is {text:?}, expected an integer"
        ))
    })?;
    Ok((title, count))
}

/// One value of several (§5.8).
pub(super) fn combine(operation: &str, counts: &[i64]) -> i64 {
    let sum = counts.iter().fold(0_i64, |sum, count| sum.saturating_add(*count));
    match operation {
        "max" => counts.iter().copied().max().unwrap_or_default().max(0),
        "avg" => i64::try_from(counts.len())
            .ok()
            .and_then(|count| sum.checked_div(count))
            .unwrap_or_default(),
        _ => sum,
    }
}
