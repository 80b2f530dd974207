//! TriggerAuthentications: from an `authenticationRef` to parameters and an identity.
//!
//! Contents of Secrets and ConfigMaps are read when a trigger is built and not kept. What was used is returned as
//! [`Dependency`]s: informers over metadata alone tell when one of them changes, and the trigger is built anew. What
//! cannot be watched (stores of secrets, tokens, files) is kept for a while and asked for again.

pub(crate) mod dependents;
pub mod environment;
mod file;
mod kept;
pub(crate) mod objects;
mod resolver;
mod settings;
pub(crate) mod users;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Container;
use scaler_api::{
    Error, ErrorKind, PodIdentity, Secret,
    keda::{OAuth2, TriggerAuthenticationSpec},
    secret_store::StoredSecrets,
};

use crate::store::ObjectKey;
use environment::{Contents, look_up};
pub use resolver::Resolver;
pub use settings::Settings;

/// The kind of an object that a trigger was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyKind {
    /// A TriggerAuthentication.
    TriggerAuthentication,
    /// A ClusterTriggerAuthentication.
    ClusterTriggerAuthentication,
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A ServiceAccount, whose role a scaler takes.
    ServiceAccount,
    /// What was fetched from elsewhere and is kept in memory; its name is a number.
    Kept,
}

/// Why an authentication cannot be resolved now, though it may be later.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The API server cannot be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A store of secrets, or another source of credentials, is out.
    #[error("{field}: {error}")]
    Source {
        /// The field that names it.
        field: &'static str,
        /// What it said.
        error: Error,
    },
}

/// An object that a trigger was built from, or would have been if it existed.
pub type Dependency = (DependencyKind, ObjectKey);

/// What a trigger's authentication came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The parameters; what could not be found is empty, as it is for KEDA.
    pub parameters: BTreeMap<String, Secret>,
    /// Who the scaler is.
    pub pod_identity: Option<PodIdentity>,
    /// What does not exist, in words.
    pub missing: Vec<String>,
    /// What is asked for and cannot be done, or is refused, in words.
    pub refused: Vec<String>,
    /// What it was made from.
    pub uses: BTreeSet<Dependency>,
    /// A source of parameters that is out.
    pub outage: Option<Outage>,
}

/// A store of secrets, or another source of parameters, that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The field that names it.
    pub field: &'static str,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What it said.
    pub message: String,
    /// The parameters that it would give, as far as they are known; they are not among those of the resolution.
    pub withheld: BTreeSet<String>,
}

impl Outage {
    /// As the failure of whatever needs the parameters.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::new(self.kind, format!("{}: {}", self.field, self.message))
    }
}

/// The containers whose environment can be referred to, and who their pods are.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    /// All of them, in the order of the pod template.
    pub all: &'a [Container],
    /// The one that is meant where none is named; the first otherwise.
    pub default: Option<&'a str>,
    /// The ServiceAccount of the pods; `default` where none is named.
    pub service_account: Option<&'a str>,
}

impl<'a> Containers<'a> {
    /// The container of this name, or the one that is meant where none is named.
    ///
    /// # Errors
    /// If there is none, in words.
    pub fn find(&self, name: Option<&str>) -> Result<&'a Container, String> {
        match name.or(self.default).filter(|name| !name.is_empty()) {
            None => self
                .all
                .first()
                .ok_or_else(|| "the target has no container".to_owned()),
            Some(name) => self
                .all
                .iter()
                .find(|container| container.name == name)
                .ok_or_else(|| format!("the target has no container {name:?}")),
        }
    }
}

impl Resolution {
    /// Takes parameters from ConfigMaps, then from Secrets: later ones win.
    fn take(&mut self, spec: &TriggerAuthenticationSpec, namespace: &str, contents: &Contents) {
        let sources = [
            ("ConfigMap", &spec.config_map_target_ref, &contents.config_maps),
            ("Secret", &spec.secret_target_ref, &contents.secrets),
        ];
        for (kind, targets, contents) in sources {
            for target in targets.iter().flatten() {
                let value = look_up(kind, contents, &target.name, &target.key)
                    .map(str::to_owned)
                    .map_err(|problem| format!("{problem} (namespace {namespace:?})"));
                self.insert(&target.parameter, value);
            }
        }
    }

    fn insert(&mut self, parameter: &str, value: Result<String, String>) {
        let value = value.unwrap_or_else(|problem| {
            self.missing.push(format!("parameter {parameter:?}: {problem}"));
            String::new()
        });
        self.parameters.insert(parameter.to_owned(), Secret::new(value));
    }

    /// Names parameters that a source which is out would give.
    fn withhold(&mut self, parameters: &[&str]) {
        if let Some(outage) = &mut self.outage {
            outage
                .withheld
                .extend(parameters.iter().map(|&parameter| parameter.to_owned()));
        }
    }

