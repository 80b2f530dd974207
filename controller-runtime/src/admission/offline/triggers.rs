//! The metadata of triggers, as far as it can be known without a cluster.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Container;
use scaler_api::{
    Field, PodIdentity, Registry, Secret, Source, TriggerInput, TriggerSettings,
    keda::{ScaleTrigger, TriggerAuthenticationSpec},
};

use super::super::{Findings, triggers::parse_trigger};

/// Stands in for what a cluster would know. What is said about it is not passed on.
const UNKNOWN: &str = "unknown";
/// The parameters that `oauth2` fills.
const OAUTH2: [&str; 5] = [
    "oauthTokenURI",
    "clientID",
    "clientSecret",
    "scopes",
    "endpointParams",
];

/// Whose triggers are checked, and what there is of what they refer to.
pub(super) struct Holder<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The container whose environment counts; the first by default.
    pub(super) container: Option<&'a str>,
    /// The target's containers, where it is among the objects.
    pub(super) containers: Option<&'a [Container]>,
    pub(super) as_metric_source: bool,
    pub(super) authentications: &'a BTreeMap<(String, String), TriggerAuthenticationSpec>,
}

/// Which parameters an authentication fills.
enum Parameters {
    These(BTreeSet<String>),
    Any,
}

impl Holder<'_> {
    /// Parses the metadata of every trigger of a known type.
    pub(super) fn check(&self, triggers: &[ScaleTrigger], registry: &Registry, findings: &mut Findings) {
        for (index, trigger) in triggers.iter().enumerate() {
            // An unknown type is a matter of the rules for lists of triggers.
            let Some(fields) = registry.fields(&trigger.trigger_type) else {
                continue;
            };
            let mut unknown = BTreeSet::new();
            let input = self.input(trigger, fields, &mut unknown);
            let mut found = Findings::about(findings.object.clone());
            parse_trigger(index, trigger, registry, &input, &mut found);
            found.retain(|finding| {
                let prefix = format!("spec.triggers[{index}].metadata.");
                let key = finding.field.strip_prefix(&prefix);
                key.is_none_or(|key| !unknown.contains(key))
            });
            findings.extend(found);
        }
    }

    /// What the trigger is built from; the fields that a cluster has more to say about are in `unknown`.
    fn input(
        &self,
        trigger: &ScaleTrigger,
        fields: &[Field],
        unknown: &mut BTreeSet<&'static str>,
    ) -> TriggerInput {
        let authentication = self.authentication(trigger);
        let mut input = TriggerInput {
            metadata: trigger.metadata.clone(),
            settings: TriggerSettings {
                metric_type: trigger.metric_type().unwrap_or_default(),
                pod_identity: authentication
                    .and_then(|spec| spec.pod_identity.as_ref())
                    .map(PodIdentity::from),
                namespace: self.namespace.to_owned(),
                name: self.name.to_owned(),
                as_metric_source: self.as_metric_source,
            },
            ..TriggerInput::default()
        };
        let parameters = match (&trigger.authentication_ref, authentication) {
            (None, _) => Parameters::These(BTreeSet::new()),
            (Some(_), None) => Parameters::Any,
            (Some(_), Some(spec)) => parameters(spec),
        };
        for field in fields {
            let names = || std::iter::once(field.name).chain(field.aliases.iter().copied());
            for name in names().filter(|_| field.sources.contains(&Source::Environment)) {
                let Some(variable) = trigger.metadata.get(&format!("{name}FromEnv")) else {
                    continue;
                };
                match self.variable(variable.trim()) {
                    Some(value) => input
                        .environment
                        .extend(value.map(|value| (variable.trim().to_owned(), value))),
                    None => {
                        input
                            .environment
                            .insert(variable.trim().to_owned(), UNKNOWN.to_owned());
                        unknown.insert(field.name);
                    }
                }
            }
            if !field.sources.contains(&Source::Authentication) {
                continue;
            }
            match &parameters {
                Parameters::Any => {
                    unknown.insert(field.name);
                }
                Parameters::These(filled) => {
                    for name in names().filter(|name| filled.contains(*name)) {
                        input.authentication.insert(name.to_owned(), Secret::new(UNKNOWN));
                        unknown.insert(field.name);
                    }
                }
            }
        }
        input
    }

    fn authentication(&self, trigger: &ScaleTrigger) -> Option<&TriggerAuthenticationSpec> {
        let reference = trigger.authentication_ref.as_ref()?;
        let namespace = if reference.is_cluster() {
            ""
        } else {
            self.namespace
        };
        self.authentications
            .get(&(namespace.to_owned(), reference.name.clone()))
    }

    /// The value of a variable of the target's container: none outside where nobody knows, none inside where there is none.
    fn variable(&self, name: &str) -> Option<Option<String>> {
        let containers = self.containers?;
        let container = match self.container.filter(|name| !name.is_empty()) {
            Some(wanted) => containers.iter().find(|container| container.name == wanted)?,
            None => containers.first()?,
        };
        let variables = container.env.iter().flatten();
        let Some(variable) = variables.rev().find(|variable| variable.name == name) else {
            return container
                .env_from
                .as_ref()
                .is_none_or(Vec::is_empty)
                .then_some(None);
        };
        let value = variable.value.clone().filter(|_| variable.value_from.is_none())?;
        (!value.contains("$(")).then_some(Some(value))
    }
}

/// What an authentication fills.
fn parameters(spec: &TriggerAuthenticationSpec) -> Parameters {
    if spec.file_path.is_some() {
        return Parameters::Any;
    }
    let mut names: BTreeSet<String> = BTreeSet::new();
    let references = [&spec.secret_target_ref, &spec.config_map_target_ref];
    names.extend(
        references
            .into_iter()
            .flatten()
            .flatten()
            .map(|one| one.parameter.clone()),
    );
    names.extend(spec.env.iter().flatten().map(|one| one.parameter.clone()));
    let tokens = spec.bound_service_account_token.iter().flatten();
    names.extend(tokens.map(|one| one.parameter.clone()));
    let vault = spec.hashi_corp_vault.iter().flat_map(|store| &store.secrets);
    names.extend(vault.map(|one| one.parameter.clone()));
    let azure = spec.azure_key_vault.iter().flat_map(|store| &store.secrets);
    names.extend(azure.map(|one| one.parameter.clone()));
    let gcp = spec.gcp_secret_manager.iter().flat_map(|store| &store.secrets);
    names.extend(gcp.map(|one| one.parameter.clone()));
    let aws = spec.aws_secret_manager.iter().flat_map(|store| &store.secrets);
    names.extend(aws.map(|one| one.parameter.clone()));
    if spec.oauth2.is_some() {
        names.extend(OAUTH2.map(str::to_owned));
    }
    Parameters::These(names)
}
