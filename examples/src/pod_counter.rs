//! Counts pods through the Kubernetes API, for triggers of type `kubernetes-workload`.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use scaler_api::Error;
use scalers::kubernetes_workload::{CountedPod, PodCounter};

/// Lists pods whenever it is asked.
pub struct ApiPodCounter {
    client: Client,
}

impl ApiPodCounter {
    /// Asks the cluster of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl fmt::Debug for ApiPodCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiPodCounter")
    }
}

#[async_trait]
impl PodCounter for ApiPodCounter {
    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<CountedPod>, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods
            .list(&ListParams::default().labels(selector))
            .await
            .map_err(|error| Error::unavailable("cannot list the pods").with_source(error))?;
        let counted = listed.items.into_iter().map(|pod| CountedPod {
            phase: pod.status.and_then(|status| status.phase).unwrap_or_default(),
            node: pod.spec.and_then(|spec| spec.node_name),
        });
        Ok(counted.collect())
    }
}
