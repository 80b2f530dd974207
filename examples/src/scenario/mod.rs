//! Scenario files: what happens around a cluster while it is simulated.
//!
//! A scenario says which cloud there is, which queues, who fills and who empties them, and what somebody does at which
//! time. The cluster's objects stand beside it as plain Kubernetes manifests.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::input::{InputProblems, Manifest};

/// `apiVersion` of a scenario.
pub const API_VERSION: &str = "simulation.autoscaler.dev/v1alpha1";
/// `kind` of a scenario.
pub const KIND: &str = "Scenario";

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Scenario,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

/// What happens, and around what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// The name, from `metadata`.
    #[serde(skip)]
    pub name: String,
    /// The file, as the user named it.
    #[serde(skip)]
    pub file: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// What the clock shows at the start.
    #[serde(default = "default_start")]
    pub start: Timestamp,
    /// How long it lasts.
    pub duration: Span,
    /// How quick the cluster's nodes and pods are.
    #[serde(default)]
    pub cluster: ClusterSettings,
    /// The cloud that nodes are bought from; none buys none.
    #[serde(default)]
    pub cloud: Option<Cloud>,
    /// SQS queues.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// Who sends messages.
    #[serde(default)]
    pub producers: Vec<Producer>,
    /// What pods do with them.
    #[serde(default)]
    pub consumers: Vec<Consumer>,
    /// What somebody does to the cluster, and when.
    #[serde(default)]
    pub steps: Vec<Step>,
}

