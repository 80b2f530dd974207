//! The names of the walk-through's application.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The application of the walk-through: a consumer of an SQS queue that is scaled, and nodes for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sample {
    /// Whether it is installed.
    pub enabled: bool,
    /// Its namespace.
    pub namespace: String,
    /// Its image.
    pub image: String,
    /// The queue.
    #[serde(rename = "queueURL")]
    pub queue_url: String,
    /// The region of the queue and of the table.
    pub region: String,
    /// The endpoint of the queue's service, where it is not AWS itself.
    pub endpoint: String,
    /// The table that messages are written to.
    pub table: String,
    /// The role of the application; that of its ServiceAccount.
    pub role_arn: String,
    /// Messages per pod.
    pub queue_length: String,
    /// The most replicas.
    #[schemars(range(min = 1))]
    pub max_replicas: i32,
    /// The name of the cluster, by which subnets and security groups are tagged (`karpenter.sh/discovery`).
    pub cluster_name: String,
    /// The role of new nodes; `KarpenterNodeRole-<cluster name>` where empty.
    pub node_role: String,
    /// The instance types that may be bought; any where none is named.
    pub instance_types: Vec<String>,
    /// How many processors the pool may have.
    pub cpu_limit: String,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: "keda-test".to_owned(),
            image: "sqs-reader".to_owned(),
            queue_url: String::new(),
            region: String::new(),
            endpoint: String::new(),
            table: "payments".to_owned(),
            role_arn: String::new(),
            queue_length: "2".to_owned(),
            max_replicas: 2000,
            cluster_name: String::new(),
            node_role: String::new(),
            instance_types: Vec::new(),
            cpu_limit: "1000".to_owned(),
        }
    }
}

impl Sample {
    /// The role of new nodes.
    #[must_use]
    pub fn node_role(&self) -> String {
        match self.node_role.as_str() {
            "" => format!("KarpenterNodeRole-{}", self.cluster_name),
            role => role.to_owned(),
        }
    }

    /// What is missing.
    pub(super) fn problems(&self) -> Vec<String> {
        let needed = [("queueURL", &self.queue_url), ("region", &self.region)];
        let missing = needed
            .iter()
            .filter(|(_, value)| self.enabled && value.is_empty());
        missing
            .map(|(name, _)| format!("sample.{name} is empty, expected a value where sample.enabled is true"))
            .collect()
    }
}
