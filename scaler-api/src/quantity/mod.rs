//! Kubernetes quantities.
//!
//! Parsing, rounding and printing follow `k8s.io/apimachinery/pkg/api/resource`; its answers are kept in
//! `testdata/quantity-*.tsv`. Two differences: text is always printed in canonical form (the original returns some
//! inputs as they were, `1.500` or `+1`), and magnitudes end at 10^29 units instead of growing without bound.

#[cfg(feature = "keda")]
mod kube;
mod parse;
mod print;

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
};

const NANOS_PER_UNIT: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

/// The largest magnitude that is held: 10^29 units.
const MAX_NANOS: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;

/// A fixed-point number with a Kubernetes suffix, e.g. `250m`, `64Mi`, `2e3`.
///
/// Held in nano-units, and saturating at ±10^29 units. Two quantities are equal if their values are, whatever their
/// [`Format`]; the format only tells how the value prints.
///
/// ```
/// use scaler_api::Quantity;
///
/// let request: Quantity = "0.25".parse()?;
/// assert_eq!(request, Quantity::from_millis(250));
/// assert_eq!(request.to_string(), "250m");
/// assert_eq!("1.5Gi".parse::<Quantity>()?.to_string(), "1536Mi");
/// # Ok::<(), scaler_api::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The family of suffixes that a quantity prints with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`
    DecimalExponent,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// `value` whole units.
    #[must_use]
    pub const fn from_units(value: i64) -> Self {
        Self {
            nanos: value as i128 * NANOS_PER_UNIT,
            format: Format::DecimalSi,
        }
    }

    /// `value` thousandths.
    #[must_use]
    pub const fn from_millis(value: i64) -> Self {
        Self {
            nanos: value as i128 * NANOS_PER_MILLI,
            format: Format::DecimalSi,
        }
    }

    /// `value` billionths, saturating.
    #[must_use]
    pub const fn from_nanos(value: i128) -> Self {
        Self {
            nanos: clamp(value),
            format: Format::DecimalSi,
        }
    }

    /// A measured value as it is reported: with three decimals; negative, infinite and undefined values as zero.
    #[must_use]
    pub fn from_f64_milli(value: f64) -> Self {
        if !value.is_finite() || value <= 0.0 {
            return Self::ZERO;
        }
        // The decimal expansion of the float decides a tie, as Go's "%.3f" does; multiplying by 1000 would not.
        format!("{value:.3}").parse().unwrap_or(Self::ZERO)
    }

    /// The same value, to be printed with another family of suffixes.
    #[must_use]
    pub const fn with_format(self, format: Format) -> Self {
        Self {
            nanos: self.nanos,
            format,
        }
    }

    /// How the value prints.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The value in units, rounded away from zero, saturating.
    #[must_use]
    pub fn value(&self) -> i64 {
        saturate(divide_away_from_zero(self.nanos, NANOS_PER_UNIT))
    }

    /// The value in thousandths, rounded away from zero, saturating.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        saturate(divide_away_from_zero(self.nanos, NANOS_PER_MILLI))
    }

    /// The value in billionths, exact.
    #[must_use]
    pub const fn nanos(&self) -> i128 {
        self.nanos
    }

    /// The nearest float.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        // Dividing the smallest exact mantissa keeps everyday values correctly rounded.
        let (mut mantissa, mut divisor) = (self.nanos, 1e9);
        while divisor > 1.0 && mantissa % 1_000 == 0 {
            mantissa /= 1_000;
            divisor /= 1e3;
        }
        mantissa as f64 / divisor
    }

    /// Whether the value is zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether the value is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The value times a whole number, saturating.
    #[must_use]
    pub fn saturating_mul(self, factor: i64) -> Self {
        let sign = self.nanos.signum() * i128::from(factor).signum();
        let nanos = self
            .nanos
            .checked_mul(i128::from(factor))
            .unwrap_or(sign * MAX_NANOS);
        Self {
            nanos: clamp(nanos),
            format: self.format,
        }
    }
}

const fn clamp(nanos: i128) -> i128 {
    if nanos > MAX_NANOS {
        MAX_NANOS
    } else if nanos < -MAX_NANOS {
        -MAX_NANOS
    } else {
        nanos
    }
}

fn divide_away_from_zero(dividend: i128, divisor: i128) -> i128 {
    let quotient = dividend / divisor;
    if dividend % divisor == 0 {
        quotient
    } else {
        quotient + dividend.signum()
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

/// Saturating. Zero takes over the format of what is added to it.
impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self {
            nanos: clamp(self.nanos.saturating_add(other.nanos)),
            format,
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Saturating. Zero takes over the format of what is subtracted from it.
impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            nanos: -self.nanos,
            format: self.format,
        }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Quantity> for Quantity {
    fn sum<I: Iterator<Item = &'a Self>>(quantities: I) -> Self {
        quantities.copied().sum()
    }
}

#[cfg(test)]
mod tests;
