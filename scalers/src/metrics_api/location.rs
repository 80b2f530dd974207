//! Finding one number in an answer.

use std::panic;

use scaler_api::Quantity;
use serde::{Deserialize, de::IgnoredAny};

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Prometheus,
    Xml,
    Yaml,
}

impl Format {
    pub(super) fn is_supported(self) -> bool {
        matches!(self, Self::Json | Self::Prometheus)
    }

    /// Checks what can be said of a location without an answer.
    pub(super) fn check(self, location: &str) -> Result<(), String> {
        match self {
            Self::Json => Ok(()),
            Self::Prometheus => match series(location) {
                Some((_, "")) => Ok(()),
                _ => Err(format!(
                    "valueLocation {location:?} is not a metric's name, perhaps with labels"
                )),
            },
            Self::Xml => Err("format xml is not supported yet, expected json or prometheus".to_owned()),
            Self::Yaml => Err("format yaml is not supported yet, expected json or prometheus".to_owned()),
        }
    }

    /// The number at `location` of `answer`.
    pub(super) fn find(self, answer: &str, location: &str) -> Result<f64, String> {
        match self {
            Self::Json => in_json(answer, location),
            Self::Prometheus => in_prometheus_text(answer, location),
            Self::Xml | Self::Yaml => self.check(location).map(|()| 0.0),
        }
    }
}

fn in_json(answer: &str, location: &str) -> Result<f64, String> {
    // The path language assumes valid JSON, and bounds no nesting; this does both.
    serde_json::from_str::<IgnoredAny>(answer).map_err(|error| format!("the answer is not JSON: {error}"))?;
    // A path is anybody's text, and its interpreter was not written for enemies.
    let value = panic::catch_unwind(|| {
        let value = gjson::get(answer, location);
        (value.kind(), value.f64(), value.str().to_owned())
    });
    let (kind, number, text) =
        value.map_err(|_| format!("valueLocation {location:?} cannot be followed in this answer"))?;
    match kind {
        gjson::Kind::Number => Ok(number),
        gjson::Kind::String => text.parse::<Quantity>().map(|quantity| quantity.as_f64()).map_err(|_| {
            format!(
                "valueLocation {location:?} must point to value of type number or a string representing a Quantity, \
                 got the string {text:?}"
            )
        }),
        other => Err(format!(
            "valueLocation {location:?} must point to value of type number or a string representing a Quantity, got {}",
            name(other)
        )),
    }
}

fn name(kind: gjson::Kind) -> &'static str {
    match kind {
        gjson::Kind::Null => "nothing",
        gjson::Kind::True | gjson::Kind::False => "a boolean",
        gjson::Kind::Array => "a list",
        gjson::Kind::Object => "an object",
        gjson::Kind::Number => "a number",
        gjson::Kind::String => "a string",
    }
}

/// A metric's name with labels.
type Series<'a> = (&'a str, Vec<(&'a str, String)>);

fn in_prometheus_text(answer: &str, location: &str) -> Result<f64, String> {
    let ((name, labels), _) =
        series(location).ok_or_else(|| format!("valueLocation {location:?} is not a series"))?;
    for line in answer
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let Some(((found, has), rest)) = series(line) else {
            return Err(format!("the answer is not in Prometheus' text format: {line:?}"));
        };
        if found != name || !labels.iter().all(|label| has.contains(label)) {
            continue;
        }
        let value = rest.split_whitespace().next().unwrap_or_default();
        return value
            .parse()
            .map_err(|_| format!("the value of {line:?} is not a number"));
    }
    Err(format!("valueLocation {location:?} is not in the answer"))
}

/// `name{label="value",...}` at the start of `text`, and what follows it.
fn series(text: &str) -> Option<(Series<'_>, &str)> {
    let text = text.trim();
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let end = text.find(|c| !letters(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut labels = Vec::new();
    let Some(mut rest) = rest.trim_start().strip_prefix('{') else {
        return Some(((name, labels), rest.trim_start()));
    };
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some(((name, labels), rest.trim_start()));
        }
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((label.trim(), value));
        rest = after;
    }
}

/// Text up to the closing quote, without its escapes, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{
        "components": [{"id": "a", "n": 32}, {"id": "b", "n": 43}],
        "metrics": {"orders.pending": 7, "queue": "2k", "load": "500m", "ok": true, "none": null, "float": 1.25}
    }"#;

    #[test]
    fn json_paths_lead_to_numbers_and_quantities() {
        for (location, expected) in [
            ("components.0.n", 32.0),
            ("components.#", 2.0),
            (r#"components.#(id=="b").n"#, 43.0),
            (r"metrics.orders\.pending", 7.0),
            ("metrics.queue", 2000.0),
            ("metrics.load", 0.5),
            ("metrics.float", 1.25),
        ] {
            assert_eq!(Format::Json.find(JSON, location), Ok(expected), "{location}");
        }
    }

    #[test]
    fn everything_else_names_the_location() {
        for (location, expected) in [
            ("components", "got a list"),
            ("metrics", "got an object"),
            ("metrics.ok", "got a boolean"),
            ("metrics.none", "got nothing"),
            ("nowhere", "got nothing"),
            ("components.0.id", "got the string \"a\""),
        ] {
            let error = Format::Json.find(JSON, location).unwrap_err();
            assert!(
                error.contains(expected) && error.contains(&format!("{location:?}")),
                "{error}"
            );
        }
        assert!(Format::Json.find("<html>", "a").unwrap_err().contains("not JSON"));
        let deep = "[".repeat(100_000);
        assert!(Format::Json.find(&deep, "a").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn odd_paths_do_no_harm() {
        for location in [
            "",
            ".",
            "#",
            "#(",
            "@",
            "@this.",
            "a|b|",
            "\\",
            "metrics.\\",
            "#(id==",
            "..0",
            "é.ü",
            "*?*",
        ] {
            assert!(Format::Json.find(JSON, location).is_err(), "{location:?}");
        }
    }

    const TEXT: &str = "# HELP orders Orders.\n\
        # TYPE orders gauge\n\
        orders{state=\"done\",shop=\"a\"} 12\n\
        orders{state=\"pending\",shop=\"a\"} 3.5 1700000000000\n\
        orders_total 99\n\
        odd{text=\"a\\\"b, c=\\\\ } d\"} +Inf\n";

    #[test]
    fn samples_of_prometheus_are_found_by_name_and_labels() {
        for (location, expected) in [
            ("orders", 12.0),
            ("orders_total", 99.0),
            ("orders{state=\"pending\"}", 3.5),
            ("orders{shop=\"a\", state=\"pending\"}", 3.5),
            ("odd{text=\"a\\\"b, c=\\\\ } d\"}", f64::INFINITY),
        ] {
            assert_eq!(Format::Prometheus.check(location), Ok(()));
            assert_eq!(
                Format::Prometheus.find(TEXT, location),
                Ok(expected),
                "{location}"
            );
        }
        for location in ["order", "orders{state=\"lost\"}"] {
            assert!(
                Format::Prometheus
                    .find(TEXT, location)
                    .unwrap_err()
                    .contains("is not in the answer")
            );
        }
        assert!(
            Format::Prometheus
                .find("{\"a\": 1}", "a")
                .unwrap_err()
                .contains("text format")
        );
        for location in ["", "9lives", "a{b}", "a{b=\"c\"", "a b", "a{b=c}"] {
            assert!(Format::Prometheus.check(location).is_err(), "{location:?}");
        }
    }
}
