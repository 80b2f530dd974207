//! From a cluster's changes to a record.

use std::{collections::BTreeMap, sync::Arc};

use controller_runtime::explain::Explanation;
use scaler_api::Quantity;
use serde_json::Value;

use super::{
    Cost, DecisionEntry, EventEntry, ExplanationEntry, Messages, Moment, ObjectEntry, Record, Replicas,
    Workload, to_seconds,
};

/// The price per hour of an instance type in a zone by a capacity type.
pub type PriceList = Arc<dyn Fn(&str, &str, &str) -> Option<f64> + Send + Sync>;

/// Follows a cluster's objects and keeps the record. No client and no clock: it is told of every change.
pub struct Observer {
    record: Record,
    prices: PriceList,
    workloads: BTreeMap<String, WorkloadState>,
    /// Targets of ScaledObjects in the order in which they were declared.
    order: Vec<String>,
    nodes: BTreeMap<String, NodeState>,
    claims: BTreeMap<String, Option<f64>>,
    pods: BTreeMap<String, PodState>,
    pending: usize,
    scaled: BTreeMap<String, (Value, Value)>,
    /// The last event of each component about each object, by its place in the record.
    said: BTreeMap<(String, String), usize>,
    queue: u64,
    now: u64,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("scenario", &self.record.scenario)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct WorkloadState {
    replicas: Option<i64>,
    ready: i64,
}

#[derive(Clone, Debug)]
struct NodeState {
    bought_type: Option<String>,
    claimed: bool,
    price: f64,
    cpu: f64,
}

#[derive(Clone, Debug)]
struct PodState {
    node: String,
    cpu: f64,
    pending: bool,
}

impl Observer {
    /// A record of `scenario` that starts now. `targets` are the scaled workloads as `Kind namespace/name`, in order.
    #[must_use]
    pub fn new(scenario: &str, seed: u64, start: &str, targets: Vec<String>, prices: PriceList) -> Self {
        let record = Record {
            scenario: scenario.to_owned(),
            seed,
            start: start.to_owned(),
            cost: Cost {
                total: 0.0,
                currency: "USD".to_owned(),
            },
            ..Record::default()
        };
        Self {
            record,
            prices,
            workloads: targets
                .iter()
                .map(|target| (target.clone(), WorkloadState::default()))
                .collect(),
            order: targets,
            nodes: BTreeMap::new(),
            claims: BTreeMap::new(),
            pods: BTreeMap::new(),
            pending: 0,
            scaled: BTreeMap::new(),
            said: BTreeMap::new(),
            queue: 0,
            now: 0,
        }
    }

    /// How things stand.
    #[must_use]
    pub fn latest(&self) -> Moment {
        self.moment()
    }

    /// The record so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// An object was added or changed at `milliseconds`.
    pub fn applied(&mut self, milliseconds: u64, object: &Value) {
        self.now = milliseconds;
        let key = label(object);
        match kind(object) {
            "Deployment" | "StatefulSet" | "ReplicaSet" | "Rollout" => self.workload(&key, object),
            "Pod" => self.pod(key, object),
            "Node" => self.node(key, object),
            "Event" => self.event(object),
            "NodeClaim" => {
                self.claim(&key, object);
                self.keep(key, object);
            }
            "ScaledObject" | "ScaledJob" | "HorizontalPodAutoscaler" | "NodePool" => self.keep(key, object),
            _ => {}
        }
    }

    /// An object went at `milliseconds`.
    pub fn deleted(&mut self, milliseconds: u64, object: &Value) {
        self.now = milliseconds;
        let key = label(object);
        match kind(object) {
            "Pod" => {
                if self.pods.remove(&key).is_some_and(|pod| pod.pending) {
                    self.pending -= 1;
                }
            }
            "Node" => {
                self.nodes.remove(&key);
            }
            "NodeClaim" => {
                self.claims.remove(&key);
                self.scaled.remove(&key);
            }
            _ => {
                self.scaled.remove(&key);
            }
        }
    }

    /// A decision was made.
    pub fn decided(&mut self, decision: DecisionEntry) {
        self.record.decisions.push(decision);
    }

