//! Which parts of the autoscaler are meant: a half, and the cloud of the node half.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One half of the autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// KEDA's half: events to pods.
    Pods,
    /// Karpenter's half: pods to nodes.
    Nodes,
}

impl Half {
    /// Whether `half` is meant where `only` this one is asked for, or both.
    #[must_use]
    pub fn is_in(self, only: Option<Self>) -> bool {
        only.is_none_or(|only| only == self)
    }
}

/// Where the nodes of the node half come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Node objects that kwok keeps alive.
    Kwok,
    /// Amazon EC2.
    Ec2,
    /// None: the node half stands still.
    #[default]
    None,
}
