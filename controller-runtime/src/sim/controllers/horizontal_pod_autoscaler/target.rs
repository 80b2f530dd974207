//! What an autoscaler scales: any kind with a `scale` subresource.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use kube::{
    Api, Client,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    discovery,
};

use crate::hpa::{self, spec::CrossVersionObjectReference};

/// How often a scale is written when others write the target at the same time, and how long between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// Finds targets; kinds are looked up once.
#[derive(Clone)]
pub(super) struct Targets {
    client: Client,
    resources: Arc<Mutex<BTreeMap<(String, String), ApiResource>>>,
}

/// A target whose scale was read.
pub(super) struct Target {
    api: Api<DynamicObject>,
    name: String,
    /// The scale as last read.
    pub(super) scale: Scale,
}

impl Targets {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            resources: Arc::default(),
        }
    }

    /// Reads the scale of a target, or says why not in the words of the API.
    pub(super) async fn get(
        &self,
        namespace: &str,
        reference: &CrossVersionObjectReference,
    ) -> Result<Target, String> {
        let resource = self.resource(reference).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let scale = api
            .get_scale(&reference.name)
            .await
            .map_err(|error| message(&error))?;
        Ok(Target {
            api,
            name: reference.name.clone(),
            scale,
        })
    }

    async fn resource(&self, reference: &CrossVersionObjectReference) -> Result<ApiResource, String> {
        let api_version = reference.api_version.clone().unwrap_or_else(|| "v1".to_owned());
        let key = (api_version, reference.kind.clone());
        if let Some(known) = self
            .resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(known.clone());
        }
        let (group, version) = match key.0.split_once('/') {
            Some((_, version)) if version.contains('/') => {
                return Err(format!("unexpected GroupVersion string: {}", key.0));
            }
            Some(parts) => parts,
            None => ("", key.0.as_str()),
        };
        let kind = GroupVersionKind::gvk(group, version, &key.1);
        let (resource, _) =
            discovery::pinned_kind(&self.client, &kind)
                .await
                .map_err(|error| match error {
                    kube::Error::Discovery(_) => no_match(&kind),
                    kube::Error::Api(status) if status.is_not_found() => no_match(&kind),
                    error => message(&error),
                })?;
        self.resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, resource.clone());
        Ok(resource)
    }
}

fn no_match(kind: &GroupVersionKind) -> String {
    format!("no matches for kind {:?} in group {:?}", kind.kind, kind.group)
}

impl Target {
    /// Writes the number of replicas; again on top of what somebody else wrote meanwhile. Answers false if that was a
    /// zero: it switches autoscaling off, and writing over it would bring back what was just scaled to zero.
    pub(super) async fn scale_to(&mut self, replicas: i32) -> Result<bool, String> {
        let mut attempt = 1;
        loop {
            self.scale.spec.get_or_insert_with(ScaleSpec::default).replicas = Some(replicas);
            let Err(error) = self
                .api
                .replace_scale(&self.name, &PostParams::default(), &self.scale)
                .await
            else {
                return Ok(true);
            };
            if let Ok(latest) = self.api.get_scale(&self.name).await {
                self.scale = latest;
            }
            let conflict = matches!(&error, kube::Error::Api(status) if status.is_conflict());
            if !conflict || attempt == ATTEMPTS {
                return Err(message(&error));
            }
            if hpa::Scale::from(&self.scale).spec_replicas == 0 {
                return Ok(false);
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The text of an error as Go's client has it: the server's own words where it spoke.
pub(super) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}
