//! The cluster that is installed on, by a kubeconfig, and objects of any kind there.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

/// Which cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct Target {
    /// The kubeconfig; that of KUBECONFIG or ~/.kube/config where missing.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one where missing.
    #[arg(long)]
    context: Option<String>,
}

impl Target {
    /// A client of it.
    ///
    /// # Errors
    /// Where the kubeconfig cannot be used.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match self.kubeconfig.as_deref() {
            Some(path) => from_file(path, &options).await?,
            None => Config::from_kubeconfig(&options)
                .await
                .context("no kubeconfig can be used; name one with --kubeconfig")?,
        };
        Client::try_from(config).context("no client can be made from the kubeconfig")
    }
}

async fn from_file(path: &Path, options: &KubeConfigOptions) -> anyhow::Result<Config> {
    let what = || format!("kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(what)?;
    Config::from_custom_kubeconfig(kubeconfig, options)
        .await
        .with_context(what)
}

/// A kind, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its plural name.
    pub plural: &'static str,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// Its objects in a namespace, or without one; over all namespaces where it has one that is not named.
    #[must_use]
    pub fn api(self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            None => Api::all_with(client.clone(), &self.resource()),
        }
    }
}

/// `Kind namespace/name`, as it is said.
#[must_use]
pub fn label(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
