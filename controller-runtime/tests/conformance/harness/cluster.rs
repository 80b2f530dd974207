//! What a case is given: one of the two clusters, and a namespace of its own in it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::Request;
use kube::{Client, client::Body};
use scaler_api::Quantity;
use serde_json::{Value, json};

use super::{
    Answer, Case, adapter::Held, metrics::Metrics, surroundings::Surroundings, transcript::Transcript,
    watch::Watch,
};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long an event of a watch may take.
const EVENT_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to become ready.
const NODE_LIMIT: Duration = Duration::from_secs(60);
/// Keeps the pods of other cases away.
const TAINT: &str = "conformance.example.com/case";

/// A cluster, for one case.
pub(crate) struct Cluster {
    client: Client,
    surroundings: Surroundings,
    unique: String,
    namespace: String,
    transcript: Transcript,
    /// Whether a condition is being looked at again and again.
    polling: AtomicBool,
    /// Paths to delete at the end.
    leftovers: Mutex<Vec<String>>,
}

impl Cluster {
    pub(crate) fn new(client: Client, surroundings: Surroundings, case: &str, unique: &str) -> Self {
        let cluster = surroundings.name();
        Self {
            client,
            surroundings,
            unique: unique.to_owned(),
            namespace: format!("case-{unique}"),
            transcript: Transcript::new(cluster, case, unique),
            polling: AtomicBool::new(false),
            leftovers: Mutex::default(),
        }
    }

    /// Makes the namespace, runs the case and cleans up.
    pub(crate) async fn run(&self, case: Case) -> anyhow::Result<()> {
        self.polling.store(true, Ordering::Relaxed);
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.post("/api/v1/namespaces", &namespace)
            .await?
            .with_code(201)?;
        self.delete_at_end(format!("/api/v1/namespaces/{}", self.namespace));
        let account = self.at("v1", "serviceaccounts/default");
        self.wait_until("the namespace has its service account", NODE_LIMIT, async || {
            Ok(self.get(&account).await?.code == 200)
        })
        .await?;
        self.polling.store(false, Ordering::Relaxed);
        let outcome = (case.run)(self).await;
        self.transcript.write()?;
        self.polling.store(true, Ordering::Relaxed);
        let leftovers = std::mem::take(&mut *self.leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        for path in leftovers.iter().rev() {
            self.delete(path).await?;
        }
        outcome
    }

    /// A client whose default namespace is some other.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The case's own namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A name that no other case uses, for what stands outside namespaces.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.unique)
    }

    /// Deletes the object at `path` when the case has ended, however it ends.
    pub(crate) fn delete_at_end(&self, path: String) {
        self.leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
    }

    /// A path within the case's namespace: `at("apps/v1", "deployments/web/scale")`.
    pub(crate) fn at(&self, version: &str, rest: &str) -> String {
        let root = if version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{version}/namespaces/{}/{rest}", self.namespace)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, &[], String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask("DELETE", path, &[], String::new()).await
    }

    /// A deletion with `DeleteOptions`.
    pub(crate) async fn delete_with(&self, path: &str, options: &Value) -> anyhow::Result<Answer> {
        self.ask(
            "DELETE",
            path,
            &[("content-type", "application/json")],
            options.to_string(),
        )
        .await
    }

