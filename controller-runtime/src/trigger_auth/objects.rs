//! TriggerAuthentications as objects: their finalizer, who uses them, and events about them.
//!
//! The leader alone works here. The finalizer is KEDA's and does nothing but announce that the object goes, so it is
//! taken away with the first look after the deletion.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use scaler_api::keda::{
    ClusterTriggerAuthentication, FINALIZER, TriggerAuthentication, TriggerAuthenticationStatus,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Dependency, DependencyKind, Resolver};
use crate::{
    events::EventType,
    queue::{Action, Backoff},
    runtime::{Readiness, Runtime},
    store::ObjectKey,
};

/// How many are worked on at once.
const AT_ONCE: usize = 16;
/// How soon a write that failed is tried again.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    last: Duration::from_secs(30),
};

/// What is done about an authentication.
#[derive(Debug, Default, PartialEq)]
struct Step {
    /// The finalizers it is to have.
    finalizers: Option<Vec<String>>,
    /// The status it is to have.
    status: Option<TriggerAuthenticationStatus>,
    /// What is said once that is done: `Added`, `Updated` or `Deleted`.
    event: Option<&'static str>,
}

/// Decides from the object, the generation that was last seen in this term, and who uses it.
fn decide(
    metadata: &ObjectMeta,
    status: Option<&TriggerAuthenticationStatus>,
    seen: Option<i64>,
    users: TriggerAuthenticationStatus,
) -> Step {
    let known = metadata.finalizers.clone().unwrap_or_default();
    let has_ours = known.iter().any(|finalizer| finalizer == FINALIZER);
    if metadata.deletion_timestamp.is_some() {
        let others = known.into_iter().filter(|finalizer| finalizer != FINALIZER);
        return Step {
            finalizers: has_ours.then(|| others.collect()),
            status: None,
            event: has_ours.then_some("Deleted"),
        };
    }
    let mut step = Step::default();
    if !has_ours {
        step.finalizers = Some(known.into_iter().chain([FINALIZER.to_owned()]).collect());
        step.event = Some("Added");
    } else if seen.is_some() && seen != metadata.generation {
        step.event = Some("Updated");
    }
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let said = status.map(|status| (is_empty(&status.scaledobjects), is_empty(&status.scaledjobs)));
    if said.unwrap_or_default() != (is_empty(&users.scaledobjects), is_empty(&users.scaledjobs)) {
        step.status = Some(users);
    }
    step
}

/// The controller of the objects.
pub(crate) struct Objects {
    runtime: Runtime,
    resolver: Resolver,
    synced: Vec<Readiness>,
    /// The generations that were seen in this term, and failures in a row.
    seen: Mutex<BTreeMap<Dependency, Seen>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    generation: Option<i64>,
    failures: u32,
}

impl Objects {
    /// Works on what `resolver` watches, once everything is `synced`.
    pub(crate) fn new(runtime: &Runtime, resolver: Resolver, synced: Vec<Readiness>) -> Self {
        let runtime = runtime.named(scaler_api::keda::MANAGED_BY);
        runtime
            .work
            .add("trigger-authentication", &resolver.users().queue);
        Self {
            runtime,
            resolver,
            synced,
            seen: Mutex::default(),
        }
    }

    /// Works whenever this process leads, until dropped.
    pub(crate) async fn run(self) {
        for synced in &self.synced {
            synced.wait().await;
        }
        let lead = || -> BoxFuture<'_, ()> { Box::pin(self.lead()) };
        self.runtime.leadership.while_leading(lead).await;
    }

    async fn lead(&self) {
        self.seen().clear();
        let namespaced = self.resolver.authentications.list().into_iter();
        let cluster = self.resolver.cluster_authentications.list().into_iter();
        let keys = namespaced
            .map(|object| (DependencyKind::TriggerAuthentication, ObjectKey::of(&*object)))
            .chain(cluster.map(|object| {
                (
                    DependencyKind::ClusterTriggerAuthentication,
                    ObjectKey::of(&*object),
                )
            }));
        let queue = &self.resolver.users().queue;
        queue.restart(keys.collect::<Vec<_>>());
        let turn = |key: Dependency| async move { Ok::<_, Infallible>(self.turn(&key).await) };
        queue.run(AT_ONCE, turn).await;
    }

    async fn turn(&self, key: &Dependency) -> Action {
        let client = self.runtime.client.clone();
        let (kind, name) = key;
        let result = match kind {
            DependencyKind::TriggerAuthentication => {
                let api = Api::<TriggerAuthentication>::namespaced(client, &name.namespace);
                match self.resolver.authentications.get(name) {
                    Some(object) => self.look_at(key, &*object, object.status.as_ref(), &api).await,
                    None => self.forget(key),
                }
            }
            _ => {
                let api = Api::<ClusterTriggerAuthentication>::all(client);
                match self.resolver.cluster_authentications.get(name) {
                    Some(object) => self.look_at(key, &*object, object.status.as_ref(), &api).await,
                    None => self.forget(key),
                }
            }
        };
        let mut seen = self.seen();
        let Some(seen) = seen.get_mut(key) else {
            return Action::Await;
        };
        match result {
            Ok(()) => {
                seen.failures = 0;
                Action::Await
            }
            Err(error) => {
                tracing::warn!(object = %name, %error, "authentication was not written, trying again");
                seen.failures = seen.failures.saturating_add(1);
                Action::RequeueAfter(RETRY.after(seen.failures))
            }
        }
    }

