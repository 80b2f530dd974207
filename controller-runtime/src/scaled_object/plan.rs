//! What a ScaledObject comes to once its references are resolved: target, sources, metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;
use scaler_api::{
    Error, MetricSpec, Secret, TriggerInput, TriggerSettings, indexed_name,
    keda::{ScaleTrigger, ScaledObject},
};

use super::{
    fallback::Fallback,
    hpa::NamedMetric,
    modifiers::{Composite, Modifiers},
    samples::{Source, Sources},
    state::Standing,
    target::{Target, TargetError, Targets},
};
use crate::{
    admission::{Findings, Severity, scaled_object as rules},
    trigger_auth::{Containers, Dependency, Outage, Resolution, ResolveError, Resolver},
};

/// Stands for a parameter that is not known now, so that a trigger can say its metrics; nothing is connected with it.
const WITHHELD: &str = "withheld";

/// A ScaledObject that can run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is scaled.
    pub target: Target,
    /// The triggers, in order.
    pub triggers: Vec<PlannedTrigger>,
    /// What stands in for failing sources.
    pub fallback: Option<Fallback>,
    /// The formula that makes one metric of all triggers.
    pub modifiers: Option<Modifiers>,
}

/// One trigger of a plan.
#[derive(Clone, Debug)]
pub struct PlannedTrigger {
    /// Its place in the object.
    pub index: usize,
    /// Its name, by which a formula calls it.
    pub name: Option<String>,
    /// Its type.
    pub trigger_type: String,
    /// Whether readers get the last poll's sample.
    pub use_cached_metrics: bool,
    /// Its metrics.
    pub metrics: Vec<NamedMetric>,
    /// Where its values come from; none where the HPA reads them itself.
    pub source: Option<Arc<Source>>,
}

impl PlannedTrigger {
    /// Its external metrics, in the order of a sample's values.
    pub fn external(&self) -> impl Iterator<Item = &NamedMetric> {
        self.metrics
            .iter()
            .filter(|metric| matches!(metric.spec, MetricSpec::External { .. }))
    }

    /// Whether its source cannot be connected, because what its credentials come from is out.
    fn is_out(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_out())
    }

    /// The names of its metrics, or its type.
    #[must_use]
    pub fn label(&self) -> String {
        let names: Vec<_> = self.external().map(|metric| metric.name.as_str()).collect();
        if names.is_empty() {
            self.trigger_type.clone()
        } else {
            names.join(";")
        }
    }
}

impl Plan {
    /// Every metric that the HPA reads, in order. A formula's metric takes the place of those that it is made of, and,
    /// as in KEDA, of those of single containers.
    #[must_use]
    pub fn metrics(&self) -> Vec<NamedMetric> {
        let metrics = self.triggers.iter().flat_map(|trigger| &trigger.metrics);
        match &self.modifiers {
            None => metrics.cloned().collect(),
            Some(modifiers) => metrics
                .filter(|metric| matches!(metric.spec, MetricSpec::Resource { .. }))
                .chain([modifiers.metric()])
                .cloned()
                .collect(),
        }
    }

    /// What `modifiers` make of the triggers, which stand like this, in order.
    pub(super) fn compose(&self, modifiers: &Modifiers, standings: &[Option<Standing>]) -> Composite {
        let inputs = self
            .triggers
            .iter()
            .zip(standings)
            .filter_map(|(trigger, standing)| {
                Some((trigger.name.as_deref()?, standing.as_ref()?.to_input()))
            });
        modifiers.compose(inputs, self.fallback.as_ref())
    }

    /// The names of the external metrics.
    #[must_use]
    pub fn external_names(&self) -> Vec<String> {
        self.triggers
            .iter()
            .flat_map(PlannedTrigger::external)
            .map(|metric| metric.name.clone())
            .collect()
    }

    /// The names of the resource metrics.
    #[must_use]
    pub fn resource_names(&self) -> Vec<String> {
        let metrics = self.triggers.iter().flat_map(|trigger| &trigger.metrics);
        let resources = metrics.filter(|metric| metric.spec.external_name().is_none());
        resources.map(|metric| metric.name.clone()).collect()
    }
}

/// What building triggers found out.
#[derive(Debug)]
pub struct Built {
    /// The triggers; all of them if nothing was refused.
    pub triggers: Vec<PlannedTrigger>,
    /// What is wrong or odd.
    pub findings: Findings,
    /// What they were built from.
    pub uses: BTreeSet<Dependency>,
    /// Whether the target's containers were looked at.
    pub uses_containers: bool,
}

