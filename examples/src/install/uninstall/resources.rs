//! KEDA's and Karpenter's objects and their definitions.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{ResourceExt as _, core::DynamicObject};
use provisioner::karpenter::labels;
use serde_json::{Value, json};

use super::{
    kinds::{AUTOSCALER, DEFINED, DEFINITION, JOB, SCALED_JOB, SCALED_OBJECT},
    session::Session,
};
use crate::install::{connect::Kind, crds};

/// What keeps objects from going until the process has done its part.
const FINALIZERS: [&str; 3] = [
    scaler_api::keda::FINALIZER,
    labels::TERMINATION_FINALIZER,
    labels::EC2NODECLASS_FINALIZER,
];

/// Finalizers without ours, and how many of ours there were; nothing where there are none of ours.
pub(super) fn without_finalizers(object: &DynamicObject) -> Option<Vec<String>> {
    let (ours, others): (Vec<_>, Vec<_>) = object
        .finalizers()
        .iter()
        .cloned()
        .partition(|finalizer| FINALIZERS.contains(&finalizer.as_str()));
    (!ours.is_empty()).then_some(others)
}

/// Owners without those of a kind; nothing where there is none of the kind.
pub(super) fn without_owners(object: &DynamicObject, kind: Kind) -> Option<Vec<OwnerReference>> {
    let is = |owner: &OwnerReference| {
        owner.kind == kind.kind && owner.api_version.split('/').next() == Some(kind.group)
    };
    let (ours, others): (Vec<_>, Vec<_>) = object.owner_references().iter().cloned().partition(is);
    (!ours.is_empty()).then_some(others)
}

fn unfinalized(object: &DynamicObject) -> Option<(Value, String)> {
    let finalizers = without_finalizers(object)?;
    Some((
        json!({ "metadata": { "finalizers": finalizers } }),
        "finalizer".to_owned(),
    ))
}

/// The definition of a kind, if it is there.
async fn definition(session: &Session, kind: Kind) -> anyhow::Result<Option<DynamicObject>> {
    let name = format!("{}.{}", kind.plural, kind.group);
    session.get(DEFINITION, None, &name).await
}

/// Whether a definition came with an installation, and not with KEDA or Karpenter.
fn is_ours(definition: &DynamicObject) -> bool {
    definition.labels().get(crds::OWNER_LABEL).map(String::as_str) == Some(crds::OWNER)
}

/// Whether the definition of a kind came with somebody else, who then looks after its objects.
pub(super) async fn is_foreign(session: &Session, kind: Kind) -> anyhow::Result<bool> {
    Ok(definition(session, kind)
        .await?
        .is_some_and(|found| !is_ours(&found)))
}

/// The kinds whose definitions came with an installation.
async fn our_kinds(session: &Session) -> anyhow::Result<Vec<Kind>> {
    let mut ours = Vec::new();
    for kind in DEFINED {
        match definition(session, kind).await? {
            Some(found) if is_ours(&found) => ours.push(kind),
            Some(found) => session.say(&format!(
                "CustomResourceDefinition {} left, with its objects: it did not come with the autoscaler",
                found.name_any()
            )),
            None => {}
        }
    }
    Ok(ours)
}

/// Lets everything go that depends on KEDA's objects: targets keep their replicas, Jobs run on.
pub(super) async fn release(session: &Session) -> anyhow::Result<()> {
    if !is_foreign(session, SCALED_JOB).await? {
        for job in session.list(JOB, None, "").await? {
            session
                .patch(JOB, &job, |job| {
                    let owners = without_owners(job, SCALED_JOB)?;
                    Some((
                        json!({ "metadata": { "ownerReferences": owners } }),
                        "owner ScaledJob".to_owned(),
                    ))
                })
                .await?;
        }
    }
    if !is_foreign(session, SCALED_OBJECT).await? {
        // Not left to the garbage collector: it gives up on owners whose kind is gone.
        for autoscaler in session.list(AUTOSCALER, None, "").await? {
            if without_owners(&autoscaler, SCALED_OBJECT).is_some() {
                session.delete_this(AUTOSCALER, &autoscaler).await?;
            }
        }
    }
    Ok(())
}

/// Deletes objects and definitions; what our finalizers hold back is let go.
pub(super) async fn delete(session: &Session, limit: Duration) -> anyhow::Result<()> {
    for kind in our_kinds(session).await? {
        session
            .wait(limit, async || {
                let objects = session.list(kind, None, "").await?;
                for object in &objects {
                    session.patch(kind, object, unfinalized).await?;
                    session.delete_this(kind, object).await?;
                }
                Ok(objects
                    .first()
                    .map(|object| format!("{} {}", kind.kind, object.name_any())))
            })
            .await?;
        if session.is_dry_run() {
            for object in session.list(kind, None, "").await? {
                session.delete_this(kind, &object).await?;
            }
        }
        let name = format!("{}.{}", kind.plural, kind.group);
        session.delete(DEFINITION, None, &name).await?;
        session
            .wait(limit, async || {
                let left = session.get(DEFINITION, None, &name).await?;
                Ok(left.map(|_| format!("CustomResourceDefinition {name}")))
            })
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::uninstall::kinds::NODE_CLAIM;

    fn object(metadata: &Value) -> DynamicObject {
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn other_finalizers_and_owners_stay() {
        let both = object(&json!({"name": "x", "finalizers": ["finalizer.keda.sh", "example.com/mine"]}));
        assert_eq!(without_finalizers(&both).unwrap(), ["example.com/mine"]);
        assert!(
            without_finalizers(&object(&json!({"name": "x", "finalizers": ["example.com/mine"]}))).is_none()
        );
        assert!(without_finalizers(&object(&json!({"name": "x"}))).is_none());
        let owned = object(&json!({"name": "x", "ownerReferences": [
            {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "name": "a", "uid": "1"},
            {"apiVersion": "example.com/v1", "kind": "NodeClaim", "name": "b", "uid": "2"},
        ]}));
        let left = without_owners(&owned, NODE_CLAIM).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].name, "b");
        assert!(without_owners(&owned, SCALED_OBJECT).is_none());
    }
}
