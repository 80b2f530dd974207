//! What Cloud Monitoring is asked, in its query language, and what its answer is worth.

use std::time::Duration;

use scaler_api::Error;
use serde_json::Value;

/// A subscription or a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// `subscription` or `topic`.
    pub(super) kind: &'static str,
    /// Of its whole name.
    pub(super) project: Option<String>,
    pub(super) id: String,
}

impl Resource {
    /// From a name, or `projects/P/subscriptions/S`.
    pub(super) fn of(kind: &'static str, name: &str) -> Result<Self, String> {
        let field = if kind == "topic" {
            "topicName"
        } else {
            "subscriptionName"
        };
        let plural = format!("{kind}s");
        let parts: Vec<_> = name.split('/').collect();
        let (project, id) = match parts[..] {
            ["projects", project, what, id] if what == plural => (Some(project), id),
            [id] => (None, id),
            _ => {
                return Err(format!(
                    "{field} {name:?} is neither a name nor projects/PROJECT/{plural}/NAME"
                ));
            }
        };
        let project_is_good = project.is_none_or(is_project);
        let is_good = project_is_good && !id.is_empty() && id.chars().all(|char| is_one_of(char, "-_~%+."));
        match is_good {
            true => Ok(Self {
                kind,
                project: project.map(str::to_owned),
                id: id.to_owned(),
            }),
            // It stands between quotes in the query.
            false => Err(format!(
                "{field} {name:?} is no name: expected letters, digits and -_~%+."
            )),
        }
    }
}

/// Whether this can be the name of a project.
pub(super) fn is_project(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| is_one_of(char, "-.:"))
}

fn is_one_of(char: char, also: &str) -> bool {
    char.is_ascii_alphanumeric() || also.contains(char)
}

/// The last part of a metric's type: the mode in snake case.
pub(super) fn metric(mode: &str) -> Result<String, String> {
    let mode = match mode {
        "SubscriptionSize" => "NumUndeliveredMessages",
        mode => mode,
    };
    if mode.is_empty() || !mode.chars().all(|char| is_one_of(char, "_")) {
        return Err(format!(
            "mode {mode:?} is no name of a metric, expected one such as OldestUnackedMessageAge"
        ));
    }
    let chars: Vec<char> = mode.chars().collect();
    let mut name = String::new();
    for (index, char) in chars.iter().enumerate() {
        let begins_word = char.is_ascii_uppercase()
            && index > 0
            && (chars.get(index + 1).is_some_and(char::is_ascii_lowercase)
                || chars[index - 1].is_ascii_lowercase()
                || chars[index - 1].is_ascii_digit());
        if begins_word {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    Ok(name)
}

/// The function of an aggregation.
pub(super) fn aggregation(word: &str) -> Result<String, String> {
    if let Some(text) = word.strip_prefix("percentile") {
        return match text.parse::<u8>() {
            Ok(percentile @ 0..=100) => Ok(format!("percentile(value, {percentile})")),
            _ => Err(format!("aggregation: invalid percentile value: {text:?}")),
        };
    }
    match word {
        "mean" | "median" | "variance" | "stddev" | "sum" | "count" => Ok(format!("{word}(value)")),
        _ => Err(format!(
            "unsupported aggregation function: {word:?}, expected mean, median, variance, stddev, sum, count or percentileN"
        )),
    }
}

/// A duration of the language.
fn within(time: Duration) -> String {
    match (time.as_millis() % 1000, time.as_secs()) {
        (0, seconds) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (0, seconds) => format!("{seconds}s"),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// The whole query.
pub(super) fn query(
    resource: &Resource,
    project: &str,
    mode: &str,
    horizon: Option<Duration>,
    aggregated: Option<&str>,
) -> Result<String, String> {
    let Resource { kind, id, .. } = resource;
    let metric = metric(mode)?;
    let minutes = if aggregated.is_some() { 5 } else { 2 };
    let horizon = horizon.filter(|horizon| !horizon.is_zero());
    let within = within(horizon.unwrap_or(Duration::from_secs(60 * minutes)));
    let mut text = format!(
        "fetch pubsub_{kind} | metric 'pubsub.googleapis.com/{kind}/{metric}' | \
         filter (resource.project_id == '{project}' && resource.{kind}_id == '{id}') | within {within}"
    );
    if let Some(word) = aggregated {
        let function = aggregation(word)?;
        text.push_str(&format!(
            " | align delta(3m) | every 3m | group_by [], {function}"
        ));
    }
    Ok(text)
}

/// The newest point of the first series, or `instead` if there is none.
pub(super) fn newest(answer: &Value, instead: Option<f64>) -> Result<f64, Error> {
    let point = &answer["timeSeriesData"][0]["pointData"][0];
    let Some(value) = point["values"].get(0) else {
        return instead.ok_or_else(|| Error::not_found("Cloud Monitoring has no value of the metric"));
    };
    let number = match (&value["doubleValue"], &value["int64Value"]) {
        (Value::Number(number), _) => number.as_f64(),
        // Integers of 64 bits are text in JSON of Google.
        (_, Value::String(text)) => text.parse::<i64>().ok().map(|number| {
            #[allow(
                clippy::cast_precision_loss,
                reason = "it is rounded to three decimals later anyway"
            )]
            let number = number as f64;
            number
        }),
        (_, Value::Number(number)) => number.as_f64(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        Error::invalid(format!(
            "Cloud Monitoring has the value {value}, expected a number"
        ))
    })
}
