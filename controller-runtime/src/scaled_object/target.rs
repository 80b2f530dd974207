//! What a ScaledObject scales: anything with a `/scale` subresource.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Container, Pod},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta},
    discovery,
};
use scaler_api::keda::{GroupVersionKindResource, ScaleTargetRef};
use serde::Deserialize;
use serde_json::json;

use super::watched_scales::WatchedScales;
use crate::{pod_autoscaler::watched::Watched, store::ObjectKey};

/// A Deployment with nothing but its replicas.
#[derive(Clone, Debug, Default, Resource, Deserialize)]
#[resource(inherit = "Deployment")]
pub struct SlimDeployment {
    /// Name and generation.
    pub metadata: ObjectMeta,
    /// The replicas.
    #[serde(default)]
    pub spec: SlimSpec,
}

/// A StatefulSet with nothing but its replicas.
#[derive(Clone, Debug, Default, Resource, Deserialize)]
#[resource(inherit = "StatefulSet")]
pub struct SlimStatefulSet {
    /// Name and generation.
    pub metadata: ObjectMeta,
    /// The replicas.
    #[serde(default)]
    pub spec: SlimSpec,
}

/// What a target's pod template says of its pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplatePods {
    /// Their containers; none where the template is not what it is elsewhere.
    pub containers: Vec<Container>,
    /// Their ServiceAccount, if one is named.
    pub service_account: Option<String>,
}

/// The replicas that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SlimSpec {
    /// 1 where nothing is said.
    pub replicas: Option<i32>,
}

/// A workload whose type is known to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its type.
    pub resource: ApiResource,
}

impl Target {
    /// Its type as the status shows it.
    #[must_use]
    pub fn gvkr(&self) -> GroupVersionKindResource {
        GroupVersionKindResource {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            kind: self.resource.kind.clone(),
            resource: self.resource.plural.clone(),
        }
    }

    /// `<group>/<version>.<Kind>`.
    #[must_use]
    pub fn kind_in_words(&self) -> String {
        format!("{}.{}", self.resource.api_version, self.resource.kind)
    }
}

impl fmt::Display for Target {
    /// `<group>/<version>.<Kind> <namespace>/<name>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind_in_words(), self.key)
    }
}

/// Why a target cannot be scaled.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The API server does not know its kind.
    #[error(
        "ScaledObject doesn't have correct scaleTargetRef specification: the API server does not know kind {kind:?} of {api_version:?}"
    )]
    UnknownKind {
        /// As given.
        api_version: String,
        /// As given.
        kind: String,
    },
    /// Its kind has no such subresource.
    #[error("Target resource doesn't expose /scale subresource: {kind:?} of {api_version:?} has none")]
    NotScalable {
        /// As given.
        api_version: String,
        /// As given.
        kind: String,
    },
    /// It does not exist.
    #[error("Target resource doesn't exist: there is no {0}")]
    Missing(String),
    /// The API server did not say.
    #[error("cannot ask the API server for {0}: {1}")]
    Api(String, #[source] kube::Error),
}

impl TargetError {
    /// Whether it may be different in a moment without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Api(..))
    }
}

/// The scale of a target as the API server has it.
#[derive(Clone, Debug)]
pub struct Scale {
    object: DynamicObject,
}

impl From<DynamicObject> for Scale {
    fn from(object: DynamicObject) -> Self {
        Self { object }
    }
}

impl Scale {
    /// The name, uid and resourceVersion of what is scaled.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        &self.object.metadata
    }

    /// The replicas that are asked for.
    #[must_use]
    pub fn replicas(&self) -> i32 {
        let replicas = self.object.data["spec"]["replicas"].as_i64().unwrap_or(0);
        i32::try_from(replicas).unwrap_or(i32::MAX)
    }

    /// The selector of its pods as text, empty where it has none.
    #[must_use]
    pub fn selector(&self) -> &str {
        self.object.data["status"]["selector"]
            .as_str()
            .unwrap_or_default()
    }
}

type KnownKinds = BTreeMap<(String, String), Arc<ApiResource>>;

/// Finds, reads and scales targets. Clones share what is known about kinds.
#[derive(Clone)]
pub struct Targets {
    client: Client,
    deployments: Watched<SlimDeployment>,
    stateful_sets: Watched<SlimStatefulSet>,
    scales: WatchedScales,
    kinds: Arc<Mutex<KnownKinds>>,
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets")
            .field("deployments", &self.deployments)
            .finish_non_exhaustive()
    }
}

impl Targets {
    /// Targets behind `client`; the replicas of the common kinds come from stores, those of others from `scales` while
    /// they hold.
    #[must_use]
    pub(crate) fn new(
        client: Client,
        deployments: Watched<SlimDeployment>,
        stateful_sets: Watched<SlimStatefulSet>,
        scales: WatchedScales,
    ) -> Self {
        Self {
            client,
            deployments,
            stateful_sets,
            scales,
            kinds: Arc::default(),
        }
    }

