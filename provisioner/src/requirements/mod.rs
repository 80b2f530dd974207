//! Requirements on labels, as sets: what pods, pools, types and claims ask for and offer, and whether they meet.
//!
//! A [`Requirement`] is a set of values of one label: finite (`In`, `DoesNotExist` being empty) or the complement of a
//! finite set (`NotIn`, `Exists`), the latter with optional integer bounds (`Gt`, `Lt`, `Gte`, `Lte`).
//! [`Requirements`] holds one per label; adding another intersects.

mod compatible;
mod requirement;

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

pub use self::{
    compatible::{AllowUndefined, Incompatible},
    requirement::Requirement,
};
use crate::{
    Error, ErrorKind, Offering,
    karpenter::{Operator, RequirementSpec, labels},
};

/// Requirements by label key.
///
/// ```
/// use provisioner::{Requirements, karpenter::{Operator, RequirementSpec, labels}};
/// let pool = Requirements::from_specs(&[RequirementSpec::new(labels::ZONE, Operator::In, ["a", "b"])])?;
/// let pod = Requirements::from_specs(&[RequirementSpec::new(labels::ZONE, Operator::NotIn, ["a"])])?;
/// assert!(pool.intersects(&pod).is_ok());
/// assert_eq!(pool.intersection(&pod).to_string(), "topology.kubernetes.io/zone In [b]");
/// # Ok::<_, provisioner::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requirements(BTreeMap<String, Requirement>);

impl Requirements {
    /// No requirement: anything goes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of the requirements of a pool, claim or overlay.
    ///
    /// # Errors
    /// If a bound is no integer or a label has no name.
    pub fn from_specs(specs: &[RequirementSpec]) -> Result<Self, Error> {
        let mut requirements = Self::new();
        for spec in specs {
            let mut requirement = Requirement::new(&spec.key, spec.operator, spec.values.iter().cloned())?;
            requirement.min_values = spec.min_values.and_then(|count| u32::try_from(count).ok());
            requirements.add(requirement);
        }
        Ok(requirements)
    }

    /// Of labels: each has exactly that value.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut requirements = Self::new();
        for (key, value) in labels {
            requirements.add(Requirement::one_of(key, [value.as_str()]));
        }
        requirements
    }

    /// Of one term of a node selector; terms are alternatives of each other.
    ///
    /// # Errors
    /// If an operator is unknown, a bound is no integer, or the term selects by fields.
    pub fn from_term(term: &NodeSelectorTerm) -> Result<Self, Error> {
        if term
            .match_fields
            .as_ref()
            .is_some_and(|fields| !fields.is_empty())
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                "node selector term with matchFields is not supported",
            ));
        }
        let mut requirements = Self::new();
        for expression in term.match_expressions.iter().flatten() {
            requirements.add(requirement_of(expression)?);
        }
        Ok(requirements)
    }

    /// Adds a requirement: intersects with the one of the same label.
    pub fn add(&mut self, requirement: Requirement) {
        let requirement = match self.0.get(requirement.key()) {
            Some(current) => current.intersection(&requirement),
            None => requirement,
        };
        self.0.insert(requirement.key().to_owned(), requirement);
    }

    /// Adds all requirements of `other`.
    pub fn extend(&mut self, other: &Self) {
        for requirement in other.0.values() {
            self.add(requirement.clone());
        }
    }

    /// Both together.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.extend(other);
        both
    }

    /// Replaces the requirement of its label.
    pub fn set(&mut self, requirement: Requirement) {
        self.0.insert(requirement.key().to_owned(), requirement);
    }

    /// Drops the requirement of a label.
    pub fn remove(&mut self, key: &str) -> Option<Requirement> {
        self.0.remove(key)
    }

    /// The requirement of a label, if there is one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Requirement> {
        self.0.get(key)
    }

    /// Whether there is a requirement of a label.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether a label may have a value, as far as these requirements go.
    #[must_use]
    pub fn allows(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_none_or(|requirement| requirement.has(value))
    }

    /// By label.
    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.0.values()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the offering's zone, capacity type and reservation are allowed.
    #[must_use]
    pub fn allows_offering(&self, offering: &Offering) -> bool {
        let reservation = match (
            &offering.reservation_id,
            self.get(labels::CAPACITY_RESERVATION_ID),
        ) {
            (_, None) => true,
            (Some(id), Some(requirement)) => requirement.has(id),
            (None, Some(requirement)) => requirement.allows_absence(),
        };
        reservation
            && self.allows(labels::ZONE, &offering.zone)
            && self.allows(labels::CAPACITY_TYPE, offering.capacity_type.as_str())
    }

    /// The labels that these requirements pin to one value each.
    #[must_use]
    pub fn single_values(&self) -> BTreeMap<String, String> {
        self.0
            .values()
            .filter_map(|requirement| Some((requirement.key().to_owned(), requirement.single()?.to_owned())))
            .collect()
    }

    /// As they are written in a claim; a range becomes two requirements.
    #[must_use]
    pub fn to_specs(&self) -> Vec<RequirementSpec> {
        self.0.values().flat_map(Requirement::to_specs).collect()
    }
}

/// One expression of a node selector.
///
/// # Errors
/// If the operator is unknown or a bound is no integer.
pub fn requirement_of(expression: &NodeSelectorRequirement) -> Result<Requirement, Error> {
    let operator = Operator::parse(&expression.operator).ok_or_else(|| {
        let message = format!(
            "operator {:?} of label {} is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt",
            expression.operator, expression.key
        );
        Error::new(ErrorKind::Invalid, message)
    })?;
    Requirement::new(
        &expression.key,
        operator,
        expression.values.iter().flatten().cloned(),
    )
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.values().enumerate() {
            write!(f, "{}{requirement}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl FromIterator<Requirement> for Requirements {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut all = Self::new();
        for requirement in requirements {
            all.add(requirement);
        }
        all
    }
}

#[cfg(test)]
mod tests;
