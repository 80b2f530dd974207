//! Creating and deleting the pods of an owner, with events and expectations.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, PostParams},
};

use super::expectations::Expectations;
use crate::{events::EventType, runtime::Runtime, store::ObjectKey};

/// Why pods could not be created or deleted.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    /// What the API server said.
    pub(crate) message: String,
}

impl From<Failure> for kube::Error {
    fn from(failure: Failure) -> Self {
        Self::Service(failure.message.into())
    }
}

/// What an API server said, without the client's words around it.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// The pods of one owner.
#[derive(Debug)]
pub(crate) struct Children<'a, K> {
    pub(crate) cx: &'a Runtime,
    pub(crate) expectations: &'a Expectations,
    pub(crate) key: &'a ObjectKey,
    pub(crate) owner: &'a K,
}

impl<K> Children<'_, K>
where
    K: Resource<DynamicType = ()>,
{
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.cx.client.clone(), &self.key.namespace)
    }

    /// Creates in batches of 1, 2, 4, ... so that a creation that cannot succeed is not tried hundreds of times.
    pub(crate) async fn create(&self, pods: &[Pod]) -> Result<(), Failure> {
        let api = self.api();
        let (mut left, mut batch) = (pods, 1);
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let parameters = PostParams::default();
            let results = join_all(now.iter().map(|pod| {
                self.expectations.expect_creation(self.key);
                api.create(&parameters, pod)
            }))
            .await;
            let mut failure = Ok(());
            for result in results {
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", pod.name_any());
                        self.cx
                            .recorder
                            .publish(self.owner, EventType::Normal, "SuccessfulCreate", message);
                    }
                    Err(error) => {
                        self.expectations.created(self.key);
                        let message = format!("Error creating: {}", said(&error));
                        self.cx
                            .recorder
                            .publish(self.owner, EventType::Warning, "FailedCreate", message);
                        failure = Err(Failure {
                            reason: "FailedCreate",
                            message: said(&error),
                        });
                    }
                }
            }
            failure?;
            left = later;
            batch *= 2;
        }
        Ok(())
    }

    /// Deletes pods; one that is gone already is no failure.
    pub(crate) async fn delete(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let api = self.api();
        let mut failure = Ok(());
        for pod in pods {
            let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
            self.expectations.expect_deletion(self.key, &uid);
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {
                    let message = format!("Deleted pod: {name}");
                    self.cx
                        .recorder
                        .publish(self.owner, EventType::Normal, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expectations.deleted(self.key, &uid);
                    if !matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
                        let message = format!("Error deleting: {}", said(&error));
                        self.cx
                            .recorder
                            .publish(self.owner, EventType::Warning, "FailedDelete", message);
                        failure = Err(Failure {
                            reason: "FailedDelete",
                            message: said(&error),
                        });
                    }
                }
            }
        }
        failure
    }
}
