//! Durations as Karpenter's resources write them: `720h`, `1h30m`, `Never`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, ErrorKind};

/// A duration, or `Never`. It keeps the text that it was read from.
///
/// ```
/// use provisioner::karpenter::NillableDuration;
/// let day: NillableDuration = "24h".parse()?;
/// assert_eq!(day.get(), Some(std::time::Duration::from_secs(86_400)));
/// assert_eq!(day.to_string(), "24h");
/// assert_eq!("Never".parse::<NillableDuration>()?.get(), None);
/// # Ok::<_, provisioner::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NillableDuration {
    text: Cow<'static, str>,
    duration: Option<Duration>,
}

impl NillableDuration {
    /// `Never`.
    pub const NEVER: Self = Self {
        text: Cow::Borrowed("Never"),
        duration: None,
    };
    /// `720h`, the default of `expireAfter`.
    pub const THIRTY_DAYS: Self = Self {
        text: Cow::Borrowed("720h"),
        duration: Some(Duration::from_secs(720 * 3600)),
    };
    /// `0s`, the default of `consolidateAfter`.
    pub const ZERO: Self = Self {
        text: Cow::Borrowed("0s"),
        duration: Some(Duration::ZERO),
    };

    /// The duration; `None` is `Never`.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        self.duration
    }
}

impl From<Duration> for NillableDuration {
    fn from(duration: Duration) -> Self {
        Self {
            text: Cow::Owned(format!("{}s", duration.as_secs())),
            duration: Some(duration),
        }
    }
}

impl FromStr for NillableDuration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "Never" {
            return Ok(Self::NEVER);
        }
        let duration = parse_go_duration(text).ok_or_else(|| {
            let message = format!(
                "duration {text:?} is not a number with unit h, m or s, such as \"720h\", nor \"Never\""
            );
            Error::new(ErrorKind::Invalid, message)
        })?;
        Ok(Self {
            text: Cow::Owned(text.to_owned()),
            duration: Some(duration),
        })
    }
}

/// Reads a duration as Go prints one, such as `1h30m` or `1.5s`. Negative ones are refused.
#[must_use]
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        total = total.checked_add(one_duration(number, unit)?)?;
        rest = tail;
    }
    // Go's limit of 292 years keeps sums with timestamps in range.
    (total.as_nanos() <= i64::MAX as u128).then_some(total)
}

fn one_duration(number: &str, unit: &str) -> Option<Duration> {
    let unit = match unit {
        "ns" => Duration::from_nanos(1),
        "us" | "µs" | "μs" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u32>() {
        return unit.checked_mul(whole);
    }
    let value = number.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(value * unit.as_secs_f64()).ok()
}

impl fmt::Display for NillableDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for NillableDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NillableDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for NillableDuration {
    fn schema_name() -> Cow<'static, str> {
        "NillableDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(([0-9]+(s|m|h))+|Never)$" })
    }
}

/// The schema of a duration that cannot be `Never`.
pub(crate) fn finite_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+(s|m|h))+$" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_as_go_does() {
        let cases: &[(&str, Option<u64>)] = &[
            ("720h", Some(2_592_000_000)),
            ("1h30m", Some(5_400_000)),
            ("720h0m0s", Some(2_592_000_000)),
            ("1.5s", Some(1_500)),
            ("100ms", Some(100)),
            ("0", Some(0)),
            ("", None),
            ("10", None),
            ("-1h", None),
            ("h", None),
            ("1d", None),
            ("1..5s", None),
            ("99999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse_go_duration(text),
                millis.map(Duration::from_millis),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_error_names_the_value_and_what_was_expected() {
        let error = "soon".parse::<NillableDuration>().unwrap_err().to_string();
        assert!(error.contains("\"soon\"") && error.contains("720h"), "{error}");
    }
}
