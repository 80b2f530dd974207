//! A duration in metadata.

use std::{fmt, ops::Deref, time::Duration};

use serde::{Deserialize, Deserializer, de};

use super::go;

/// By this name a deserializer sees that a duration is asked for.
pub(super) const DURATION: &str = "GoDuration";

/// A duration as metadata spells it: a Go duration (`30s`, `1h15m`) or a bare number of milliseconds.
///
/// ```
/// # use serde::Deserialize;
/// use scaler_api::metadata::GoDuration;
///
/// #[derive(Deserialize)]
/// struct Source {
///     timeout: Option<GoDuration>,
/// }
/// let source: Source = serde_json::from_str(r#"{"timeout": "1.5s"}"#)?;
/// assert_eq!(source.timeout.map(|timeout| timeout.as_millis()), Some(1500));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

impl Deref for GoDuration {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(DURATION, DurationVisitor)
    }
}

struct DurationVisitor;

impl<'de> de::Visitor<'de> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 30s or 1h15m, or a number of milliseconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        let duration = go::parse_duration(text);
        duration
            .map(GoDuration)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<GoDuration, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_u64<E: de::Error>(self, milliseconds: u64) -> Result<GoDuration, E> {
        Ok(GoDuration(Duration::from_millis(milliseconds)))
    }
}
