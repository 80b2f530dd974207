//! A ScaledObject that is deleted: what it leaves behind.

use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use scaler_api::keda::{FINALIZER, ScaledObject};
use serde_json::json;

use super::{
    controller::{Core, retry_delay},
    prepare::Refusal,
    state::{Entry, Turn},
    target::TargetError,
};
use crate::{events::EventType, pod_autoscaler::metrics::Kind, queue::Action, store::ObjectKey};

/// What readers of the metrics of a deleted object are told.
pub(super) const DELETED: &str = "it is being deleted";

impl Core {
    /// Puts back the first replicas if that is asked for, and lets the object go.
    pub(super) async fn finalize(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        entry: &Entry,
        turn: &mut Turn,
    ) -> Action {
        entry.live(|live| live.stop(DELETED));
        self.announce_stop(object, turn);
        turn.rest();
        self.runtime.pods.remove(Kind::ScaledObject, key);
        if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Action::Await;
        }
        match self.try_finalize(key, object, turn).await {
            Ok(()) => {
                let (reason, message) = ("ScaledObjectDeleted", "ScaledObject was deleted");
                self.runtime
                    .recorder
                    .publish(object, EventType::Warning, reason, message);
                Action::Await
            }
            Err(problem) => {
                tracing::warn!(object = %key, %problem, "was not finalized, trying again");
                Action::RequeueAfter(retry_delay(turn))
            }
        }
    }

    async fn try_finalize(&self, key: &ObjectKey, object: &ScaledObject, turn: &Turn) -> Result<(), Refusal> {
        let original = turn.status.original_replica_count;
        if let Some(replicas) = original.filter(|_| object.spec.restores_original_replica_count()) {
            match self.restore(key, object, replicas).await {
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(object = %key, %error, "the original replicas were not put back")
                }
                Ok(()) => {}
            }
        }
        let finalizers: Vec<_> = object
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .collect();
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "finalizers": finalizers,
        }});
        match self
            .api(key)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(|_| ()).map_err(Refusal::from),
        }
    }

    async fn restore(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        replicas: i32,
    ) -> Result<(), TargetError> {
        let reference = &object.spec.scale_target_ref;
        let (target, scale) = self.builder.targets.resolve(&key.namespace, reference).await?;
        if scale.replicas() != replicas {
            self.builder.targets.set(&target, &scale, replicas).await?;
            let reason = "the object is deleted and restoreToOriginalReplicaCount is set";
            self.record(key, scale.replicas(), replicas, reason);
        }
        Ok(())
    }
}
