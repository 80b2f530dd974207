//! The kubelets of the embedded cluster.
//!
//! Every machine of the cloud that runs has one, and every Node that was there without a machine. A kubelet registers
//! its node, runs the pods that are bound to it, and says what becomes of them; containers run [programs](Program)
//! instead of images. Nothing is written while nothing changes: there are no heartbeats.

mod container;
mod node;
mod program;
mod status;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use provisioner::{Machine, Machines};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use tokio::sync::{mpsc, watch};

pub use self::program::{DefaultPrograms, EXIT_CODE, Exit, Program, Programs, RUN_SECONDS, Stop, StopSender};
use self::node::Health;
use super::controllers::{Informers, Stores, pods};
use crate::{runtime::Runtime, store::Change};

/// How kubelets behave.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The machines of the cloud, if there is one.
    pub(crate) machines: Option<Arc<dyn Machines>>,
    /// What containers run.
    pub(crate) programs: Arc<dyn Programs>,
    /// From a pod's binding to the start of its first container, without the jitter of up to a quarter.
    pub(crate) pod_start_delay: Duration,
    /// From a machine's start to its node being ready.
    pub(crate) node_ready_delay: Duration,
    /// From a machine's end to its node counting as lost.
    pub(crate) node_grace: Duration,
    /// For the jitter.
    pub(crate) seed: u64,
}

#[derive(Debug)]
enum Seen {
    Pod(Change<Pod>),
    Node(Change<Node>),
}

/// All kubelets as one task.
pub(crate) fn kubelets(cx: &Runtime, informers: &mut Informers, config: Config) -> BoxFuture<'static, ()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let nodes = sender.clone();
    informers.nodes.subscribe(move |change| drop(nodes.send(Seen::Node(change.clone()))));
    informers.pods.subscribe(move |change| {
        if pods::node_name(change.object()).is_some() {
            drop(sender.send(Seen::Pod(change.clone())));
        }
    });
    let kubelets = Kubelets {
        cx: cx.named("kubelet"),
        stores: informers.stores(),
        jitter: ChaCha8Rng::seed_from_u64(config.seed),
        config,
        kubelets: BTreeMap::new(),
        departed: BTreeSet::new(),
        tasks: FuturesUnordered::new(),
        addresses: 0,
        pod_addresses: 0,
    };
    Box::pin(kubelets.run(receiver))
}

/// One kubelet and what it runs.
struct Kubelet {
    ip: String,
    /// Whether it lives by a machine, and not by its Node.
    machine: bool,
    /// Dropping this ends what it does about its own node.
    registration: AbortHandle,
    pods: BTreeMap<String, Running>,
}

/// A pod that runs.
struct Running {
    pod: watch::Sender<Arc<Pod>>,
    worker: AbortHandle,
}

impl Kubelet {
    fn end(self) {
        self.registration.abort();
        for pod in self.pods.into_values() {
            pod.worker.abort();
        }
    }
}

struct Kubelets {
    cx: Runtime,
    stores: Stores,
    config: Config,
    jitter: ChaCha8Rng,
    /// By node.
    kubelets: BTreeMap<String, Kubelet>,
    /// Nodes whose machine is gone.
    departed: BTreeSet<String>,
    tasks: FuturesUnordered<Abortable<BoxFuture<'static, ()>>>,
    addresses: usize,
    pod_addresses: usize,
}

impl fmt::Debug for Kubelets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubelets").field("kubelets", &self.kubelets.len()).finish_non_exhaustive()
    }
}

