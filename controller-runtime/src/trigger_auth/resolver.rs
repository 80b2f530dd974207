//! Reads what TriggerAuthentications refer to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret as KubernetesSecret, ServiceAccount};
use kube::{Api, Client, ResourceExt as _};
use scaler_api::{
    Context, Error, ErrorKind, PodIdentity, Registry,
    keda::{
        AuthenticationRef, BoundServiceAccountToken, ClusterTriggerAuthentication, TriggerAuthentication,
        TriggerAuthenticationSpec,
    },
    secret_store::{SERVICE_ACCOUNT_TOKEN, SecretBlock, SecretRequest, StoredSecrets},
};

use super::{
    Containers, Dependency, DependencyKind, Outage, Resolution, ResolveError, Settings,
    dependents::Listener,
    environment::{self, Contents, Reference, look_up},
    file,
    kept::{Kept, Question},
    users::Users,
};
use crate::{pod_autoscaler::watched::Watched, store::ObjectKey};

/// Finds TriggerAuthentications and reads what they refer to.
#[derive(Clone)]
pub struct Resolver {
    client: Client,
    pub(super) authentications: Watched<TriggerAuthentication>,
    pub(super) cluster_authentications: Watched<ClusterTriggerAuthentication>,
    settings: Settings,
    kept: Kept,
    users: Users,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks the stores of secrets of `registry`, in `context`.
    #[must_use]
    pub fn new(
        client: Client,
        authentications: Watched<TriggerAuthentication>,
        cluster_authentications: Watched<ClusterTriggerAuthentication>,
        settings: Settings,
        registry: &Registry,
        context: &Context,
    ) -> Self {
        let stores = registry.secret_stores().clone();
        Self {
            kept: Kept::new(client.clone(), stores, context.clone(), settings.clone()),
            client,
            authentications,
            cluster_authentications,
            settings,
            users: Users::default(),
        }
    }

    /// The same, which knows who uses the authentications.
    pub(crate) fn with_users(self, users: Users) -> Self {
        Self { users, ..self }
    }

    /// Who uses the authentications.
    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    /// Asks stores, and for tokens, again when it is time, and tells those of `users` who were built from what has
    /// changed, until dropped.
    pub(crate) async fn run(self, users: Listener) {
        self.kept.run(&users).await;
    }

    /// Whether the authentication that is referred to takes parameters from the target's environment, or an identity from
    /// its ServiceAccount.
    #[must_use]
    pub fn needs_target(&self, namespace: &str, reference: &AuthenticationRef) -> bool {
        self.find(namespace, reference).1.is_some_and(|found| {
            let spec = found.spec();
            let identity = pod_identity(spec);
            spec.env.iter().flatten().next().is_some()
                || identity.is_some_and(|identity| identity.role_annotation().is_some())
        })
    }

    /// Resolves `reference` for an object in `namespace`. Later sources win: environment, file, ConfigMaps, Secrets,
    /// stores, tokens, OAuth 2.
    ///
    /// # Errors
    /// If the API server cannot be asked, or a store is out; what does not exist is no error but stands in the result.
    pub async fn resolve(
        &self,
        namespace: &str,
        reference: &AuthenticationRef,
        containers: Option<Containers<'_>>,
    ) -> Result<Resolution, ResolveError> {
        let resolution = self.resolve_partly(namespace, reference, containers).await?;
        match resolution.outage {
            Some(Outage {
                field, kind, message, ..
            }) => Err(ResolveError::Source {
                field,
                error: Error::new(kind, message),
            }),
            None => Ok(resolution),
        }
    }

