//! The clouds of Azure, as triggers name them.

use scaler_api::Problems;
use serde::Deserialize;

const PRIVATE: &str = "Private";

/// The clouds by name: where to log in, the domain of storage accounts, and that of Service Bus.
const KNOWN: [(&str, &str, &str, &str); 3] = [
    (
        "AzurePublicCloud",
        "https://login.microsoftonline.com/",
        "core.windows.net",
        "servicebus.windows.net",
    ),
    (
        "AzureUSGovernmentCloud",
        "https://login.microsoftonline.us/",
        "core.usgovcloudapi.net",
        "servicebus.usgovcloudapi.net",
    ),
    (
        "AzureChinaCloud",
        "https://login.chinacloudapi.cn/",
        "core.chinacloudapi.cn",
        "servicebus.chinacloudapi.cn",
    ),
];

pub(crate) mod fields {
    use scaler_api::Field;

    pub(crate) const CLOUD: Field = Field::new(
        "cloud",
        "Cloud of the service: `AzurePublicCloud`, `AzureUSGovernmentCloud`, `AzureChinaCloud` or `Private`; the public \
         one by default.",
    );
    pub(crate) const ENDPOINT_SUFFIX: Field = Field::new(
        "endpointSuffix",
        "Domain of the service, which `cloud: Private` needs.",
    );
}

/// The keys that name a cloud; a struct to nest in the metadata of a trigger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CloudKeys {
    pub(crate) cloud: Option<String>,
    pub(crate) endpoint_suffix: Option<String>,
}

impl CloudKeys {
    /// Where to log in, and the domains of queues and of Service Bus.
    fn find(&self) -> Result<(&'static str, String, String), String> {
        let (_, authority, storage, service_bus) = match self.cloud.as_deref() {
            None => KNOWN[0],
            Some(name) if name.eq_ignore_ascii_case(PRIVATE) => {
                let suffix = self
                    .endpoint_suffix
                    .clone()
                    .ok_or("endpointSuffix must be provided for Private cloud type")?;
                return Ok((KNOWN[0].1, suffix.clone(), suffix));
            }
            Some(name) => {
                let found = KNOWN.into_iter().find(|known| known.0.eq_ignore_ascii_case(name));
                found.ok_or_else(|| {
                    let names = KNOWN.map(|known| known.0).join(", ");
                    format!("invalid cloud environment {name:?}, expected {names} or {PRIVATE}")
                })?
            }
        };
        Ok((authority, format!("queue.{storage}"), service_bus.to_owned()))
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
