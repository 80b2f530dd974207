//! The endpoints behind a Kubernetes Service, and one number made of theirs.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use reqwest::Url;
use scaler_api::Error;
use serde::Deserialize;

/// Finds the endpoints of the Services of a cluster, for `aggregateFromKubeServiceEndpoints`.
#[async_trait]
pub trait ServiceEndpoints: fmt::Debug + Send + Sync + 'static {
    /// The ready endpoints of a Service, as its EndpointSlices have them.
    ///
    /// # Errors
    /// If they cannot be read.
    async fn endpoints(&self, namespace: &str, service: &str) -> Result<BTreeSet<Endpoint>, Error>;
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address of its pod.
    pub address: String,
    /// The ports of its EndpointSlice.
    pub ports: Vec<u16>,
}

/// The [`ServiceEndpoints`] of a [`Context`](scaler_api::Context).
#[derive(Clone, Debug)]
pub struct SharedServiceEndpoints(pub Arc<dyn ServiceEndpoints>);

/// What is made of the numbers of several endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aggregation {
    Average,
    Sum,
    Max,
    Min,
}

impl Aggregation {
    /// `None` of no numbers.
    pub(super) fn of(self, numbers: &[f64]) -> Option<f64> {
        let sum: f64 = numbers.iter().sum();
        match self {
            _ if numbers.is_empty() => None,
            Self::Sum => Some(sum),
            #[allow(clippy::cast_precision_loss, reason = "a service has few endpoints")]
            Self::Average => Some(sum / numbers.len() as f64),
            Self::Max => numbers.iter().copied().reduce(f64::max),
            Self::Min => numbers.iter().copied().reduce(f64::min),
        }
    }
}

/// The Service and the namespace that a URL's host names: `service.namespace...`.
pub(super) fn service(url: &Url) -> Result<(&str, &str), String> {
    let host = url.host_str().unwrap_or_default();
    let mut labels = host.split('.');
    match (url.domain(), labels.next(), labels.next()) {
        (Some(_), Some(service), Some(namespace)) if !service.is_empty() && !namespace.is_empty() => {
            Ok((service, namespace))
        }
        _ => Err(format!(
            "url: the host {host:?} is no Service of a cluster, expected service.namespace"
        )),
    }
}

/// The URL of one endpoint: its address in the place of the host. A port that the endpoints do not have is left to the scheme.
pub(super) fn at(url: &Url, endpoint: &Endpoint) -> Option<Url> {
    let mut found = url.clone();
    let host = match endpoint.address.contains(':') {
        true => format!("[{}]", endpoint.address),
        false => endpoint.address.clone(),
    };
    found.set_host(Some(&host)).ok()?;
    let port = url
        .port_or_known_default()
        .filter(|port| endpoint.ports.contains(port));
    found.set_port(port).ok()?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_11_numbers_are_aggregated() {
        let numbers = [4.0, 1.0, 4.0];
        for (aggregation, expected) in [
            (Aggregation::Average, 3.0),
            (Aggregation::Sum, 9.0),
            (Aggregation::Max, 4.0),
            (Aggregation::Min, 1.0),
        ] {
            assert_eq!(aggregation.of(&numbers), Some(expected));
            assert_eq!(aggregation.of(&[]), None);
        }
    }

    #[test]
    fn a_service_and_its_endpoints_are_found_by_the_url() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            service(&url("http://stats.shop.svc:8080/a")),
            Ok(("stats", "shop"))
        );
        for bad in ["http://stats/a", "http://10.0.0.1/a", "http://[::1]/"] {
            assert!(service(&url(bad)).is_err(), "{bad}");
        }
        let endpoint = |address: &str| Endpoint {
            address: address.into(),
            ports: vec![8080, 80],
        };
        for (from, address, expected) in [
            (
                "http://stats.shop:8080/a?b=c",
                "10.0.0.1",
                "http://10.0.0.1:8080/a?b=c",
            ),
            ("http://stats.shop/a", "fd00::1", "http://[fd00::1]/a"),
            ("https://stats.shop:9/a", "10.0.0.1", "https://10.0.0.1/a"),
        ] {
            let found = at(&url(from), &endpoint(address)).unwrap();
            assert_eq!(found.as_str(), expected);
        }
    }
}
