//! The trait on Node objects.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use scaler_api::SharedClock;
use serde_json::json;

use super::{
    KwokCatalog,
    node::{self, PROVISIONED, TERMINATED, TOKEN},
};
use crate::{
    Catalog, ClassStatus, DriftReason, Error, ErrorKind, Instance, LaunchRequest, ProviderId, Provisioner,
    Termination,
    karpenter::{ConditionValue, KwokNodeClass, NodePool},
};

/// What every node gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KwokOptions {
    /// More labels, e.g. those that a kwok looks for that manages only some nodes.
    pub node_labels: BTreeMap<String, String>,
    /// More annotations.
    pub node_annotations: BTreeMap<String, String>,
}

/// Buys nodes that kwok keeps alive. Nothing is kept but the catalogue.
#[derive(Clone)]
pub struct KwokProvisioner {
    nodes: Api<Node>,
    catalog: KwokCatalog,
    clock: SharedClock,
    options: KwokOptions,
}

impl fmt::Debug for KwokProvisioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KwokProvisioner")
            .field("instance_types", &self.catalog.instance_types().len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl KwokProvisioner {
    /// On the cluster of `client`.
    #[must_use]
    pub fn new(client: Client, catalog: KwokCatalog, clock: SharedClock, options: KwokOptions) -> Self {
        Self {
            nodes: Api::all(client),
            catalog,
            clock,
            options,
        }
    }

    async fn node(&self, name: &str) -> Result<Option<Node>, Error> {
        let found = self.nodes.get_opt(name).await;
        found.map_err(|error| failed(format!("node {name} cannot be read"), error))
    }

    fn instance(&self, node: &Node) -> Option<Instance> {
        node::instance(node, self.catalog.instance_types())
    }

    /// The node that an earlier try has made.
    async fn earlier(&self, request: &LaunchRequest<'_, KwokNodeClass>) -> Result<Option<Node>, Error> {
        let name = node::name(request.claim, request.token);
        let Some(node) = self.node(&name).await? else {
            return Ok(None);
        };
        if node.annotations().get(TOKEN).map(String::as_str) == Some(request.token) {
            return Ok(Some(node));
        }
        let message = format!("node {name} is there already and was not bought for this claim");
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Waits until the claim is as old as its class lets nodes take to register; a process that starts anew waits only
    /// for the rest.
    async fn registration_delay(&self, request: &LaunchRequest<'_, KwokNodeClass>) {
        let delay = request.class.spec.node_registration_delay.as_ref();
        let Some(delay) = delay.and_then(|delay| delay.get()) else {
            return;
        };
        let now = self.clock.now();
        let since = request.claim.creation_timestamp().map_or(now, |time| time.0);
        let due = since.saturating_add(delay).unwrap_or(now);
        let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        tokio::time::sleep(wait).await;
    }

    async fn create(&self, request: &LaunchRequest<'_, KwokNodeClass>) -> Result<Node, Error> {
        let (it, offering) = self.catalog.choose(request)?;
        self.registration_delay(request).await;
        let wanted = node::wanted(request.claim, request.token, &it, &offering, &self.options);
        match self.nodes.create(&PostParams::default(), &wanted).await {
            Ok(node) => Ok(node),
            // A try that was dropped was faster.
            Err(kube::Error::Api(status)) if status.is_already_exists() => self
                .earlier(request)
                .await?
                .ok_or_else(|| lost(&wanted.name_any())),
            Err(error) => Err(failed(
                format!("node {} cannot be created", wanted.name_any()),
                error,
            )),
        }
    }

    async fn delete(&self, node: &Node) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: node.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.nodes.delete(&node.name_any(), &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another one has its name.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(failed(
                format!("node {} cannot be deleted", node.name_any()),
                error,
            )),
        }
    }
}

#[async_trait]
impl Provisioner for KwokProvisioner {
    type Class = KwokNodeClass;

    async fn resolve(&self, class: &KwokNodeClass) -> Result<ClassStatus, Error> {
        let valid = ConditionValue::is_true("ValidationSucceeded");
        Ok(ClassStatus {
            resolved: BTreeMap::new(),
            conditions: vec![valid.at(class.meta().generation, self.clock.now())],
        })
    }

    async fn catalog(&self, _pool: &NodePool, _class: &KwokNodeClass) -> Result<Arc<Catalog>, Error> {
        Ok(self.catalog.shared())
    }

    /// Creates the Node, under a name that the token gives. A class's `nodeRegistrationDelay` passes before that.
    async fn launch(&self, request: &LaunchRequest<'_, KwokNodeClass>) -> Result<Instance, Error> {
        let node = match self.earlier(request).await? {
            Some(node) => node,
            None => self.create(request).await?,
        };
        self.instance(&node).ok_or_else(|| lost(&node.name_any()))
    }

    /// Marks the Node as returned and deletes it. From then on it is gone for this provisioner, whatever holds it.
    async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error> {
        let Some(name) = node::name_in(id) else {
            return Ok(Termination::Gone);
        };
        let Some(node) = self
            .node(name)
            .await?
            .filter(|node| self.instance(node).is_some())
        else {
            return Ok(Termination::Gone);
        };
        if !node::is_returned(&node) {
            let patch = json!({ "metadata": { "uid": node.uid(), "annotations": { TERMINATED: "true" } } });
            let marked = self
                .nodes
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            match marked {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                    return Ok(Termination::Gone);
                }
                Err(error) => return Err(failed(format!("node {name} cannot be marked"), error)),
            }
        }
        self.delete(&node).await?;
        Ok(Termination::Requested)
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error> {
        let Some(name) = node::name_in(id) else {
            return Ok(None);
        };
        let node = self.node(name).await?;
        Ok(node.and_then(|node| self.instance(&node)))
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let ours = ListParams::default().labels(&format!("{PROVISIONED}=true"));
        let nodes = self.nodes.list(&ours).await;
        let nodes = nodes.map_err(|error| failed("nodes cannot be listed".to_owned(), error))?;
        Ok(nodes.iter().filter_map(|node| self.instance(node)).collect())
    }

    /// Nothing of such a node depends on its class.
    async fn drift(
        &self,
        _instance: &Instance,
        _class: &KwokNodeClass,
    ) -> Result<Option<DriftReason>, Error> {
        Ok(None)
    }
}

fn lost(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("node {name} was terminated while it was being launched"),
    )
}

/// What a caller can do about a refusal of the API server.
fn failed(message: String, error: kube::Error) -> Error {
    let kind = match &error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => ErrorKind::Unauthorized,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::Throttled,
            400 | 405 | 413 | 415 | 422 => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        },
        _ => ErrorKind::Unavailable,
    };
    let after = match &error {
        kube::Error::Api(status) => status
            .details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    let failed = Error::new(kind, message).with_source(error);
    if after > 0 {
        failed.with_retry_after(Duration::from_secs(u64::from(after)))
    } else {
        failed
    }
}
