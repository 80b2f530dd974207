//! `autoscaler install`: puts what `autoscaler manifests` prints on a cluster, in order, in one command.
//!
//! `kubectl apply` cannot do that in one go where objects are among them whose kinds are only just being defined.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery,
};
use serde_json::Value;

use super::{
    arguments,
    connect::{Target, label},
    crds,
};

/// Who owns the fields.
const MANAGER: &str = "autoscaler-install";

/// What to install, and where.
#[derive(Clone, Debug, Args)]
pub struct Installation {
    #[command(flatten)]
    what: arguments::Arguments,
    #[command(flatten)]
    target: Target,
}

impl Installation {
    /// Installs it.
    ///
    /// # Errors
    /// Where the values are wrong, or the cluster refuses.
    pub fn run(&self) -> anyhow::Result<()> {
        let objects = self.what.objects()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let client = self.target.connect().await?;
            apply(&client, &objects, &crate::view::say).await
        })
    }
}

/// Applies objects one after the other on the server's side; `report` is given a line for each.
///
/// # Errors
/// Where the cluster refuses one; what was applied stays.
pub async fn apply(client: &Client, objects: &[Value], report: &dyn Fn(&str)) -> anyhow::Result<()> {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for object in objects {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let (namespace, name) = (
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name"),
        );
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let label = label(&kind, namespace, &name);
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let gvk = GroupVersionKind::gvk(group, version, &kind);
        let (resource, _) = discovery::pinned_kind(client, &gvk)
            .await
            .with_context(|| format!("{label}: the cluster does not know its kind"))?;
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        if ["Namespace", "CustomResourceDefinition"].contains(&kind.as_str()) {
            not_terminating(&api, &name)
                .await
                .with_context(|| label.clone())?;
        }
        if kind == "CustomResourceDefinition" && is_foreign(&api, &name, object).await? {
            report(&format!("{label} left: it did not come with the autoscaler"));
            continue;
        }
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(object))
            .await
            .with_context(|| label.clone())?;
        if kind == "CustomResourceDefinition" {
            established(client, &name).await?;
        }
        report(&format!("{label} applied"));
    }
    Ok(())
}

/// Whether somebody else has brought a definition that would come with the installation. It would be taken for ours from
/// then on, and go with `autoscaler uninstall`, with every object of it.
async fn is_foreign(api: &Api<DynamicObject>, name: &str, object: &Value) -> kube::Result<bool> {
    let is_ours = |object: &DynamicObject| {
        object.labels().get(crds::OWNER_LABEL).map(String::as_str) == Some(crds::OWNER)
    };
    let comes_with_us = object["metadata"]["labels"][crds::OWNER_LABEL] == crds::OWNER;
    Ok(comes_with_us && api.get_opt(name).await?.is_some_and(|found| !is_ours(&found)))
}

/// Waits until what is just being deleted is gone: what is applied to it would go with it.
async fn not_terminating(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<()> {
    const TRIES: u32 = 600;
    for _ in 0..TRIES {
        let found = api.get_opt(name).await?;
        if found.is_none_or(|found| found.metadata.deletion_timestamp.is_none()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("it is being deleted, and still there after a minute")
}

/// Waits until objects of a definition can be made.
async fn established(client: &Client, name: &str) -> anyhow::Result<()> {
    const TRIES: u32 = 300;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for _ in 0..TRIES {
        let conditions = api.get(name).await?.status.and_then(|status| status.conditions);
        let is_established = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Established" && condition.status == "True");
        if is_established {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("CustomResourceDefinition {name} is not established after 30 s, see its conditions")
}