    /// As [`resolve`](Self::resolve), but a store that is out is no error: it stands in the result, which is without what
    /// that would give.
    pub(crate) async fn resolve_partly(
        &self,
        namespace: &str,
        reference: &AuthenticationRef,
        containers: Option<Containers<'_>>,
    ) -> Result<Resolution, ResolveError> {
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
            self.settings.cluster_object_namespace.as_str()
        } else {
            namespace
        };
        resolution.pod_identity = pod_identity(spec);
        self.take_role(namespace, containers, &mut resolution).await?;
        self.take_environment(namespace, spec, containers, &mut resolution)
            .await?;
        if let Some(path) = spec.file_path.as_deref().filter(|path| !path.is_empty()) {
            // As in KEDA, a file leaves no place for other sources.
            self.take_file(path, reference, &mut resolution).await;
            return Ok(resolution);
        }
        let blocks = SecretBlock::all_of(spec);
        let references = references(spec, &blocks);
        let contents = self.read(objects, &references, &mut resolution.uses).await?;
        resolution.take(spec, objects, &contents);
        for block in blocks {
            self.take_block(block, objects, &contents, &mut resolution).await;
        }
        for token in spec.bound_service_account_token.iter().flatten() {
            self.take_token(token, objects, &mut resolution).await;
        }
        if let Some(oauth2) = &spec.oauth2 {
            resolution.take_oauth2(oauth2, objects, &contents);
        }
        self.explain_restriction(objects, &mut resolution);
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
    ) -> Result<Result<BTreeMap<String, String>, Vec<String>>, ResolveError> {
        let contents = self
            .read(namespace, &environment::references(container), uses)
            .await?;
        Ok(environment::environment(container, &contents))
    }

    /// The role of the target's ServiceAccount, where the scaler is to have that.
    async fn take_role(
        &self,
        namespace: &str,
        containers: Option<Containers<'_>>,
        resolution: &mut Resolution,
    ) -> Result<(), ResolveError> {
        let (Some(identity), Some(containers)) = (&mut resolution.pod_identity, containers) else {
            return Ok(());
        };
        let Some(annotation) = identity.role_annotation() else {
            return Ok(());
        };
        let name = containers.service_account.filter(|name| !name.is_empty());
        let name = name.unwrap_or("default");
        let dependency = (DependencyKind::ServiceAccount, ObjectKey::new(namespace, name));
        resolution.uses.insert(dependency);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = accounts.get_metadata_opt(name).await?;
        identity.role_arn = account
            .and_then(|mut account| account.annotations_mut().remove(annotation))
            .filter(|role| !role.is_empty());
        if identity.role_arn.is_none() {
            resolution.missing.push(format!(
                "ServiceAccount {name:?} in namespace {namespace:?} has no annotation {annotation:?}"
            ));
        }
        Ok(())
    }

    async fn take_environment(
        &self,
        namespace: &str,
        spec: &TriggerAuthenticationSpec,
        containers: Option<Containers<'_>>,
        resolution: &mut Resolution,
    ) -> Result<(), ResolveError> {
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

    async fn take_file(&self, path: &str, reference: &AuthenticationRef, resolution: &mut Resolution) {
        if !reference.is_cluster() {
            let problem = "spec.filePath is for ClusterTriggerAuthentications alone";
            resolution
                .refused
                .push(format!("{} {:?}: {problem}", reference.kind(), reference.name));
            return;
        }
        let file = match file::locate(self.settings.file_root.as_deref(), path) {
            Ok(file) => file,
            Err(problem) => {
                resolution.refused.push(problem);
                return;
            }
        };
        if let Some(found) = self
            .fetch("spec.filePath", Question::File(file), resolution)
            .await
        {
            resolution.take_stored("filePath", &found);
        }
    }

    /// Asks the store of a block, with the credentials that it refers to.
    async fn take_block(
        &self,
        block: SecretBlock,
        namespace: &str,
        contents: &Contents,
        resolution: &mut Resolution,
    ) {
        let field = block.field();
        if !self.kept.has_store(field) {
            resolution
                .refused
                .push(format!("spec.{field}: this build has no such store"));
            return;
        }
        let mut credentials = BTreeMap::new();
        let mut missing = None;
        for (credential, name, key) in block.credential_references() {
            match look_up("Secret", &contents.secrets, name, key) {
                Ok(value) => _ = credentials.insert(credential, value.to_owned().into()),
                Err(problem) => {
                    missing = Some(format!(
                        "{credential} of spec.{field}: {problem} (namespace {namespace:?})"
                    ));
                }
            }
        }
        if let Some(problem) = missing {
            for parameter in block.parameters() {
                resolution.insert(parameter, Err(problem.clone()));
            }
            return;
        }
        if let Some(name) = block.service_account_name() {
            let question = Question::Token {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            let Some(found) = self.fetch(field, question, resolution).await else {
                resolution.withhold(&block.parameters());
                return;
            };
            credentials.extend(Kept::token_in(&found).map(|token| (SERVICE_ACCOUNT_TOKEN, token)));
        }
        let request = Box::new(SecretRequest {
            block: block.clone(),
            credentials,
        });
        match self.fetch(field, Question::Store(request), resolution).await {
            Some(found) => resolution.take_stored(field, &found),
            None => resolution.withhold(&block.parameters()),
        }
    }

    async fn take_token(
        &self,
        token: &BoundServiceAccountToken,
        namespace: &str,
        resolution: &mut Resolution,
    ) {
        let question = Question::Token {
            namespace: namespace.to_owned(),
            name: token.service_account_name.clone(),
        };
        let found = self.fetch("boundServiceAccountToken", question, resolution).await;
        match found.as_deref().and_then(Kept::token_in) {
            Some(value) => _ = resolution.parameters.insert(token.parameter.clone(), value),
            None if resolution.outage.is_some() => resolution.withhold(&[token.parameter.as_str()]),
            None => resolution.insert(&token.parameter, Err("there is no such token".to_owned())),
        }
    }

    /// An answer that is kept. What does not exist is named as missing, what is refused as refused, what is out as such.
    async fn fetch(
        &self,
        field: &'static str,
        question: Question,
        resolution: &mut Resolution,
    ) -> Option<Arc<StoredSecrets>> {
        let (dependency, result) = self.kept.get(question).await;
        resolution.uses.insert(dependency);
        match result {
            Ok(found) => return Some(found),
            Err(error) if error.is_transient() => {
                resolution.outage.get_or_insert_with(|| Outage {
                    field,
                    kind: error.kind(),
                    message: error.to_string(),
                    withheld: BTreeSet::new(),
                });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                resolution.missing.push(format!("{field}: {error}"));
            }
            Err(error) => resolution.refused.push(format!("{field}: {error}")),
        }
        None
    }

    /// Says why a Secret that may be there was not read.
    fn explain_restriction(&self, namespace: &str, resolution: &mut Resolution) {
        let is_secret = |(kind, _): &Dependency| *kind == DependencyKind::Secret;
        if !self.settings.may_read_secrets(namespace) && resolution.uses.iter().any(is_secret) {
            resolution.missing.push(format!(
                "Secrets of namespace {namespace:?} are not read: access to Secrets is restricted to namespace {:?}",
                self.settings.cluster_object_namespace
            ));
        }
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

    /// Reads objects of one namespace, each once; Secrets only where they may be read.
    async fn read(
        &self,
        namespace: &str,
        references: &[Reference],
        uses: &mut BTreeSet<Dependency>,
    ) -> Result<Contents, ResolveError> {
        let secrets: Api<KubernetesSecret> = Api::namespaced(self.client.clone(), namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut contents = Contents::default();
        for reference in references {
            match reference {
                Reference::Secret(name) => {
                    uses.insert((DependencyKind::Secret, ObjectKey::new(namespace, name)));
                    let found = match self.settings.may_read_secrets(namespace) {
                        true => secrets.get_opt(name).await?.map(secret_data),
                        false => None,
                    };
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

fn references(spec: &TriggerAuthenticationSpec, blocks: &[SecretBlock]) -> Vec<Reference> {
    let secret = |name: &str| Reference::Secret(name.to_owned());
    let targets = spec.secret_target_ref.iter().flatten();
    let maps = spec.config_map_target_ref.iter().flatten();
    let credentials = blocks.iter().flat_map(SecretBlock::credential_references);
    let oauth2 = spec
        .oauth2
        .iter()
        .filter_map(|oauth2| oauth2.client_secret.as_ref());
    let all: BTreeSet<_> = targets
        .map(|target| secret(&target.name))
        .chain(maps.map(|target| Reference::ConfigMap(target.name.clone())))
        .chain(credentials.map(|(_, name, _)| secret(name)))
        .chain(oauth2.map(|value| secret(&value.value_from.secret_key_ref.name)))
        .collect();
    all.into_iter().collect()
}

fn pod_identity(spec: &TriggerAuthenticationSpec) -> Option<PodIdentity> {
    let identity = spec.pod_identity.as_ref()?;
    (!matches!(identity.provider.as_str(), "" | "none")).then(|| PodIdentity::from(identity))
}

fn secret_data(secret: KubernetesSecret) -> BTreeMap<String, String> {
    let data = secret.data.unwrap_or_default();
    data.into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use scaler_api::keda::PodIdentitySpec;

    use super::*;

    #[test]
    fn an_identity_of_none_is_no_identity() {
        for (provider, expected) in [("none", None), ("aws-eks", Some("aws-eks"))] {
            let spec = TriggerAuthenticationSpec {
                pod_identity: Some(PodIdentitySpec {
                    provider: provider.to_owned(),
                    ..PodIdentitySpec::default()
                }),
                ..TriggerAuthenticationSpec::default()
            };
            let identity = pod_identity(&spec);
            assert_eq!(identity.map(|identity| identity.provider).as_deref(), expected);
        }
    }
}