    /// A JSON merge patch.
    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.patch("application/merge-patch+json", path, patch).await
    }

    /// A patch of any type.
    pub(crate) async fn patch(&self, media: &str, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.ask("PATCH", path, &[("content-type", media)], patch.to_string())
            .await
    }

    /// Server-side apply; `path` has the `fieldManager`.
    pub(crate) async fn apply(&self, path: &str, config: &Value) -> anyhow::Result<Answer> {
        self.patch("application/apply-patch+yaml", path, config).await
    }

    /// Any request.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> anyhow::Result<Answer> {
        let asked = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "user-agent") {
            request = request.header("user-agent", "conformance/1.0");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_empty() {
            String::new()
        } else {
            format!("\n> {body}")
        };
        let body = if body.is_empty() {
            Body::empty()
        } else {
            Body::from(body.into_bytes())
        };
        let response = self
            .client
            .send(request.body(body)?)
            .await
            .with_context(|| asked.clone())?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect_bytes().await.with_context(|| asked.clone())?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        let answer = Answer {
            asked,
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        };
        if !self.polling.load(Ordering::Relaxed) {
            self.transcript
                .add(&format!("{}{sent}", answer.asked), answer.code, &answer.body);
        }
        Ok(answer)
    }

    /// Opens a watch; `path` has its parameters besides `watch=true`.
    pub(crate) async fn watch(&self, path: &str) -> anyhow::Result<Watch> {
        self.watch_as(path, "application/json").await
    }

    /// Opens a watch of a form that the Accept header names.
    pub(crate) async fn watch_as(&self, path: &str, accept: &str) -> anyhow::Result<Watch> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = Request::get(format!("{path}{joint}watch=true")).header("accept", accept);
        let response = self.client.send(request.body(Body::empty())?).await?;
        let (parts, body) = response.into_parts();
        if parts.status != http::StatusCode::OK {
            let text = body.collect_bytes().await?;
            bail!(
                "watch {path} got {}: {}",
                parts.status,
                String::from_utf8_lossy(&text)
            );
        }
        Ok(Watch::new(body, EVENT_LIMIT))
    }

    /// Waits until `condition` gives a value; in virtual time on the embedded cluster.
    pub(crate) async fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let before = self.polling.swap(true, Ordering::Relaxed);
        let start = tokio::time::Instant::now();
        let found = loop {
            match condition().await {
                Ok(None) if start.elapsed() < limit => tokio::time::sleep(POLL).await,
                Ok(None) => break Err(anyhow::anyhow!("not within {limit:?}: {what}")),
                Ok(Some(found)) => break Ok(found),
                Err(error) => break Err(error.context(format!("while waiting: {what}"))),
            }
        };
        self.polling.store(before, Ordering::Relaxed);
        if !before {
            self.transcript.line(&format!("waited: {what}"));
        }
        found
    }

    /// Waits until `condition` holds.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.wait_for(what, limit, async || Ok(condition().await?.then_some(())))
            .await
    }

    /// Waits until the object at `path` is as `condition` wants it, and gives it.
    pub(crate) async fn wait_object(
        &self,
        what: &str,
        limit: Duration,
        path: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.wait_for(what, limit, async || {
            let answer = self.get(path).await?;
            Ok((answer.code == 200 && condition(&answer.body)).then_some(answer.body))
        })
        .await
    }

    /// Waits until nothing is at `path`.
    pub(crate) async fn wait_gone(&self, limit: Duration, path: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("{path} is gone"), limit, async || {
            Ok(self.get(path).await?.code == 404)
        })
        .await
    }

    /// Adds ready nodes with these resources that only pods [placed](Self::place) by this case run on; their names.
    pub(crate) async fn add_nodes(
        &self,
        count: usize,
        cpu: &str,
        memory: &str,
    ) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for number in 0..count {
            let node = self.node(&format!("node{number}"), cpu, memory);
            names.push(self.add_node(&node).await?);
        }
        Ok(names)
    }

    /// A Node of this case, to change before it is [added](Self::add_node).
    pub(crate) fn node(&self, name: &str, cpu: &str, memory: &str) -> Value {
        let name = self.unique(name);
        let resources = json!({"cpu": cpu, "memory": memory, "pods": "110"});
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                    TAINT: self.namespace,
                },
                // kwok plays such nodes on a real control plane.
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {"taints": [{"key": TAINT, "value": self.namespace, "effect": "NoSchedule"}]},
            "status": {"capacity": resources, "allocatable": resources},
        })
    }

    /// Serves the external metrics API, with what [`set_metric`](Self::set_metric) sets, while the answer is held.
    pub(crate) async fn with_metrics(&self) -> anyhow::Result<Held> {
        self.surroundings.provide_metrics(&self.client).await
    }

    /// Sees to it that there is no external metrics API while the answer is held.
    pub(crate) async fn without_metrics(&self) -> anyhow::Result<Held> {
        self.surroundings.withhold_metrics(&self.client).await
    }

    /// Sets an external metric of this namespace: the values of its series, or why it cannot be read.
    pub(crate) fn set_metric(&self, name: &str, values: Result<&[i64], &str>) {
        let values = values
            .map(|values| values.iter().copied().map(Quantity::from_units).collect())
            .map_err(str::to_owned);
        let metrics: &Metrics = self.surroundings.metrics();
        metrics.set(&self.namespace, name, values);
    }

    /// Adds a node whose kubelet can be [silenced](Self::silence); its name.
    pub(crate) async fn add_mortal_node(&self, node: &Value) -> anyhow::Result<String> {
        match &self.surroundings {
            Surroundings::Embedded { machines, .. } => {
                machines.start(node)?;
                let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.node_ready(&name).await?;
                Ok(name)
            }
            Surroundings::Real { .. } => {
                let mut node = node.clone();
                // Nobody plays it: it has been silent from the start, which counts only after a while.
                node["metadata"]["annotations"] = Value::Null;
                node["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
                self.add_node(&node).await
            }
        }
    }

    /// Lets the kubelet of a [mortal](Self::add_mortal_node) node run a pod.
    pub(crate) async fn play(&self, pod: &str) -> anyhow::Result<()> {
        if let Surroundings::Real { .. } = &self.surroundings {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let status = json!({"status": {"phase": "Running", "conditions": ready}});
            self.merge(&self.at("v1", &format!("pods/{pod}/status")), &status)
                .await?
                .ok()?;
        }
        Ok(())
    }

    /// Ends a [mortal](Self::add_mortal_node) node's kubelet without a word to anybody.
    pub(crate) fn silence(&self, name: &str) {
        if let Surroundings::Embedded { machines, .. } = &self.surroundings {
            machines.end(name);
        }
    }

    /// Creates a Node and waits until it is ready and takes pods; its name.
    pub(crate) async fn add_node(&self, node: &Value) -> anyhow::Result<String> {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.post("/api/v1/nodes", node).await?.with_code(201)?;
        self.node_ready(&name).await?;
        Ok(name)
    }

    async fn node_ready(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/nodes/{name}");
        self.delete_at_end(path.clone());
        let ready = |node: &Value| {
            let empty = Vec::new();
            let conditions = node["status"]["conditions"].as_array().unwrap_or(&empty);
            let taints = node["spec"]["taints"].as_array().unwrap_or(&empty);
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
                && !taints
                    .iter()
                    .any(|taint| taint["key"] == "node.kubernetes.io/not-ready")
        };
        self.wait_object("the node is ready", NODE_LIMIT, &path, ready)
            .await?;
        Ok(())
    }

    /// Puts a PodSpec on the nodes of this case: a node selector and a toleration.
    pub(crate) fn place(&self, mut spec: Value) -> Value {
        spec["nodeSelector"][TAINT] = json!(self.namespace);
        let toleration =
            json!({"key": TAINT, "operator": "Equal", "value": self.namespace, "effect": "NoSchedule"});
        match spec["tolerations"].as_array_mut() {
            Some(tolerations) => tolerations.push(toleration),
            None => spec["tolerations"] = json!([toleration]),
        }
        spec
    }
}
