//! To and from the quantity of `k8s-openapi`, which is a plain string.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as RawQuantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Quantity;
use crate::Error;

impl From<Quantity> for RawQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl From<&Quantity> for RawQuantity {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl TryFrom<&RawQuantity> for Quantity {
    type Error = Error;

    fn try_from(raw: &RawQuantity) -> Result<Self, Self::Error> {
        raw.0.trim().parse()
    }
}

impl TryFrom<RawQuantity> for Quantity {
    type Error = Error;

    fn try_from(raw: RawQuantity) -> Result<Self, Self::Error> {
        Self::try_from(&raw)
    }
}

/// A string or an integer, as Kubernetes' own schemas say.
impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
        })
    }
}