/// The API server did not answer while triggers were built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// About the target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// About an authentication.
    #[error("cannot read what the triggers' authentication refers to: {0}")]
    Authentication(#[from] ResolveError),
}

impl From<Outage> for BuildError {
    fn from(outage: Outage) -> Self {
        let Outage {
            field, kind, message, ..
        } = outage;
        let error = Error::new(kind, message);
        Self::Authentication(ResolveError::Source { field, error })
    }
}

/// Whose triggers are built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its triggers.
    pub(crate) triggers: &'a [ScaleTrigger],
    /// The containers that they may refer to, where those are known.
    pub(crate) containers: Option<Containers<'a>>,
    /// Whether a formula makes one metric of them.
    pub(crate) as_metric_source: bool,
}

/// Resolves authentications and environment, and parses every trigger.
#[derive(Clone, Debug)]
pub struct Builder {
    /// Where the sources are.
    pub sources: Sources,
    /// Finds authentications.
    pub resolver: Resolver,
    /// Finds targets.
    pub targets: Targets,
}

impl Builder {
    /// Builds the triggers of `object`. Without a target, those that need its environment are left out.
    ///
    /// # Errors
    /// If the API server does not answer. What is wrong with the object is in the findings.
    pub async fn build(&self, object: &ScaledObject, target: Option<&Target>) -> Result<Built, BuildError> {
        let namespace = object.namespace().unwrap_or_default();
        let uses_containers = self.needs_containers(&namespace, &object.spec.triggers);
        let containers = match target.filter(|_| uses_containers) {
            Some(target) => Some(self.targets.containers(target).await?),
            None => None,
        };
        let subject = Subject {
            namespace: &namespace,
            name: &object.name_any(),
            triggers: &object.spec.triggers,
            containers: containers.as_ref().map(|pods| Containers {
                all: &pods.containers,
                service_account: pods.service_account.as_deref(),
                default: object.spec.scale_target_ref.env_source_container_name.as_deref(),
            }),
            as_metric_source: object.spec.scaling_modifiers().is_some(),
        };
        let mut built = self.build_triggers(&subject, rules::about(object)).await?;
        built.uses_containers = uses_containers;
        Ok(built)
    }

