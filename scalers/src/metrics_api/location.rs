//! Finding one number in an answer.

use scaler_api::Quantity;
use serde::Deserialize;
use serde_json::Value;

use crate::json_path::{self, Found};

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
    /// Checks what can be said of a location without an answer.
    pub(super) fn check(self, location: &str) -> Result<(), String> {
        match self {
            Self::Json | Self::Xml | Self::Yaml => Ok(()),
            Self::Prometheus => match series(location) {
                Some((_, "")) => Ok(()),
                _ => Err(format!(
                    "valueLocation {location:?} is not a metric's name, perhaps with labels"
                )),
            },
        }
    }

    /// The number at `location` of `answer`.
    pub(super) fn find(self, answer: &str, location: &str) -> Result<f64, String> {
        match self {
            Self::Json => in_json(answer, location),
            Self::Prometheus => in_prometheus_text(answer, location),
            Self::Xml => in_xml(answer, location),
            Self::Yaml => in_yaml(answer, location),
        }
    }
}

/// What every format takes for a number.
const EXPECTED: &str = "must point to value of type number or a string representing a Quantity";

fn in_json(answer: &str, location: &str) -> Result<f64, String> {
    match json_path::find(answer, location)? {
        Found::Number(number) => Ok(number),
        Found::Text(text) => quantity(&text, location),
        other => Err(format!(
            "valueLocation {location:?} {EXPECTED}, got {}",
            other.name()
        )),
    }
}

fn quantity(text: &str, location: &str) -> Result<f64, String> {
    let quantity = text.trim().parse::<Quantity>();
    quantity
        .map(|quantity| quantity.as_f64())
        .map_err(|_| format!("valueLocation {location:?} {EXPECTED}, got the string {text:?}"))
}

fn in_yaml(answer: &str, location: &str) -> Result<f64, String> {
    let document: Value =
        serde_saphyr::from_str(answer).map_err(|error| format!("the answer is not YAML: {error}"))?;
    let mut value = &document;
    for key in location.split('.') {
        let next = match value {
            Value::Object(map) => map.get(key),
            Value::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        };
        value =
            next.ok_or_else(|| format!("key {key:?} of valueLocation {location:?} is not in the answer"))?;
    }
    match value {
        Value::Number(number) => number
            .as_f64()
            .filter(|number| number.is_finite())
            .ok_or_else(|| format!("valueLocation {location:?} {EXPECTED}, got {number}")),
        Value::String(text) => quantity(text, location),
        other => {
            let kind = match other {
                Value::Null => "nothing",
                Value::Bool(_) => "a boolean",
                Value::Array(_) => "a list",
                _ => "an object",
            };
            Err(format!("valueLocation {location:?} {EXPECTED}, got {kind}"))
        }
    }
}

/// Follows names of elements from the root's on; a number picks one of several of a name, counted from 0, and `@name` is an
/// attribute.
fn in_xml(answer: &str, location: &str) -> Result<f64, String> {
    let document =
        roxmltree::Document::parse(answer).map_err(|error| format!("the answer is not XML: {error}"))?;
    let missing = |key: &str| format!("key {key:?} of valueLocation {location:?} is not in the answer");
    // All elements of the last name.
    let mut found = vec![document.root()];
    let mut keys = location.split('.');
    while let Some(key) = keys.next() {
        if let Some(name) = key.strip_prefix('@') {
            let attribute = found.first().and_then(|element| element.attribute(name));
            let text = attribute.ok_or_else(|| missing(key))?;
            return match keys.next() {
                None => quantity(text, location),
                Some(key) => Err(missing(key)),
            };
        }
        found = match key.parse::<usize>() {
            Ok(index) => found.get(index).copied().into_iter().collect(),
            Err(_) => {
                let elements = found.first().into_iter().flat_map(roxmltree::Node::children);
                elements
                    .filter(|child| child.is_element() && child.tag_name().name() == key)
                    .collect()
            }
        };
        if found.is_empty() {
            return Err(missing(key));
        }
    }
    match &found[..] {
        [element] if !element.children().any(|child| child.is_element()) => {
            quantity(element.text().unwrap_or_default(), location)
        }
        [_] => Err(format!("valueLocation {location:?} {EXPECTED}, got an element")),
        more => Err(format!(
            "valueLocation {location:?} {EXPECTED}, got {} elements",
            more.len()
        )),
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

    #[test]
    fn yaml_is_followed_by_keys_and_places() {
        let yaml = "orders:\n  pending: 7\n  queue: 2k\n  load: 1.25\n  ok: true\n  none:\nshops:\n- n: 1\n- n: 43\n7: 8\n";
        for (location, expected) in [
            ("orders.pending", 7.0),
            ("orders.queue", 2000.0),
            ("orders.load", 1.25),
            ("shops.1.n", 43.0),
            ("7", 8.0),
        ] {
            assert_eq!(Format::Yaml.find(yaml, location), Ok(expected), "{location}");
        }
        for (location, expected) in [
            ("orders", "got an object"),
            ("shops", "got a list"),
            ("orders.ok", "got a boolean"),
            ("orders.none", "got nothing"),
            ("orders.pending.more", "key \"more\""),
            ("shops.2.n", "key \"2\""),
            ("", "key \"\""),
        ] {
            let error = Format::Yaml.find(yaml, location).unwrap_err();
            assert!(error.contains(expected), "{location}: {error}");
        }
        let error = Format::Yaml.find("a: [", "a").unwrap_err();
        assert!(error.contains("not YAML"), "{error}");
    }

    #[test]
    fn xml_is_followed_by_names_places_and_attributes() {
        let xml = "<?xml version=\"1.0\"?>\n<stats><orders state=\"open\" n=\"5\"> 7 </orders>\
            <shop>1</shop><shop>2k</shop><deep><n>500m</n></deep><none/></stats>";
        for (location, expected) in [
            ("stats.orders", 7.0),
            ("stats.orders.@n", 5.0),
            ("stats.shop.1", 2000.0),
            ("stats.deep.n", 0.5),
        ] {
            assert_eq!(Format::Xml.find(xml, location), Ok(expected), "{location}");
        }
        for (location, expected) in [
            ("orders", "key \"orders\""),
            ("stats", "got an element"),
            ("stats.shop", "got 2 elements"),
            ("stats.shop.2", "key \"2\""),
            ("stats.orders.@n.more", "key \"more\""),
            ("stats.orders.@state", "got the string \"open\""),
            ("stats.none", "got the string \"\""),
        ] {
            let error = Format::Xml.find(xml, location).unwrap_err();
            assert!(error.contains(expected), "{location}: {error}");
        }
        for bad in ["{}", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "<a>"] {
            let error = Format::Xml.find(bad, "a").unwrap_err();
            assert!(error.contains("not XML"), "{bad}: {error}");
        }
    }
}
