//! The clouds of Azure, as triggers name them.

#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
use scaler_api::Problems;
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
use serde::Deserialize;

const PRIVATE: &str = "Private";

/// What is where in a cloud.
struct Cloud {
    name: &'static str,
    /// Where to log in.
    authority: &'static str,
    /// The domain of storage accounts.
    #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
    storage: &'static str,
    /// The domain of namespaces of Service Bus.
    #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
    service_bus: &'static str,
    /// The end of the domain of managed Prometheus.
    #[cfg(feature = "prometheus")]
    prometheus: &'static str,
}

static KNOWN: [Cloud; 3] = [
    Cloud {
        name: "AzurePublicCloud",
        authority: "https://login.microsoftonline.com/",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        storage: "core.windows.net",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        service_bus: "servicebus.windows.net",
        #[cfg(feature = "prometheus")]
        prometheus: "azure.com",
    },
    Cloud {
        name: "AzureUSGovernmentCloud",
        authority: "https://login.microsoftonline.us/",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        storage: "core.usgovcloudapi.net",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        service_bus: "servicebus.usgovcloudapi.net",
        #[cfg(feature = "prometheus")]
        prometheus: "usgovcloudapi.net",
    },
    Cloud {
        name: "AzureChinaCloud",
        authority: "https://login.chinacloudapi.cn/",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        storage: "core.chinacloudapi.cn",
        #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
        service_bus: "servicebus.chinacloudapi.cn",
        #[cfg(feature = "prometheus")]
        prometheus: "chinacloudapp.cn",
    },
];

pub(crate) mod fields {
    use scaler_api::Field;

    pub(crate) const CLOUD: Field = Field::new(
        "cloud",
        "Cloud of the service: `AzurePublicCloud`, `AzureUSGovernmentCloud`, `AzureChinaCloud` or `Private`; the public \
         one by default.",
    );
    #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
    pub(crate) const ENDPOINT_SUFFIX: Field = Field::new(
        "endpointSuffix",
        "Domain of the service, which `cloud: Private` needs.",
    );
}

/// Where a cloud's managed Prometheus logs in, and what for; `resource` is that of a private cloud.
#[cfg(feature = "prometheus")]
pub(crate) fn managed_prometheus(
    cloud: Option<&str>,
    resource: Option<&str>,
) -> Result<(&'static str, String), String> {
    if cloud.is_some_and(|name| name.eq_ignore_ascii_case(PRIVATE)) {
        let resource =
            resource.ok_or("azureManagedPrometheusResourceURL must be provided for Private cloud type")?;
        return Ok((KNOWN[0].authority, resource.to_owned()));
    }
    let known = known(cloud)?;
    let scope = format!("https://prometheus.monitor.{}/.default", known.prometheus);
    Ok((known.authority, scope))
}

/// The cloud of this name, or the public one.
fn known(name: Option<&str>) -> Result<&'static Cloud, String> {
    let Some(name) = name else { return Ok(&KNOWN[0]) };
    let found = KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        let names = names.join(", ");
        format!("invalid cloud environment {name:?}, expected {names} or {PRIVATE}")
    })
}

/// The keys that name a cloud; a struct to nest in the metadata of a trigger.
#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CloudKeys {
    pub(crate) cloud: Option<String>,
    pub(crate) endpoint_suffix: Option<String>,
}

#[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
impl CloudKeys {
    /// Where to log in, and the domains of queues and of Service Bus.
    fn find(&self) -> Result<(&'static str, String, String), String> {
        if self
            .cloud
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case(PRIVATE))
        {
            let suffix = self
                .endpoint_suffix
                .clone()
                .ok_or("endpointSuffix must be provided for Private cloud type")?;
            return Ok((KNOWN[0].authority, suffix.clone(), suffix));
        }
        let cloud = known(self.cloud.as_deref())?;
        Ok((
            cloud.authority,
            format!("queue.{}", cloud.storage),
            cloud.service_bus.to_owned(),
        ))
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(message) = self.find() {
            problems.error("cloud", self.cloud.as_deref().unwrap_or_default(), message);
        }
    }

    pub(crate) fn authority(&self) -> Result<&'static str, String> {
        Ok(self.find()?.0)
    }

    /// The domain of storage queues, without a dot before it.
    #[cfg(feature = "azure-queue")]
    pub(crate) fn queues(&self) -> Result<String, String> {
        Ok(self.find()?.1)
    }

    /// The domain of namespaces of Service Bus, without a dot before it.
    #[cfg(feature = "azure-servicebus")]
    pub(crate) fn service_bus(&self) -> Result<String, String> {
        Ok(self.find()?.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "prometheus")]
    #[test]
    fn managed_prometheus_has_a_scope_in_each_cloud() {
        let public = "https://prometheus.monitor.azure.com/.default";
        for (cloud, resource, scope) in [
            (None, None, public),
            (Some("AzurePublicCloud"), Some("ignored"), public),
            (
                Some("azureusgovernmentcloud"),
                None,
                "https://prometheus.monitor.usgovcloudapi.net/.default",
            ),
            (
                Some("AzureChinaCloud"),
                None,
                "https://prometheus.monitor.chinacloudapp.cn/.default",
            ),
            (
                Some("private"),
                Some("https://own/.default"),
                "https://own/.default",
            ),
        ] {
            assert_eq!(managed_prometheus(cloud, resource).unwrap().1, scope, "{cloud:?}");
        }
        let error = managed_prometheus(Some("Private"), None).unwrap_err();
        assert!(error.contains("azureManagedPrometheusResourceURL must be provided"));
        assert!(managed_prometheus(Some("AzureMoonCloud"), None).is_err());
    }

    #[cfg(any(feature = "azure-queue", feature = "azure-servicebus"))]
    #[test]
    fn clouds_have_their_domains_and_a_private_one_says_its_own() {
        let keys = |cloud: Option<&str>, suffix: Option<&str>| CloudKeys {
            cloud: cloud.map(str::to_owned),
            endpoint_suffix: suffix.map(str::to_owned),
        };
        for (cloud, suffix, queues, service_bus) in [
            (None, None, "queue.core.windows.net", "servicebus.windows.net"),
            (
                None,
                Some("ignored"),
                "queue.core.windows.net",
                "servicebus.windows.net",
            ),
            (
                Some("azureusgovernmentcloud"),
                None,
                "queue.core.usgovcloudapi.net",
                "servicebus.usgovcloudapi.net",
            ),
            (
                Some("AzureChinaCloud"),
                None,
                "queue.core.chinacloudapi.cn",
                "servicebus.chinacloudapi.cn",
            ),
            (Some("private"), Some("bus.example"), "bus.example", "bus.example"),
        ] {
            let (_, found_queues, found_bus) = keys(cloud, suffix).find().unwrap();
            assert_eq!((&*found_queues, &*found_bus), (queues, service_bus), "{cloud:?}");
        }
        let error = keys(Some("Private"), None).find().unwrap_err();
        assert!(error.contains("endpointSuffix must be provided"), "{error}");
        let error = keys(Some("AzureMoonCloud"), None).find().unwrap_err();
        assert!(error.contains("invalid cloud environment"), "{error}");
    }
}