    /// Builds the triggers of an object; what is found out about them comes after `findings`.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub(crate) async fn build_triggers(
        &self,
        subject: &Subject<'_>,
        findings: Findings,
    ) -> Result<Built, BuildError> {
        let mut built = Built {
            triggers: Vec::new(),
            findings,
            uses: BTreeSet::new(),
            uses_containers: false,
        };
        let (namespace, containers) = (subject.namespace, subject.containers);
        let mut outage = None;
        for (index, trigger) in subject.triggers.iter().enumerate() {
            let mut resolution = match &trigger.authentication_ref {
                Some(reference) => {
                    self.resolver
                        .resolve_partly(namespace, reference, containers)
                        .await?
                }
                None => Resolution::default(),
            };
            built.note(index, trigger, &resolution);
            built.uses.append(&mut resolution.uses);
            let environment = match containers {
                _ if !has_environment_keys(trigger) => BTreeMap::new(),
                Some(containers) => self.environment(namespace, index, containers, &mut built).await?,
                None => continue,
            };
            let withheld = resolution.outage.iter().flat_map(|outage| &outage.withheld);
            for parameter in withheld {
                let parameters = &mut resolution.parameters;
                parameters
                    .entry(parameter.clone())
                    .or_insert_with(|| Secret::new(WITHHELD));
            }
            let input = TriggerInput {
                metadata: trigger.metadata.clone(),
                authentication: resolution.parameters,
                environment,
                settings: TriggerSettings {
                    metric_type: trigger.metric_type().unwrap_or_default(),
                    pod_identity: resolution.pod_identity,
                    namespace: namespace.to_owned(),
                    name: subject.name.to_owned(),
                    as_metric_source: subject.as_metric_source,
                },
            };
            let Some(out) = resolution.outage else {
                let planned = self.plan(index, trigger, &input, None, &mut built.findings);
                built.triggers.extend(planned);
                continue;
            };
            // Its metrics have to be known: without them, the HPA would scale down by those of the others.
            let mut findings = Findings::default();
            match self.plan(index, trigger, &input, Some(&out.error()), &mut findings) {
                Some(planned) => built.triggers.push(planned),
                None => return Err(out.into()),
            }
            outage.get_or_insert(out);
        }
        match outage {
            Some(out) if built.triggers.iter().all(PlannedTrigger::is_out) => Err(out.into()),
            _ => Ok(built),
        }
    }

    fn needs_containers(&self, namespace: &str, triggers: &[ScaleTrigger]) -> bool {
        triggers.iter().any(|trigger| {
            let authentication = trigger.authentication_ref.as_ref();
            has_environment_keys(trigger)
                || authentication.is_some_and(|reference| self.resolver.needs_target(namespace, reference))
        })
    }

    async fn environment(
        &self,
        namespace: &str,
        index: usize,
        containers: Containers<'_>,
        built: &mut Built,
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let found = match containers.find(None) {
            Ok(container) => {
                self.resolver
                    .environment(namespace, container, &mut built.uses)
                    .await?
            }
            Err(problem) => Err(vec![problem]),
        };
        Ok(found.unwrap_or_else(|problems| {
            for problem in problems {
                let field = format!("spec.triggers[{index}].metadata");
                let message =
                    format!("the environment of the target's container cannot be resolved: {problem}");
                built
                    .findings
                    .add(Severity::Error, "incorrect-triggers", field, "", message);
            }
            BTreeMap::new()
        }))
    }

    fn plan(
        &self,
        index: usize,
        trigger: &ScaleTrigger,
        input: &TriggerInput,
        outage: Option<&Error>,
        findings: &mut Findings,
    ) -> Option<PlannedTrigger> {
        let registry = self.sources.registry();
        // An unknown type is among the findings of the object's own rules.
        registry.fields(&trigger.trigger_type)?;
        let parsed = rules::parse_trigger(index, trigger, registry, input, findings)?;
        let metrics: Vec<_> = parsed
            .trigger
            .metrics()
            .into_iter()
            .map(|spec| named(index, spec))
            .collect();
        let is_external = metrics.iter().any(|metric| metric.spec.external_name().is_some());
        let source = is_external.then(|| {
            let (key, trigger_type) = (parsed.trigger.source_key(), &trigger.trigger_type);
            match outage {
                Some(outage) => self.sources.out(&key, trigger_type, input, outage),
                None => self.sources.get(&key, trigger_type, input),
            }
        });
        Some(PlannedTrigger {
            index,
            name: trigger.name.clone(),
            trigger_type: trigger.trigger_type.clone(),
            use_cached_metrics: trigger.use_cached_metrics(),
            metrics,
            source,
        })
    }
}

impl Built {
    fn note(&mut self, index: usize, trigger: &ScaleTrigger, resolution: &Resolution) {
        let field = format!("spec.triggers[{index}].authenticationRef");
        let name = trigger
            .authentication_ref
            .as_ref()
            .map_or("", |reference| reference.name.as_str());
        let out: Vec<_> = resolution
            .outage
            .iter()
            .map(|outage| outage.error().to_string())
            .collect();
        for (severity, notes) in [
            (Severity::Warning, &out),
            (Severity::Warning, &resolution.missing),
            (Severity::Error, &resolution.refused),
        ] {
            for note in notes {
                self.findings
                    .add(severity, "incorrect-triggers", &field, name, note);
            }
        }
    }
}

fn has_environment_keys(trigger: &ScaleTrigger) -> bool {
    trigger.metadata.keys().any(|key| key.ends_with("FromEnv"))
}

fn named(index: usize, spec: MetricSpec) -> NamedMetric {
    let name = match &spec {
        MetricSpec::Resource { name, .. } | MetricSpec::ContainerResource { name, .. } => name.clone(),
        spec => indexed_name(index, spec.external_name().unwrap_or_default()),
    };
    NamedMetric { name, spec }
}

#[cfg(test)]
mod tests {
    use scaler_api::MetricTarget;

    use super::*;

    #[test]
    fn section_2_1_external_metrics_have_their_triggers_place_in_their_name_and_others_have_not() {
        let target = MetricTarget::Utilization(50);
        let external = MetricSpec::External {
            name: "aws-sqs-queue".into(),
            target: target.clone(),
        };
        let (name, container) = ("cpu".to_owned(), "app".to_owned());
        let resource = MetricSpec::Resource {
            name: name.clone(),
            target: target.clone(),
        };
        let of_container = MetricSpec::ContainerResource {
            name,
            container,
            target,
        };
        for (index, spec, expected) in [
            (0, external.clone(), "s0-aws-sqs-queue"),
            (12, external, "s12-aws-sqs-queue"),
            (1, resource, "cpu"),
            (1, of_container, "cpu"),
        ] {
            assert_eq!(named(index, spec).name, expected);
        }
    }
}
