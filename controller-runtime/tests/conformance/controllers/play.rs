//! Workloads whose pods nobody binds or runs: the case plays scheduler and kubelet, so that it decides what controllers
//! see, and when.

use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Cluster, same, text};

/// How long a controller may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for a controller to do what it should not.
const QUIET: Duration = Duration::from_millis(1500);

/// A pod template that no scheduler knows.
pub(super) fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": image}]},
    })
}

/// A spec of anything with replicas, a selector and a template.
pub(super) fn spec(replicas: i32, image: &str) -> Value {
    json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)})
}

/// `value` with a merge patch applied.
pub(super) fn with(mut value: Value, patch: Value) -> Value {
    json_patch::merge(&mut value, &patch);
    value
}

/// Creates an object of this spec.
pub(super) async fn make(
    c: &Cluster,
    version: &str,
    plural: &str,
    name: &str,
    spec: Value,
) -> anyhow::Result<Value> {
    let object = json!({"metadata": {"name": name}, "spec": spec});
    c.post(&c.at(version, plural), &object).await?.with_code(201)
}

/// The items of a list.
pub(super) async fn list(c: &Cluster, version: &str, plural: &str) -> anyhow::Result<Vec<Value>> {
    let mut list = c.get(&c.at(version, plural)).await?.with_code(200)?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        other => anyhow::bail!("{plural} have no items: {other}"),
    }
}

/// The pods that are not being deleted, by name.
pub(super) async fn pods(c: &Cluster) -> anyhow::Result<Vec<Value>> {
    let mut pods = list(c, "v1", "pods").await?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

/// Waits until the pods that are not being deleted are as `condition` wants them.
pub(super) async fn wait_pods(
    c: &Cluster,
    what: &str,
    condition: impl Fn(&[Value]) -> bool,
) -> anyhow::Result<Vec<Value>> {
    c.wait_for(what, LIMIT, async || {
        let pods = pods(c).await?;
        Ok(condition(&pods).then_some(pods))
    })
    .await
}

/// Waits until there are this many pods; their names.
pub(super) async fn wait_count(c: &Cluster, count: usize) -> anyhow::Result<Vec<String>> {
    let found = wait_pods(c, &format!("there are {count} pods"), |pods| pods.len() == count).await;
    match found {
        Ok(pods) => Ok(pods.iter().map(name).collect()),
        Err(error) => {
            let names: Vec<_> = pods(c).await?.iter().map(name).collect();
            Err(error.context(format!("there are {names:?}")))
        }
    }
}

/// Waits a while; then there are still exactly these pods.
pub(super) async fn remain(c: &Cluster, names: &[String]) -> anyhow::Result<()> {
    quiet().await;
    let mut wanted = names.to_vec();
    wanted.sort();
    same(pods(c).await?.iter().map(name).collect(), wanted)
}

/// Time for a controller to do what it should not, or to see what it should know.
pub(super) async fn quiet() {
    tokio::time::sleep(QUIET).await;
}

pub(super) fn name(object: &Value) -> String {
    text(object, "/metadata/name").to_owned()
}

pub(super) fn image(pod: &Value) -> &str {
    text(pod, "/spec/containers/0/image")
}

/// Waits until the object in the case's namespace is as `condition` wants it.
pub(super) async fn wait(
    c: &Cluster,
    version: &str,
    path: &str,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = c.at(version, path);
    match c.wait_object(what, LIMIT, &path, condition).await {
        Ok(object) => Ok(object),
        Err(error) => {
            let mut found = c.get(&path).await?.body;
            found["metadata"]["managedFields"] = Value::Null;
            Err(error.context(format!("found {} {}", found["status"], found["metadata"])))
        }
    }
}

/// Waits until the object's status has everything of `pattern`; null stands for absent.
pub(super) async fn wait_status(
    c: &Cluster,
    version: &str,
    path: &str,
    pattern: Value,
) -> anyhow::Result<Value> {
    let what = format!("the status of {path} has {pattern}");
    wait(c, version, path, &what, |object| {
        crate::harness::contains(&object["status"], pattern.clone()).is_ok()
    })
    .await
}

/// The condition of a type, e.g. of a Deployment.
pub(super) fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// Whether the object has a condition of this type, status and reason.
pub(super) fn has_condition(object: &Value, type_: &str, status: &str, reason: &str) -> bool {
    condition(object, type_)
        .is_some_and(|condition| condition["status"] == status && condition["reason"] == reason)
}

/// Changes an object in the case's namespace.
pub(super) async fn merge(c: &Cluster, version: &str, path: &str, patch: Value) -> anyhow::Result<Value> {
    c.merge(&c.at(version, path), &patch).await?.with_code(200)
}

/// Binds a pod to a node of this case, which need not exist: pods on one that does not are collected after forty seconds.
pub(super) async fn bind(c: &Cluster, pod: &str, node: &str) -> anyhow::Result<()> {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": c.unique(node)}});
    c.post(&c.at("v1", &format!("pods/{pod}/binding")), &binding)
        .await?
        .with_code(201)?;
    Ok(())
}

/// Says what becomes of a pod.
pub(super) async fn set_status(c: &Cluster, pod: &str, status: Value) -> anyhow::Result<Value> {
    merge(c, "v1", &format!("pods/{pod}/status"), json!({"status": status})).await
}

/// A status of a pod that runs, ready since a number of seconds before (or after) `from`.
pub(super) fn ready(from: Timestamp, seconds: i64) -> Value {
    let since = (from + SignedDuration::from_secs(seconds)).to_string();
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]})
}

/// A status of a pod that runs and is not ready.
pub(super) fn unready() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]})
}

/// When the object was made.
pub(super) fn created(object: &Value) -> anyhow::Result<Timestamp> {
    text(object, "/metadata/creationTimestamp")
        .parse()
        .context("no creation timestamp")
}

/// The time that the cluster has now, by a new object.
pub(super) async fn now(c: &Cluster) -> anyhow::Result<Timestamp> {
    let clock = json!({"metadata": {"generateName": "clock-"}});
    created(&c.post(&c.at("v1", "configmaps"), &clock).await?.with_code(201)?)
}

/// Makes these pods ready now.
pub(super) async fn make_ready(c: &Cluster, names: &[String]) -> anyhow::Result<()> {
    let now = now(c).await?;
    for name in names {
        set_status(c, name, ready(now, 0)).await?;
    }
    Ok(())
}

/// Makes every pod ready that is not, again and again, until the object's status has everything of `pattern`.
pub(super) async fn run_until(
    c: &Cluster,
    version: &str,
    path: &str,
    pattern: Value,
) -> anyhow::Result<Value> {
    let full = c.at(version, path);
    c.wait_for(
        &format!("the status of {path} has {pattern}"),
        LIMIT,
        async || {
            let object = c.get(&full).await?.with_code(200)?;
            if crate::harness::contains(&object["status"], pattern.clone()).is_ok() {
                return Ok(Some(object));
            }
            let waiting: Vec<_> = pods(c)
                .await?
                .iter()
                .filter(|pod| text(pod, "/status/phase") == "Pending")
                .map(name)
                .collect();
            if !waiting.is_empty() {
                let now = now(c).await?;
                for pod in waiting {
                    // It may go meanwhile.
                    let status = json!({"status": ready(now, 0)});
                    c.merge(&c.at("v1", &format!("pods/{pod}/status")), &status)
                        .await?;
                }
            }
            Ok(None)
        },
    )
    .await
}

/// The reference of an object that manages another.
pub(super) fn owned_by(version: &str, kind: &str, owner: &Value) -> Value {
    json!([{
        "apiVersion": version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }])
}
