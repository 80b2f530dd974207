//! Finds the endpoints of Services through the Kubernetes API, for triggers of type `metrics-api`.

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, api::ListParams};
use scaler_api::Error;
use scalers::metrics_api::{Endpoint, ServiceEndpoints};

/// Lists EndpointSlices whenever it is asked.
pub struct ApiServiceEndpoints {
    client: Client,
}

impl ApiServiceEndpoints {
    /// Asks the cluster of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl fmt::Debug for ApiServiceEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServiceEndpoints")
    }
}

#[async_trait]
impl ServiceEndpoints for ApiServiceEndpoints {
    async fn endpoints(&self, namespace: &str, service: &str) -> Result<BTreeSet<Endpoint>, Error> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = format!("kubernetes.io/service-name={service}");
        let listed = slices
            .list(&ListParams::default().labels(&of_service))
            .await
            .map_err(|error| Error::unavailable("cannot list the EndpointSlices").with_source(error))?;
        Ok(listed.items.iter().flat_map(ready).collect())
    }
}

/// The endpoints of a slice that are not known to be unready.
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = Endpoint> {
    let ports = slice.ports.iter().flatten();
    let ports: Vec<u16> = ports.filter_map(|port| u16::try_from(port.port?).ok()).collect();
    let endpoints = slice.endpoints.iter();
    endpoints
        .filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        })
        .flat_map(|endpoint| &endpoint.addresses)
        .map(move |address| Endpoint {
            address: address.clone(),
            ports: ports.clone(),
        })
}
