//! The scheduler of the embedded cluster.
//!
//! It keeps a snapshot of nodes and their pods by what the watches say, takes one pod after the other from its queue,
//! filters and scores the nodes as the default profile of kube-scheduler does, and binds, or makes pods of lesser priority
//! go. Volumes are taken to be available everywhere.

mod decide;
pub(crate) mod filter;
mod inter_pod;
pub(crate) mod node_affinity;
mod preempt;
mod queue;
mod score;
mod snapshot;
mod spread;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::{
    api::core::v1::{Binding, Namespace, Node, ObjectReference, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;

use self::{
    preempt::Budget,
    queue::{Hint, Queue},
    snapshot::{PodInfo, Snapshot},
};
use crate::{
    events::EventType,
    runtime::Runtime,
    sim::controllers::{
        Informers, Stores,
        meta::{controller_of, selects, time},
        pods,
    },
    store::{Change, ObjectKey},
};

const NAME: &str = "default-scheduler";

#[derive(Debug)]
enum Seen {
    Pod(Change<Pod>),
    Node(Change<Node>),
    Namespace(Change<Namespace>),
}

/// The scheduler as a task. `seed` breaks ties between equally good nodes.
pub(crate) fn scheduler(cx: &Runtime, informers: &mut Informers, seed: u64) -> BoxFuture<'static, ()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pods = sender.clone();
    informers
        .pods
        .subscribe(move |change| drop(pods.send(Seen::Pod(change.clone()))));
    let nodes = sender.clone();
    informers
        .nodes
        .subscribe(move |change| drop(nodes.send(Seen::Node(change.clone()))));
    informers
        .namespaces
        .subscribe(move |change| drop(sender.send(Seen::Namespace(change.clone()))));
    let scheduler = Scheduler {
        cx: cx.named(NAME),
        stores: informers.stores(),
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        start: 0,
        seed,
    };
    Box::pin(scheduler.run(receiver))
}

struct Scheduler {
    cx: Runtime,
    stores: Stores,
    snapshot: Snapshot,
    queue: Queue,
    start: usize,
    seed: u64,
}

impl Scheduler {
    async fn run(mut self, mut seen: mpsc::UnboundedReceiver<Seen>) {
        self.stores.synced().await;
        loop {
            while let Ok(change) = seen.try_recv() {
                self.see(change);
            }
            if let Some(pod) = self.queue.pop() {
                self.schedule(&pod).await;
                continue;
            }
            let due = self.queue.next_due();
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                change = seen.recv() => match change {
                    Some(change) => self.see(change),
                    None => return,
                },
                () = timer => {}
            }
        }
    }

    fn see(&mut self, change: Seen) {
        match change {
            Seen::Pod(change) => self.see_pod(&change),
            Seen::Node(Change::Deleted(node)) => self.snapshot.remove_node(&node.name_any()),
            Seen::Node(Change::Applied { object, previous }) => {
                let matters = previous.is_none_or(|before| matters(&before, &object));
                self.snapshot.set_node(object);
                if matters {
                    self.queue.hint(Hint::Node);
                }
            }
            Seen::Namespace(Change::Deleted(namespace)) => {
                self.snapshot.namespaces.remove(&namespace.name_any());
            }
            Seen::Namespace(Change::Applied { object, .. }) => {
                self.snapshot
                    .namespaces
                    .insert(object.name_any(), object.labels().clone());
            }
        }
    }

