//! The keys that say where the servers are and who asks them.

use scaler_api::{Problems, Secret, SourceKey};
use serde::Deserialize;

use crate::tcp::Tls;

/// The keys.
pub(super) mod fields {
    use scaler_api::{Field, Source};

    const M_A_E: &[Source] = &[Source::Metadata, Source::Authentication, Source::Environment];
    const M_E_A: &[Source] = &[Source::Metadata, Source::Environment, Source::Authentication];

    pub(crate) const ADDRESS: Field = Field::new("address", "The server: `host:port`.")
        .aliases(&["addresses"])
        .from(M_A_E);
    pub(crate) const ADDRESSES: Field =
        Field::new("addresses", "Some of the servers: `host:port,host:port`.")
            .aliases(&["address"])
            .from(M_A_E);
    pub(crate) const HOST: Field = Field::new("host", "The server's host, in place of `address`.")
        .aliases(&["hosts"])
        .from(M_E_A);
    pub(crate) const HOSTS: Field =
        Field::new("hosts", "Hosts of some of the servers, in place of `addresses`.")
            .aliases(&["host"])
            .from(M_E_A);
    pub(crate) const PORT: Field = Field::new("port", "The port of `host`.")
        .aliases(&["ports"])
        .from(M_E_A);
    pub(crate) const PORTS: Field = Field::new("ports", "The ports of `hosts`, as many as those.")
        .aliases(&["port"])
        .from(M_E_A);
    pub(crate) const USERNAME: Field =
        Field::new("username", "User of the server's access control list.").from(M_E_A);
    pub(crate) const PASSWORD: Field = Field::new("password", "Password of the user, or of the server.")
        .from(M_E_A)
        .secret();
    pub(crate) const SENTINEL_MASTER: Field = Field::new(
        "sentinelMaster",
        "Name under which the sentinels know the primary.",
    )
    .required()
    .from(M_A_E);
    pub(crate) const SENTINEL_USERNAME: Field =
        Field::new("sentinelUsername", "User of the sentinels.").from(M_A_E);
    pub(crate) const SENTINEL_PASSWORD: Field = Field::new("sentinelPassword", "Password of the sentinels.")
        .from(M_A_E)
        .secret();
    pub(crate) const DATABASE: Field = Field::new("databaseIndex", "Number of the database.").default("0");
    pub(crate) const ENABLE_TLS: Field =
        Field::new("enableTLS", "Whether to use TLS; not together with `tls`.");
    pub(crate) const TLS: Field = Field::new("tls", "Whether to use TLS: `enable` or `disable`.")
        .from(&[Source::Authentication])
        .allowed(&["enable", "disable"]);
}

/// The block; a struct to nest in that of a trigger.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    #[serde(default, alias = "addresses")]
    address: Vec<String>,
    #[serde(default, alias = "hosts")]
    host: Vec<String>,
    #[serde(default, alias = "ports")]
    port: Vec<String>,
    pub(super) username: Option<Secret>,
    pub(super) password: Option<Secret>,
    #[serde(rename = "enableTLS")]
    enable_tls: Option<bool>,
    tls: Option<String>,
    unsafe_ssl: bool,
    ca: Option<Secret>,
    #[serde(alias = "Cert")]
    cert: Option<Secret>,
    key: Option<Secret>,
    key_password: Option<Secret>,
}

impl Connection {
    /// The servers that are named, each as `host:port`.
    pub(super) fn addresses(&self) -> Vec<String> {
        if !self.address.is_empty() {
            return self.address.clone();
        }
        let pairs = self.host.iter().zip(&self.port);
        pairs
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            })
            .collect()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.address.is_empty() {
            if self.host.len() != self.port.len() {
                let message =
                    "not enough hosts or ports given. number of hosts should be equal to the number of ports";
                problems.error("hosts", self.host.join(","), message);
            } else if self.host.is_empty() {
                let message = "no addresses or hosts given. address should be a comma separated list of host:port or set the host/port values";
                problems.error("addresses", "", message);
            }
        }
        for address in self.addresses() {
            let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                let message = format!("address {address:?} is not of the form host:port");
                problems.error("address", address, message);
            }
        }
        if let (Some(_), Some(tls)) = (self.enable_tls, &self.tls) {
            let message = "unable to set `tls` in both ScaledObject and TriggerAuthentication together";
            problems.error("tls", tls, message);
        }
        self.options().check(problems);
    }

    fn options(&self) -> Tls {
        Tls {
            unsafe_ssl: self.unsafe_ssl,
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            key_password: self.key_password.clone(),
            any_name: false,
        }
    }

    /// The TLS to use, if any.
    pub(super) fn tls(&self) -> Option<Tls> {
        let is_on = self.enable_tls == Some(true) || self.tls.as_deref() == Some("enable");
        is_on.then(|| self.options())
    }

    /// Adds it to a source key; credentials as digests.
    pub(super) fn add_to(&self, key: SourceKey) -> SourceKey {
        let key = key.with("addresses", self.addresses().join(","));
        let key = match self.tls() {
            Some(tls) => tls.add_to(key.with("tls", true)),
            None => key,
        };
        let secrets = [("username", &self.username), ("password", &self.password)];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }
}
