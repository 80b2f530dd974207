//! What can be chosen about an installation: one file of values drives `autoscaler manifests` and the Helm chart.

mod file;
mod sample;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{file::read, sample::Sample};
use super::{Half, Provider};
use crate::names;

/// An object of the API whose content is passed on as it is.
pub type Open = serde_json::Map<String, Value>;

/// Everything that can be chosen. The default of each is what [`Values::default`] and the chart's `values.yaml` say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Values {
    /// One half only, `pods` or `nodes`; both where empty.
    #[serde(with = "half_or_empty")]
    #[schemars(with = "String", extend("enum" = ["", "pods", "nodes"]))]
    pub only: Option<Half>,
    /// Where nodes come from: `kwok`, `ec2` or `none`.
    pub provider: Provider,
    /// The namespaces whose ScaledObjects are acted on; all of them where none is named. Secrets and workloads can then
    /// be read in these only.
    pub watch_namespaces: Vec<String>,
    /// The image.
    pub image: Image,
    /// Replicas of the Deployment. All of them serve metrics and webhooks, one of them writes.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Further flags of `autoscaler run`, without their dashes.
    pub settings: BTreeMap<String, String>,
    /// Further environment variables of the container.
    pub env: Vec<Open>,
    /// Where the serving certificate comes from.
    pub certificates: Certificates,
    /// The definitions of KEDA's and Karpenter's resources.
    pub crds: Crds,
    /// The admission webhook.
    pub webhook: Webhook,
    /// Who may do what.
    pub rbac: Rbac,
    /// The identity of the process.
    pub service_account: ServiceAccount,
    /// How many replicas may be away at once.
    pub pod_disruption_budget: PodDisruptionBudget,
    /// The pods of the Deployment.
    pub pod: Pod,
    /// Requests and limits of the container.
    pub resources: Open,
    /// The application of the walk-through: a consumer of an SQS queue that is scaled, and nodes for it.
    pub sample: Sample,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            only: None,
            provider: Provider::None,
            watch_namespaces: Vec::new(),
            image: Image::default(),
            replicas: 2,
            settings: BTreeMap::new(),
            env: Vec::new(),
            certificates: Certificates::default(),
            crds: Crds::default(),
            webhook: Webhook::default(),
            rbac: Rbac::default(),
            service_account: ServiceAccount::default(),
            pod_disruption_budget: PodDisruptionBudget::default(),
            pod: Pod::default(),
            resources: open(serde_json::json!({
                "requests": { "cpu": "100m", "memory": "100Mi" },
                "limits": { "memory": "1000Mi" },
            })),
            sample: Sample::default(),
        }
    }
}

impl Values {
    /// Whether the pod half is installed.
    #[must_use]
    pub fn pods(&self) -> bool {
        Half::Pods.is_in(self.only)
    }

    /// Whether the node half runs: it is asked for, and there is somewhere to get nodes from.
    #[must_use]
    pub fn nodes(&self) -> bool {
        Half::Nodes.is_in(self.only) && self.provider != Provider::None
    }

    /// Whether the admission webhook is served. It checks KEDA's resources.
    #[must_use]
    pub fn serves_webhook(&self) -> bool {
        self.pods() && self.webhook.enabled
    }

    /// The Lease of the leader.
    #[must_use]
    pub fn lease(&self) -> &'static str {
        match self.only {
            None => names::LEASE,
            Some(Half::Pods) => names::LEASE_PODS,
            Some(Half::Nodes) => names::LEASE_NODES,
        }
    }

    /// What contradicts itself.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.pods() && !self.nodes() {
            problems.push(
                "only is nodes and provider is none, expected a provider: nothing would run".to_owned(),
            );
        }
        if self.image.repository.is_empty() {
            problems.push("image.repository is empty, expected the name of an image".to_owned());
        }
        problems.extend(self.sample.problems());
        problems
    }
}

/// `only` as the chart has it: the empty text means both halves.
mod half_or_empty {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::Half;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(half: &Option<Half>, serializer: S) -> Result<S::Ok, S::Error> {
        match half {
            Some(half) => half.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Half>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            "pods" => Ok(Some(Half::Pods)),
            "nodes" => Ok(Some(Half::Nodes)),
            other => Err(D::Error::custom(format!(
                "only is {other:?}, expected pods or nodes"
            ))),
        }
    }
}

/// The image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Image {
    /// Its name, with the registry.
    pub repository: String,
    /// Its tag; the version of the chart's application where empty.
    pub tag: String,
    /// Its digest, which wins over the tag.
    pub digest: String,
    /// When it is pulled.
    #[schemars(extend("enum" = ["Always", "IfNotPresent", "Never"]))]
    pub pull_policy: String,
    /// Secrets of the registry.
    pub pull_secrets: Vec<Open>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: names::NAME.to_owned(),
            tag: String::new(),
            digest: String::new(),
            pull_policy: "IfNotPresent".to_owned(),
            pull_secrets: Vec::new(),
        }
    }
}

impl Image {
    /// The image as a container names it.
    #[must_use]
    pub fn reference(&self) -> String {
        match (self.digest.as_str(), self.tag.as_str()) {
            ("", "") => format!("{}:{}", self.repository, env!("CARGO_PKG_VERSION")),
            ("", tag) => format!("{}:{tag}", self.repository),
            (digest, _) => format!("{}@{digest}", self.repository),
        }
    }

