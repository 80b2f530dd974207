//! Words and durations as Go reads them: what KEDA's users have in their YAML.

use std::time::Duration;

/// The words of Go's `strconv.ParseBool`.
///
/// ```
/// use scaler_api::metadata::go::parse_bool;
/// assert_eq!(parse_bool("T"), Some(true));
/// assert_eq!(parse_bool("0"), Some(false));
/// assert_eq!(parse_bool("yes"), None);
/// ```
#[must_use]
pub fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Units of a Go duration and how many nanoseconds they have; longer names first where one begins another.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // micro sign
    ("μs", 1_000), // Greek mu
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A Go duration such as `30s`, `1h15m30.5s` or `.5m`, or a bare number of milliseconds. Negative ones are refused:
/// nothing here waits for a negative time.
///
/// ```
/// use std::time::Duration;
/// use scaler_api::metadata::go::parse_duration;
/// assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
/// assert_eq!(parse_duration("1500"), Some(Duration::from_millis(1500)));
/// assert_eq!(parse_duration("soon"), None);
/// ```
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .map(Duration::from_millis)
            .filter(|duration| fits(duration.as_nanos()));
    }
    let (mut rest, mut nanos) = (text, 0_u128);
    loop {
        let (part, after) = parse_part(rest)?;
        nanos = nanos.checked_add(part).filter(|nanos| fits(*nanos))?;
        if after.is_empty() {
            return u64::try_from(nanos).ok().map(Duration::from_nanos);
        }
        rest = after;
    }
}

/// Go's durations are 63 bits of nanoseconds.
fn fits(nanos: u128) -> bool {
    nanos <= i64::MAX.unsigned_abs().into()
}

/// One number with its unit, in nanoseconds, and what follows it.
fn parse_part(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_length = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_length);
    let (_, unit_nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(*unit_nanos)?;
    let mut place = *unit_nanos;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * place)?;
    }
    Some((nanos, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bool_words_are_those_of_go() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(word), Some(true), "{word}");
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(word), Some(false), "{word}");
        }
        for word in ["", "yes", "no", "on", "tRUE", " true", "2"] {
            assert_eq!(parse_bool(word), None, "{word:?}");
        }
    }

    #[test]
    fn durations_are_those_of_go_and_bare_milliseconds() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("5.6s", 5_600_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("3h30m", 12_600_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("2m3.4s", 123_400_000_000),
            ("0.000000001s", 1),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("1500", 1_500_000_000),
            ("3000", 3_000_000_000),
        ] {
            let parsed = parse_duration(text).unwrap_or_else(|| panic!("{text:?} is a duration"));
            let difference = parsed.as_nanos().abs_diff(nanos);
            assert!(difference <= 10, "{text}: {} is not {nanos}", parsed.as_nanos());
        }
        for text in [
            "",
            "3s x",
            "-5s",
            "-5",
            ".",
            ".s",
            "+",
            "s",
            "1d",
            "1 s",
            "3000000h",
            "99999999999999999999",
            "1.5",
            "é",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
