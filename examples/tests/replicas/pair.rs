//! A leader and a standby.

use std::time::Duration;

use controller_runtime::envtest::ControlPlane;
use examples::install::apply::apply;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::run_support::{Running, door::Door, until};

/// The Lease of every pair, each in a namespace of its own.
const LEASE: &str = "replicas";
/// How long a standby waits for a leader that is not heard of, where a test does not take the default.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(8);
/// What a machine with much to do may add to it.
const SLACK: Duration = Duration::from_secs(2);
/// The lease and its renewals.
pub(crate) const SHORT: [&str; 3] = [
    "--leader-election-lease-duration=8s",
    "--leader-election-renew-deadline=7s",
    "--leader-election-retry-period=500ms",
];

/// A process and its door.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) door: Door,
    pub(crate) running: Running,
}

impl Replica {
    pub(crate) async fn start(client: &Client, namespace: &str, arguments: &[&str]) -> Self {
        let door = Door::open(client.clone()).await;
        let own = [
            &format!("--pod-namespace={namespace}"),
            &format!("--leader-election-name={LEASE}"),
        ];
        let arguments: Vec<&str> = own
            .iter()
            .map(|own| own.as_str())
            .chain(arguments.iter().copied())
            .collect();
        let running = Running::start(&door.kubeconfig(), &arguments).await;
        Self { door, running }
    }

    pub(crate) async fn ready(self) -> Self {
        until("it is ready", async || {
            (self.running.health("readyz").await.0 == 200).then_some(())
        })
        .await;
        self
    }
}

/// Two replicas, of which the first leads.
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    arguments: Vec<String>,
    pub(crate) leader: Replica,
    pub(crate) standby: Replica,
}

impl Pair {
    /// Starts both, in a new namespace.
    pub(crate) async fn start(plane: &ControlPlane, namespace: &str, arguments: &[&str]) -> Self {
        let client = plane.client(namespace);
        install(&client, namespace).await;
        let leader = Replica::start(&client, namespace, arguments).await.ready().await;
        led_by(&client, namespace, &leader).await;
        let standby = Replica::start(&client, namespace, arguments).await.ready().await;
        Self {
            client,
            namespace: namespace.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            leader,
            standby,
        }
    }

    /// Kills the leader; the standby leads, not before the lease has ended and not much later, and another process stands
    /// by. Gives the leader that was.
    pub(crate) async fn crash(&mut self) -> Replica {
        let killed = Instant::now();
        self.leader.running.crash();
        let before = lease(&self.client, &self.namespace).await.unwrap();
        led_by(&self.client, &self.namespace, &self.standby).await;
        let took = killed.elapsed();
        let after = lease(&self.client, &self.namespace).await.unwrap();
        let (renewed, acquired) = (before.renew_time.unwrap().0, after.acquire_time.unwrap().0);
        let held = Duration::try_from(acquired.duration_since(renewed)).unwrap();
        println!(
            "{}: led again {took:.2?} after kill -9, {held:.2?} after the last renewal",
            self.namespace
        );
        assert!(held >= LEASE_DURATION, "{held:?}: the lease had not ended");
        assert!(held < LEASE_DURATION + SLACK, "{held:?}");
        assert_eq!(
            after.lease_transitions.unwrap(),
            before.lease_transitions.unwrap() + 1
        );
        self.succeed().await
    }

    /// Tells the leader to end; the standby leads, and another process stands by. Gives the leader that was, and how long it
    /// took from the signal until the standby led, by what both have logged.
    pub(crate) async fn hand_over(&mut self) -> (Replica, Duration) {
        self.leader.running.tell_to_end();
        led_by(&self.client, &self.namespace, &self.standby).await;
        let (status, _) = self.leader.running.ended().await;
        assert_eq!(status.code(), Some(0));
        let standby = &self.standby.running;
        let leads = until("it says that it leads", async || standby.said_at("became leader")).await;
        let told = self.leader.running.said_at("told to end").unwrap();
        let took = Duration::try_from(leads.duration_since(told)).unwrap();
        println!("{}: led again {took:.2?} after SIGTERM", self.namespace);
        (self.succeed().await, took)
    }

    /// The standby is the leader; another process stands by.
    async fn succeed(&mut self) -> Replica {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let fresh = Replica::start(&self.client, &self.namespace, &arguments).await;
        let next = std::mem::replace(&mut self.standby, fresh.ready().await);
        std::mem::replace(&mut self.leader, next)
    }

    /// Both end in good order.
    pub(crate) async fn end(mut self) {
        assert_eq!(self.standby.running.terminate().await, Some(0));
        assert_eq!(self.leader.running.terminate().await, Some(0));
    }
}

/// The kinds of both halves, and a namespace.
pub(crate) async fn install(client: &Client, namespace: &str) {
    let definitions = scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds());
    let mut all: Vec<Value> = definitions.map(|definition| json!(definition)).collect();
    all.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    apply(client, &all, &|_| {}).await.unwrap();
}

async fn lease(client: &Client, namespace: &str) -> Option<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    leases.get_opt(LEASE).await.unwrap()?.spec
}

/// Who leads by the Lease.
pub(crate) async fn holder(client: &Client, namespace: &str) -> Option<String> {
    lease(client, namespace).await?.holder_identity
}

pub(crate) async fn led_by(client: &Client, namespace: &str, replica: &Replica) {
    let identity = replica.running.identity();
    until("it leads", async || {
        (holder(client, namespace).await.as_deref() == Some(&identity)).then_some(())
    })
    .await;
}