    /// The image that a reference names; the pull policy and secrets stay.
    pub fn refer_to(&mut self, reference: &str) {
        (self.digest, self.tag) = (String::new(), String::new());
        if let Some((repository, digest)) = reference.split_once('@') {
            repository.clone_into(&mut self.repository);
            digest.clone_into(&mut self.digest);
            return;
        }
        match reference.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((repository, tag)) if !tag.contains('/') => {
                repository.clone_into(&mut self.repository);
                tag.clone_into(&mut self.tag);
            }
            _ => reference.clone_into(&mut self.repository),
        }
    }
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Certificates {
    /// Who makes it.
    pub source: CertificateSource,
    /// With `cert-manager`: who signs (`name`, `kind`, `group`); an Issuer that signs itself is made where empty.
    pub issuer_ref: Open,
}

/// Who makes the serving certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateSource {
    /// The leader makes and rotates it, and writes its authority into the APIService and the webhook.
    #[default]
    #[value(name = "self")]
    #[serde(rename = "self")]
    Own,
    /// cert-manager makes it and writes its authority.
    CertManager,
    /// It lies in the Secret `autoscaler-certificates` (`ca.crt`, `tls.crt`, `tls.key`); the leader writes its authority.
    Secret,
}

/// The definitions of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Crds {
    /// Whether they are installed too.
    pub install: bool,
    /// Helm only: whether they, and with them all ScaledObjects and NodePools, stay when the release goes.
    pub keep: bool,
}

impl Default for Crds {
    fn default() -> Self {
        Self {
            install: true,
            keep: true,
        }
    }
}

/// The admission webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Webhook {
    /// Whether there is one.
    pub enabled: bool,
    /// What happens to objects while nobody answers.
    #[schemars(extend("enum" = ["Ignore", "Fail"]))]
    pub failure_policy: String,
    /// How long an answer may take.
    #[schemars(range(min = 1, max = 30))]
    pub timeout_seconds: i32,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_policy: "Ignore".to_owned(),
            timeout_seconds: 10,
        }
    }
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rbac {
    /// Whether roles and bindings are made.
    pub create: bool,
    /// Whether the cluster's own roles `view`, `edit` and `admin` get these resources too.
    pub aggregate: bool,
    /// Whether every kind with a scale subresource may be scaled; only Deployments, StatefulSets and `scaleTargets`
    /// otherwise.
    pub scale_any_kind: bool,
    /// Further kinds that are scaled. They can then be read too, for the environment of their containers.
    pub scale_targets: Vec<ScaleTarget>,
}

impl Default for Rbac {
    fn default() -> Self {
        Self {
            create: true,
            aggregate: true,
            scale_any_kind: true,
            scale_targets: Vec::new(),
        }
    }
}

/// Further kinds that are scaled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleTarget {
    /// Their API group.
    pub group: String,
    /// Their plural names.
    pub resources: Vec<String>,
}

/// The identity of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceAccount {
    /// Whether it is made.
    pub create: bool,
    /// Its name.
    pub name: String,
    /// Its annotations, such as a cloud's role.
    pub annotations: BTreeMap<String, String>,
}

impl Default for ServiceAccount {
    fn default() -> Self {
        Self {
            create: true,
            name: names::NAME.to_owned(),
            annotations: BTreeMap::new(),
        }
    }
}

/// How many replicas may be away at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PodDisruptionBudget {
    /// Whether there is one.
    pub enabled: bool,
    /// How many.
    #[schemars(range(min = 0))]
    pub max_unavailable: i32,
}

impl Default for PodDisruptionBudget {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unavailable: 1,
        }
    }
}

/// The pods of the Deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Pod {
    /// Their further annotations.
    pub annotations: BTreeMap<String, String>,
    /// Their further labels.
    pub labels: BTreeMap<String, String>,
    /// Their priority class; none where empty.
    pub priority_class_name: String,
    /// Labels of the nodes that they run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that they bear.
    pub tolerations: Vec<Open>,
    /// Their affinity. Where empty, and the node half is installed: any node but those that it bought.
    pub affinity: Open,
    /// Whether they are spread over zones and nodes.
    pub spread: bool,
    /// How long an orderly end may take.
    #[schemars(range(min = 0))]
    pub termination_grace_period_seconds: i64,
}

impl Default for Pod {
    fn default() -> Self {
        let mut toleration = Open::new();
        toleration.insert("key".to_owned(), "CriticalAddonsOnly".into());
        toleration.insert("operator".to_owned(), "Exists".into());
        Self {
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            priority_class_name: "system-cluster-critical".to_owned(),
            node_selector: BTreeMap::new(),
            tolerations: vec![toleration],
            affinity: Open::new(),
            spread: true,
            termination_grace_period_seconds: 30,
        }
    }
}

fn open(value: Value) -> Open {
    match value {
        Value::Object(fields) => fields,
        _ => Open::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_as_it_was_given() {
        for (reference, repository) in [
            ("autoscaler", "autoscaler"),
            (
                "registry.example:5000/autoscaler",
                "registry.example:5000/autoscaler",
            ),
            (
                "registry.example:5000/autoscaler:1.2",
                "registry.example:5000/autoscaler",
            ),
            ("example/autoscaler@sha256:00", "example/autoscaler"),
        ] {
            let mut image = Image {
                tag: "old".to_owned(),
                ..Image::default()
            };
            image.refer_to(reference);
            assert_eq!(image.repository, repository);
            let named = image.reference();
            assert!(
                named == reference || named == format!("{reference}:{}", env!("CARGO_PKG_VERSION")),
                "{named}"
            );
        }
    }

    #[test]
    fn a_half_without_anything_to_do_is_a_problem() {
        let mut values = Values {
            only: Some(Half::Nodes),
            ..Values::default()
        };
        assert_eq!(values.problems().len(), 1, "{:?}", values.problems());
        values.provider = Provider::Kwok;
        assert!(values.problems().is_empty());
    }
}
