//! Tables: the columns that `kubectl get` prints.

mod autoscaling;
mod cluster;
mod custom;
mod duration;
mod event;
mod jsonpath;
mod node;
mod pod;
mod workload;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::duration::{age, age_of};
use super::{resources::Resource, value};

/// What of each object goes along with its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// A column of a built-in kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    kind: &'static str,
    /// 0 is shown always, 1 with `-o wide`.
    priority: u8,
}

/// A column that is shown always.
const fn shown(name: &'static str, kind: &'static str) -> Column {
    Column {
        name,
        kind,
        priority: 0,
    }
}

/// A column that is shown with `-o wide`.
const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 1,
    }
}

/// A kind's columns, and what makes the cells of one object.
type Printer = (&'static [Column], fn(&Value, Timestamp) -> Vec<Value>);

/// Renders objects, given in the client's version.
pub(crate) fn render(
    resource: &Resource,
    version: &str,
    objects: &[Cow<'_, Value>],
    now: Timestamp,
    include: IncludeObject,
    metadata: &Value,
) -> Value {
    let (definitions, cells): (Vec<Value>, Vec<Vec<Value>>) = if let Some(extension) = &resource.extension {
        let columns = extension.columns(version);
        let cells = objects
            .iter()
            .map(|object| custom::cells(columns, object, now))
            .collect();
        (custom::definitions(columns), cells)
    } else {
        let (columns, cells) = printer(resource, version);
        (
            columns.iter().map(definition).collect(),
            objects.iter().map(|object| cells(object, now)).collect(),
        )
    };
    let rows: Vec<Value> = cells
        .into_iter()
        .zip(objects)
        .map(|(cells, object)| match include {
            IncludeObject::None => json!({"cells": cells}),
            IncludeObject::Object => json!({"cells": cells, "object": object.as_ref()}),
            IncludeObject::Metadata => json!({"cells": cells, "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata"),
            }}),
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": if column.name == "Name" && column.priority == 0 { "name" } else { "" },
        "description": "",
        "priority": column.priority,
    })
}

fn printer(resource: &Resource, version: &str) -> Printer {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => (pod::COLUMNS, pod::cells),
        ("", "nodes") => (node::COLUMNS, node::cells),
        ("apps", "deployments") => (workload::DEPLOYMENT, workload::deployment),
        ("apps", "replicasets") | ("", "replicationcontrollers") => {
            (workload::REPLICA_SET, workload::replica_set)
        }
        ("apps", "daemonsets") => (workload::DAEMON_SET, workload::daemon_set),
        ("apps", "statefulsets") => (workload::STATEFUL_SET, workload::stateful_set),
        ("batch", "jobs") => (workload::JOB, workload::job),
        ("batch", "cronjobs") => (workload::CRON_JOB, workload::cron_job),
        ("autoscaling", _) if version == "v1" => (autoscaling::COLUMNS, autoscaling::cells_v1),
        ("autoscaling", _) => (autoscaling::COLUMNS, autoscaling::cells),
        ("", "events") => (event::COLUMNS, event::cells),
        ("events.k8s.io", _) => (event::COLUMNS, event::new_cells),
        ("", "namespaces") => (cluster::NAMESPACE, cluster::namespace),
        ("", "services") => (cluster::SERVICE, cluster::service),
        ("", "secrets") => (cluster::SECRET, cluster::secret),
        ("", "configmaps") => (cluster::CONFIG_MAP, cluster::config_map),
        ("", "serviceaccounts") => (cluster::SERVICE_ACCOUNT, cluster::service_account),
        ("policy", "poddisruptionbudgets") => (cluster::BUDGET, cluster::budget),
        ("coordination.k8s.io", _) => (cluster::LEASE, cluster::lease),
        ("apiregistration.k8s.io", _) => (cluster::API_SERVICE, cluster::api_service),
        ("scheduling.k8s.io", _) => (cluster::PRIORITY_CLASS, cluster::priority_class),
        ("storage.k8s.io", "storageclasses") => (cluster::STORAGE_CLASS, cluster::storage_class),
        _ => (cluster::PLAIN, cluster::plain),
    }
}

/// `<none>` for nothing.
fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

fn name(object: &Value) -> Value {
    value::name(object).into()
}

/// The names and the images of a pod template's containers.
fn containers(object: &Value, path: &[&str]) -> [Value; 2] {
    let containers = value::items(object, path);
    let join = |field: &str| -> Value {
        containers
            .iter()
            .map(|one| value::text(one, &[field]))
            .collect::<Vec<_>>()
            .join(",")
            .into()
    };
    [join("name"), join("image")]
}
