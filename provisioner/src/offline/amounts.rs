//! Quantities as people write them: what cannot be meant is a problem of its own.

use scaler_api::Quantity;
use serde_json::Value;

use super::document::{Document, Problem, brief};
use crate::resources::{CPU, EPHEMERAL_STORAGE, MEMORY};

/// More processors than any machine has; `m` was written as `M`, mostly.
const MOST_PROCESSORS: i64 = 1_000_000;
/// More than any machine has of anything: 1 Ei.
const MOST: i64 = 1 << 60;
/// Less memory than this without a suffix was meant in Mi, mostly.
const LEAST_PLAIN_BYTES: i64 = 1 << 20;

/// A document whose amounts are read.
pub(super) struct Amounts<'a> {
    pub document: &'a Document,
    /// Its kind where it does not say.
    pub kind: &'a str,
    pub problems: &'a mut Vec<Problem>,
}

impl Amounts<'_> {
    pub(super) fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems
            .push(self.document.problem(self.kind, field, message));
    }

    /// Every amount of a map of resources at `field`; those that cannot be read are problems. Numbers become text.
    pub(super) fn map(&mut self, field: &str, map: &mut Value) -> Vec<(String, Quantity)> {
        let map = match map {
            Value::Object(map) => map,
            Value::Null => return Vec::new(),
            other => {
                let message = format!("is {}, expected a map of amounts by resource", brief(other));
                self.problem(field, message);
                return Vec::new();
            }
        };
        let mut read = Vec::with_capacity(map.len());
        for (name, value) in map.iter_mut() {
            if value.is_number() {
                *value = Value::String(value.to_string());
            }
            let field = format!("{field}.{name}");
            match amount(name, value) {
                Ok(amount) => read.push((name.clone(), amount)),
                Err(message) => self.problem(field, message),
            }
        }
        read
    }

    /// A pool's limits: any amount that is not negative.
    pub(super) fn limits(&mut self, field: &str, limits: &mut Value) {
        for (name, value) in limits.as_object_mut().into_iter().flatten() {
            if value.is_number() {
                *value = Value::String(value.to_string());
            }
            let amount = value.as_str().and_then(|text| text.parse::<Quantity>().ok());
            if amount.is_none_or(|amount| amount.is_negative()) {
                let message = format!("is {}, expected a quantity from zero, such as 100", brief(value));
                self.problem(format!("{field}.{name}"), message);
            }
        }
    }

    /// Two maps of which no amount of the first may be above the second's.
    pub(super) fn contradiction(
        &mut self,
        field: &str,
        (less, less_word): (&[(String, Quantity)], &str),
        (more, more_word): (&[(String, Quantity)], &str),
    ) {
        for (name, amount) in less {
            let limit = more.iter().find(|(other, _)| other == name);
            if let Some((_, limit)) = limit.filter(|(_, limit)| amount > limit) {
                let message = format!(
                    "is {amount}, above the {limit} of {more_word}, expected {less_word} to be at most as much"
                );
                self.problem(format!("{field}.{name}"), message);
            }
        }
    }
}

fn amount(name: &str, value: &Value) -> Result<Quantity, String> {
    let is_bytes = name == MEMORY || name == EPHEMERAL_STORAGE || name.starts_with("hugepages-");
    let example = match name {
        CPU => "500m or 2",
        _ if is_bytes => "512Mi",
        _ => "1",
    };
    let Value::String(text) = value else {
        return Err(format!(
            "is {}, expected a quantity such as {example}",
            brief(value)
        ));
    };
    let Ok(amount) = text.parse::<Quantity>() else {
        return Err(format!(
            "is {}, expected a quantity such as {example}",
            brief(value)
        ));
    };
    if amount.is_negative() {
        return Err(format!("is {text}, expected zero or more"));
    }
    if amount.is_zero() {
        return Ok(amount);
    }
    if name == CPU && amount >= Quantity::from_units(MOST_PROCESSORS) {
        return Err(format!(
            "is {text}, expected less than {MOST_PROCESSORS} processors; M is mega, m is milli"
        ));
    }
    if amount >= Quantity::from_units(MOST) {
        return Err(format!("is {text}, expected less than 1Ei"));
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bytes && is_plain && amount < Quantity::from_units(LEAST_PLAIN_BYTES) {
        return Err(format!(
            "is {text}, that many bytes; expected a quantity with its unit such as {text}Mi"
        ));
    }
    if is_bytes && amount < Quantity::from_units(1) {
        return Err(format!(
            "is {text}, less than a byte; expected a quantity such as 512Mi (m is milli, M is mega)"
        ));
    }
    Ok(amount)
}
