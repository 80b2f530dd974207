//! Quantity to text.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Format, NANOS_PER_UNIT, Quantity};

const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Canonical form: no fraction, no loss, and the largest suffix that allows both.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.format {
            _ if self.nanos == 0 => "0".to_owned(),
            Format::BinarySi if self.prints_as_binary() => binary(self.nanos / NANOS_PER_UNIT),
            Format::BinarySi | Format::DecimalSi => decimal_si(self.nanos),
            Format::DecimalExponent => decimal_exponent(self.nanos),
        };
        f.pad(&text)
    }
}

impl Quantity {
    /// Small values and fractions would lose precision with a binary suffix.
    fn prints_as_binary(&self) -> bool {
        self.nanos.unsigned_abs() >= 1024 * NANOS_PER_UNIT.unsigned_abs() && self.nanos % NANOS_PER_UNIT == 0
    }
}

fn binary(mut mantissa: i128) -> String {
    let mut power = 0;
    while mantissa % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
        mantissa /= 1024;
        power += 1;
    }
    format!("{mantissa}{}", BINARY_SUFFIXES[power])
}

fn decimal_si(nanos: i128) -> String {
    let (mantissa, steps) = thousands(nanos, DECIMAL_SUFFIXES.len() - 1);
    format!("{mantissa}{}", DECIMAL_SUFFIXES[steps])
}

fn decimal_exponent(nanos: i128) -> String {
    let (mantissa, steps) = thousands(nanos, usize::MAX);
    match steps * 3 {
        9 => mantissa.to_string(),
        exponent if exponent > 9 => format!("{mantissa}e{}", exponent - 9),
        exponent => format!("{mantissa}e-{}", 9 - exponent),
    }
}

/// Takes out factors of a thousand, at most `limit` of them.
fn thousands(mut mantissa: i128, limit: usize) -> (i128, usize) {
    let mut steps = 0;
    while mantissa % 1000 == 0 && steps < limit {
        mantissa /= 1000;
        steps += 1;
    }
    (mantissa, steps)
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
