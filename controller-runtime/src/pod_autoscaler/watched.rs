//! One kind of object over the watched namespaces.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use kube::{Api, Client, Resource, core::NamespaceResourceScope, runtime::watcher};
use serde::de::DeserializeOwned;

use crate::store::{Change, Informer, ObjectKey, Store, Unreadable};

/// The stores of one kind: one over all namespaces, or one for each watched namespace.
pub struct Watched<K> {
    stores: Vec<Store<K>>,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self {
            stores: self.stores.clone(),
        }
    }
}

impl<K> fmt::Debug for Watched<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.stores).finish()
    }
}

impl<K> Watched<K> {
    /// The object with this key.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.stores.iter().find_map(|store| store.get(key))
    }

    /// Whether the first list of every store has arrived.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.stores.iter().all(Store::is_synced)
    }

    /// Every object, by namespace and name within a store.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.stores.iter().flat_map(Store::list).collect()
    }

    /// The objects that cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.stores.iter().flat_map(Store::unreadable).collect()
    }

    /// Every object of a namespace, by name.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let lists = self.stores.iter().map(|store| store.list_namespace(namespace));
        lists
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_default()
    }
}

/// Makes informers and keeps what has to run for them.
pub struct Watches<'a> {
    client: Client,
    namespaces: &'a [String],
    running: Vec<BoxFuture<'static, ()>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Watches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

impl<'a> Watches<'a> {
    /// Over `namespaces`; over all of them where none is named.
    #[must_use]
    pub fn new(client: Client, namespaces: &'a [String]) -> Self {
        Self {
            client,
            namespaces,
            running: Vec::new(),
            synced: Vec::new(),
        }
    }

    /// Watches a namespaced kind and calls `subscriber` for every change.
    pub fn namespaced<K>(&mut self, subscriber: impl FnMut(&Change<K>) + Clone + Send + 'static) -> Watched<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        self.reporting(&watcher::Config::default(), subscriber, |_| ())
    }

    /// The same, and calls `reporter` for every object that cannot be read.
    pub fn namespaced_reporting<K>(
        &mut self,
        subscriber: impl FnMut(&Change<K>) + Clone + Send + 'static,
        reporter: impl FnMut(&Unreadable) + Clone + Send + 'static,
    ) -> Watched<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        self.reporting(&watcher::Config::default(), subscriber, reporter)
    }

    /// Watches those of a namespaced kind that `config` selects and calls `subscriber` for every change.
    pub fn selected<K>(
        &mut self,
        config: &watcher::Config,
        subscriber: impl FnMut(&Change<K>) + Clone + Send + 'static,
    ) -> Watched<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        self.reporting(config, subscriber, |_| ())
    }

    fn reporting<K>(
        &mut self,
        config: &watcher::Config,
        subscriber: impl FnMut(&Change<K>) + Clone + Send + 'static,
        reporter: impl FnMut(&Unreadable) + Clone + Send + 'static,
    ) -> Watched<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        let apis: Vec<Api<K>> = if self.namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            self.namespaces
                .iter()
                .map(|namespace| Api::namespaced(self.client.clone(), namespace))
                .collect()
        };
        let stores = apis
            .into_iter()
            .map(|api| self.watch(api, config.clone(), subscriber.clone(), reporter.clone()))
            .collect();
        Watched { stores }
    }

    /// Watches a cluster-scoped kind and calls `subscriber` for every change.
    pub fn cluster<K>(&mut self, subscriber: impl FnMut(&Change<K>) + Send + 'static) -> Watched<K>
    where
        K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
        K::DynamicType: Default,
    {
        let api = Api::all(self.client.clone());
        let store = self.watch(api, watcher::Config::default(), subscriber, |_| ());
        Watched { stores: vec![store] }
    }

    fn watch<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        subscriber: impl FnMut(&Change<K>) + Send + 'static,
        reporter: impl FnMut(&Unreadable) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
        K::DynamicType: Default,
    {
        let mut informer = Informer::with_config(api, config);
        informer.subscribe(subscriber).subscribe_unreadable(reporter);
        let store = informer.store();
        self.running.push(Box::pin(informer.run()));
        let first_list = store.clone();
        self.synced
            .push(Box::pin(async move { first_list.synced().await }));
        store
    }

    /// What has to run, and what ends when every store has its first list.
    #[must_use]
    pub fn into_futures(self) -> (Vec<BoxFuture<'static, ()>>, Vec<BoxFuture<'static, ()>>) {
        (self.running, self.synced)
    }
}
