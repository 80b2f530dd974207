//! Text to quantity.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::{Format, MAX_NANOS, NANOS_PER_UNIT, Quantity};
use crate::Error;

/// Digits that always fit the fast path: 10^18 shifted by a binary suffix stays within `u128`.
const FAST_DIGITS: usize = 18;

/// Nano is the smallest unit.
const NANO_DIGITS: i64 = 9;

impl FromStr for Quantity {
    type Err = Error;

    /// Reads `<sign><digits>.<digits><suffix>`. Values are rounded up (away from zero) to whole nanos, and those with
    /// a binary suffix end at 2^63-1 units.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) where the original refuses: no text, other characters, unknown suffixes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = Parts::split(text).ok_or_else(|| not_a_quantity(text))?;
        let suffix = Suffix::parse(parts.suffix).ok_or_else(|| not_a_quantity(text))?;
        let mut magnitude = parts.magnitude(&suffix);
        let mut format = suffix.format;
        if format == Format::BinarySi {
            magnitude = magnitude.min(i128::from(i64::MAX) * NANOS_PER_UNIT);
            if magnitude > 0 && magnitude < NANOS_PER_UNIT {
                format = Format::DecimalSi;
            }
        }
        let nanos = if parts.negative { -magnitude } else { magnitude };
        Ok(Self { nanos, format })
    }
}

fn not_a_quantity(text: &str) -> Error {
    Error::invalid(format!(
        "{text:?} is not a quantity: expected a number and one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, e<exponent>"
    ))
}

/// The text, cut but not yet understood.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        Some(Self {
            negative,
            whole: whole.trim_start_matches('0'),
            fraction,
            suffix,
        })
    }

    /// The value without sign in nanos, rounded up, at most [`MAX_NANOS`].
    fn magnitude(&self, suffix: &Suffix) -> i128 {
        let digits = || {
            self.whole
                .bytes()
                .chain(self.fraction.bytes())
                .map(|digit| digit - b'0')
        };
        let exponent = suffix.ten + NANO_DIGITS - self.fraction.len() as i64;
        if self.whole.len() + self.fraction.len() <= FAST_DIGITS {
            let mantissa = digits().fold(0_u128, |value, digit| value * 10 + u128::from(digit));
            return shift_decimal(mantissa << suffix.two, exponent);
        }
        let mut digits: Vec<u8> = digits().collect();
        for _ in 0..suffix.two {
            double(&mut digits);
        }
        shift_digits(&digits, exponent)
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// `mantissa * 10^exponent`, rounded up, at most [`MAX_NANOS`].
fn shift_decimal(mantissa: u128, exponent: i64) -> i128 {
    if mantissa == 0 {
        return 0;
    }
    let power = u32::try_from(exponent.unsigned_abs())
        .ok()
        .and_then(|power| 10_u128.checked_pow(power));
    let shifted = match (power, exponent < 0) {
        (Some(power), true) => mantissa.div_ceil(power),
        (None, true) => 1,
        (Some(power), false) => mantissa.saturating_mul(power),
        (None, false) => u128::MAX,
    };
    i128::try_from(shifted).map_or(MAX_NANOS, |nanos| nanos.min(MAX_NANOS))
}

/// As [`shift_decimal`], for any number of digits.
fn shift_digits(digits: &[u8], exponent: i64) -> i128 {
    let dropped =
        usize::try_from(exponent.unsigned_abs()).map_or(digits.len(), |count| count.min(digits.len()));
    let (kept, dropped) = if exponent < 0 {
        digits.split_at(digits.len() - dropped)
    } else {
        (digits, &[][..])
    };
    let value = kept.iter().fold(0_u128, |value, digit| {
        value.saturating_mul(10).saturating_add(u128::from(*digit))
    });
    let round_up = u128::from(dropped.iter().any(|digit| *digit != 0));
    shift_decimal(value.saturating_add(round_up), exponent.max(0))
}

fn double(digits: &mut Vec<u8>) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let doubled = *digit * 2 + carry;
        *digit = doubled % 10;
        carry = doubled / 10;
    }
    if carry > 0 {
        digits.insert(0, carry);
    }
}

/// A suffix as the powers that it stands for.
struct Suffix {
    ten: i64,
    two: u32,
    format: Format,
}

impl Suffix {
    fn parse(text: &str) -> Option<Self> {
        let decimal = |ten| {
            Some(Self {
                ten,
                two: 0,
                format: Format::DecimalSi,
            })
        };
        let binary = |two| {
            Some(Self {
                ten: 0,
                two,
                format: Format::BinarySi,
            })
        };
        match text {
            "" => decimal(0),
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(10),
            "Mi" => binary(20),
            "Gi" => binary(30),
            "Ti" => binary(40),
            "Pi" => binary(50),
            "Ei" => binary(60),
            _ => {
                let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
                // Anything beyond is zero or the maximum anyway, and the sum with the digits must not overflow.
                let ten = exponent.clamp(-1_000_000, 1_000_000);
                Some(Self {
                    ten,
                    two: 0,
                    format: Format::DecimalExponent,
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl de::Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as 250m or 64Mi, as a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
        text.trim().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Quantity, E> {
        Ok(Quantity::from_units(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
        Ok(Quantity::from_nanos(i128::from(value) * NANOS_PER_UNIT))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Quantity, E> {
        // The shortest text that is this float is what stood in the document.
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Quantity, E> {
        Ok(Quantity::ZERO)
    }
}
