mod nodes;
mod scheduling;
mod workloads;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use provisioner::{Machine, Machines, ProviderId, ResourceList};
use scaler_api::TokioClock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::sim::controllers::pods;

/// A cluster that runs for one test.
struct World {
    cluster: Cluster,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let cluster = Cluster::new(change(Options::new(clock, 7)));
        let task = tokio::spawn(cluster.run());
        Self { cluster, task }
    }

    fn apply(&self, object: Value) {
        self.cluster
            .load(vec![object])
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.source));
    }

    async fn settle(&self) {
        self.cluster
            .settle(Duration::from_secs(60), Duration::from_secs(3600))
            .await
            .unwrap();
    }

    async fn wait_for(&self, condition: impl FnMut(&ApiServer) -> bool) {
        self.cluster
            .wait_for(Duration::from_secs(600), condition)
            .await
            .unwrap();
    }

    fn pods(&self) -> Vec<Pod> {
        list(&self.cluster.api, "", "pods")
    }

    fn pods_in(&self, phase: &str) -> Vec<Pod> {
        let mut pods = self.pods();
        pods.retain(|pod| pods::phase(pod) == phase);
        pods
    }

    /// Of all events: component, type, reason, object and message, in the order of their creation.
    fn events(&self) -> Vec<(String, String, String, String)> {
        let events: Vec<Event> = list(&self.cluster.api, "", "events");
        events
            .into_iter()
            .map(|event| {
                (
                    event
                        .source
                        .and_then(|source| source.component)
                        .unwrap_or_default(),
                    event.reason.unwrap_or_default(),
                    event.involved_object.name.unwrap_or_default(),
                    event.message.unwrap_or_default(),
                )
            })
            .collect()
    }

    fn messages(&self, reason: &str) -> Vec<String> {
        self.events()
            .into_iter()
            .filter(|event| event.1 == reason)
            .map(|event| event.3)
            .collect()
    }

    async fn scale(&self, deployment: &str, replicas: i32) {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.cluster.client("default"), "default");
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch_scale(deployment, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.cluster.client("default"), "default");
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
}

fn list<K: DeserializeOwned>(api: &ApiServer, group: &str, plural: &str) -> Vec<K> {
    api.objects(group, plural, None)
        .iter()
        .map(|object| serde_json::from_value((**object).clone()).unwrap())
        .collect()
}

fn object<K: DeserializeOwned>(api: &ApiServer, group: &str, plural: &str, name: &str) -> K {
    let objects = api.objects(group, plural, None);
    let object = objects.iter().find(|object| object["metadata"]["name"] == name);
    serde_json::from_value((**object.unwrap_or_else(|| panic!("no {plural} {name}"))).clone()).unwrap()
}

fn node(name: &str, cpu: &str) -> Value {
    let size = json!({"cpu": cpu, "memory": "16Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": size, "allocatable": size},
    })
}

fn deployment(name: &str, replicas: i32, cpu: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "app:1", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]},
            },
        },
    })
}

/// Machines that a test switches on and off.
#[derive(Debug, Default)]
struct Fleet {
    machines: Mutex<BTreeMap<String, Machine>>,
    changed: Notify,
}

impl Fleet {
    fn start(&self, name: &str, cpu: &str) {
        let size = ResourceList::parse([("cpu", cpu), ("memory", "16Gi"), ("pods", "110")]).unwrap();
        let machine = Machine {
            id: ProviderId(format!("fake:///{name}")),
            node_name: name.to_owned(),
            labels: BTreeMap::from([("pool".to_owned(), "test".to_owned())]),
            taints: Vec::new(),
            capacity: size.clone(),
            allocatable: size,
        };
        self.machines.lock().unwrap().insert(name.to_owned(), machine);
        self.changed.notify_one();
    }

    fn stop(&self, name: &str) {
        self.machines.lock().unwrap().remove(name);
        self.changed.notify_one();
    }
}

