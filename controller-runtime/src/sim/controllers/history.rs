//! The templates that a set has had, kept as `ControllerRevision`s.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    Stores,
    claim::Claim,
    meta::{controller_reference, safe_hash},
};
use crate::runtime::Runtime;

/// The revisions of one owner.
#[derive(Debug)]
pub(crate) struct History<'a, O> {
    pub(crate) cx: &'a Runtime,
    pub(crate) stores: &'a Stores,
    pub(crate) owner: &'a O,
    pub(crate) selector: Option<&'a LabelSelector>,
    /// The label of a revision that has its hash.
    pub(crate) hash_label: &'static str,
}

/// The patch that brings a template back.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that a revision brings back.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let data = &revision.data.as_ref()?.0;
    serde_json::from_value(data.pointer("/spec/template")?.clone()).ok()
}

/// What makes `template` the newest of `revisions`.
#[derive(Debug)]
enum Newest {
    /// It is.
    Is(Arc<ControllerRevision>),
    /// It was once, and gets a new number.
    Again(Box<ControllerRevision>),
    /// It is new.
    New(i64),
}

fn newest(revisions: &[Arc<ControllerRevision>], data: &Value) -> Newest {
    let is_equal =
        |revision: &&Arc<ControllerRevision>| revision.data.as_ref().map(|data| &data.0) == Some(data);
    let last = revisions.iter().map(|revision| revision.revision).max();
    let equal = revisions
        .iter()
        .filter(is_equal)
        .max_by_key(|revision| revision.revision);
    let next = last.unwrap_or_default() + 1;
    match equal {
        Some(equal) if Some(equal.revision) == last => Newest::Is(Arc::clone(equal)),
        Some(equal) => Newest::Again(Box::new(ControllerRevision {
            revision: next,
            ..(**equal).clone()
        })),
        None => Newest::New(next),
    }
}

impl<O> History<'_, O>
where
    O: Resource<DynamicType = ()>,
{
    fn api(&self) -> Api<ControllerRevision> {
        let namespace = self.owner.namespace().unwrap_or_default();
        Api::namespaced(self.cx.client.clone(), &namespace)
    }

    /// The owner's revisions, oldest first; orphans that it selects are adopted.
    ///
    /// # Errors
    /// Those of the API server.
    pub(crate) async fn revisions(&self) -> kube::Result<Vec<Arc<ControllerRevision>>> {
        let claim = Claim {
            cx: self.cx,
            owner: self.owner,
            selector: self.selector,
            finalizer: None,
        };
        let namespace = self.owner.namespace().unwrap_or_default();
        let revisions = self.stores.revisions.list_namespace(&namespace);
        let mut revisions = claim.objects(revisions, |_| true).await?;
        revisions.sort_by_key(|one| (one.revision, one.creation_timestamp(), one.name_any()));
        Ok(revisions)
    }

    /// The revision of `template`, made or numbered anew if it is not the newest; and how often a hash was taken by
    /// another template.
    ///
    /// # Errors
    /// Those of the API server.
    pub(crate) async fn revision_of(
        &self,
        template: &PodTemplateSpec,
        revisions: &[Arc<ControllerRevision>],
        mut collisions: i32,
    ) -> kube::Result<(Arc<ControllerRevision>, i32)> {
        let data = data(template);
        let number = match newest(revisions, &data) {
            Newest::Is(revision) => return Ok((revision, collisions)),
            Newest::Again(revision) => {
                let (api, name) = (self.api(), revision.name_any());
                let revision = api.replace(&name, &PostParams::default(), &revision).await?;
                return Ok((Arc::new(revision), collisions));
            }
            Newest::New(number) => number,
        };
        loop {
            let revision = self.make(template, &data, number, collisions);
            match self.api().create(&PostParams::default(), &revision).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let existing = self.api().get(&revision.name_any()).await?;
                    if existing.data.as_ref().map(|existing| &existing.0) == Some(&data) {
                        return Ok((Arc::new(existing), collisions));
                    }
                    collisions += 1;
                }
                result => return Ok((Arc::new(result?), collisions)),
            }
        }
    }

    fn make(
        &self,
        template: &PodTemplateSpec,
        data: &Value,
        number: i64,
        collisions: i32,
    ) -> ControllerRevision {
        let mut content = data.to_string().into_bytes();
        if collisions > 0 {
            content.extend(collisions.to_le_bytes());
        }
        let hash = safe_hash(&content);
        let labels = template.metadata.clone().unwrap_or_default().labels;
        let mut labels = labels.unwrap_or_default();
        labels.insert(self.hash_label.to_owned(), hash.clone());
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", self.owner.name_any())),
                namespace: self.owner.namespace(),
                labels: Some(labels),
                annotations: self.owner.meta().annotations.clone(),
                owner_references: Some(vec![controller_reference(self.owner)]),
                ..ObjectMeta::default()
            },
            revision: number,
            data: Some(RawExtension(data.clone())),
        }
    }

    /// Deletes the oldest revisions beyond `limit`, not counting those that are `used`, by name.
    ///
    /// # Errors
    /// Those of the API server.
    pub(crate) async fn trim(
        &self,
        revisions: &[Arc<ControllerRevision>],
        used: &BTreeSet<String>,
        limit: Option<i32>,
    ) -> kube::Result<()> {
        let past: Vec<_> = revisions
            .iter()
            .filter(|revision| !used.contains(&revision.name_any()))
            .collect();
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or_default();
        let excess = past.len().saturating_sub(limit);
        for revision in past.into_iter().take(excess) {
            match self
                .api()
                .delete(&revision.name_any(), &DeleteParams::default())
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64, image: &str) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            revision: number,
            data: Some(RawExtension(data(&of(image)))),
            ..ControllerRevision::default()
        })
    }

    fn of(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "main", "image": image}]}})).unwrap()
    }

    #[test]
    fn a_template_of_the_past_is_numbered_anew() {
        let revisions = [revision(1, "one"), revision(2, "two")];
        assert!(matches!(newest(&revisions, &data(&of("two"))), Newest::Is(found) if found.revision == 2));
        assert!(matches!(newest(&revisions, &data(&of("one"))), Newest::Again(found) if found.revision == 3));
        assert!(matches!(newest(&revisions, &data(&of("three"))), Newest::New(3)));
        assert!(matches!(newest(&[], &data(&of("one"))), Newest::New(1)));
    }

    #[test]
    fn a_revision_brings_its_template_back() {
        assert_eq!(template(&revision(1, "one")), Some(of("one")));
    }
}
