//! TriggerAuthentications: from an `authenticationRef` to parameters and an identity.
//!
//! Contents of Secrets and ConfigMaps are read when a trigger is built and not kept. What was used is returned as
//! [`Dependency`]s: informers over metadata alone tell when one of them changes, and the trigger is built anew.

pub(crate) mod dependents;
pub mod environment;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret as KubernetesSecret};
use kube::{Api, Client};
use scaler_api::{
    PodIdentity, Secret,
    keda::{
        AuthenticationRef, ClusterTriggerAuthentication, TriggerAuthentication, TriggerAuthenticationSpec,
    },
};

use crate::{pod_autoscaler::watched::Watched, store::ObjectKey};
use environment::{Contents, Reference, look_up};

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
    /// What is asked for and cannot be done, in words.
    pub unsupported: Vec<String>,
    /// What it was made from.
    pub uses: BTreeSet<Dependency>,
}

/// The containers whose environment can be referred to.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    /// All of them, in the order of the pod template.
    pub all: &'a [Container],
    /// The one that is meant where none is named; the first otherwise.
    pub default: Option<&'a str>,
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

/// Finds TriggerAuthentications and reads what they refer to.
#[derive(Clone)]
pub struct Resolver {
    client: Client,
    authentications: Watched<TriggerAuthentication>,
    cluster_authentications: Watched<ClusterTriggerAuthentication>,
    cluster_object_namespace: String,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("cluster_object_namespace", &self.cluster_object_namespace)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver; ClusterTriggerAuthentications refer to Secrets and ConfigMaps of `cluster_object_namespace`.
    #[must_use]
    pub fn new(
        client: Client,
        authentications: Watched<TriggerAuthentication>,
        cluster_authentications: Watched<ClusterTriggerAuthentication>,
        cluster_object_namespace: impl Into<String>,
    ) -> Self {
        let cluster_object_namespace = cluster_object_namespace.into();
        Self {
            client,
            authentications,
            cluster_authentications,
            cluster_object_namespace,
        }
    }

    /// Whether the authentication that is referred to takes parameters from the target's environment.
    #[must_use]
    pub fn needs_environment(&self, namespace: &str, reference: &AuthenticationRef) -> bool {
        self.find(namespace, reference)
            .1
            .is_some_and(|found| found.spec().env.iter().flatten().next().is_some())
    }

    /// Resolves `reference` for an object in `namespace`.
    ///
    /// # Errors
    /// If the API server cannot be asked; what does not exist is no error but stands in the result.
    pub async fn resolve(
        &self,
        namespace: &str,
        reference: &AuthenticationRef,
        containers: Option<Containers<'_>>,
    ) -> Result<Resolution, kube::Error> {
        let (dependency, found) = self.find(namespace, reference);
        let mut resolution = Resolution {
            uses: BTreeSet::from([dependency]),
            ..Resolution::default()
        };
        let Some(found) = found else {
            let place = if reference.is_cluster() {
                String::new()
            } else {
                format!(" in namespace {namespace:?}")
            };
            let (kind, name) = (reference.kind(), &reference.name);
            resolution
                .missing
                .push(format!("{kind} {name:?} does not exist{place}"));
            return Ok(resolution);
        };
        let spec = found.spec();
        let objects = if reference.is_cluster() {
            self.cluster_object_namespace.as_str()
        } else {
            namespace
        };
        resolution.unsupported = unsupported(spec)
            .map(|field| {
                format!(
                    "{} {:?}: spec.{field} is not supported yet",
                    reference.kind(),
                    reference.name
                )
            })
            .collect();
        resolution.pod_identity = pod_identity(spec);
        self.take_environment(namespace, spec, containers, &mut resolution)
            .await?;
        let contents = self
            .read(objects, &references(spec), &mut resolution.uses)
            .await?;
        resolution.take(spec, objects, &contents);
        Ok(resolution)
    }

    /// The environment of `container`, for an object in `namespace`.
    ///
    /// # Errors
    /// If the API server cannot be asked; references that lead nowhere are the inner error.
    pub async fn environment(
        &self,
        namespace: &str,
        container: &Container,
        uses: &mut BTreeSet<Dependency>,
    ) -> Result<Result<BTreeMap<String, String>, Vec<String>>, kube::Error> {
        let contents = self
            .read(namespace, &environment::references(container), uses)
            .await?;
        Ok(environment::environment(container, &contents))
    }

    async fn take_environment(
        &self,
        namespace: &str,
        spec: &TriggerAuthenticationSpec,
        containers: Option<Containers<'_>>,
        resolution: &mut Resolution,
    ) -> Result<(), kube::Error> {
        let Some(containers) = containers else {
            return Ok(());
        };
        for variable in spec.env.iter().flatten() {
            let container = match containers.find(variable.container_name.as_deref()) {
                Ok(container) => container,
                Err(problem) => {
                    resolution
                        .missing
                        .push(format!("parameter {:?}: {problem}", variable.parameter));
                    continue;
                }
            };
            let value = match self
                .environment(namespace, container, &mut resolution.uses)
                .await?
            {
                Ok(mut environment) => environment.remove(&variable.name).ok_or_else(|| {
                    format!(
                        "container {:?} has no environment variable {:?}",
                        container.name, variable.name
                    )
                }),
                Err(problems) => Err(problems.join(", ")),
            };
            resolution.insert(&variable.parameter, value);
        }
        Ok(())
    }

