//! One label's set of values.

use std::{collections::BTreeSet, fmt};

use crate::{
    Error, ErrorKind,
    karpenter::{Operator, RequirementSpec, labels},
};

/// The values that one label may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    /// Whether `values` are those that are *not* allowed.
    complement: bool,
    values: BTreeSet<String>,
    at_least: Option<i64>,
    at_most: Option<i64>,
    /// Whether the label must be there: what asks for two values at once has none, and is not satisfied by its absence.
    must_exist: bool,
    /// Keep at least this many values open until the launch.
    pub min_values: Option<u32>,
}

impl Requirement {
    /// A requirement as it is written; aliases of labels become the stable ones.
    ///
    /// # Errors
    /// If the key is empty, or an integer comparison has not exactly one integer.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, Error> {
        if key.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a requirement has an empty key, expected a label",
            ));
        }
        let values: BTreeSet<String> = values.into_iter().collect();
        let mut requirement = Self {
            key: labels::normalize(key).to_owned(),
            complement: !matches!(operator, Operator::In | Operator::DoesNotExist),
            values: BTreeSet::new(),
            at_least: None,
            at_most: None,
            must_exist: !matches!(operator, Operator::NotIn | Operator::DoesNotExist),
            min_values: None,
        };
        match operator {
            Operator::In | Operator::NotIn => requirement.values = values,
            Operator::Exists | Operator::DoesNotExist => {}
            Operator::Gt => requirement.at_least = Some(bound(key, operator, &values)?.saturating_add(1)),
            Operator::Gte => requirement.at_least = Some(bound(key, operator, &values)?),
            Operator::Lt => requirement.at_most = Some(bound(key, operator, &values)?.saturating_sub(1)),
            Operator::Lte => requirement.at_most = Some(bound(key, operator, &values)?),
        }
        Ok(requirement)
    }

    /// `In`.
    pub fn one_of<'a>(key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let values: BTreeSet<String> = values.into_iter().map(str::to_owned).collect();
        Self {
            key: labels::normalize(key).to_owned(),
            complement: false,
            must_exist: !values.is_empty(),
            values,
            at_least: None,
            at_most: None,
            min_values: None,
        }
    }

    /// `DoesNotExist`.
    #[must_use]
    pub fn absent(key: &str) -> Self {
        Self::one_of(key, [])
    }

    /// `Exists`.
    #[must_use]
    pub fn exists(key: &str) -> Self {
        Self {
            complement: true,
            must_exist: true,
            ..Self::absent(key)
        }
    }

    /// The label, its stable name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; bounds count as `Exists`.
    #[must_use]
    pub fn operator(&self) -> Operator {
        match (self.complement, self.values.is_empty()) {
            (true, false) => Operator::NotIn,
            (true, true) => Operator::Exists,
            (false, false) => Operator::In,
            (false, true) => Operator::DoesNotExist,
        }
    }

    /// The values that are named: allowed ones of `In`, excluded ones of `NotIn`.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// The allowed values, if they are finitely many.
    #[must_use]
    pub fn finite(&self) -> Option<&BTreeSet<String>> {
        (!self.complement).then_some(&self.values)
    }

    /// The value, if exactly one is allowed.
    #[must_use]
    pub fn single(&self) -> Option<&str> {
        (!self.complement && self.values.len() == 1)
            .then(|| self.values.first().map(String::as_str))
            .flatten()
    }

    /// A value that is allowed, the same every time: the first named, or the smallest integer within bounds that is
    /// not excluded. `None` where no value can be made up.
    #[must_use]
    pub fn any(&self) -> Option<String> {
        if !self.complement {
            return self.values.first().cloned();
        }
        if self.at_least.is_none() && self.at_most.is_none() {
            return None;
        }
        let from = self.at_least.unwrap_or_else(|| self.at_most.unwrap_or(0).min(0));
        (from..=self.at_most.unwrap_or(i64::MAX))
            .map(|value| value.to_string())
            .find(|value| self.has(value))
    }

    /// Whether a value is allowed.
    #[must_use]
    pub fn has(&self, value: &str) -> bool {
        self.values.contains(value) != self.complement && self.within_bounds(value)
    }

    /// Whether the label may be missing.
    #[must_use]
    pub fn allows_absence(&self) -> bool {
        !self.must_exist
    }

    /// Whether every value that `self` allows is allowed by `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        if !self.complement {
            return self.values.iter().all(|value| other.has(value));
        }
        other.complement
            && other.values.iter().all(|value| !self.has(value))
            && other
                .at_least
                .is_none_or(|bound| self.at_least.is_some_and(|mine| mine >= bound))
            && other
                .at_most
                .is_none_or(|bound| self.at_most.is_some_and(|mine| mine <= bound))
    }

    /// The values that both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let at_least = self.at_least.max(other.at_least);
        let at_most = match (self.at_most, other.at_most) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        let min_values = self.min_values.max(other.min_values);
        if matches!((at_least, at_most), (Some(low), Some(high)) if low > high) {
            return Self {
                min_values,
                must_exist: true,
                ..Self::absent(&self.key)
            };
        }
        let complement = self.complement && other.complement;
        let values: BTreeSet<String> = match (self.complement, other.complement) {
            (true, true) => self.values.union(&other.values).cloned().collect(),
            (true, false) => other.values.difference(&self.values).cloned().collect(),
            (false, true) => self.values.difference(&other.values).cloned().collect(),
            (false, false) => self.values.intersection(&other.values).cloned().collect(),
        };
        let mut both = Self {
            key: self.key.clone(),
            complement,
            values,
            at_least,
            at_most,
            must_exist: self.must_exist || other.must_exist,
            min_values,
        };
        let kept = both
            .values
            .iter()
            .filter(|value| both.within_bounds(value))
            .cloned()
            .collect();
        both.values = kept;
        if !complement {
            (both.at_least, both.at_most) = (None, None);
        }
        both
    }

    /// Whether some value is allowed by both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        match (self.finite(), other.finite()) {
            (Some(values), _) => values.iter().any(|value| other.has(value)),
            (None, Some(values)) => values.iter().any(|value| self.has(value)),
            (None, None) => {
                let at_least = self.at_least.max(other.at_least);
                let at_most = self.at_most.into_iter().chain(other.at_most).min();
                !matches!((at_least, at_most), (Some(low), Some(high)) if low > high)
            }
        }
    }

    fn within_bounds(&self, value: &str) -> bool {
        if self.at_least.is_none() && self.at_most.is_none() {
            return true;
        }
        value.parse::<i64>().is_ok_and(|number| {
            self.at_least.is_none_or(|bound| number >= bound)
                && self.at_most.is_none_or(|bound| number <= bound)
        })
    }

    /// As it is written in a claim: bounds become requirements of their own.
    pub(super) fn to_specs(&self) -> Vec<RequirementSpec> {
        let mut specs: Vec<RequirementSpec> = Vec::new();
        let bounds = [(Operator::Gte, self.at_least), (Operator::Lte, self.at_most)];
        for (operator, bound) in bounds {
            specs.extend(bound.map(|bound| RequirementSpec::new(&self.key, operator, [bound.to_string()])));
        }
        if specs.is_empty() || !self.values.is_empty() {
            specs.push(RequirementSpec::new(
                &self.key,
                self.operator(),
                self.values.iter().cloned(),
            ));
        }
        if let Some(first) = specs.first_mut() {
            first.min_values = self.min_values.and_then(|count| i32::try_from(count).ok());
        }
        specs
    }
}

fn bound(key: &str, operator: Operator, values: &BTreeSet<String>) -> Result<i64, Error> {
    let single = if values.len() == 1 { values.first() } else { None };
    single.and_then(|value| value.parse().ok()).ok_or_else(|| {
        let message =
            format!("requirement {key} {operator} has values {values:?}, expected a single integer");
        Error::new(ErrorKind::Invalid, message)
    })
}

/// Karpenter's words: `key In [a b]`, at most five values, then bounds and `minValues`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator())?;
        if !self.values.is_empty() {
            let mut shown: Vec<String> = self.values.iter().take(5).cloned().collect();
            if self.values.len() > 5 {
                shown.push(format!("and {} others", self.values.len() - 5));
            }
            write!(f, " [{}]", shown.join(" "))?;
        }
        if let Some(bound) = self.at_least {
            write!(f, " >={bound}")?;
        }
        if let Some(bound) = self.at_most {
            write!(f, " <={bound}")?;
        }
        if let Some(count) = self.min_values {
            write!(f, " minValues {count}")?;
        }
        Ok(())
    }
}
