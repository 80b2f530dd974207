//! What happened to objects, all of it, in order.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;

use super::until;

/// The replicas that a Deployment was asked to have, each change of them in order.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    name: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    replicas: Vec<i32>,
    /// How often the specification was written, by the API server's count.
    generation: i64,
}

impl Replicas {
    pub(crate) fn follow(client: &Client, namespace: &str, name: &str) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let follower = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, only));
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event else {
                    continue;
                };
                let mut seen = follower.lock().unwrap();
                seen.generation = deployment.metadata.generation.unwrap();
                let replicas = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                if seen.replicas.last() != Some(&replicas) {
                    seen.replicas.push(replicas);
                }
            }
        });
        Self {
            name: name.to_owned(),
            seen,
        }
    }

    pub(crate) fn all(&self) -> Vec<i32> {
        self.seen.lock().unwrap().replicas.clone()
    }

    pub(crate) fn last(&self) -> Option<i32> {
        self.seen.lock().unwrap().replicas.last().copied()
    }

    pub(crate) fn most(&self) -> i32 {
        self.all().into_iter().max().unwrap_or(0)
    }

    /// How often the specification was written.
    pub(crate) fn generation(&self) -> i64 {
        self.seen.lock().unwrap().generation
    }

    pub(crate) async fn reach(&self, replicas: i32) {
        let what = format!("{replicas} replicas of {}", self.name);
        until(&what, async || (self.last() == Some(replicas)).then_some(())).await;
    }
}

/// Every object of a kind that there ever was, by uid.
#[derive(Debug)]
pub(crate) struct Census<K> {
    seen: Arc<Mutex<BTreeMap<String, Entry<K>>>>,
}

#[derive(Debug)]
struct Entry<K> {
    object: K,
    is_gone: bool,
}

impl<K> Census<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    pub(crate) fn take(api: Api<K>) -> Self {
        let seen = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let counter = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let (object, is_gone) = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                    Ok(Event::Delete(object)) => (object, true),
                    _ => continue,
                };
                let uid = object.uid().unwrap();
                counter.lock().unwrap().insert(uid, Entry { object, is_gone });
            }
        });
        Self { seen }
    }

    /// As they were last, those that are gone too.
    pub(crate) fn ever(&self) -> Vec<K> {
        let seen = self.seen.lock().unwrap();
        seen.values().map(|entry| entry.object.clone()).collect()
    }

    /// Those that are there.
    pub(crate) fn now(&self) -> Vec<K> {
        let seen = self.seen.lock().unwrap();
        let there = seen.values().filter(|entry| !entry.is_gone);
        there.map(|entry| entry.object.clone()).collect()
    }
}