    /// Why an object is scaled as it is at `milliseconds`; what was said last is not said again.
    pub fn explained(&mut self, milliseconds: u64, mut explanation: Explanation) {
        explanation.decisions.clear();
        let same = |entry: &ExplanationEntry| {
            Explanation {
                time: explanation.time,
                ..entry.explanation.clone()
            } == explanation
        };
        let of_object = |entry: &&ExplanationEntry| {
            let known = &entry.explanation;
            (&known.kind, &known.namespace, &known.name)
                == (&explanation.kind, &explanation.namespace, &explanation.name)
        };
        if self.record.explanations.iter().rfind(of_object).is_some_and(same) {
            return;
        }
        self.record.explanations.push(ExplanationEntry {
            t: milliseconds,
            explanation,
        });
    }

    /// The queues hold so many messages.
    pub fn queued(&mut self, milliseconds: u64, messages: u64) {
        self.now = milliseconds;
        self.queue = messages;
    }

    /// Everything that happens at one instant was told: adds an entry to the timeline if something changed.
    pub fn settle(&mut self) {
        let moment = self.moment();
        if self.record.timeline.last().is_some_and(|last| last.same(&moment)) {
            return;
        }
        self.peaks(&moment);
        match self.record.timeline.last_mut() {
            Some(last) if last.t >= moment.t => *last = moment,
            _ => self.record.timeline.push(moment),
        }
    }

    /// The cluster is loaded and has settled: what is there now was there at the start.
    pub fn started(&mut self) {
        self.record.nodes.initial = self.nodes.len();
    }

    /// Ends the record.
    #[must_use]
    pub fn finish(mut self, milliseconds: u64, wall_seconds: f64, messages: Messages) -> Record {
        self.now = milliseconds;
        self.settle();
        self.record.virtual_seconds = to_seconds(milliseconds);
        self.record.wall_seconds = wall_seconds;
        self.record.messages = messages;
        self.record.nodes.final_bought = self.bought().values().sum();
        self.record.cost.total = cost(&self.record.timeline, self.record.virtual_seconds);
        if let Some(first) = self
            .record
            .workloads
            .iter()
            .find(|workload| Some(&workload.object) == self.order.first())
        {
            self.record.replicas = first.replicas;
        }
        let order = self.order;
        self.record
            .workloads
            .sort_by_key(|workload| order.iter().position(|target| *target == workload.object));
        self.record
    }

    fn moment(&self) -> Moment {
        let first = self.order.first().and_then(|target| self.workloads.get(target));
        Moment {
            t: to_seconds(self.now),
            queue: self.queue,
            desired: first.and_then(|state| state.replicas).unwrap_or_default(),
            ready: first.map_or(0, |state| state.ready),
            pending: self.pending,
            nodes: self.nodes.len(),
            bought: self.bought(),
            fill: self.fill(),
            price_per_hour: self.price_per_hour(),
        }
    }

    fn bought(&self) -> BTreeMap<String, usize> {
        let mut by_type = BTreeMap::new();
        for name in self.nodes.values().filter_map(|node| node.bought_type.as_ref()) {
            *by_type.entry(name.clone()).or_insert(0) += 1;
        }
        by_type
    }

    fn price_per_hour(&self) -> f64 {
        let claims: f64 = self.claims.values().flatten().sum();
        let others: f64 = self
            .nodes
            .values()
            .filter(|node| !node.claimed)
            .map(|node| node.price)
            .sum();
        round(claims + others, 1e5)
    }

    fn fill(&self) -> f64 {
        let bought = || self.nodes.iter().filter(|(_, node)| node.bought_type.is_some());
        let capacity: f64 = bought().map(|(_, node)| node.cpu).sum();
        if capacity <= 0.0 {
            return 0.0;
        }
        let names: std::collections::BTreeSet<&str> = bought()
            .filter_map(|(key, _)| key.strip_prefix("Node "))
            .collect();
        let used: f64 = self
            .pods
            .values()
            .filter(|pod| names.contains(pod.node.as_str()))
            .map(|pod| pod.cpu)
            .sum();
        round(used / capacity, 1e3)
    }

