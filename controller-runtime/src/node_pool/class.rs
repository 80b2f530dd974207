//! Node classes of any provisioner: resolved against the cloud, their status written, kept while claims need them.

use std::sync::Arc;

use kube::{Api, Resource as _, ResourceExt as _};
use provisioner::{NodeClass as _, Provisioner, karpenter::labels};
use serde_json::{Value, json};

use crate::{
    cluster::{self, Precondition},
    events::EventType,
    node_autoscaler::Context,
    node_claim::{Error, again_if_stale},
    queue::Action,
    store::ObjectKey,
};

/// Keeps the status of every class until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    cx.queues
        .classes
        .run(super::CONCURRENCY, |name| reconcile(&cx, name))
        .await;
}

async fn reconcile<P: Provisioner>(cx: &Context<P>, name: String) -> Result<Action, Error> {
    let Some(class) = cx.classes.get(&ObjectKey::cluster(name)) else {
        return Ok(Action::Await);
    };
    let result = if class.meta().deletion_timestamp.is_some() {
        finalize(cx, &class).await.map(|()| Action::Await)
    } else {
        resolve(cx, &class).await
    };
    again_if_stale(result)
}

fn finalizer<P: Provisioner>() -> String {
    format!("{}/termination", P::Class::group(&()))
}

async fn resolve<P: Provisioner>(cx: &Context<P>, class: &Arc<P::Class>) -> Result<Action, Error> {
    let api: Api<P::Class> = Api::all(cx.runtime.client.clone());
    let label = labels::class_label(&P::Class::group(&()), &P::Class::kind(&()));
    let (hash, version) = class.drift_hash();
    let stamps = [
        (format!("{label}-hash"), hash),
        (format!("{label}-hash-version"), version.to_owned()),
    ];
    let stamped = stamps
        .iter()
        .all(|(key, value)| class.annotations().get(key) == Some(value));
    let mut finalizers = class.finalizers().to_vec();
    let held = finalizers.contains(&finalizer::<P>());
    let mut class = (**class).clone();
    if !stamped || !held {
        if !held {
            finalizers.push(finalizer::<P>());
        }
        let annotations = std::collections::BTreeMap::from(stamps);
        let patch = json!({ "metadata": { "annotations": annotations, "finalizers": finalizers } });
        class = cluster::merge_patch(&api, &Precondition::of(&class), patch).await?;
    }
    let found = cx.provisioner.resolve(&class).await?;
    let wanted = class.status_json(&found);
    if differs(&class, &wanted) {
        cluster::merge_patch_status(&api, &Precondition::of(&class), wanted).await?;
    }
    Ok(Action::RequeueAfter(cx.config.class_recheck))
}

/// Whether a merge of `wanted` would change the status.
fn differs<C: serde::Serialize>(class: &C, wanted: &Value) -> bool {
    let Ok(current) = serde_json::to_value(class) else {
        return true;
    };
    let Some(wanted) = wanted.as_object() else {
        return false;
    };
    wanted.iter().any(|(key, value)| {
        current
            .pointer("/status")
            .and_then(|status| status.get(key))
            .unwrap_or(&Value::Null)
            != value
    })
}

/// Lets a class go when nothing bought by it is left.
async fn finalize<P: Provisioner>(cx: &Context<P>, class: &Arc<P::Class>) -> Result<(), Error> {
    let mut finalizers = class.finalizers().to_vec();
    let before = finalizers.len();
    finalizers.retain(|finalizer| *finalizer != self::finalizer::<P>());
    if finalizers.len() == before {
        return Ok(());
    }
    let names: Vec<String> = cx.cluster.with(|state| {
        let users = state.claims().filter(|claim| {
            cx.is_ours(&claim.spec.node_class_ref) && claim.spec.node_class_ref.name == class.name_any()
        });
        users.map(|claim| claim.name_any()).collect()
    });
    if !names.is_empty() {
        let message = format!("Waiting on NodeClaim termination for {}", names.join(", "));
        cx.announce(
            &**class,
            EventType::Normal,
            "WaitingOnNodeClaimTermination",
            message,
        );
        return Ok(());
    }
    let api: Api<P::Class> = Api::all(cx.runtime.client.clone());
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    cluster::merge_patch(&api, &Precondition::of(&**class), patch).await?;
    Ok(())
}