    fn forget(&self, key: &Dependency) -> kube::Result<()> {
        self.seen().remove(key);
        Ok(())
    }

    async fn look_at<K>(
        &self,
        key: &Dependency,
        object: &K,
        status: Option<&TriggerAuthenticationStatus>,
        api: &Api<K>,
    ) -> kube::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let metadata = object.meta();
        let seen = self.seen().entry(key.clone()).or_default().generation;
        let users = self.resolver.users().status_of(key);
        let step = decide(metadata, status, seen, users);
        let name = &key.1.name;
        if let Some(finalizers) = &step.finalizers {
            // A list is replaced as a whole, so nobody else may have changed it meanwhile.
            let patch = json!({"metadata": {
                "resourceVersion": metadata.resource_version,
                "finalizers": finalizers,
            }});
            let patched = api
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            gone_is_done(patched.map(|_| ()))?;
        }
        if let Some(event) = step.event {
            self.announce(object, event);
        }
        if let Some(entry) = self.seen().get_mut(key) {
            entry.generation = metadata.generation;
        }
        if let Some(status) = &step.status {
            // An empty text is how KEDA says that nobody does.
            let text = |names: &Option<String>| Value::from(names.as_deref().unwrap_or_default());
            let patch = json!({"status": {
                "scaledobjects": text(&status.scaledobjects),
                "scaledjobs": text(&status.scaledjobs),
            }});
            let patched = api
                .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            gone_is_done(patched.map(|_| ()))?;
        }
        Ok(())
    }

    fn announce<K: Resource<DynamicType = ()>>(&self, object: &K, event: &str) {
        let (kind, name) = (K::kind(&()), object.meta().name.as_deref().unwrap_or_default());
        let message = match event {
            "Added" => format!("New {kind} configured"),
            "Updated" => format!("{kind} {name} was updated"),
            _ => format!("{kind} {name} was deleted"),
        };
        let about = ObjectReference {
            resource_version: object.meta().resource_version.clone(),
            ..object.object_ref(&())
        };
        let recorder = &self.runtime.recorder;
        recorder.publish_about(about, EventType::Normal, format!("{kind}{event}"), message);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<Dependency, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone_is_done(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn metadata(generation: i64, finalizers: &[&str], is_deleted: bool) -> ObjectMeta {
        ObjectMeta {
            generation: Some(generation),
            finalizers: Some(finalizers.iter().map(|&name| name.to_owned()).collect()),
            deletion_timestamp: is_deleted.then(|| Time("2026-01-01T00:00:00Z".parse().unwrap())),
            ..ObjectMeta::default()
        }
    }

    fn users(objects: &str, jobs: &str) -> TriggerAuthenticationStatus {
        let text = |names: &str| (!names.is_empty()).then(|| names.to_owned());
        TriggerAuthenticationStatus {
            scaledobjects: text(objects),
            scaledjobs: text(jobs),
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn every_object_is_announced_and_let_go_and_its_status_written_only_when_it_changes() {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let step = |finalizers, status, event| Step {
            finalizers,
            status,
            event,
        };
        let ours = &[FINALIZER][..];
        let cases = [
            (
                "new",
                metadata(1, &["x"], false),
                None,
                None,
                users("", ""),
                step(list(&["x", FINALIZER]), None, Some("Added")),
            ),
            (
                "known",
                metadata(1, ours, false),
                None,
                None,
                users("", ""),
                Step::default(),
            ),
            (
                "used",
                metadata(1, ours, false),
                None,
                Some(1),
                users("a,b", ""),
                step(None, Some(users("a,b", "")), None),
            ),
            (
                "still used",
                metadata(1, ours, false),
                Some(users("a", "j")),
                Some(1),
                users("a", "j"),
                Step::default(),
            ),
            (
                "no longer used",
                metadata(1, ours, false),
                Some(users("a", "")),
                Some(1),
                users("", ""),
                step(None, Some(users("", "")), None),
            ),
            (
                "changed",
                metadata(2, ours, false),
                None,
                Some(1),
                users("", ""),
                step(None, None, Some("Updated")),
            ),
            (
                "seen first",
                metadata(2, ours, false),
                None,
                None,
                users("", ""),
                Step::default(),
            ),
            (
                "deleted",
                metadata(2, &["x", FINALIZER], true),
                None,
                Some(1),
                users("a", ""),
                step(list(&["x"]), None, Some("Deleted")),
            ),
            (
                "let go",
                metadata(2, &["x"], true),
                None,
                Some(1),
                users("a", ""),
                Step::default(),
            ),
        ];
        for (name, metadata, status, seen, users, expected) in cases {
            assert_eq!(
                decide(&metadata, status.as_ref(), seen, users),
                expected,
                "{name}"
            );
        }
    }
}