impl Kubelets {
    async fn run(mut self, mut seen: mpsc::UnboundedReceiver<Seen>) {
        self.stores.synced().await;
        self.see_machines();
        let machines = self.config.machines.clone();
        let mut machines_changed = Box::pin(changed(machines.clone()));
        loop {
            tokio::select! {
                biased;
                change = seen.recv() => match change {
                    Some(Seen::Pod(change)) => self.see_pod(&change),
                    Some(Seen::Node(change)) => self.see_node(&change),
                    None => return,
                },
                () = &mut machines_changed => {
                    self.see_machines();
                    machines_changed = Box::pin(changed(machines.clone()));
                }
                Some(_ended) = self.tasks.next() => {}
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.tasks.push(Abortable::new(Box::pin(task), registration));
        handle
    }

    fn see_machines(&mut self) {
        let Some(machines) = &self.config.machines else { return };
        let mut running: BTreeMap<String, Machine> =
            machines.running().into_iter().map(|machine| (machine.node_name.clone(), machine)).collect();
        let gone: Vec<_> = self
            .kubelets
            .iter()
            .filter(|(name, kubelet)| kubelet.machine && !running.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(kubelet) = self.kubelets.remove(&name) {
                let task = node::lose(self.cx.clone(), name.clone(), kubelet.ip.clone(), self.config.node_grace);
                kubelet.end();
                self.spawn(task);
                self.departed.insert(name);
            }
        }
        running.retain(|name, _| !self.kubelets.contains_key(name));
        for (name, machine) in running {
            self.departed.remove(&name);
            let ip = self.address();
            let task = node::register(self.cx.clone(), machine, ip.clone(), self.config.node_ready_delay);
            self.begin(name, ip, true, task);
        }
    }

    fn see_node(&mut self, change: &Change<Node>) {
        let name = change.object().name_any();
        match change {
            Change::Deleted(_) => {
                self.departed.remove(&name);
                if self.kubelets.get(&name).is_some_and(|kubelet| !kubelet.machine)
                    && let Some(kubelet) = self.kubelets.remove(&name)
                {
                    kubelet.end();
                }
            }
            Change::Applied { object, .. } => {
                if self.kubelets.contains_key(&name) || self.departed.contains(&name) {
                    return;
                }
                let addresses = object.status.as_ref().and_then(|status| status.addresses.as_ref());
                let internal = addresses.into_iter().flatten().find(|address| address.type_ == "InternalIP");
                let ip = internal.map_or_else(|| self.address(), |address| address.address.clone());
                let (cx, node, address) = (self.cx.clone(), name.clone(), ip.clone());
                let task = async move { node::set_health(&cx, &node, Health::Ready, &address).await };
                self.begin(name, ip, false, task);
            }
        }
    }

    fn begin(&mut self, name: String, ip: String, machine: bool, task: impl Future<Output = ()> + Send + 'static) {
        let registration = self.spawn(task);
        let mut bound = self.stores.pods.list();
        bound.retain(|pod| pods::node_name(pod) == Some(&name));
        self.kubelets.insert(name, Kubelet { ip, machine, registration, pods: BTreeMap::new() });
        for pod in bound {
            self.run_pod(&pod);
        }
    }

    fn see_pod(&mut self, change: &Change<Pod>) {
        match change {
            Change::Applied { object, .. } => self.run_pod(object),
            Change::Deleted(pod) => {
                let kubelet = pods::node_name(pod).and_then(|node| self.kubelets.get_mut(node));
                let running = kubelet.and_then(|kubelet| kubelet.pods.remove(pod.uid().as_deref().unwrap_or_default()));
                if let Some(running) = running {
                    running.worker.abort();
                }
            }
        }
    }

    /// Starts a pod, or tells its worker of a change.
    fn run_pod(&mut self, pod: &Arc<Pod>) {
        let (node, uid) = (pods::node_name(pod).unwrap_or_default().to_owned(), pod.uid().unwrap_or_default());
        let Some(kubelet) = self.kubelets.get(&node) else { return };
        if let Some(running) = kubelet.pods.get(&uid) {
            running.pod.send_replace(Arc::clone(pod));
            return;
        }
        let host_ip = kubelet.ip.clone();
        let own_network = pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true));
        let pod_ip = if own_network { self.pod_address() } else { host_ip.clone() };
        let (sender, receiver) = watch::channel(Arc::clone(pod));
        let start_delay = self.start_delay();
        let worker = self.spawn(worker::run(worker::Assignment {
            cx: self.cx.clone(),
            programs: Arc::clone(&self.config.programs),
            start_delay,
            host_ip,
            pod_ip,
            pod: receiver,
        }));
        if let Some(kubelet) = self.kubelets.get_mut(&node) {
            kubelet.pods.insert(uid, Running { pod: sender, worker });
        }
    }

    /// With up to a quarter more.
    fn start_delay(&mut self) -> Duration {
        let fraction = f64::from(self.jitter.next_u32()) / f64::from(u32::MAX);
        self.config.pod_start_delay.mul_f64(1.0 + 0.25 * fraction)
    }

    fn address(&mut self) -> String {
        self.addresses += 1;
        format!("10.0.{}.{}", self.addresses / 250 % 250, self.addresses % 250 + 1)
    }

    fn pod_address(&mut self) -> String {
        self.pod_addresses += 1;
        format!("10.244.{}.{}", self.pod_addresses / 250 % 250, self.pod_addresses % 250 + 1)
    }
}

async fn changed(machines: Option<Arc<dyn Machines>>) {
    match machines {
        Some(machines) => machines.changed().await,
        None => std::future::pending().await,
    }
}
