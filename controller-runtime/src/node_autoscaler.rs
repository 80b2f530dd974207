//! The Karpenter half as one future: pods to nodes, and back to none.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, TopologySpreadConstraint};
use kube::{Api, Resource};
use provisioner::{
    Provisioner,
    karpenter::{NodeClaim, NodeClassRef, NodePool},
    schedule::{MinValuesPolicy, PreferencePolicy, World},
};

use crate::{
    cluster::{Cluster, Feed, Queues},
    disruption,
    events::EventType,
    interruption, node_claim, node_pool,
    provisioning::{self, Batcher},
    runtime::{Readiness, Runtime},
    store::{Change, Informer, ObjectKey, Store, list_readable},
};

/// The times and the policies of the node autoscaler. The default is what Karpenter has.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// A batch of pods ends when no new pod has come for this long.
    pub batch_idle: Duration,
    /// A batch of pods ends at the latest this long after its first pod.
    pub batch_longest: Duration,
    /// Pods that are still pending are looked at again after this time.
    pub pending_recheck: Duration,
    /// A claim that has no instance after this time is given up.
    pub launch_timeout: Duration,
    /// A claim whose node has not joined after this time is given up.
    pub registration_timeout: Duration,
    /// A drain takes at least this long, so that pods that were bound meanwhile are seen.
    pub drain_at_least: Duration,
    /// How often a returned instance is asked for until it is gone.
    pub termination_recheck: Duration,
    /// How often it is looked whether nodes can go.
    pub disruption_poll: Duration,
    /// How long a voluntary disruption must stay right before it is done.
    pub validation_delay: Duration,
    /// A disruption is looked for at least this often, even if nothing changed.
    pub disruption_recheck: Duration,
    /// How long replacements may take before a disruption is given up.
    pub replacement_timeout: Duration,
    /// How often drift is looked for.
    pub drift_recheck: Duration,
    /// How often claims and instances are compared.
    pub garbage_collection: Duration,
    /// An instance without a claim is left alone until it is this old.
    pub garbage_collection_age: Duration,
    /// How often node classes are resolved anew.
    pub class_recheck: Duration,
    /// The same event about the same object is not said again within this time.
    pub event_silence: Duration,
    /// The same for pods that cannot have a node.
    pub failed_scheduling_silence: Duration,
    /// Whether a spot node may be replaced by another spot node.
    pub spot_to_spot: bool,
    /// How pools' `minValues` are met.
    pub min_values: MinValuesPolicy,
    /// Whether preferences of pods count.
    pub preferences: PreferencePolicy,
    /// Spreads of pods that have none of their own, as the scheduler's configuration has them.
    pub default_spreads: Vec<TopologySpreadConstraint>,
}

impl Default for Config {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            batch_idle: seconds(1),
            batch_longest: seconds(10),
            pending_recheck: seconds(10),
            launch_timeout: seconds(5 * 60),
            registration_timeout: seconds(15 * 60),
            drain_at_least: seconds(5),
            termination_recheck: seconds(5),
            disruption_poll: seconds(10),
            validation_delay: seconds(15),
            disruption_recheck: seconds(5 * 60),
            replacement_timeout: seconds(10 * 60),
            drift_recheck: seconds(5 * 60),
            garbage_collection: seconds(2 * 60),
            garbage_collection_age: seconds(30),
            class_recheck: seconds(5 * 60),
            event_silence: seconds(2 * 60),
            failed_scheduling_silence: seconds(5 * 60),
            spot_to_spot: false,
            min_values: MinValuesPolicy::Strict,
            preferences: PreferencePolicy::Respect,
            default_spreads: Vec::new(),
        }
    }
}

impl Config {
    /// Lets plans for a world follow it.
    pub(crate) fn settle(&self, world: &mut World) {
        world.min_values = self.min_values;
        world.preferences = self.preferences;
        world.default_spreads.clone_from(&self.default_spreads);
    }

    /// How long a machine that pods are expected on is kept.
    #[must_use]
    pub fn nomination(&self) -> Duration {
        (self.batch_longest * 2).max(Duration::from_secs(10))
    }
}

/// What every controller of the node autoscaler is given. Clones share it.
pub(crate) struct Context<P: Provisioner> {
    pub(crate) runtime: Runtime,
    pub(crate) provisioner: Arc<P>,
    pub(crate) config: Arc<Config>,
    pub(crate) cluster: Cluster,
    pub(crate) classes: Store<P::Class>,
    /// What was watched of the claims; the index has those that can be read.
    pub(crate) watched_claims: Store<NodeClaim>,
    pub(crate) queues: Queues,
    said: Said,
}

