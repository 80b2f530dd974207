//! The Karpenter half on the embedded cluster, in virtual time.

mod buying;
mod crashing;
mod going;
mod replicas;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use provisioner::{
    Instance, InstanceState, InterruptionKind, Machines, Provisioner as _,
    fake::{Fake, FakeSettings, ec2_types},
    karpenter::{Ec2NodeClass, NodeClaim, NodePool, crds, labels},
};
use scaler_api::{SharedClock, TokioClock};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    cluster::pod,
    decisions::Decision,
    lease::{Elector, ElectorOptions, Leadership},
    sim::{
        api::ApiServer,
        cluster::{self, Options},
    },
};

/// A cluster with a cloud and a node autoscaler, for one test.
struct World {
    cluster: cluster::Cluster,
    cloud: Arc<Fake<Ec2NodeClass>>,
    tasks: Vec<JoinHandle<()>>,
    autoscaler: Option<JoinHandle<()>>,
    replicas: BTreeMap<String, Replica>,
}

/// One of several node autoscalers that elect a leader.
struct Replica {
    leadership: Leadership,
    ready: Readiness,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks
            .drain(..)
            .chain(self.autoscaler.take())
            .chain(
                std::mem::take(&mut self.replicas)
                    .into_values()
                    .flat_map(|replica| replica.tasks),
            )
            .for_each(|task| task.abort());
    }
}