    fn peaks(&mut self, moment: &Moment) {
        let record = &mut self.record;
        record.peak_pending_pods = record.peak_pending_pods.max(moment.pending);
        record.nodes.peak_bought = record.nodes.peak_bought.max(moment.bought.values().sum());
    }

    fn workload(&mut self, key: &str, object: &Value) {
        let Some(state) = self.workloads.get_mut(key) else {
            return;
        };
        let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
        let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
        let t = to_seconds(self.now);
        if state.replicas != Some(replicas) {
            let first = state.replicas.is_none();
            state.replicas = Some(replicas);
            let entry = match self
                .record
                .workloads
                .iter_mut()
                .find(|workload| workload.object == key)
            {
                Some(entry) => entry,
                None => {
                    self.record.workloads.push(Workload {
                        object: key.to_owned(),
                        ..Workload::default()
                    });
                    let last = self.record.workloads.len() - 1;
                    &mut self.record.workloads[last]
                }
            };
            if first {
                entry.replicas = Replicas {
                    initial: replicas,
                    peak: replicas,
                    last: replicas,
                };
            }
            entry.replicas.peak = entry.replicas.peak.max(replicas);
            entry.replicas.last = replicas;
            entry.steps.push((t, replicas));
        }
        state.ready = ready;
        let initial = self
            .record
            .workloads
            .iter()
            .find(|workload| workload.object == key)
            .map_or(0, |w| w.replicas.initial);
        if self.order.first().is_some_and(|first| first == key)
            && ready > initial
            && self.record.first_pod_seconds.is_none()
        {
            self.record.first_pod_seconds = Some(t);
        }
    }

    fn pod(&mut self, key: String, object: &Value) {
        let scheduled = condition(object, "PodScheduled");
        let pending = object["status"]["phase"] == "Pending"
            && object["spec"]["nodeName"].is_null()
            && scheduled.is_some_and(|condition| condition["status"] == "False");
        let cpu = object["spec"]["containers"].as_array().map_or(0.0, |containers| {
            containers
                .iter()
                .map(|container| quantity(&container["resources"]["requests"]["cpu"]))
                .sum()
        });
        let node = object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let before = self.pods.insert(key, PodState { node, cpu, pending });
        if before.is_some_and(|pod| pod.pending) {
            self.pending -= 1;
        }
        if pending {
            self.pending += 1;
        }
    }

    fn node(&mut self, key: String, object: &Value) {
        let labels = &object["metadata"]["labels"];
        let text = |name: &str| labels[name].as_str().unwrap_or_default();
        let bought = labels["karpenter.sh/nodepool"].is_string();
        let instance_type = text("node.kubernetes.io/instance-type");
        let capacity_type = match text("karpenter.sh/capacity-type") {
            "" => "on-demand",
            other => other,
        };
        let price =
            (self.prices)(instance_type, text("topology.kubernetes.io/zone"), capacity_type).unwrap_or(0.0);
        let ready = condition(object, "Ready").is_some_and(|condition| condition["status"] == "True");
        if bought && ready && self.record.first_node_seconds.is_none() {
            self.record.first_node_seconds = Some(to_seconds(self.now));
        }
        // A machine that boots has no pool's label yet; its claim already pays for it.
        let claimed = bought
            || object["spec"]["taints"].as_array().is_some_and(|taints| {
                taints
                    .iter()
                    .any(|taint| taint["key"] == "karpenter.sh/unregistered")
            });
        let node = NodeState {
            bought_type: bought.then(|| instance_type.to_owned()),
            claimed,
            price,
            cpu: quantity(&object["status"]["allocatable"]["cpu"]),
        };
        self.nodes.insert(key, node);
    }

    fn claim(&mut self, key: &str, object: &Value) {
        let labels = &object["metadata"]["labels"];
        let text = |name: &str| labels[name].as_str().unwrap_or_default();
        let launched = object["status"]["providerID"]
            .as_str()
            .is_some_and(|id| !id.is_empty());
        let price = launched
            .then(|| {
                (self.prices)(
                    text("node.kubernetes.io/instance-type"),
                    text("topology.kubernetes.io/zone"),
                    text("karpenter.sh/capacity-type"),
                )
            })
            .flatten();
        self.claims.insert(key.to_owned(), price);
    }