impl<P: Provisioner> Clone for Context<P> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            provisioner: Arc::clone(&self.provisioner),
            config: Arc::clone(&self.config),
            cluster: self.cluster.clone(),
            classes: self.classes.clone(),
            watched_claims: self.watched_claims.clone(),
            queues: self.queues.clone(),
            said: Arc::clone(&self.said),
        }
    }
}

/// What was said about whom, and until when it is not said again.
type Said = Arc<Mutex<BTreeMap<(String, String, String), Timestamp>>>;

impl<P: Provisioner> Context<P> {
    pub(crate) fn now(&self) -> Timestamp {
        self.runtime.clock.now()
    }

    pub(crate) fn claims(&self) -> Api<NodeClaim> {
        Api::all(self.runtime.client.clone())
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.runtime.client.clone())
    }

    pub(crate) fn pools(&self) -> Api<NodePool> {
        Api::all(self.runtime.client.clone())
    }

    /// Whether a class belongs to this provisioner: others may run beside it.
    pub(crate) fn is_ours(&self, class: &NodeClassRef) -> bool {
        class.group == P::Class::group(&()) && class.kind == P::Class::kind(&())
    }

    /// The class, if it is one of this provisioner's and exists.
    pub(crate) fn class(&self, class: &NodeClassRef) -> Option<Arc<P::Class>> {
        if !self.is_ours(class) {
            return None;
        }
        self.classes.get(&ObjectKey::cluster(class.name.as_str()))
    }

    /// Publishes an event, unless the same was said a short while ago.
    pub(crate) fn announce<K>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) where
        K: Resource<DynamicType = ()>,
    {
        self.announce_once_in(
            self.config.event_silence,
            object.object_ref(&()),
            event_type,
            reason,
            message.into(),
        );
    }

    /// Publishes an event, unless the same was said within `silence`.
    pub(crate) fn announce_once_in(
        &self,
        silence: Duration,
        about: ObjectReference,
        event_type: EventType,
        reason: &str,
        message: String,
    ) {
        let now = self.now();
        let key = (
            about.uid.clone().unwrap_or_default(),
            reason.to_owned(),
            message.clone(),
        );
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&key).is_some_and(|until| now < *until) {
            return;
        }
        said.retain(|_, until| now < *until);
        said.insert(key, now.saturating_add(silence).unwrap_or(Timestamp::MAX));
        drop(said);
        self.runtime
            .recorder
            .publish_about(about, event_type, reason, message);
    }
}

/// Scales nodes: reads pods, buys machines through a [`Provisioner`], and returns them.
///
/// Everything that it knows is in the API and in the cloud: it may be dropped at any point and started anew. A replica
/// that does not lead keeps its caches current and does nothing else.
pub struct NodeAutoscaler<P: Provisioner> {
    context: Context<P>,
    feed: Feed,
    classes: Informer<P::Class>,
    ready: Readiness,
}

impl<P: Provisioner> fmt::Debug for NodeAutoscaler<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAutoscaler")
            .field("config", &self.context.config)
            .finish_non_exhaustive()
    }
}

impl<P: Provisioner> NodeAutoscaler<P> {
    /// The component in its events.
    pub const COMPONENT: &'static str = "karpenter";

    /// A node autoscaler that has not started yet.
    #[must_use]
    pub fn new(runtime: Runtime, provisioner: Arc<P>, config: Config) -> Self {
        let runtime = Runtime {
            recorder: runtime.recorder.named(Self::COMPONENT),
            ..runtime
        };
        let cluster = Cluster::default();
        let queues = Queues::new(Batcher::new(config.batch_idle, config.batch_longest));
        queues.measure(&runtime.work);
        let spreads = !config.default_spreads.is_empty();
        let feed = Feed::new(&runtime.client, &runtime.clock, &cluster, &queues, spreads);
        let classes = classes::<P>(&runtime, &cluster, &queues);
        let context = Context {
            runtime,
            provisioner,
            config: Arc::new(config),
            cluster,
            classes: classes.store(),
            watched_claims: feed.claims(),
            queues,
            said: Arc::default(),
        };
        Self {
            context,
            feed,
            classes,
            ready: Readiness::default(),
        }
    }

