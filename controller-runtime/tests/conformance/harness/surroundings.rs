//! What stands around the API of either cluster: who serves metrics, and who plays the nodes.

use std::{path::PathBuf, sync::Arc};

use controller_runtime::sim::api::{ApiServer, boxed_backend};
use kube::Client;
use serde_json::Value;

use super::{
    adapter::{Adapter, Held},
    machines::Running,
    metrics::{Metrics, SERVICE, api_service, service},
};

/// The surroundings of a case.
#[derive(Debug)]
pub(crate) enum Surroundings {
    Embedded {
        api: ApiServer,
        metrics: Metrics,
        machines: Running,
    },
    Real {
        adapter: Arc<Adapter>,
        kubeconfig: PathBuf,
    },
}

impl Surroundings {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Embedded { .. } => "embedded",
            Self::Real { .. } => "real",
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        match self {
            Self::Embedded { metrics, .. } => metrics,
            Self::Real { adapter, .. } => &adapter.metrics,
        }
    }

    pub(crate) async fn provide_metrics(&self, client: &Client) -> anyhow::Result<Held> {
        match self {
            Self::Embedded { api, metrics, .. } => {
                for object in [service(), api_service(443, Value::Null)] {
                    api.apply_manifest(object)?;
                }
                api.register_backend("kube-system", SERVICE, boxed_backend(metrics.adapter()));
                Ok(Held::Own)
            }
            Self::Real { adapter, kubeconfig } => adapter.provide(client, kubeconfig).await,
        }
    }

    pub(crate) async fn withhold_metrics(&self, client: &Client) -> anyhow::Result<Held> {
        match self {
            Self::Embedded { .. } => Ok(Held::Own),
            Self::Real { adapter, .. } => adapter.withhold(client).await,
        }
    }
}
