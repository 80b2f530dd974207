//! The clouds of Azure: where to log in, and what for.

use reqwest::Url;
use scaler_api::{Error, secret_store::blocks::AzureKeyVaultCloud};

use crate::http;

/// The clouds by name: where to log in, and the resource of the vaults, of which their hosts are subdomains.
const KNOWN: [(&str, &str, &str); 3] = [
    (
        "AzurePublicCloud",
        "https://login.microsoftonline.com/",
        "https://vault.azure.net",
    ),
    (
        "AzureUSGovernmentCloud",
        "https://login.microsoftonline.us/",
        "https://vault.usgovcloudapi.net",
    ),
    (
        "AzureChinaCloud",
        "https://login.chinacloudapi.cn/",
        "https://vault.azure.cn",
    ),
];
const PRIVATE: &str = "Private";

/// A cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cloud {
    /// Where to log in; none where the block names no cloud and the environment may.
    pub(super) authority: Option<String>,
    resource: String,
    is_private: bool,
}

impl Cloud {
    /// The public one without a block.
    pub(super) fn of(block: Option<&AzureKeyVaultCloud>) -> Result<Self, Error> {
        let Some(block) = block else {
            let (_, _, resource) = KNOWN[0];
            return Ok(Self {
                authority: None,
                resource: resource.to_owned(),
                is_private: false,
            });
        };
        if block.type_.eq_ignore_ascii_case(PRIVATE) {
            return Ok(Self {
                authority: Some(needed(
                    "activeDirectoryEndpoint",
                    block.active_directory_endpoint.as_ref(),
                )?),
                resource: needed("keyVaultResourceURL", block.key_vault_resource_url.as_ref())?,
                is_private: true,
            });
        }
        let mut known = KNOWN.into_iter();
        let found = known.find(|(name, _, _)| block.type_.eq_ignore_ascii_case(name));
        let (_, authority, resource) = found.ok_or_else(|| {
            let names = KNOWN.map(|(name, _, _)| name).join(", ");
            Error::invalid(format!(
                "azureKeyVault.cloud.type {:?} is not known, expected {names} or {PRIVATE}",
                block.type_
            ))
        })?;
        Ok(Self {
            authority: Some(authority.to_owned()),
            resource: resource.to_owned(),
            is_private: false,
        })
    }

    /// What a token is asked for.
    pub(super) fn scope(&self) -> String {
        format!("{}/.default", self.resource.trim_end_matches('/'))
    }

    /// The URL of a vault. A token must not go to a host that is not the cloud's: whoever may write a TriggerAuthentication
    /// names it, and the identity may be that of the process.
    pub(super) fn vault(&self, uri: &str) -> Result<Url, Error> {
        let url = http::url("azureKeyVault.vaultUri", uri).map_err(Error::invalid)?;
        if self.is_private {
            return Ok(url);
        }
        let domain = self.resource.trim_start_matches("https://");
        let is_below = url
            .host_str()
            .and_then(|host| host.strip_suffix(domain))
            .is_some_and(|name| name.len() > 1 && name.ends_with('.'));
        if is_below && url.scheme() == "https" {
            return Ok(url);
        }
        Err(Error::invalid(format!(
            "azureKeyVault.vaultUri {uri:?} is not a vault of the cloud, expected https://NAME.{domain}"
        )))
    }
}

fn needed(field: &str, text: Option<&String>) -> Result<String, Error> {
    let given = text.filter(|text| !text.is_empty()).cloned();
    given.ok_or_else(|| {
        Error::invalid(format!(
            "azureKeyVault.cloud.{field} is not given: cloud {PRIVATE} needs it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(type_: &str) -> Result<Cloud, Error> {
        let block = AzureKeyVaultCloud {
            type_: type_.to_owned(),
            ..AzureKeyVaultCloud::default()
        };
        Cloud::of(Some(&block))
    }

    #[test]
    fn clouds_have_their_logins_and_resources() {
        let cases = [
            (
                "AzurePublicCloud",
                "https://login.microsoftonline.com/",
                "https://vault.azure.net/.default",
            ),
            (
                "azureusgovernmentcloud",
                "https://login.microsoftonline.us/",
                "https://vault.usgovcloudapi.net/.default",
            ),
            (
                "AzureChinaCloud",
                "https://login.chinacloudapi.cn/",
                "https://vault.azure.cn/.default",
            ),
        ];
        for (name, authority, scope) in cases {
            let cloud = named(name).unwrap();
            assert_eq!(
                (cloud.authority.as_deref(), &*cloud.scope()),
                (Some(authority), scope)
            );
        }
        assert_eq!(
            Cloud::of(None).unwrap().scope(),
            "https://vault.azure.net/.default"
        );
        let unknown = named("AzureMoonCloud").unwrap_err().to_string();
        assert!(
            unknown.contains("expected AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Private")
        );
        let private = named("Private").unwrap_err().to_string();
        assert!(
            private.contains("activeDirectoryEndpoint is not given"),
            "{private}"
        );
    }

    #[test]
    fn a_token_goes_to_vaults_of_the_cloud_alone() {
        let cloud = Cloud::of(None).unwrap();
        for (uri, expected) in [
            ("https://shop.vault.azure.net", true),
            ("https://SHOP.vault.azure.net/", true),
            ("http://shop.vault.azure.net", false),
            ("https://shop.vault.azure.cn", false),
            ("https://shopvault.azure.net", false),
            ("https://vault.azure.net", false),
            ("https://shop.vault.azure.net.evil.example", false),
            ("https://evil.example/.vault.azure.net", false),
            ("shop", false),
        ] {
            assert_eq!(cloud.vault(uri).is_ok(), expected, "{uri}");
        }
    }
}