    /// Whether its caches are filled, to be asked while it runs.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        self.ready.clone()
    }

    /// Scales nodes whenever this process leads, until dropped.
    pub async fn run(self) {
        let Self {
            context,
            feed,
            classes,
            ready,
        } = self;
        let (fed, classed) = (feed.synced(), context.classes.clone());
        let controllers = async move {
            fed.await;
            classed.synced().await;
            ready.set();
            work(&context).await;
        };
        let mut parts = feed.run();
        parts.push(Box::pin(classes.run()));
        parts.push(Box::pin(controllers));
        all(parts).await;
    }
}

/// Runs the controllers while this process leads; each term starts with what the API and the cloud hold.
async fn work<P: Provisioner>(context: &Context<P>) {
    // The first lists have put everything into the queues.
    let is_listed = AtomicBool::new(true);
    let stand_by = || {
        is_listed.store(false, Ordering::Relaxed);
        context.queues.discard()
    };
    let lead = || {
        let is_listed = is_listed.swap(false, Ordering::Relaxed);
        async move {
            if !is_listed {
                take_up(context).await;
            }
            all(controllers(context)).await;
        }
    };
    context.runtime.leadership.alternate(stand_by, lead).await;
}

/// Takes up what another leader left, which may be newer than what was watched.
async fn take_up<P: Provisioner>(context: &Context<P>) {
    let claims = loop {
        match list_readable(&context.claims()).await {
            Ok((claims, _unreadable)) => break claims,
            Err(error) => tracing::warn!(%error, "the claims were not listed, trying again"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    context.cluster.with(|state| {
        state.forget();
        for claim in claims {
            state.apply_claim(&Arc::new(claim));
        }
    });
    let classes = context.classes.list();
    let classes = classes.iter().filter_map(|class| class.meta().name.clone());
    context.queues.restart(&context.cluster, classes.collect());
}

/// Runs futures beside each other; each is polled only when it is woken.
async fn all(parts: Vec<BoxFuture<'static, ()>>) {
    let mut parts: FuturesUnordered<_> = parts.into_iter().collect();
    while parts.next().await.is_some() {}
}

fn controllers<P: Provisioner>(context: &Context<P>) -> Vec<BoxFuture<'static, ()>> {
    vec![
        Box::pin(node_pool::run_classes(context.clone())),
        Box::pin(node_pool::run(context.clone())),
        Box::pin(node_claim::run(context.clone())),
        Box::pin(node_claim::run_nodes(context.clone())),
        Box::pin(node_claim::run_drift(context.clone())),
        Box::pin(node_claim::run_garbage_collection(context.clone())),
        Box::pin(provisioning::run(context.clone())),
        Box::pin(disruption::run(context.clone())),
        Box::pin(interruption::run(context.clone())),
    ]
}

/// The informer of node classes: a change of one concerns itself, the pools that name it and the claims bought by it.
fn classes<P: Provisioner>(runtime: &Runtime, cluster: &Cluster, queues: &Queues) -> Informer<P::Class> {
    let mut informer = Informer::new(Api::<P::Class>::all(runtime.client.clone()));
    let (cluster, queues) = (cluster.clone(), queues.clone());
    informer.subscribe(move |change: &Change<P::Class>| {
        let class = change.object();
        let name = class.meta().name.clone().unwrap_or_default();
        let names_it = |reference: &NodeClassRef| {
            reference.name == name
                && reference.kind == P::Class::kind(&())
                && reference.group == P::Class::group(&())
        };
        let (pools, claims) = cluster.with(|state| {
            let pools = state
                .pools()
                .filter(|pool| names_it(&pool.spec.template.spec.node_class_ref));
            let pools: Vec<_> = pools.filter_map(|pool| pool.metadata.name.clone()).collect();
            let claims = state
                .claims()
                .filter(|claim| names_it(&claim.spec.node_class_ref));
            (
                pools,
                claims
                    .filter_map(|claim| claim.metadata.name.clone())
                    .collect::<Vec<_>>(),
            )
        });
        queues.classes.add(name.clone());
        pools.into_iter().for_each(|pool| queues.pools.add(pool));
        let generation_changed = match change {
            Change::Applied { object, previous } => previous
                .as_ref()
                .is_none_or(|old| old.meta().generation != object.meta().generation),
            Change::Deleted(_) => false,
        };
        if generation_changed {
            claims.into_iter().for_each(|claim| queues.drift.add(claim));
        }
    });
    informer
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
