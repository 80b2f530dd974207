//! What an answer of Prometheus' query API says, which Loki's is too.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Element>,
}

/// An element of a vector: a time and a number as text. A matrix has `values` in place of `value`.
#[derive(Debug, Deserialize)]
struct Element {
    #[serde(default)]
    value: Vec<Value>,
}

/// How answers are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// What may be lost where there is no value.
    pub(crate) what: &'static str,
    /// What a JSON null in the place of a number counts as.
    pub(crate) null: f64,
    /// Whether no value is 0, in place of an error.
    pub(crate) ignore_null: bool,
}

/// The number in an answer; `on_empty` is called where there is none.
///
/// # Errors
/// If there is none, or more than one, or none that makes sense.
pub(crate) fn value(body: &[u8], rules: Rules, on_empty: impl Fn()) -> Result<f64, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is not a vector of Prometheus' query API: {error}"))?;
    let lost = |missing: &str| {
        on_empty();
        if rules.ignore_null {
            return Ok(0.0);
        }
        Err(format!("{} may be lost, the {missing} is empty", rules.what))
    };
    let element = match &answer.data.result[..] {
        [] => return lost("result"),
        [element] => element,
        more => {
            return Err(format!(
                "the query returned multiple elements ({}), it must aggregate to one",
                more.len()
            ));
        }
    };
    let sample = match &element.value[..] {
        [] => return lost("value list"),
        [_] => return Err("the query didn't return enough values".to_owned()),
        [_, sample, ..] => sample,
    };
    let number = match sample {
        Value::Null => rules.null,
        Value::String(text) => text
            .parse()
            .map_err(|_| format!("the query returned {text:?}, which is not a number"))?,
        other => {
            return Err(format!(
                "the query returned {other}, expected a number as a string"
            ));
        }
    };
    match number.is_finite() {
        true => Ok(number),
        false if rules.ignore_null => Ok(0.0),
        false => Err(format!("the query returned {number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ignore_null: bool) -> Rules {
        Rules {
            what: "the metric",
            null: -1.0,
            ignore_null,
        }
    }

    fn vector(elements: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{elements}]}}}}"#)
    }

    fn sample(value: &str) -> String {
        vector(&format!(r#"{{"metric":{{}},"value":[1700000000.5,{value}]}}"#))
    }

    #[test]
    fn answers_are_read_by_kedas_rules() {
        let matrix = vector(r#"{"metric":{},"values":[[1,"2"]]}"#);
        let cases = [
            ("a number", sample(r#""12.5""#), Ok(12.5), Ok(12.5)),
            ("a negative number", sample(r#""-3""#), Ok(-3.0), Ok(-3.0)),
            ("an exponent", sample(r#""1e3""#), Ok(1000.0), Ok(1000.0)),
            ("no element", vector(""), Ok(0.0), Err("the result is empty")),
            ("a matrix", matrix, Ok(0.0), Err("the value list is empty")),
            (
                "half a value",
                vector(r#"{"value":[1]}"#),
                Err("didn't return enough"),
                Err("didn't return enough"),
            ),
            ("a null", sample("null"), Ok(-1.0), Ok(-1.0)),
            ("not a number", sample(r#""NaN""#), Ok(0.0), Err("returned NaN")),
            ("infinity", sample(r#""+Inf""#), Ok(0.0), Err("returned inf")),
            (
                "minus infinity",
                sample(r#""-Inf""#),
                Ok(0.0),
                Err("returned -inf"),
            ),
            ("a word", sample(r#""many""#), Err("\"many\""), Err("\"many\"")),
        ];
        for (name, body, ignoring, strict) in cases {
            for (ignore_null, expected) in [(true, ignoring), (false, strict)] {
                let read = value(body.as_bytes(), rules(ignore_null), || ());
                match (read, expected) {
                    (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{name}"),
                    (Err(read), Err(expected)) => assert!(read.contains(expected), "{name}: {read}"),
                    (read, expected) => panic!("{name}: {read:?}, not {expected:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_single_vector_element_is_refused() {
        let element = r#"{"value":[1,"2"]}"#;
        for (body, expected) in [
            (vector(&format!("{element},{element}")), "multiple elements (2)"),
            (vector(r#"1435781451.781,"1""#), "not a vector"),
            ("<html>".to_owned(), "not a vector"),
            ("{}".to_owned(), "not a vector"),
        ] {
            let error = value(body.as_bytes(), rules(true), || ()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