    fn find(&self, namespace: &str, reference: &AuthenticationRef) -> (Dependency, Option<Found>) {
        if reference.is_cluster() {
            let key = ObjectKey::cluster(&reference.name);
            let found = self.cluster_authentications.get(&key).map(Found::Cluster);
            ((DependencyKind::ClusterTriggerAuthentication, key), found)
        } else {
            let key = ObjectKey::new(namespace, &reference.name);
            let found = self.authentications.get(&key).map(Found::Namespaced);
            ((DependencyKind::TriggerAuthentication, key), found)
        }
    }

    /// Reads objects of one namespace, each once.
    async fn read(
        &self,
        namespace: &str,
        references: &[Reference],
        uses: &mut BTreeSet<Dependency>,
    ) -> Result<Contents, kube::Error> {
        let secrets: Api<KubernetesSecret> = Api::namespaced(self.client.clone(), namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut contents = Contents::default();
        for reference in references {
            match reference {
                Reference::Secret(name) => {
                    uses.insert((DependencyKind::Secret, ObjectKey::new(namespace, name)));
                    let found = secrets.get_opt(name).await?.map(secret_data);
                    contents.secrets.insert(name.clone(), found);
                }
                Reference::ConfigMap(name) => {
                    uses.insert((DependencyKind::ConfigMap, ObjectKey::new(namespace, name)));
                    let found = config_maps
                        .get_opt(name)
                        .await?
                        .map(|map| map.data.unwrap_or_default());
                    contents.config_maps.insert(name.clone(), found);
                }
            }
        }
        Ok(contents)
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
}

enum Found {
    Namespaced(Arc<TriggerAuthentication>),
    Cluster(Arc<ClusterTriggerAuthentication>),
}

impl Found {
    fn spec(&self) -> &TriggerAuthenticationSpec {
        match self {
            Self::Namespaced(found) => &found.spec,
            Self::Cluster(found) => &found.spec,
        }
    }
}

fn references(spec: &TriggerAuthenticationSpec) -> Vec<Reference> {
    let secrets = spec
        .secret_target_ref
        .iter()
        .flatten()
        .map(|target| Reference::Secret(target.name.clone()));
    let maps = spec
        .config_map_target_ref
        .iter()
        .flatten()
        .map(|target| Reference::ConfigMap(target.name.clone()));
    secrets.chain(maps).collect::<BTreeSet<_>>().into_iter().collect()
}

fn pod_identity(spec: &TriggerAuthenticationSpec) -> Option<PodIdentity> {
    let identity = spec.pod_identity.as_ref()?;
    (!matches!(identity.provider.as_str(), "" | "none")).then(|| PodIdentity::from(identity))
}

fn unsupported(spec: &TriggerAuthenticationSpec) -> impl Iterator<Item = &'static str> {
    let given = [
        (
            "filePath",
            spec.file_path.as_deref().is_some_and(|path| !path.is_empty()),
        ),
        ("hashiCorpVault", spec.hashi_corp_vault.is_some()),
        ("azureKeyVault", spec.azure_key_vault.is_some()),
        ("gcpSecretManager", spec.gcp_secret_manager.is_some()),
        ("awsSecretManager", spec.aws_secret_manager.is_some()),
        (
            "boundServiceAccountToken",
            spec.bound_service_account_token.iter().flatten().next().is_some(),
        ),
        ("oauth2", spec.oauth2.is_some()),
    ];
    given
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(field, _)| field)
}

fn secret_data(secret: KubernetesSecret) -> BTreeMap<String, String> {
    let data = secret.data.unwrap_or_default();
    data.into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
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
    fn an_identity_of_none_is_no_identity() {
        for (provider, expected) in [("none", None), ("aws-eks", Some("aws-eks"))] {
            let identity = pod_identity(&spec(json!({"podIdentity": {"provider": provider}})));
            assert_eq!(identity.map(|identity| identity.provider).as_deref(), expected);
        }
    }

    #[test]
    fn sources_that_are_not_there_yet_are_named() {
        let spec = spec(json!({"filePath": "a.json", "boundServiceAccountToken": [], "secretTargetRef": []}));
        assert_eq!(unsupported(&spec).collect::<Vec<_>>(), ["filePath"]);
    }

    #[test]
    fn the_container_is_the_named_one_the_configured_one_or_the_first() {
        let container = |name: &str| Container {
            name: name.into(),
            ..Container::default()
        };
        let all = [container("a"), container("b"), container("c")];
        let find = |default, name| {
            Containers { all: &all, default }
                .find(name)
                .map(|container| container.name.clone())
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
