//! The webhook's rules over objects that are given together, without a cluster; and what only shows later on one: the
//! metadata of triggers.
//!
//! What is not among the objects is taken to be on the cluster, and right: a Secret's contents, a TriggerAuthentication,
//! the target.

mod triggers;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Container, LimitRange};
use kube::ResourceExt as _;
use provisioner::karpenter::{self, NodePool};
use scaler_api::{
    Registry,
    keda::{
        CloudEventSource, ClusterCloudEventSource, ClusterTriggerAuthentication, EVENTING_GROUP, GROUP,
        ScaledJob, ScaledObject, TriggerAuthentication, TriggerAuthenticationSpec,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::triggers::Holder;
use super::{
    Finding, Findings, Severity, cloud_event_source, label, scaled_job,
    surroundings::{self, Surroundings},
    trigger_authentication,
};
use crate::scaled_object::hpa::Autoscaler;

/// The class of objects that cannot be read; their schema says more.
pub const UNREADABLE: &str = "unreadable";
/// The class of objects that are given twice.
const GIVEN_TWICE: &str = "given-twice";
/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Everything that is wrong or odd with `objects`, each finding with the place of its object among them.
#[must_use]
pub fn check(objects: &[Value], registry: &Registry) -> Vec<(usize, Finding)> {
    let given = Given::read(objects);
    let mut found = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let mut findings = given.check(object, registry);
        if let Some(first) = objects[..index]
            .iter()
            .position(|other| identity(other).is_some() && identity(other) == identity(object))
        {
            let (name, message) = (
                text(object, "name"),
                format!("is given twice, first as object {}", first + 1),
            );
            findings.add(Severity::Warning, GIVEN_TWICE, "metadata.name", name, message);
        }
        found.extend(findings.all().iter().map(|finding| (index, finding.clone())));
    }
    found
}

/// What the rules look at besides an object.
#[derive(Default)]
struct Given {
    scaled_objects: BTreeMap<String, Vec<Arc<ScaledObject>>>,
    autoscalers: BTreeMap<String, Vec<Arc<Autoscaler>>>,
    limit_ranges: BTreeMap<String, Vec<LimitRange>>,
    /// By kind, namespace and name: those of Deployments and StatefulSets.
    containers: BTreeMap<(String, String, String), Vec<Container>>,
    /// By namespace, empty for those of the cluster, and name.
    authentications: BTreeMap<(String, String), TriggerAuthenticationSpec>,
}

impl Given {
    fn read(objects: &[Value]) -> Self {
        let mut given = Self::default();
        for object in objects {
            given.add(object);
        }
        given
    }

    fn add(&mut self, object: &Value) {
        let namespace = namespace(object);
        let (group, kind) = group_and_kind(object);
        let key = || (namespace.clone(), text(object, "name").to_owned());
        match (group, kind) {
            (GROUP, "ScaledObject") => {
                let list = self.scaled_objects.entry(namespace).or_default();
                list.extend(placed(object).map(Arc::new));
            }
            ("autoscaling", "HorizontalPodAutoscaler") => {
                let list = self.autoscalers.entry(namespace).or_default();
                list.extend(placed(object).map(Arc::new));
            }
            ("", "LimitRange") => self
                .limit_ranges
                .entry(namespace)
                .or_default()
                .extend(placed::<LimitRange>(object)),
            ("apps", "Deployment" | "StatefulSet") => {
                let containers = object.pointer("/spec/template/spec/containers").cloned();
                let containers = containers.and_then(|containers| serde_json::from_value(containers).ok());
                let name = text(object, "name").to_owned();
                if let Some(containers) = containers {
                    self.containers
                        .insert((kind.to_owned(), namespace, name), containers);
                }
            }
            (GROUP, "TriggerAuthentication") => {
                let read = placed::<TriggerAuthentication>(object);
                self.authentications.extend(read.map(|read| (key(), read.spec)));
            }
            (GROUP, "ClusterTriggerAuthentication") => {
                let read = placed::<ClusterTriggerAuthentication>(object);
                let key = (String::new(), text(object, "name").to_owned());
                self.authentications.extend(read.map(|read| (key, read.spec)));
            }
            _ => {}
        }
    }

    fn check(&self, object: &Value, registry: &Registry) -> Findings {
        match group_and_kind(object) {
            (GROUP, "ScaledObject") => read(object, |read| self.scaled_object(read, registry)),
            (GROUP, "ScaledJob") => read(object, |read| self.scaled_job(read, registry)),
            (GROUP, "TriggerAuthentication") => read(object, |read: &TriggerAuthentication| {
                trigger_authentication::check(&label(read, &namespace(object)), &read.spec)
            }),
            (GROUP, "ClusterTriggerAuthentication") => read(object, |read: &ClusterTriggerAuthentication| {
                trigger_authentication::check(&label(read, ""), &read.spec)
            }),
            (EVENTING_GROUP, "CloudEventSource") => read(object, |read: &CloudEventSource| {
                cloud_event_source::check(&label(read, &namespace(object)), &read.spec)
            }),
            (EVENTING_GROUP, "ClusterCloudEventSource") => read(object, |read: &ClusterCloudEventSource| {
                cloud_event_source::check(&label(read, ""), &read.spec)
            }),
            ("karpenter.sh", "NodePool") => read(object, node_pool),
            _ => Findings::default(),
        }
    }

    fn scaled_object(&self, object: &ScaledObject, registry: &Registry) -> Findings {
        let namespace = object.namespace().unwrap_or_default();
        let target = &object.spec.scale_target_ref;
        let key = (target.kind().to_owned(), namespace.clone(), target.name.clone());
        let containers = self
            .containers
            .get(&key)
            .filter(|_| target.api_version().starts_with("apps/"));
        let limit_ranges = listed(&self.limit_ranges, &namespace);
        let around = Surroundings {
            scaled_objects: listed(&self.scaled_objects, &namespace),
            autoscalers: listed(&self.autoscalers, &namespace),
            containers: containers.map(|containers| (containers.as_slice(), limit_ranges)),
            dry_run: false,
        };
        let mut findings = surroundings::check(object, registry, &around);
        let holder = Holder {
            namespace: &namespace,
            name: &object.name_any(),
            container: target.env_source_container_name.as_deref(),
            containers: containers.map(Vec::as_slice),
            as_metric_source: object.spec.scaling_modifiers().is_some(),
            authentications: &self.authentications,
        };
        holder.check(&object.spec.triggers, registry, &mut findings);
        findings
    }

    fn scaled_job(&self, job: &ScaledJob, registry: &Registry) -> Findings {
        let mut findings = scaled_job::check(job, registry);
        let template = serde_json::to_value(&job.spec.job_target_ref).unwrap_or_default();
        let containers = template.pointer("/template/spec/containers").cloned();
        let containers: Option<Vec<Container>> =
            containers.and_then(|containers| serde_json::from_value(containers).ok());
        let holder = Holder {
            namespace: &job.namespace().unwrap_or_default(),
            name: &job.name_any(),
            container: job.spec.env_source_container_name.as_deref(),
            containers: containers.as_deref(),
            as_metric_source: false,
            authentications: &self.authentications,
        };
        holder.check(&job.spec.triggers, registry, &mut findings);
        findings
    }
}

fn listed<'a, T>(lists: &'a BTreeMap<String, Vec<T>>, namespace: &str) -> &'a [T] {
    lists.get(namespace).map_or(&[], Vec::as_slice)
}

