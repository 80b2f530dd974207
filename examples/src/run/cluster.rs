//! The cluster that is worked on: how it is reached, and what must be there before anything can start.

use std::time::Duration;

use anyhow::Context as _;
use controller_runtime::{admin::RequestMetrics, lease::Writes};
use http::{HeaderValue, header};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::config::{Provider, Settings};
use crate::names;

/// How often the cluster is asked whether it is there, and whether it has what is missing.
const PERIOD: Duration = Duration::from_secs(3);

/// A client without a throttle on this side. Its requests are counted, and its writes seen through.
///
/// # Errors
/// If there is no configuration of a cluster, or it cannot be used.
pub(super) async fn client(
    settings: &Settings,
    requests: &RequestMetrics,
    writes: &Writes,
) -> anyhow::Result<(Client, String)> {
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match (&settings.kubeconfig, &settings.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("the kubeconfig {} cannot be read", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(|| format!("the kubeconfig {} cannot be used", path.display()))?
        }
        (None, Some(context)) => Config::from_kubeconfig(&options)
            .await
            .with_context(|| format!("the context {context:?} cannot be used"))?,
        (None, None) => Config::infer().await.context(
            "there is neither a kubeconfig (--kubeconfig, KUBECONFIG, ~/.kube/config) nor a service account of a pod",
        )?,
    };
    let agent = concat!("autoscaler/", env!("CARGO_PKG_VERSION"));
    config
        .headers
        .push((header::USER_AGENT, HeaderValue::from_static(agent)));
    let server = config.cluster_url.to_string();
    let client = ClientBuilder::try_from(config)
        .context("the API server cannot be spoken to")?
        .with_layer(requests)
        .with_layer(writes)
        .build();
    Ok((client, server))
}

/// An error with everything that led to it.
pub(super) fn causes(error: kube::Error) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// Waits until the API server answers.
pub(super) async fn until_reached(client: &Client, said: impl Fn(String)) {
    let mut attempt = 0_u32;
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                tracing::info!(version = %version.git_version, "the API server answers");
                return;
            }
            Err(error) => {
                let error = causes(error);
                said(format!("the API server does not answer: {error}"));
                attempt += 1;
                // Once in ten: a minute's outage is not worth twenty lines.
                if attempt % 10 == 1 {
                    tracing::warn!(%error, attempt, "the API server does not answer, trying on");
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A kind that a controller watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needed {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
}

const fn needed(group: &'static str, version: &'static str, plural: &'static str) -> Needed {
    Needed {
        group,
        version,
        plural,
    }
}

fn needs(settings: &Settings) -> Vec<Needed> {
    let mut needs = Vec::new();
    if settings.pods {
        needs.extend([
            needed("keda.sh", "v1alpha1", "scaledobjects"),
            needed("keda.sh", "v1alpha1", "scaledjobs"),
            needed("keda.sh", "v1alpha1", "triggerauthentications"),
            needed("keda.sh", "v1alpha1", "clustertriggerauthentications"),
        ]);
    }
    if let Some(provider) = settings.nodes {
        needs.extend([
            needed("karpenter.sh", "v1", "nodepools"),
            needed("karpenter.sh", "v1", "nodeclaims"),
        ]);
        needs.push(match provider {
            Provider::Kwok => needed("karpenter.kwok.sh", "v1alpha1", "kwoknodeclasses"),
            Provider::Ec2 => needed("karpenter.k8s.aws", "v1", "ec2nodeclasses"),
        });
    }
    needs
}

/// Waits until every kind that is watched is there.
pub(super) async fn until_installed(client: &Client, settings: &Settings, said: impl Fn(String)) {
    let mut last = Vec::new();
    loop {
        match missing(client, &needs(settings)).await {
            Ok(missing) if missing.is_empty() => return,
            Ok(missing) => {
                let names = missing.join(", ");
                said(format!("CustomResourceDefinitions are missing: {names}"));
                if missing != last {
                    tracing::error!(
                        missing = %names,
                        "CustomResourceDefinitions are missing; install them with: autoscaler crds | kubectl apply --server-side -f -"
                    );
                    last = missing;
                }
            }
            Err(error) => {
                let error = causes(error);
                said(format!("the API server does not say what it serves: {error}"));
                tracing::warn!(%error, "the API server does not say what it serves, trying on");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn missing(client: &Client, needs: &[Needed]) -> kube::Result<Vec<String>> {
    let mut missing = Vec::new();
    for Needed {
        group,
        version,
        plural,
    } in needs
    {
        let served = match client
            .list_api_group_resources(&format!("{group}/{version}"))
            .await
        {
            Ok(list) => list.resources.iter().any(|resource| resource.name == *plural),
            // The answer for a group that nobody serves is no Status.
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(error),
        };
        if !served {
            missing.push(format!("{plural}.{group}"));
        }
    }
    Ok(missing)
}

/// Makes the namespace of a process outside the cluster, which nobody installed.
///
/// # Errors
/// If it can neither be found nor made.
pub(super) async fn ensure_namespace(client: &Client, name: &str) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            // What `autoscaler uninstall` may take away again, if nothing else is in it by then.
            labels: Some([("app.kubernetes.io/name".to_owned(), names::NAME.to_owned())].into()),
            ..kube::api::ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(|_| ()),
    }
}