    /// Takes what a store has; what it does not have is empty and named.
    fn take_stored(&mut self, field: &str, stored: &StoredSecrets) {
        for (parameter, value) in &stored.parameters {
            self.parameters.insert(parameter.clone(), value.clone());
        }
        for (parameter, problem) in &stored.missing {
            self.insert(parameter, Err(format!("spec.{field}: {problem}")));
        }
    }

    /// Takes the client of an authorization server as the parameters by which scalers know it.
    fn take_oauth2(&mut self, block: &OAuth2, namespace: &str, contents: &Contents) {
        let mut set = |parameter: &str, value: String| {
            self.parameters.insert(parameter.to_owned(), Secret::new(value));
        };
        set("oauthTokenURI", block.token_url.clone());
        set("clientID", block.client_id.clone());
        set("scopes", block.scopes.clone().unwrap_or_default().join(","));
        let parameters = block.token_url_params.iter().flatten();
        let pairs = parameters.map(|(key, value)| format!("{}={}", escape(key), escape(value)));
        set("endpointParams", pairs.collect::<Vec<_>>().join("&"));
        if let Some(secret) = &block.client_secret {
            let key = &secret.value_from.secret_key_ref;
            let value = look_up("Secret", &contents.secrets, &key.name, &key.key)
                .map(str::to_owned)
                .map_err(|problem| format!("{problem} (namespace {namespace:?})"));
            self.insert("clientSecret", value);
        }
    }
}

/// As it stands in a query.
fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
#[cfg(all(feature = "envtest", unix))]
mod real;
#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;

#[cfg(test)]
mod rules {
    //! keda.md §6.
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> TriggerAuthenticationSpec {
        serde_json::from_value(value).unwrap()
    }

    fn contents() -> Contents {
        let data = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        Contents {
            secrets: BTreeMap::from([
                ("s".into(), data("password", "from secret")),
                ("gone".into(), None),
            ]),
            config_maps: BTreeMap::from([("c".into(), data("password", "from map"))]),
        }
    }

    #[test]
    fn secrets_win_over_config_maps_and_what_is_missing_is_empty_and_named() {
        let spec = spec(json!({
            "secretTargetRef": [
                {"parameter": "password", "name": "s", "key": "password"},
                {"parameter": "user", "name": "s", "key": "user"},
                {"parameter": "token", "name": "gone", "key": "token"},
            ],
            "configMapTargetRef": [{"parameter": "password", "name": "c", "key": "password"}],
        }));
        let mut resolution = Resolution::default();
        resolution.take(&spec, "shop", &contents());
        let shown: Vec<_> = resolution
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", value.expose()))
            .collect();
        assert_eq!(shown, ["password=from secret", "token=", "user="]);
        assert_eq!(
            resolution.missing,
            [
                "parameter \"user\": Secret \"s\" has no key \"user\" (namespace \"shop\")",
                "parameter \"token\": Secret \"gone\" does not exist (namespace \"shop\")",
            ]
        );
    }

    #[test]
    fn a_client_of_an_authorization_server_becomes_the_parameters_that_scalers_know() {
        let spec = spec(json!({"oauth2": {
            "type": "clientCredentials", "clientId": "me", "tokenUrl": "https://issuer/token", "scopes": ["a", "b"],
            "tokenUrlParams": {"audience": "x y&z"},
            "clientSecret": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        }}));
        let mut resolution = Resolution::default();
        resolution.take_oauth2(&spec.oauth2.unwrap(), "shop", &contents());
        let shown: Vec<_> = resolution
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", value.expose()))
            .collect();
        assert_eq!(
            shown,
            [
                "clientID=me",
                "clientSecret=from secret",
                "endpointParams=audience=x%20y%26z",
                "oauthTokenURI=https://issuer/token",
                "scopes=a,b",
            ]
        );
    }

    #[test]
    fn the_container_is_the_named_one_the_configured_one_or_the_first() {
        let container = |name: &str| Container {
            name: name.into(),
            ..Container::default()
        };
        let all = [container("a"), container("b"), container("c")];
        let find = |default, name| {
            let containers = Containers {
                all: &all,
                default,
                service_account: None,
            };
            containers.find(name).map(|container| container.name.clone())
        };
        assert_eq!(find(None, None).as_deref(), Ok("a"));
        assert_eq!(find(Some("b"), None).as_deref(), Ok("b"));
        assert_eq!(find(Some("b"), Some("c")).as_deref(), Ok("c"));
        assert_eq!(
            find(None, Some("x")),
            Err("the target has no container \"x\"".to_owned())
        );
    }
}