    fn see_pod(&mut self, change: &Change<Pod>) {
        let pod = change.object();
        let (key, uid) = (ObjectKey::of(&**pod), pod.uid().unwrap_or_default());
        let gone = matches!(change, Change::Deleted(_)) || pods::is_finished(pod);
        if gone {
            self.queue.remove(&key);
            self.snapshot.forget_nomination(&uid);
            if self.snapshot.remove(&uid) {
                self.queue.hint(Hint::PodGone);
            }
            return;
        }
        if let Some(node) = pods::node_name(pod) {
            self.queue.remove(&key);
            self.snapshot.forget_nomination(&uid);
            let known = self.snapshot.placed(&uid);
            let same = known.is_some_and(|known| {
                known.pod.metadata.labels == pod.metadata.labels
                    && pods::is_terminating(&known.pod) == pods::is_terminating(pod)
            });
            self.snapshot.place(Arc::new(PodInfo::new(Arc::clone(pod))), node);
            if !same {
                self.queue.hint(Hint::PodPlaced);
            }
            return;
        }
        let spec = pod.spec.as_ref();
        let ours = spec.is_none_or(|spec| spec.scheduler_name.as_deref().is_none_or(|name| name == NAME));
        let gated = spec.is_some_and(|spec| {
            spec.scheduling_gates
                .as_ref()
                .is_some_and(|gates| !gates.is_empty())
        });
        // A pod that was just bound may still be seen without its node.
        let bound = self.snapshot.placed(&uid).is_some();
        if ours && !gated && !bound && !pods::is_terminating(pod) {
            let info = Arc::new(PodInfo::new(Arc::clone(pod)));
            let nominated = pod.status.as_ref();
            let nominated = nominated.and_then(|status| status.nominated_node_name.as_deref());
            self.snapshot.nominate(&info, nominated);
            self.queue.add(info);
        } else {
            self.queue.remove(&key);
        }
    }

    async fn schedule(&mut self, pod: &Arc<PodInfo>) {
        let workload = self.workload(&pod.pod);
        let budgets = self.stores.budgets.list();
        let budgets: Vec<Budget> = budgets.iter().map(|budget| Budget::from(&**budget)).collect();
        match decide::place(pod, &workload, &self.snapshot, &budgets, self.start, self.seed) {
            Ok((node, start)) => {
                self.start = start;
                self.snapshot.place(Arc::clone(pod), &node);
                match self.bind(pod, &node).await {
                    Ok(()) => {
                        self.queue.remove(&pod.key);
                        self.snapshot.forget_nomination(&pod.uid);
                        let message = format!("Successfully assigned {} to {node}", pod.key);
                        self.tell(pod, EventType::Normal, "Scheduled", "Binding", message);
                    }
                    Err(error) => {
                        self.snapshot.remove(&pod.uid);
                        self.queue.failed(&pod.key);
                        let gone = matches!(&error, kube::Error::Api(status) if status.is_not_found());
                        if !gone {
                            let message = format!("binding rejected: {error}");
                            self.report(pod, "SchedulerError", &message).await;
                        }
                    }
                }
            }
            Err(refused) => {
                self.queue.unschedulable(&pod.key, refused.plugins);
                if let Some(preemption) = &refused.preemption {
                    self.snapshot.nominate(pod, Some(&preemption.node));
                    for victim in &preemption.victims {
                        self.preempt(pod, victim, &preemption.node).await;
                    }
                } else if !refused.keeps_nomination {
                    self.snapshot.nominate(pod, None);
                }
                self.report(pod, "Unschedulable", &refused.message).await;
            }
        }
    }

