//! The Karpenter half on a real control plane, with nodes that kwok keeps alive.
#![allow(clippy::panic, reason = "this is a test")]

use std::{collections::BTreeSet, fmt::Debug, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use controller_runtime::{
    envtest::shared_or_skip,
    node_autoscaler::{Config, NodeAutoscaler},
    runtime::Runtime,
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event, Node, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use provisioner::{
    Catalog, ClassStatus, DriftReason, Error, Instance, LaunchRequest, ProviderId, Provisioner, Termination,
    karpenter::{KwokNodeClass, NodeClaim, NodePool, condition::is_true, crds, labels},
    kwok::{self, KwokCatalog, KwokOptions, KwokProvisioner},
};
use scaler_api::SystemClock;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// One at a time: they share a control plane.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
const PATIENCE: Duration = Duration::from_secs(120);

/// A deployment, a pool and a class on a real control plane.
struct World {
    client: Client,
    autoscaler: Option<JoinHandle<()>>,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.crash();
    }
}

impl World {
    async fn new() -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let client = shared_or_skip().await?.client("default");
        let world = Self {
            client,
            autoscaler: None,
            _turn: turn,
        };
        let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
        for definition in crds() {
            world.apply(definitions.clone(), json!(definition)).await;
        }
        let kinds = crds().len();
        eventually("the definitions are served", || async {
            let all = definitions.list(&ListParams::default()).await.ok()?;
            let established = all.items.iter().filter(|definition| {
                let conditions = definition
                    .status
                    .as_ref()
                    .and_then(|status| status.conditions.as_ref());
                conditions.is_some_and(|all| {
                    all.iter()
                        .any(|one| one.type_ == "Established" && one.status == "True")
                })
            });
            (established.count() >= kinds).then_some(())
        })
        .await;
        world
            .apply(Api::<KwokNodeClass>::all(world.client.clone()), class())
            .await;
        world
            .apply(Api::<NodePool>::all(world.client.clone()), pool())
            .await;
        Some(world)
    }

    async fn apply<K>(&self, api: Api<K>, object: Value)
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let params = PatchParams::apply("test").force();
        eventually(&format!("{name} is applied"), || async {
            let applied = api.patch(&name, &params, &Patch::Apply(&object)).await;
            applied.map_err(|error| println!("{name}: {error}")).ok()
        })
        .await;
    }

    fn provisioner(&self) -> KwokProvisioner {
        let catalog = KwokCatalog::builtin();
        KwokProvisioner::new(
            self.client.clone(),
            catalog,
            Arc::new(SystemClock),
            KwokOptions::default(),
        )
    }

    fn start<P: Provisioner>(&mut self, provisioner: P) {
        let (runtime, events) = Runtime::new(self.client.clone(), Arc::new(SystemClock), "test");
        let config = Config {
            disruption_poll: Duration::from_secs(1),
            validation_delay: Duration::from_secs(1),
            drain_at_least: Duration::from_secs(1),
            termination_recheck: Duration::from_secs(1),
            garbage_collection_age: Duration::from_secs(5),
            ..Config::default()
        };
        let autoscaler = NodeAutoscaler::new(runtime, Arc::new(provisioner), config);
        self.autoscaler = Some(tokio::spawn(async move {
            tokio::join!(events, autoscaler.run());
        }));
    }

    /// Drops the autoscaler wherever it is.
    fn crash(&mut self) {
        if let Some(autoscaler) = self.autoscaler.take() {
            autoscaler.abort();
        }
    }

    async fn deploy(&self, replicas: u32) {
        self.apply(
            Api::<Deployment>::default_namespaced(self.client.clone()),
            deployment(replicas),
        )
        .await;
    }

    async fn all<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        api.list(&ListParams::default()).await.expect("a list").items
    }

    /// Whether that many pods run, each on a node of its own that a claim of its own has.
    async fn is_settled(&self, pods: usize) -> Option<()> {
        let (running, nodes, claims) = (
            self.all::<Pod>().await,
            self.all::<Node>().await,
            self.all::<NodeClaim>().await,
        );
        let runs = |pod: &Pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase.as_deref() == Some("Running"))
        };
        let mut bought = BTreeSet::new();
        for node in &nodes {
            bought.insert(node.annotations().get(kwok::TOKEN).cloned()?);
        }
        let mut known = BTreeSet::new();
        for claim in &claims {
            if claim.metadata.deletion_timestamp.is_some() || !is_true(claim.conditions(), "Ready") {
                return None;
            }
            known.insert(claim.uid()?);
        }
        let settled = running.len() == pods
            && running.iter().all(runs)
            && nodes.len() == pods
            && claims.len() == pods
            && bought == known;
        settled.then_some(())
    }

    async fn until_settled(&self, what: &str, pods: usize) {
        let waited = within(PATIENCE, || self.is_settled(pods)).await;
        if waited.is_none() {
            self.explain(what).await;
        }
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self).await {
            if started.elapsed() > PATIENCE {
                self.explain(what).await;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn explain(&self, what: &str) -> ! {
        for node in self.all::<Node>().await {
            println!("{}", json!({"node": node.metadata, "spec": node.spec}));
        }
        for claim in self.all::<NodeClaim>().await {
            println!("{}", json!({"claim": claim.metadata, "status": claim.status}));
        }
        for pod in self.all::<Pod>().await {
            println!("{}", json!({"pod": pod.name_any(), "status": pod.status}));
        }
        for event in self.all::<Event>().await {
            println!(
                "{:?} {:?} {:?}",
                event.involved_object.name, event.reason, event.message
            );
        }
        panic!("{what}: not within {PATIENCE:?}");
    }

    /// Scales to none, waits until nothing is left, and ends the autoscaler.
    async fn scale_to_zero(&mut self) {
        self.deploy(0).await;
        self.until("every node and claim is gone", async |world| {
            world.all::<Node>().await.is_empty() && world.all::<NodeClaim>().await.is_empty()
        })
        .await;
        self.until("every pod is gone", async |world| {
            world.all::<Pod>().await.is_empty()
        })
        .await;
        self.crash();
    }
}

async fn within<T, F: Future<Output = Option<T>>>(patience: Duration, ask: impl Fn() -> F) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if started.elapsed() > patience {
            return None;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let answer = within(Duration::from_secs(60), ask).await;
    answer.unwrap_or_else(|| panic!("{what}: not within a minute"))
}

fn class() -> Value {
    json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"}})
}

/// Machines with two CPUs, which take one pod each.
fn pool() -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
        "spec": {
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1s", "budgets": [{"nodes": "100%"}]},
            "template": {
                "metadata": {"labels": {"team": "blue"}},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                    "requirements": [
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                        {"key": "karpenter.kwok.sh/instance-cpu", "operator": "In", "values": ["2"]},
                    ],
                },
            },
        },
    })
}

fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "work"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "work"}},
            "template": {
                "metadata": {"labels": {"app": "work"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {"name": "main", "image": "work", "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}},
                    ],
                },
            },
        },
    })
}

#[tokio::test]
async fn pods_get_nodes_and_nodes_go_with_them() {
    let Some(mut world) = World::new().await else {
        return;
    };
    world.start(world.provisioner());
    world.deploy(3).await;
    world.until_settled("three pods run", 3).await;
    for node in world.all::<Node>().await {
        let label = |key: &str| node.labels().get(key).map(String::as_str);
        assert_eq!(label("team"), Some("blue"));
        assert_eq!(label(labels::INITIALIZED), Some("true"));
        assert_eq!(label(labels::INSTANCE_TYPE), Some("c-2x-amd64-linux"));
        assert_eq!(node.finalizers(), [labels::TERMINATION_FINALIZER]);
        let status = node.status.as_ref().expect("a status");
        let cpu = status.allocatable.as_ref().and_then(|all| all.get("cpu"));
        assert_eq!(cpu.map(|cpu| cpu.0.as_str()), Some("1900m"));
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
        assert_eq!(taints.unwrap_or_default(), [], "nothing keeps pods away");
    }
    world.scale_to_zero().await;
}

#[tokio::test]
async fn a_claim_or_node_deleted_by_hand_is_drained_and_replaced() {
    let Some(mut world) = World::new().await else {
        return;
    };
    world.start(world.provisioner());
    world.deploy(2).await;
    world.until_settled("two pods run", 2).await;

    let claims: Api<NodeClaim> = Api::all(world.client.clone());
    let claim = world.all::<NodeClaim>().await[0].clone();
    claims
        .delete(&claim.name_any(), &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("the claim is gone", async |world| {
            let claims = world.all::<NodeClaim>().await;
            claims.iter().all(|other| other.uid() != claim.uid())
        })
        .await;
    world.until_settled("its pod runs elsewhere", 2).await;

    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = world.all::<Node>().await[0].clone();
    nodes
        .delete(&node.name_any(), &DeleteParams::default())
        .await
        .expect("deleted");
    world
        .until("the node is gone", async |world| {
            let nodes = world.all::<Node>().await;
            nodes.iter().all(|other| other.uid() != node.uid())
        })
        .await;
    world.until_settled("its pod runs elsewhere, too", 2).await;
    world.scale_to_zero().await;
}

/// Buys, and never hears of it.
#[derive(Debug)]
struct Deaf(KwokProvisioner);

#[async_trait]
impl Provisioner for Deaf {
    type Class = KwokNodeClass;

    async fn resolve(&self, class: &KwokNodeClass) -> Result<ClassStatus, Error> {
        self.0.resolve(class).await
    }

    async fn catalog(&self, pool: &NodePool, class: &KwokNodeClass) -> Result<Arc<Catalog>, Error> {
        self.0.catalog(pool, class).await
    }

    async fn launch(&self, request: &LaunchRequest<'_, KwokNodeClass>) -> Result<Instance, Error> {
        self.0.launch(request).await?;
        std::future::pending().await
    }

    async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error> {
        self.0.terminate(id).await
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error> {
        self.0.get(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.0.list().await
    }

    async fn drift(&self, instance: &Instance, class: &KwokNodeClass) -> Result<Option<DriftReason>, Error> {
        self.0.drift(instance, class).await
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_launch_neither_leaks_nor_doubles() {
    let Some(mut world) = World::new().await else {
        return;
    };
    world.start(Deaf(world.provisioner()));
    world.deploy(3).await;
    world
        .until("three nodes were bought", async |world| {
            world.all::<Node>().await.len() == 3
        })
        .await;
    world.crash();
    let nodes: Vec<Option<String>> = world.all::<Node>().await.iter().map(Node::uid).collect();
    let claims = world.all::<NodeClaim>().await;
    assert!(
        claims.iter().all(|claim| claim.provider_id().is_none()),
        "none knows of its node: {claims:?}"
    );
    // One stays, one is deleted, one is gone altogether.
    let api: Api<NodeClaim> = Api::all(world.client.clone());
    for claim in &claims[1..] {
        api.delete(&claim.name_any(), &DeleteParams::default())
            .await
            .expect("deleted");
    }
    let free = json!({"metadata": {"finalizers": null}});
    api.patch(
        &claims[2].name_any(),
        &PatchParams::default(),
        &Patch::Merge(&free),
    )
    .await
    .expect("let go");

    world.start(world.provisioner());
    world.until_settled("three pods run on three nodes", 3).await;
    let kept = world.all::<Node>().await;
    let kept = kept.iter().filter(|node| nodes.contains(&node.uid())).count();
    assert_eq!(kept, 1, "only the machine of the claim that stayed is kept");
    world.scale_to_zero().await;
}
