//! What a [`Keeper`](super::Keeper) shall do.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Made by the leader and kept in the Secret of this name.
    Managed(String),
    /// Kept by somebody else, as cert-manager does, in the Secret of this name: `tls.crt`, `tls.key` and `ca.crt`.
    Secret(String),
    /// The files `tls.crt`, `tls.key` and, if it is there, `ca.crt` of a folder, looked at every ten seconds.
    Directory(PathBuf),
}

/// What a [`Keeper`](super::Keeper) keeps, for whom, and who has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the certificate comes from.
    pub source: Source,
    /// The namespace of the Secret and of the Services.
    pub namespace: String,
    /// The Services that the listeners are behind; the certificate has four names for each.
    pub services: Vec<String>,
    /// The cluster's domain, the end of the longest name.
    pub cluster_domain: String,
    /// More names, e.g. `localhost`.
    pub names: Vec<String>,
    /// Addresses at which the listeners are called without a name.
    pub addresses: Vec<IpAddr>,
    /// How long an authority lives.
    pub authority_life: Duration,
    /// How long a certificate lives.
    pub certificate_life: Duration,
    /// How far in the past lives begin, for clocks that are behind.
    pub backdate: Duration,
    /// How long API servers may take to hear of a new bundle.
    pub propagation: Duration,
    /// The APIServices that carry the bundle; one that is not there is waited for.
    pub api_services: Vec<String>,
    /// The ValidatingWebhookConfigurations whose webhooks all carry the bundle.
    pub validating_webhooks: Vec<String>,
    /// Whether bundles are written; not where cert-manager's injector does it.
    pub write_bundles: bool,
}

impl Options {
    /// A certificate made for the Service `service`, nobody to be told yet: an authority lives ten years, a certificate
    /// one.
    #[must_use]
    pub fn new(source: Source, namespace: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            source,
            namespace: namespace.into(),
            services: vec![service.into()],
            cluster_domain: "cluster.local".to_owned(),
            names: Vec::new(),
            addresses: Vec::new(),
            authority_life: DAY * 3650,
            certificate_life: DAY * 365,
            backdate: Duration::from_secs(60 * 60),
            propagation: Duration::from_secs(60),
            api_services: Vec::new(),
            validating_webhooks: Vec::new(),
            write_bundles: true,
        }
    }

    /// Every name and address that the certificate has to have.
    #[must_use]
    pub fn subject_alternative_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for service in &self.services {
            let service_name = format!("{service}.{}.svc", self.namespace);
            names.insert(format!("{service_name}.{}", self.cluster_domain));
            names.insert(service_name);
            names.insert(format!("{service}.{}", self.namespace));
            names.insert(service.clone());
        }
        names.extend(self.names.iter().cloned());
        names.extend(self.addresses.iter().map(ToString::to_string));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_four_names() {
        let mut options = Options::new(Source::Managed("c".into()), "autoscaler", "adapter");
        options.addresses = vec!["127.0.0.1".parse().unwrap()];
        assert_eq!(
            options
                .subject_alternative_names()
                .into_iter()
                .collect::<Vec<_>>(),
            [
                "127.0.0.1",
                "adapter",
                "adapter.autoscaler",
                "adapter.autoscaler.svc",
                "adapter.autoscaler.svc.cluster.local",
            ]
        );
    }
}