/// What a controller finds in a pool beyond its schema.
fn node_pool(pool: &NodePool) -> Findings {
    let mut findings = Findings::about(label(pool, ""));
    for problem in karpenter::validate::node_pool(pool) {
        let (reason, message) = ("NodePoolValidationFailed", problem.message);
        findings.add(Severity::Error, reason, problem.field, "", message);
    }
    findings
}

/// Checks an object that stands in its namespace; or says why it cannot be read, as the webhook does.
fn read<T: DeserializeOwned>(object: &Value, check: impl FnOnce(&T) -> Findings) -> Findings {
    match super::parse(&in_namespace(object)) {
        Ok(read) => check(&read),
        Err(why) => {
            let mut findings = Findings::default();
            let (field, message) = why.split_once(": ").unwrap_or(("", &why));
            findings.add(Severity::Error, UNREADABLE, field, "", message);
            findings
        }
    }
}

fn placed<T: DeserializeOwned>(object: &Value) -> Option<T> {
    serde_json::from_value(in_namespace(object)).ok()
}

/// The object with the namespace that it would be created in.
fn in_namespace(object: &Value) -> Value {
    let mut object = object.clone();
    let (_, kind) = group_and_kind(&object);
    let is_clusters = kind.starts_with("Cluster") || kind == "NodePool";
    let namespace = namespace(&object);
    if let (false, Some(metadata)) = (is_clusters, object["metadata"].as_object_mut()) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    object
}

fn namespace(object: &Value) -> String {
    match text(object, "namespace") {
        "" => DEFAULT_NAMESPACE.to_owned(),
        namespace => namespace.to_owned(),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn group_and_kind(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    (group, object["kind"].as_str().unwrap_or_default())
}

/// What tells an object from others; none for one that gets its name from the server.
fn identity(object: &Value) -> Option<(&str, &str, &str, &str)> {
    let ((group, kind), name) = (group_and_kind(object), text(object, "name"));
    let namespace = match text(object, "namespace") {
        "" => DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    (!name.is_empty()).then_some((group, kind, namespace, name))
}
