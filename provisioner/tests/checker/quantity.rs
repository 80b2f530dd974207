//! Quantities, in billionths.

use std::collections::BTreeMap;

use serde_json::Value;

/// Amounts by resource, in billionths.
pub(crate) type Amounts = BTreeMap<String, i128>;

const NANO: i128 = 1_000_000_000;

/// Reads `250m`, `1.5Gi`, `2e3`, or a number.
pub(crate) fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')));
    let (digits, suffix) = text.split_at(split.unwrap_or(text.len()));
    let (numerator, denominator): (i128, i128) = match suffix {
        "" => (NANO, 1),
        "n" => (1, 1),
        "u" => (1_000, 1),
        "m" => (1_000_000, 1),
        "k" => (NANO * 1_000, 1),
        "M" => (NANO * 1_000_000, 1),
        "G" => (NANO * 1_000_000_000, 1),
        "T" => (NANO * 1_000_000_000_000, 1),
        "P" => (NANO * 1_000_000_000_000_000, 1),
        "Ki" => (NANO << 10, 1),
        "Mi" => (NANO << 20, 1),
        "Gi" => (NANO << 30, 1),
        "Ti" => (NANO << 40, 1),
        "Pi" => (NANO << 50, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 {
                (NANO, factor)
            } else {
                (NANO.checked_mul(factor)?, 1)
            }
        }
    };
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = denominator.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let product = all.checked_mul(numerator)?;
    let rounded = product / scale + i128::from(product % scale != 0);
    Some(if is_negative { -rounded } else { rounded })
}

/// A map of resources; what cannot be read is left out.
pub(crate) fn amounts(map: &Value) -> Amounts {
    let entries = map.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

pub(crate) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += amount;
    }
}

pub(crate) fn greatest(one: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = one.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}

/// `less - taken`, by the names of both.
pub(crate) fn difference(from: &Amounts, taken: &Amounts) -> Amounts {
    let mut left = from.clone();
    for (name, amount) in taken {
        *left.entry(name.clone()).or_default() -= amount;
    }
    left
}

/// The first resource that is asked for and not there.
pub(crate) fn lacking<'a>(asked: &'a Amounts, there: &Amounts) -> Option<&'a str> {
    asked
        .iter()
        .find(|(name, amount)| **amount > 0 && **amount > there.get(*name).copied().unwrap_or(0))
        .map(|(name, _)| name.as_str())
}

/// One pod's worth, whole units, for messages.
pub(crate) fn words(nanos: i128) -> String {
    if nanos % NANO == 0 {
        (nanos / NANO).to_string()
    } else {
        format!("{}m", nanos / 1_000_000)
    }
}

pub(crate) fn one() -> i128 {
    NANO
}