fn default_start() -> Timestamp {
    Timestamp::from_second(1_772_442_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A length of time in words: `250ms`, `4m`, `14h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            || format!("{text:?} is no length of time, expected one like 250ms, 30s, 4m or 14h30m");
        let parsed: SignedDuration = text.parse().map_err(|_| expected())?;
        Duration::try_from(parsed).map(Self).map_err(|_| expected())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How quick the cluster's nodes and pods are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ClusterSettings {
    /// From binding to running; chance adds up to a quarter.
    pub pod_start_delay: Span,
    /// From registering to Ready.
    pub node_ready_delay: Span,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            pod_start_delay: Span::seconds(2),
            node_ready_delay: Span::seconds(5),
        }
    }
}

/// A cloud.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cloud {
    /// Its region.
    pub region: String,
    /// The region's zones.
    pub zones: Vec<String>,
    /// Until a launch is answered.
    #[serde(default = "Cloud::default_launch_delay")]
    pub launch_delay: Span,
    /// From the answer until the kubelet registers.
    #[serde(default = "Cloud::default_boot_delay")]
    pub boot_delay: Span,
    /// From a termination's request until the machine is gone.
    #[serde(default = "Cloud::default_termination_delay")]
    pub termination_delay: Span,
    /// What can be bought.
    pub instance_types: Vec<InstanceTypeEntry>,
    /// Where there is not enough of it.
    #[serde(default)]
    pub capacity: Vec<CapacityLimit>,
}

impl Cloud {
    fn default_launch_delay() -> Span {
        Span::seconds(2)
    }

    fn default_boot_delay() -> Span {
        Span::seconds(30)
    }

    fn default_termination_delay() -> Span {
        Span::seconds(20)
    }
}

/// An instance type of the built-in EC2 table, or one of the user's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InstanceTypeEntry {
    /// The name of a built-in type.
    #[serde(default)]
    pub builtin: Option<String>,
    /// The name of an own type.
    #[serde(default)]
    pub name: Option<String>,
    /// Its capacity, as quantities.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<String>,
    /// How many pods it may run.
    #[serde(default)]
    pub pods: Option<u32>,
    /// On-demand price per hour; overrides a built-in one.
    #[serde(default)]
    pub price: Option<f64>,
    /// Spot price per hour; overrides a built-in one.
    #[serde(default)]
    pub spot_price: Option<f64>,
}

/// At most this many machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapacityLimit {
    /// Of this type.
    pub instance_type: String,
    /// In this zone; any where missing.
    #[serde(default)]
    pub zone: Option<String>,
    /// Bought this way; any where missing.
    #[serde(default)]
    pub capacity_type: Option<String>,
    /// This many.
    pub limit: usize,
}

/// An SQS queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Queue {
    /// Its name; a FIFO queue's ends in `.fifo`.
    pub name: String,
    /// The account.
    #[serde(default = "Queue::default_account")]
    pub account: String,
    /// The region, where it is not the cloud's.
    #[serde(default)]
    pub region: Option<String>,
    /// For how long a received message is hidden.
    #[serde(default = "Queue::default_visibility_timeout")]
    pub visibility_timeout: Span,
    /// What the queue says of its depth, as a script: no messages flow.
    #[serde(default)]
    pub depth: Vec<Depth>,
    /// When it does not answer.
    #[serde(default)]
    pub outages: Vec<Outage>,
}

impl Queue {
    fn default_account() -> String {
        "123456789012".to_owned()
    }

    fn default_visibility_timeout() -> Span {
        Span::seconds(30)
    }
}

/// A depth from a time on.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Depth {
    /// Since the start.
    pub at: Span,
    /// Messages that are visible.
    pub messages: u64,
}

/// A time without answers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Outage {
    /// Since the start.
    pub from: Span,
    /// Since the start.
    pub until: Span,
    /// How it fails.
    #[serde(default)]
    pub kind: OutageKind,
}

/// How a source fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum OutageKind {
    /// Connections are refused.
    #[default]
    Unreachable,
    /// It answers with errors.
    Error,
    /// It never answers.
    Hang,
    /// It asks to slow down.
    Throttle,
}

/// Senders of messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Producer {
    /// The queue's name.
    pub queue: String,
    /// How many there are.
    #[serde(default = "one")]
    pub count: u32,
    /// Each sends one message this often.
    pub interval: Span,
    /// Since the start.
    #[serde(default)]
    pub from: Span,
    /// Since the start.
    pub until: Span,
    /// The FIFO message group.
    #[serde(default)]
    pub message_group: Option<String>,
}

fn one() -> u32 {
    1
}

/// What the pods of a selector do: poll, take a message, write a row, delete the message a moment later.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Consumer {
    /// The pods' namespace.
    pub namespace: String,
    /// Their labels.
    pub pod_selector: String,
    /// The queue's name.
    pub queue: String,
    /// How often each polls.
    pub poll_interval: Span,
    /// Each poll is off by up to this much.
    #[serde(default)]
    pub jitter: Span,
    /// From the row to the message's deletion.
    #[serde(default)]
    pub processing: Span,
    /// The table that rows are written to.
    #[serde(default = "default_table")]
    pub table: String,
}

impl Consumer {
    /// The labels of `podSelector`, which is of the form `key=value,key=value`.
    #[must_use]
    pub fn labels(&self) -> std::collections::BTreeMap<String, String> {
        self.pod_selector
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect()
    }
}

fn default_table() -> String {
    "messages".to_owned()
}

/// What somebody does at a time; exactly one of the verbs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// Since the start.
    pub at: Span,
    /// In words.
    #[serde(default)]
    pub comment: String,
    /// Creates or replaces an object.
    #[serde(default)]
    pub apply: Option<Value>,
    /// Merges into an object.
    #[serde(default)]
    pub patch: Option<PatchStep>,
    /// Deletes an object.
    #[serde(default)]
    pub delete: Option<ObjectName>,
}

/// Names an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObjectName {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
    /// Its namespace, for kinds that have one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// A merge patch of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PatchStep {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
    /// Its namespace, for kinds that have one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What is merged into it.
    pub merge: Value,
}

impl PatchStep {
    /// The object that is patched.
    #[must_use]
    pub fn target(&self) -> ObjectName {
        ObjectName {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Whether a document is a scenario and no object for the cluster.
#[must_use]
pub fn is_scenario(manifest: &Manifest) -> bool {
    manifest.kind() == KIND && manifest.api_version() == API_VERSION
}

/// Parses a scenario file.
///
/// # Errors
/// Every problem that was found, with its place in the file.
pub fn parse(file: &str, text: &str) -> Result<Scenario, InputProblems> {
    let mut problems = InputProblems::default();
    let parsed: File = match serde_saphyr::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.file(file, format!("is no scenario: {}", error.without_snippet()));
            return Err(problems);
        }
    };
    if parsed.api_version != API_VERSION || parsed.kind != KIND {
        problems.file(
            file,
            format!(
                "is {} {}, expected {API_VERSION} {KIND}",
                parsed.api_version, parsed.kind
            ),
        );
    }
    let scenario = Scenario {
        name: parsed.metadata.name,
        file: file.to_owned(),
        ..parsed.spec
    };
    for message in scenario.problems() {
        problems.file(file, message);
    }
    problems.or(scenario)
}

impl Scenario {
    /// What does not fit together, each with its field, value and what was expected.
    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let queues: Vec<&str> = self.queues.iter().map(|queue| queue.name.as_str()).collect();
        let users = self
            .producers
            .iter()
            .enumerate()
            .map(|(index, producer)| (format!("spec.producers[{index}].queue"), &producer.queue))
            .chain(
                self.consumers
                    .iter()
                    .enumerate()
                    .map(|(index, consumer)| (format!("spec.consumers[{index}].queue"), &consumer.queue)),
            );
        for (field, queue) in users {
            if !queues.contains(&queue.as_str()) {
                found.push(format!(
                    "{field}: {queue:?} is no queue of spec.queues, expected one of {queues:?}"
                ));
            }
        }
        let intervals = self
            .producers
            .iter()
            .enumerate()
            .map(|(index, producer)| (format!("spec.producers[{index}].interval"), producer.interval))
            .chain(self.consumers.iter().enumerate().map(|(index, consumer)| {
                (
                    format!("spec.consumers[{index}].pollInterval"),
                    consumer.poll_interval,
                )
            }));
        for (field, interval) in intervals {
            if interval.0.is_zero() {
                found.push(format!(
                    "{field}: \"0s\" would never let time pass, expected more than zero"
                ));
            }
        }
        for (index, consumer) in self.consumers.iter().enumerate() {
            if consumer.labels().len() != consumer.pod_selector.split(',').count() {
                found.push(format!(
                    "spec.consumers[{index}].podSelector: {:?} is not of the form key=value,key=value",
                    consumer.pod_selector
                ));
            }
        }
        self.step_problems(&mut found);
        self.cloud_problems(&mut found);
        found
    }

    fn step_problems(&self, found: &mut Vec<String>) {
        for (index, step) in self.steps.iter().enumerate() {
            let verbs = [step.apply.is_some(), step.patch.is_some(), step.delete.is_some()]
                .iter()
                .filter(|set| **set)
                .count();
            if verbs != 1 {
                found.push(format!(
                    "spec.steps[{index}]: has {verbs} of apply, patch and delete, expected exactly one"
                ));
            }
        }
    }

    fn cloud_problems(&self, found: &mut Vec<String>) {
        let Some(cloud) = &self.cloud else { return };
        if cloud.zones.is_empty() {
            found.push("spec.cloud.zones: is empty, expected at least one zone".to_owned());
        }
        for (index, entry) in cloud.instance_types.iter().enumerate() {
            let field = format!("spec.cloud.instanceTypes[{index}]");
            match (&entry.builtin, &entry.name) {
                (Some(_), Some(_)) | (None, None) => {
                    found.push(format!("{field}: expected exactly one of builtin and name"));
                }
                (None, Some(_)) if entry.cpu.is_none() || entry.memory.is_none() || entry.price.is_none() => {
                    found.push(format!(
                        "{field}: a type of one's own needs cpu, memory and price"
                    ));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_spec(spec: &str) -> Result<Scenario, InputProblems> {
        parse(
            "s.yaml",
            &format!("apiVersion: {API_VERSION}\nkind: Scenario\nmetadata: {{name: x}}\nspec: {spec}\n"),
        )
    }

    #[test]
    fn an_unknown_field_is_refused_by_name_with_what_was_expected_and_where() {
        let message = with_spec("{duration: 1m, queus: []}").unwrap_err().to_string();
        assert!(
            message.contains("queus") && message.contains("queues") && message.contains("line 4"),
            "{message}"
        );
    }

    #[test]
    fn a_wrong_duration_names_the_value_and_what_was_expected() {
        let message = with_spec("{duration: soon}").unwrap_err().to_string();
        assert!(
            message.contains("\"soon\" is no length of time, expected one like 250ms"),
            "{message}"
        );
    }

    #[test]
    fn everything_that_does_not_fit_together_is_reported_at_once() {
        let problems = with_spec(
            "{duration: 1m, queues: [{name: q}], producers: [{queue: p, interval: 0s, until: 1m}], steps: [{at: 1s}]}",
        )
        .unwrap_err();
        let messages: Vec<_> = problems
            .0
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "spec.producers[0].queue: \"p\" is no queue of spec.queues, expected one of [\"q\"]",
                "spec.producers[0].interval: \"0s\" would never let time pass, expected more than zero",
                "spec.steps[0]: has 0 of apply, patch and delete, expected exactly one",
            ]
        );
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("250ms", 0.25),
            ("90s", 90.0),
            ("14h30m", 52_200.0),
            ("1h 5m", 3900.0),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_secs_f64(), seconds, "{text}");
        }
    }
}