    /// The target that is referred to, and its scale.
    ///
    /// # Errors
    /// If it cannot be scaled.
    pub async fn resolve(
        &self,
        namespace: &str,
        reference: &ScaleTargetRef,
    ) -> Result<(Target, Scale), TargetError> {
        let resource = self.kind(reference).await?;
        let key = ObjectKey::new(namespace, &reference.name);
        let target = Target {
            key,
            resource: (*resource).clone(),
        };
        let scale = self.scale(&target).await?;
        Ok((target, scale))
    }

    async fn kind(&self, reference: &ScaleTargetRef) -> Result<Arc<ApiResource>, TargetError> {
        let (api_version, kind) = (reference.api_version().to_owned(), reference.kind().to_owned());
        let name = (api_version.clone(), kind.clone());
        if let Some(known) = self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
        {
            return Ok(Arc::clone(known));
        }
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let gvk = GroupVersionKind::gvk(group, version, &kind);
        let (resource, capabilities) = match discovery::pinned_kind(&self.client, &gvk).await {
            Ok(found) => found,
            Err(kube::Error::Discovery(_)) => return Err(TargetError::UnknownKind { api_version, kind }),
            // An unknown group is answered by a bare 404 without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(TargetError::UnknownKind { api_version, kind });
            }
            Err(error) => {
                return Err(TargetError::Api(
                    format!("kind {kind:?} of {api_version:?}"),
                    error,
                ));
            }
        };
        if !capabilities
            .subresources
            .iter()
            .any(|(subresource, _)| subresource.plural == "scale")
        {
            return Err(TargetError::NotScalable { api_version, kind });
        }
        let resource = Arc::new(resource);
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Arc::clone(&resource));
        Ok(resource)
    }

    fn api(&self, target: &Target) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &target.key.namespace, &target.resource)
    }

    /// The scale of a target, from the API server.
    ///
    /// # Errors
    /// If it is gone, or the API server does not say.
    pub async fn scale(&self, target: &Target) -> Result<Scale, TargetError> {
        let reading = self.scales.begin(target);
        let object = self.api(target).get_subresource("scale", &target.key.name).await;
        let scale = object
            .map(Scale::from)
            .map_err(|error| Self::error(target, error));
        if let Some(reading) = reading {
            self.scales.finish(target, &reading, scale.as_ref());
        }
        scale
    }

    /// The replicas that a target asks for: of the common kinds as last watched, of others as last read, or from the
    /// API server if they have changed since or are not watched.
    ///
    /// # Errors
    /// As [`scale`](Targets::scale).
    pub async fn replicas(&self, target: &Target) -> Result<i32, TargetError> {
        let missing = || TargetError::Missing(target.to_string());
        let spec = match (target.resource.group.as_str(), target.resource.kind.as_str()) {
            ("apps", "Deployment") => self.deployments.get(&target.key).ok_or_else(missing)?.spec,
            ("apps", "StatefulSet") => self.stateful_sets.get(&target.key).ok_or_else(missing)?.spec,
            _ => {
                return match self.scales.replicas(target) {
                    Some(replicas) => Ok(replicas),
                    None => Ok(self.scale(target).await?.replicas()),
                };
            }
        };
        Ok(spec.replicas.unwrap_or(1))
    }

    /// Asks for `replicas`, if nobody changed the scale since it was read.
    ///
    /// # Errors
    /// If somebody did, if the target is gone, or if the API server refuses.
    pub async fn set(&self, target: &Target, scale: &Scale, replicas: i32) -> Result<(), TargetError> {
        let mut object = scale.object.clone();
        if !object.data["spec"].is_object() {
            object.data["spec"] = json!({});
        }
        object.data["spec"]["replicas"] = json!(replicas);
        let replaced = self
            .api(target)
            .replace_subresource("scale", &target.key.name, &PostParams::default(), &object)
            .await;
        replaced.map(|_| ()).map_err(|error| Self::error(target, error))
    }

    /// How many of the target's pods are ready.
    ///
    /// # Errors
    /// If the API server does not say.
    pub async fn ready_pods(&self, target: &Target) -> Result<i64, TargetError> {
        let scale = self.scale(target).await?;
        if scale.selector().is_empty() {
            return Ok(0);
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.key.namespace);
        let list = pods.list(&ListParams::default().labels(scale.selector())).await;
        let list = list.map_err(|error| TargetError::Api(format!("the pods of {target}"), error))?;
        Ok(i64::try_from(list.items.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i64::MAX))
    }

    /// What the target's pod template says of its pods.
    ///
    /// # Errors
    /// If the target is gone, or the API server does not say.
    pub async fn containers(&self, target: &Target) -> Result<TemplatePods, TargetError> {
        let object = self
            .api(target)
            .get(&target.key.name)
            .await
            .map_err(|error| Self::error(target, error))?;
        let pods = &object.data["spec"]["template"]["spec"];
        Ok(TemplatePods {
            containers: serde_json::from_value(pods["containers"].clone()).unwrap_or_default(),
            service_account: pods["serviceAccountName"].as_str().map(str::to_owned),
        })
    }

    fn error(target: &Target, error: kube::Error) -> TargetError {
        match error {
            kube::Error::Api(status) if status.is_not_found() => TargetError::Missing(target.to_string()),
            error => TargetError::Api(target.to_string(), error),
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "Ready" && condition.status == "True"
    };
    status.phase.as_deref() == Some("Running") && status.conditions.iter().flatten().any(ready)
}