    fn event(&mut self, object: &Value) {
        let about = &object["involvedObject"];
        let entry = EventEntry {
            t: self.now,
            count: 1,
            last: self.now,
            event_type: object["type"].as_str().unwrap_or_default().to_owned(),
            reason: object["reason"].as_str().unwrap_or_default().to_owned(),
            object: label_of(about["kind"].as_str().unwrap_or_default(), about),
            message: object["message"].as_str().unwrap_or_default().to_owned(),
            component: component(object).to_owned(),
        };
        // Who says the same of the same object again, and nothing else in between, is counted.
        let said = (entry.component.clone(), entry.object.clone());
        let before = self
            .said
            .get(&said)
            .and_then(|index| self.record.events.get_mut(*index));
        if let Some(before) = before.filter(|before| before.says_as(&entry)) {
            before.count += 1;
            before.last = self.now;
            return;
        }
        self.said.insert(said, self.record.events.len());
        self.record.events.push(entry);
    }

    fn keep(&mut self, key: String, object: &Value) {
        let seen = (object["spec"].clone(), object["status"]["conditions"].clone());
        if self.scaled.get(&key) == Some(&seen) {
            return;
        }
        self.scaled.insert(key, seen);
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        self.record.objects.push(ObjectEntry { t: self.now, object });
    }
}

/// The area under the price, in the currency.
fn cost(timeline: &[Moment], end: f64) -> f64 {
    let ends = timeline.iter().skip(1).map(|moment| moment.t).chain([end]);
    let total: f64 = timeline
        .iter()
        .zip(ends)
        .map(|(moment, until)| moment.price_per_hour * (until - moment.t) / 3600.0)
        .sum();
    round(total, 1e4)
}

/// The sum of no numbers is -0; nobody wants to read that.
fn round(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale + 0.0
}

fn quantity(value: &Value) -> f64 {
    value
        .as_str()
        .and_then(|text| text.parse::<Quantity>().ok())
        .map_or(0.0, |quantity| quantity.as_f64())
}

/// Who published an event, by either of the two APIs.
fn component(event: &Value) -> &str {
    [&event["source"]["component"], &event["reportingComponent"]]
        .into_iter()
        .filter_map(Value::as_str)
        .find(|component| !component.is_empty())
        .unwrap_or_default()
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// `Kind namespace/name`.
#[must_use]
fn label(object: &Value) -> String {
    label_of(kind(object), &object["metadata"])
}

fn label_of(kind: &str, metadata: &Value) -> String {
    let name = metadata["name"].as_str().unwrap_or_default();
    match metadata["namespace"].as_str() {
        Some(namespace) if !namespace.is_empty() => format!("{kind} {namespace}/{name}"),
        _ => format!("{kind} {name}"),
    }
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::Nodes;

    fn observer() -> Observer {
        let prices: PriceList = Arc::new(|name, _, _| (name == "m5.xlarge").then_some(0.24));
        Observer::new(
            "x",
            1,
            "2026-01-01T00:00:00Z",
            vec!["Deployment a/web".to_owned()],
            prices,
        )
    }

    fn deployment(replicas: i64, ready: i64) -> Value {
        json!({"kind": "Deployment", "metadata": {"namespace": "a", "name": "web"},
               "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}})
    }

    #[test]
    fn replicas_go_into_the_timeline_and_the_workload() {
        let mut observer = observer();
        for (t, replicas, ready) in [(0, 1, 0), (1000, 1, 1), (2000, 5, 1), (3000, 5, 4), (9000, 2, 2)] {
            observer.applied(t, &deployment(replicas, ready));
            observer.settle();
        }
        let record = observer.finish(10_000, 0.1, Messages::default());
        assert_eq!(
            record.replicas,
            Replicas {
                initial: 1,
                peak: 5,
                last: 2
            }
        );
        assert_eq!(record.workloads[0].steps, [(0.0, 1), (2.0, 5), (9.0, 2)]);
        assert_eq!(record.first_pod_seconds, Some(3.0));
        assert_eq!(record.timeline.len(), 5);
    }

    #[test]
    fn a_bought_node_costs_from_its_claims_launch_to_its_claims_end() {
        let labels = json!({"karpenter.sh/nodepool": "default", "node.kubernetes.io/instance-type": "m5.xlarge",
                            "karpenter.sh/capacity-type": "on-demand", "topology.kubernetes.io/zone": "z"});
        let claim = json!({"kind": "NodeClaim", "metadata": {"name": "c", "labels": labels}, "status": {"providerID": "x"}});
        let node = json!({"kind": "Node", "metadata": {"name": "n", "labels": labels},
                          "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let mut observer = observer();
        observer.settle();
        observer.applied(0, &claim);
        observer.settle();
        observer.applied(1_800_000, &node);
        observer.settle();
        observer.deleted(3_600_000, &node);
        observer.deleted(3_600_000, &claim);
        observer.settle();
        let record = observer.finish(7_200_000, 0.1, Messages::default());
        assert_eq!(record.cost.total, 0.24);
        assert_eq!(
            record.nodes,
            Nodes {
                initial: 0,
                peak_bought: 1,
                final_bought: 0
            }
        );
        assert_eq!(record.first_node_seconds, Some(1800.0));
    }

    #[test]
    fn objects_are_kept_only_when_spec_or_conditions_changed() {
        let object = |replicas: i64, count: i64| {
            json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "h", "namespace": "a"},
                   "spec": {"maxReplicas": replicas}, "status": {"currentReplicas": count, "conditions": []}})
        };
        let mut observer = observer();
        observer.applied(0, &object(3, 0));
        observer.applied(1, &object(3, 1));
        observer.applied(2, &object(4, 1));
        assert_eq!(observer.record().objects.len(), 2);
    }

    #[test]
    fn an_event_that_is_said_again_is_counted_until_something_else_is_said() {
        let event = |component: &str, reason: &str, message: &str| {
            json!({"kind": "Event", "metadata": {"name": "e", "namespace": "a"}, "type": "Warning", "reason": reason,
                   "message": message, "source": {"component": component},
                   "involvedObject": {"kind": "Pod", "namespace": "a", "name": "p"}})
        };
        let mut observer = observer();
        for (t, component, reason) in [
            (0, "default-scheduler", "FailedScheduling"),
            (1000, "karpenter", "FailedScheduling"),
            (2000, "default-scheduler", "FailedScheduling"),
            (3000, "karpenter", "Nominated"),
            (4000, "karpenter", "FailedScheduling"),
            (5000, "default-scheduler", "FailedScheduling"),
        ] {
            observer.applied(t, &event(component, reason, "no room"));
        }
        let said: Vec<_> = observer
            .record()
            .events
            .iter()
            .map(|event| (event.component.as_str(), event.t, event.count, event.last))
            .collect();
        assert_eq!(
            said,
            [
                ("default-scheduler", 0, 3, 5000),
                ("karpenter", 1000, 1, 1000),
                ("karpenter", 3000, 1, 3000),
                ("karpenter", 4000, 1, 4000),
            ]
        );
    }

    #[test]
    fn a_cluster_without_nodes_costs_nothing() {
        let mut observer = observer();
        observer.settle();
        let record = observer.finish(1000, 0.1, Messages::default());
        assert!(record.timeline[0].price_per_hour.is_sign_positive());
        assert!(record.cost.total.is_sign_positive());
    }

    #[test]
    fn only_pods_that_found_no_node_are_pending() {
        let pod = |node: Value, status: &str| {
            json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": node},
                   "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": status}]}})
        };
        let mut observer = observer();
        observer.applied(0, &pod(Value::Null, "False"));
        observer.settle();
        assert_eq!(observer.latest().pending, 1);
        observer.applied(1, &pod(json!("n"), "True"));
        observer.settle();
        assert_eq!(
            (observer.latest().pending, observer.record().peak_pending_pods),
            (0, 1)
        );
    }
}
