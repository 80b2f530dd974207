//! Kubernetes quantities.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fixed-point number with a Kubernetes suffix, e.g. `250m`, `64Mi`, `2e3`.
///
/// Held in nano-units. Parsing, rounding and printing follow `k8s.io/apimachinery/pkg/api/resource`.
#[derive(Clone, Copy, Debug)]
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
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// `value` whole units.
    #[must_use]
    pub const fn from_units(value: i64) -> Self {
        Self { nanos: value as i128 * 1_000_000_000, format: Format::DecimalSi }
    }

    /// `value` thousandths.
    #[must_use]
    pub const fn from_millis(value: i64) -> Self {
        Self { nanos: value as i128 * 1_000_000, format: Format::DecimalSi }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = (f, self.format);
        todo!("to come")
    }
}

impl FromStr for Quantity {
    type Err = crate::Error;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!("to come")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        todo!("to come")
    }
}