#[async_trait]
impl Machines for Fleet {
    fn running(&self) -> Vec<Machine> {
        self.machines.lock().unwrap().values().cloned().collect()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_one_does_not() {
    async fn feed(seed: u64) -> Vec<String> {
        let fleet = Arc::new(Fleet::default());
        let machines: Arc<dyn Machines> = fleet.clone();
        let world = World::with(|options| Options {
            seed,
            machines: Some(machines),
            ..options
        });
        let mut changes = world.cluster.api().observe();
        for name in ["a", "b", "c"] {
            world.apply(node(name, "2"));
        }
        world.apply(nodes::agent());
        world.apply(workloads::job(
            "batch",
            &json!({"completions": 3, "parallelism": 2}),
        ));
        world.apply(deployment("web", 16, "500m"));
        world.settle().await;
        fleet.start("m1", "4");
        fleet.start("m2", "4");
        world.settle().await;
        world.scale("web", 3).await;
        fleet.stop("m2");
        world.settle().await;
        let mut feed = Vec::new();
        while let Ok(change) = changes.try_recv() {
            feed.push(format!(
                "{} {:?} {} {}",
                change.resource_version, change.verb, change.kind, change.object
            ));
        }
        feed
    }
    // A runtime each, as processes have.
    let feed = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(feed(seed))
    };
    let (first, again) = (feed(1), feed(1));
    assert!(first.len() > 50);
    if let Some((one, other)) = first.iter().zip(&again).find(|(one, other)| one != other) {
        panic!("{one}\n{other}");
    }
    assert_eq!(first.len(), again.len());
    assert!(first != feed(2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes() {
    let world = World::new();
    world.apply(node("a", "4"));
    world.apply(deployment("web", 2, "500m"));
    world.settle().await;
    let before = world.cluster.api().resource_version();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.cluster.api().resource_version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_refused_is_named() {
    let world = World::new();
    let mut broken = deployment("web", 1, "1");
    broken["spec"]["selector"] = json!({"matchLabels": {"app": "another"}});
    let error = world.cluster.load(vec![node("a", "4"), broken]).unwrap_err();
    assert_eq!(error.object, "Deployment default/web");
    assert!(
        error.to_string().contains("spec.template.metadata.labels"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pods_that_come_and_go_take_few_writes() {
    let world = World::new();
    for index in 0..30 {
        world.apply(node(&format!("n{index}"), "4"));
    }
    world.apply(deployment("web", 1, "500m"));
    for size in [10, 40, 100, 60, 20, 1] {
        world.scale("web", size).await;
        world.settle().await;
        assert_eq!(world.pods_in("Running").len(), usize::try_from(size).unwrap());
    }
    let writes = world.cluster.api().resource_version();
    assert!(writes < 20 * 100 + 10 * 30, "{writes}");
}

#[tokio::test(start_paused = true)]
async fn old_forms_are_loaded_as_what_they_are_today() {
    let world = World::new();
    let mut objects: Vec<Value> = scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds())
        .map(|definition| serde_json::to_value(definition).unwrap())
        .collect();
    objects.extend([
        json!({
            "apiVersion": "karpenter.sh/v1alpha5", "kind": "Provisioner", "metadata": {"name": "default"},
            "spec": {"providerRef": {"name": "default"}, "kubeletConfiguration": {"maxPods": 20}},
        }),
        json!({
            "apiVersion": "karpenter.k8s.aws/v1alpha1", "kind": "AWSNodeTemplate", "metadata": {"name": "default"},
            "spec": {
                "subnetSelector": {"name": "a"}, "securityGroupSelector": {"name": "a"}, "instanceProfile": "node",
            },
        }),
    ]);
    world.cluster.load(objects).unwrap();
    let spec =
        |group: &str, plural: &str| world.cluster.api().objects(group, plural, None)[0]["spec"].clone();
    let reference = &spec("karpenter.sh", "nodepools")["template"]["spec"]["nodeClassRef"];
    assert_eq!(reference["kind"], "EC2NodeClass");
    let kubelet = &spec("karpenter.k8s.aws", "ec2nodeclasses")["kubelet"];
    assert_eq!(
        kubelet["maxPods"], 20,
        "what is given together is converted together"
    );
}