    /// Makes a pod go for another.
    async fn preempt(&self, pod: &PodInfo, victim: &PodInfo, node: &str) {
        if pods::is_terminating(&victim.pod) {
            return;
        }
        let condition = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some(preempt::REASON.to_owned()),
            message: Some(format!("{NAME}: preempting to accommodate a higher priority pod")),
            last_transition_time: Some(time(self.cx.clock.now())),
            observed_generation: victim.pod.metadata.generation,
            last_probe_time: None,
        };
        let conditions = with_condition(&victim.pod, condition);
        let patch =
            serde_json::json!({"metadata": {"uid": victim.uid}, "status": {"conditions": conditions}});
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &victim.key.namespace);
        let name = &victim.key.name;
        let written = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        let deleted = match written {
            Ok(_) => api.delete(name, &DeleteParams::default()).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::debug!(pod = %victim.key, %error, "pod was not preempted");
            return;
        }
        let message = format!("Preempted by pod {} on node {node}", pod.uid);
        self.tell(victim, EventType::Normal, "Preempted", "Preempting", message);
    }

    async fn bind(&self, pod: &PodInfo, node: &str) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &pod.key.namespace);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.key.name.clone()),
                namespace: Some(pod.key.namespace.clone()),
                uid: pod.pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let _status: serde_json::Value = api
            .create_subresource("binding", &pod.key.name, &PostParams::default(), &binding)
            .await?;
        Ok(())
    }

    fn tell(
        &self,
        pod: &PodInfo,
        event_type: EventType,
        reason: &str,
        action: &'static str,
        message: impl Into<String>,
    ) {
        self.cx
            .recorder
            .publish_action(&*pod.pod, event_type, reason, action, message);
    }

    /// Says why the pod has no node, in an event and in its condition.
    async fn report(&self, pod: &PodInfo, reason: &str, message: &str) {
        self.tell(pod, EventType::Warning, "FailedScheduling", "Scheduling", message);
        const TYPE: &str = "PodScheduled";
        let status = pod.pod.status.as_ref();
        let before = status.and_then(|status| status.nominated_node_name.as_deref());
        let nominated = self.snapshot.nominated_node(&pod.uid);
        let known = pods::condition(&pod.pod, TYPE);
        if before == nominated
            && known.is_some_and(|known| {
                known.status == "False"
                    && known.reason.as_deref() == Some(reason)
                    && known.message.as_deref() == Some(message)
            })
        {
            return;
        }
        let since = known
            .filter(|known| known.status == "False")
            .and_then(|known| known.last_transition_time.clone());
        let condition = PodCondition {
            type_: TYPE.to_owned(),
            status: "False".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since.unwrap_or_else(|| time(self.cx.clock.now()))),
            observed_generation: pod.pod.metadata.generation,
            last_probe_time: None,
        };
        let conditions = with_condition(&pod.pod, condition);
        let mut status = serde_json::json!({"conditions": conditions});
        if before != nominated {
            status["nominatedNodeName"] = nominated.into();
        }
        let patch = serde_json::json!({"metadata": {"uid": pod.uid}, "status": status});
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &pod.key.namespace);
        if let Err(error) = api
            .patch_status(&pod.key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            tracing::debug!(pod = %pod.key, %error, "condition was not written");
        }
    }

    /// What selects the pods of the same service or workload.
    fn workload(&self, pod: &Pod) -> Vec<LabelSelector> {
        let namespace = pod.namespace().unwrap_or_default();
        let services = self.stores.services.list_namespace(&namespace);
        let by_service = services
            .iter()
            .filter_map(|service| service.spec.as_ref()?.selector.clone());
        let mut selectors: Vec<LabelSelector> = by_service
            .filter(|labels| !labels.is_empty())
            .map(|labels| LabelSelector {
                match_labels: Some(labels),
                match_expressions: None,
            })
            .filter(|selector| selects(selector, pod.metadata.labels.as_ref()))
            .collect();
        if let Some(owner) = controller_of(&pod.metadata) {
            let key = ObjectKey::new(namespace, owner.name.clone());
            selectors.extend(match owner.kind.as_str() {
                "ReplicaSet" => self
                    .stores
                    .replica_sets
                    .get(&key)
                    .and_then(|set| Some(set.spec.as_ref()?.selector.clone())),
                "StatefulSet" => self
                    .stores
                    .stateful_sets
                    .get(&key)
                    .and_then(|set| Some(set.spec.as_ref()?.selector.clone())),
                _ => None,
            });
        }
        selectors
    }
}

/// A pod's conditions with this one in the place of that of its type.
fn with_condition(pod: &Pod, condition: PodCondition) -> Vec<PodCondition> {
    let mut conditions = pod
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    conditions.retain(|known| known.type_ != condition.type_);
    conditions.push(condition);
    conditions
}

/// Whether a change of a node can matter to a pod that waits.
fn matters(before: &Node, after: &Node) -> bool {
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let spec = |node: &Node| {
        node.spec.as_ref().map(|spec| {
            (
                spec.taints.clone().unwrap_or_default(),
                spec.unschedulable.unwrap_or_default(),
            )
        })
    };
    before.metadata.labels != after.metadata.labels
        || allocatable(before) != allocatable(after)
        || spec(before) != spec(after)
}