impl World {
    /// A class and a pool of m5.xlarge and m5.2xlarge on demand.
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    /// The same with another cloud.
    fn with(change: impl FnOnce(FakeSettings) -> FakeSettings) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let zones = ["ap-southeast-2a", "ap-southeast-2b"];
        let cloud = Arc::new(Fake::<Ec2NodeClass>::new(change(FakeSettings {
            instance_types: ec2_types::instance_types("ap-southeast-2", &zones),
            seed: 7,
            clock: Arc::clone(&clock),
            ..FakeSettings::new("ap-southeast-2")
        })));
        let machines: Arc<dyn Machines> = Arc::<Fake<Ec2NodeClass>>::clone(&cloud);
        let cluster = cluster::Cluster::new(Options {
            machines: Some(machines),
            ..Options::new(clock, 7)
        });
        let tasks = vec![tokio::spawn(cluster.run())];
        let mut world = Self {
            cluster,
            cloud,
            tasks,
            autoscaler: None,
            replicas: BTreeMap::new(),
        };
        for definition in crds() {
            world.apply(json!(definition));
        }
        world.apply(class());
        world.apply(pool("default", &json!({})));
        world.start();
        world
    }

    /// Starts a node autoscaler that knows nothing.
    fn start(&mut self) {
        let runtime = self.cluster.runtime().clone();
        let autoscaler = NodeAutoscaler::new(runtime, Arc::clone(&self.cloud), Config::default());
        self.autoscaler = Some(tokio::spawn(autoscaler.run()));
    }

    /// Drops the node autoscaler wherever it is.
    fn crash(&mut self) {
        self.autoscaler.take().unwrap().abort();
    }

    /// Starts a replica, whose work is that of the world's node autoscaler while it leads.
    fn start_replica(&mut self, name: &str) {
        let runtime = self.cluster.runtime();
        let options = ElectorOptions::new("default", "autoscaler-nodes", name);
        let elector = Elector::new(runtime.client.clone(), runtime.clock.clone(), options).unwrap();
        let leadership = elector.leadership();
        let runtime = runtime.clone().with_leadership(leadership.clone());
        let autoscaler = NodeAutoscaler::new(runtime, Arc::clone(&self.cloud), Config::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let elect = elector.run(async {
            let _gone = stopped.await;
        });
        let replica = Replica {
            leadership,
            ready: autoscaler.ready(),
            stop: Some(stop),
            tasks: vec![tokio::spawn(elect), tokio::spawn(autoscaler.run())],
        };
        self.replicas.insert(name.to_owned(), replica);
    }

    fn leader(&self) -> Option<String> {
        let mut leading = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.leadership.leads());
        let leader = leading.next().map(|(name, _)| name.clone());
        assert!(leading.next().is_none(), "two lead");
        leader
    }

    fn apply(&self, object: Value) {
        self.cluster
            .load(vec![object])
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.source));
    }

    async fn wait_for(&self, what: &str, condition: impl FnMut(&ApiServer) -> bool) {
        let held = self.cluster.wait_for(Duration::from_secs(1800), condition).await;
        assert!(
            held.is_ok(),
            "{what}: {:#?}\n{:#?}",
            self.decisions(),
            self.events()
        );
    }

    async fn settle(&self) {
        let settled = self
            .cluster
            .settle(Duration::from_secs(90), Duration::from_secs(3600))
            .await;
        assert!(
            settled.is_ok(),
            "it does not come to rest: {:#?}\n{:#?}",
            self.decisions(),
            self.events()
        );
    }

    fn list<K: DeserializeOwned>(&self, group: &str, plural: &str) -> Vec<K> {
        list(self.cluster.api(), group, plural)
    }

    fn claims(&self) -> Vec<NodeClaim> {
        self.list("karpenter.sh", "nodeclaims")
    }

    fn nodes(&self) -> Vec<Node> {
        self.list("", "nodes")
    }

    fn pods(&self) -> Vec<Pod> {
        self.list("", "pods")
    }

    fn bound(&self) -> usize {
        bound(self.cluster.api())
    }

    fn pool(&self, name: &str) -> NodePool {
        self.list::<NodePool>("karpenter.sh", "nodepools")
            .into_iter()
            .find(|pool| pool.name_any() == name)
            .unwrap()
    }

    async fn running(&self) -> Vec<Instance> {
        let mut instances = self.cloud.list().await.unwrap();
        instances
            .retain(|instance| matches!(instance.state, InstanceState::Pending | InstanceState::Running));
        instances
    }

    /// Reason, object and message of the node autoscaler's events.
    fn events(&self) -> Vec<(String, String, String)> {
        let mut events: Vec<Event> = self.list("", "events");
        events.retain(|event| event.reporting_component.as_deref() == Some("karpenter"));
        events.sort_by_key(|event| event.first_timestamp.as_ref().map(|time| time.0));
        let tuple = |event: Event| {
            let object = event.involved_object;
            let name = format!(
                "{}/{}",
                object.kind.unwrap_or_default(),
                object.name.unwrap_or_default()
            );
            (
                event.reason.unwrap_or_default(),
                name,
                event.message.unwrap_or_default(),
            )
        };
        events.into_iter().map(tuple).collect()
    }

    fn has_event(&self, reason: &str) -> bool {
        self.events().iter().any(|(found, _, _)| found == reason)
    }

    fn decisions(&self) -> Vec<Decision> {
        self.cluster.runtime().decisions.recent()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.cluster.client("default"))
    }

    async fn patch_pool(&self, name: &str, patch: Value) {
        self.api::<NodePool>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn scale(&self, deployment: &str, replicas: u32) {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.cluster.client("default"), "default");
        let patch = json!({"spec": {"replicas": replicas}});
        api.patch(deployment, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
}

fn list<K: DeserializeOwned>(api: &ApiServer, group: &str, plural: &str) -> Vec<K> {
    let objects = api.objects(group, plural, None).into_iter();
    objects
        .map(|object| serde_json::from_value((*object).clone()).unwrap())
        .collect()
}

fn bound(api: &ApiServer) -> usize {
    let pods: Vec<Pod> = list(api, "", "pods");
    pods.iter()
        .filter(|pod| pod::node_name(pod).is_some() && pod::is_active(pod))
        .count()
}

fn class() -> Value {
    json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "default"},
        "spec": {
            "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "role": "KarpenterNodeRole-demo",
            "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": "demo"}}],
            "securityGroupSelectorTerms": [{"tags": {"karpenter.sh/discovery": "demo"}}],
        },
    })
}

/// A pool; `spec` is laid over the usual one.
fn pool(name: &str, spec: &Value) -> Value {
    let mut pool = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
        "spec": {
            "template": {"spec": {
                "requirements": [
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge", "m5.2xlarge"]},
                ],
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
                "expireAfter": "720h",
            }},
            "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s"},
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        pool["spec"][key] = value.clone();
    }
    pool
}

fn deployment(name: &str, replicas: u32, cpu: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "main", "resources": {"requests": {"cpu": cpu}}}]},
            },
        },
    })
}

/// A node that nobody bought.
fn fixed(name: &str, cpu: &str) -> Value {
    let resources = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": resources, "allocatable": resources},
    })
}
