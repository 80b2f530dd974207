//! Amounts of resources by name: sums, differences, what fits, and what a pod asks for.

mod pod;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubeQuantity;
use scaler_api::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use pod::pod_requests;

use crate::{Error, ErrorKind};

/// `cpu`.
pub const CPU: &str = "cpu";
/// `memory`.
pub const MEMORY: &str = "memory";
/// `pods`: how many fit.
pub const PODS: &str = "pods";
/// `ephemeral-storage`.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// `nodes`, in limits and a pool's status.
pub const NODES: &str = "nodes";

/// Amounts by resource name (`cpu`, `memory`, `pods`, ...). A name that is missing counts as zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceList(pub BTreeMap<String, Quantity>);

impl ResourceList {
    /// Of pairs of name and text, for constants and tests.
    ///
    /// # Errors
    /// If a text is no quantity.
    pub fn parse<'a>(amounts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        amounts
            .into_iter()
            .map(|(name, text)| Ok((name.to_owned(), parse(name, text)?)))
            .collect()
    }

    /// Of a map as it stands in Kubernetes objects.
    ///
    /// # Errors
    /// If a text is no quantity.
    pub fn from_kube(map: &BTreeMap<String, KubeQuantity>) -> Result<Self, Error> {
        Self::parse(
            map.iter()
                .map(|(name, quantity)| (name.as_str(), quantity.0.as_str())),
        )
    }

    /// As [`from_kube`](Self::from_kube), leaving out what cannot be read; for objects that an API server has checked.
    #[must_use]
    pub fn from_kube_lossy(map: Option<&BTreeMap<String, KubeQuantity>>) -> Self {
        map.into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), quantity.0.parse().ok()?)))
            .collect()
    }

    /// As it stands in Kubernetes objects.
    #[must_use]
    pub fn to_kube(&self) -> BTreeMap<String, KubeQuantity> {
        self.0
            .iter()
            .map(|(name, amount)| (name.clone(), KubeQuantity(amount.to_string())))
            .collect()
    }

    /// The amount of a resource, zero if it is missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Quantity {
        self.0.get(name).copied().unwrap_or(Quantity::ZERO)
    }

    /// Sets the amount of a resource.
    pub fn set(&mut self, name: &str, amount: Quantity) {
        self.0.insert(name.to_owned(), amount);
    }

    /// Sets the amount of a resource.
    #[must_use]
    pub fn with(mut self, name: &str, amount: Quantity) -> Self {
        self.set(name, amount);
        self
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// `self + other`.
    #[must_use]
    pub fn sum(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(mine) => *mine += *amount,
                None => drop(self.0.insert(name.clone(), *amount)),
            }
        }
    }

    /// `self - other`, which may be negative; keys of both.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.subtract(other);
        difference
    }

    /// Subtracts `other`; the difference may be negative.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(mine) => *mine -= *amount,
                None => drop(self.0.insert(name.clone(), Quantity::ZERO - *amount)),
            }
        }
    }

    /// `self - other`, floored at zero; keys of `self` only.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        self.0
            .iter()
            .map(|(name, amount)| (name.clone(), (*amount - other.get(name)).max(Quantity::ZERO)))
            .collect()
    }

    /// The greater amount of each resource.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        let mut greatest = self.clone();
        for (name, amount) in &other.0 {
            let entry = greatest.0.entry(name.clone()).or_insert(*amount);
            *entry = (*entry).max(*amount);
        }
        greatest
    }

    /// Whether all of `self` can be had from `total`; a zero amount always can, unless `total` is overdrawn.
    #[must_use]
    pub fn fits(&self, total: &Self) -> bool {
        !total.0.values().any(Quantity::is_negative)
            && self.0.iter().all(|(name, amount)| *amount <= total.get(name))
    }

    /// The first resource of which `total` has too little.
    #[must_use]
    pub fn exceeds<'a>(&'a self, total: &Self) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(name, amount)| **amount > total.get(name))
            .map(|(name, _)| name.as_str())
    }

    /// Whether `self` is above a limit that is set; what the limits do not name is unlimited.
    #[must_use]
    pub fn over_limit<'a>(&self, limits: &'a Self) -> Option<&'a str> {
        limits
            .0
            .iter()
            .find(|(name, limit)| self.get(name) > **limit)
            .map(|(name, _)| name.as_str())
    }
}

/// Reads an amount.
///
/// # Errors
/// If the text is no quantity; the message names the resource.
pub fn parse(name: &str, text: &str) -> Result<Quantity, Error> {
    text.parse().map_err(|source: scaler_api::Error| {
        Error::new(
            ErrorKind::Invalid,
            format!("resource {name}: {text:?} is no quantity"),
        )
        .with_source(source)
    })
}

impl FromIterator<(String, Quantity)> for ResourceList {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(amounts: I) -> Self {
        Self(amounts.into_iter().collect())
    }
}

/// As Karpenter prints it: `{"cpu":"250m","memory":"64Mi"}`.
impl fmt::Display for ResourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, amount)) in self.0.iter().enumerate() {
            write!(f, "{}{name:?}:\"{amount}\"", if index == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

impl JsonSchema for ResourceList {
    fn schema_name() -> Cow<'static, str> {
        "ResourceList".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "anyOf": [{ "type": "integer" }, { "type": "string" }],
                "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
                "x-kubernetes-int-or-string": true,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(amounts: &[(&str, &str)]) -> ResourceList {
        ResourceList::parse(amounts.iter().copied()).unwrap()
    }

    #[test]
    fn what_is_missing_counts_as_zero() {
        assert!(list(&[("cpu", "1")]).fits(&list(&[("cpu", "1"), ("memory", "1Gi")])));
        assert!(!list(&[("nvidia.com/gpu", "1")]).fits(&list(&[("cpu", "1")])));
        assert!(list(&[("nvidia.com/gpu", "0")]).fits(&list(&[("cpu", "1")])));
        assert!(
            !list(&[("cpu", "0")]).fits(&list(&[("cpu", "-1")])),
            "an overdrawn total takes nothing"
        );
    }

    #[test]
    fn subtraction_keeps_the_keys_of_the_left_and_stops_at_zero() {
        let left = list(&[("cpu", "2"), ("memory", "1Gi")]);
        let right = list(&[("cpu", "3"), ("pods", "1")]);
        assert_eq!(
            left.saturating_sub(&right),
            list(&[("cpu", "0"), ("memory", "1Gi")])
        );
        assert_eq!(
            left.difference(&right),
            list(&[("cpu", "-1"), ("memory", "1Gi"), ("pods", "-1")])
        );
    }

    #[test]
    fn limits_bind_only_what_they_name() {
        let used = list(&[("cpu", "5"), ("memory", "9Gi")]);
        assert_eq!(used.over_limit(&list(&[("cpu", "5")])), None);
        assert_eq!(used.over_limit(&list(&[("cpu", "4")])), Some("cpu"));
    }

    #[test]
    fn amounts_read_as_numbers_or_text_and_print_as_karpenter_does() {
        let read: ResourceList = serde_json::from_str(r#"{"cpu": 1000, "memory": "64Mi"}"#).unwrap();
        assert_eq!(read.to_string(), r#"{"cpu":"1k","memory":"64Mi"}"#);
    }

    #[test]
    fn a_bad_amount_is_refused_by_name() {
        let error = ResourceList::parse([("memory", "lots")]).unwrap_err().to_string();
        assert!(
            error.starts_with(r#"resource memory: "lots" is no quantity"#),
            "{error}"
        );
    }
}
