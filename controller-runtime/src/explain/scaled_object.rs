//! Why a ScaledObject is scaled as it is, from what is known of it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kube::ResourceExt as _;
use scaler_api::{
    MetricTarget, Quantity,
    keda::{ScaleTrigger, ScaledObject},
};

use super::{
    autoscaler,
    explanation::{Explanation, Fallback, Formula, Metric, PastDecision, SCHEMA, Settings, State, Trigger},
    kept::Kept,
};
use crate::{
    hpa::explain::Computation,
    scaled_object::{
        fallback::{self, HealthLedger},
        hpa::{Autoscaler, NamedMetric},
        modifiers::{Composite, Input, Modifiers, thousandths},
        plan::{Plan, PlannedTrigger},
        samples::Taken,
        state::whole,
    },
};

/// Everything that is known.
pub(crate) struct Facts<'a> {
    pub(crate) now: Timestamp,
    pub(crate) object: &'a ScaledObject,
    pub(crate) leads: Option<bool>,
    /// How it runs; none where it does not, or where nobody knows.
    pub(crate) plan: Option<&'a Plan>,
    /// Why it does not run.
    pub(crate) problem: Option<&'a str>,
    pub(crate) kept: &'a Kept,
    pub(crate) ledger: &'a HealthLedger,
    /// The last sample of each trigger, by its place.
    pub(crate) samples: &'a BTreeMap<usize, Arc<Taken>>,
    pub(crate) hpa: Option<&'a Autoscaler>,
    /// The HPA's last run, where its controller is in this process.
    pub(crate) run: Option<Computation>,
    pub(crate) decisions: Vec<PastDecision>,
}

/// The explanation of an object of which only what the API shows is known, as in a record of another process.
#[must_use]
pub fn from_objects(
    object: &ScaledObject,
    hpa: Option<&Autoscaler>,
    decisions: Vec<PastDecision>,
    now: Timestamp,
) -> Explanation {
    let health = object.status.as_ref().and_then(|status| status.health.as_ref());
    let mut explained = explain(Facts {
        now,
        object,
        leads: None,
        plan: None,
        problem: None,
        kept: &Kept::default(),
        ledger: &HealthLedger::of(health),
        samples: &BTreeMap::new(),
        hpa,
        run: None,
        decisions,
    });
    explained.notes.push(
        "only the objects are known, not the process that scaled them: values, errors and the last check are missing"
            .to_owned(),
    );
    explained
}

pub(crate) fn explain(facts: Facts<'_>) -> Explanation {
    let object = facts.object;
    let status = object.status.clone().unwrap_or_default();
    let replicas = facts.kept.check.as_ref().and_then(|check| check.replicas);
    let fallback = fallback(&facts, replicas);
    let triggers = object
        .spec
        .triggers
        .iter()
        .enumerate()
        .map(|(index, trigger)| self::trigger(&facts, index, trigger, replicas));
    let triggers: Vec<_> = triggers.collect();
    let formula = formula(&facts, replicas);
    let hpa_name = status.hpa_name.clone().unwrap_or_else(|| object.hpa_name());
    let total = |name: &str| total(&triggers, formula.as_ref(), name);
    let autoscaler = (!object.is_paused()).then(|| {
        let facts = autoscaler::Facts {
            name: &hpa_name,
            object: facts.hpa,
            run: facts.run.clone(),
            observed: facts.kept.autoscaler.as_deref(),
            now: facts.now,
        };
        autoscaler::explain(facts, total)
    });
    let mut notes = Vec::new();
    if facts.leads == Some(false) {
        notes.push(
            "this replica does not lead: it samples on its own when it is asked, and the decisions are made by another"
                .to_owned(),
        );
    }
    Explanation {
        schema: SCHEMA.to_owned(),
        kind: "ScaledObject".to_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        time: facts.now,
        leads: facts.leads,
        problem: facts
            .problem
            .filter(|problem| !problem.is_empty())
            .map(str::to_owned),
        notes,
        settings: settings(object),
        check: facts
            .kept
            .check
            .as_deref()
            .cloned()
            .filter(|_| facts.leads != Some(false)),
        triggers,
        formula,
        fallback,
        autoscaler,
        conditions: status.conditions.unwrap_or_default(),
        decisions: facts.decisions,
    }
}

fn settings(object: &ScaledObject) -> Settings {
    let spec = &object.spec;
    let switches = [
        (object.is_paused(), "paused"),
        (object.is_scale_in_paused(), "pausedScaleIn"),
        (object.is_scale_out_paused(), "pausedScaleOut"),
        (object.is_activation_forced(), "forceActivation"),
    ];
    let switches = switches.into_iter().filter(|(is_on, _)| *is_on);
    Settings {
        target: format!("{}/{}", spec.scale_target_ref.kind(), spec.scale_target_ref.name),
        min: spec.min_replica_count(),
        max: spec.max_replica_count(),
        idle: spec.idle_replica_count,
        polling_interval: spec.polling_interval(),
        cooldown_period: Some(spec.cooldown_period()),
        initial_cooldown_period: Some(spec.initial_cooldown_period()),
        switches: switches.map(|(_, name)| name.to_owned()).collect(),
        paused_replicas: object.paused_replicas().and_then(Result::ok),
    }
}

fn fallback(facts: &Facts<'_>, replicas: Option<i32>) -> Option<Fallback> {
    let usable = fallback::Fallback::of(&facts.object.spec)?;
    let known = replicas.or(usable.ignores_current().then_some(0));
    Some(Fallback {
        failure_threshold: usable.failure_threshold,
        replicas: usable.replicas,
        behavior: match facts
            .object
            .spec
            .fallback
            .as_ref()
            .map(|fallback| fallback.behavior.as_str())
        {
            None | Some("") => "static".to_owned(),
            Some(behavior) => behavior.to_owned(),
        },
        in_force: facts.ledger.any_in_force(Some(&usable)),
        comes_to: known.map(|replicas| usable.replicas(replicas)),
    })
}

fn trigger(facts: &Facts<'_>, index: usize, spec: &ScaleTrigger, replicas: Option<i32>) -> Trigger {
    let planned = facts
        .plan
        .and_then(|plan| plan.triggers.iter().find(|trigger| trigger.index == index));
    let mut explained = Trigger {
        index,
        trigger_type: spec.trigger_type.clone(),
        name: spec.name.clone(),
        activation: activation(&spec.metadata),
        cached: spec.use_cached_metrics(),
        failing_since: facts.kept.failing.get(&index).map(|failing| failing.since),
        ..Trigger::default()
    };
    match planned {
        Some(planned) => running(facts, planned, replicas, &mut explained),
        None => published(facts.object, index, &mut explained),
    }
    explained
}

/// A trigger's own threshold, as its metadata has it: every type has another word for it.
pub(super) fn activation(metadata: &BTreeMap<String, String>) -> Option<String> {
    metadata
        .iter()
        .find(|(key, _)| key.starts_with("activation"))
        .map(|(key, value)| format!("{key} {value}"))
}

/// What this process knows of a trigger that runs.
fn running(facts: &Facts<'_>, planned: &PlannedTrigger, replicas: Option<i32>, explained: &mut Trigger) {
    let taken = facts.samples.get(&planned.index);
    explained.metrics = metrics(planned, taken.map(|taken| &**taken));
    let failures = planned
        .external()
        .map(|metric| facts.ledger.failures(&metric.name))
        .max();
    explained.failures = failures.unwrap_or(0);
    explained.sampled_at = taken.map(|taken| taken.time);
    explained.state = match (planned.source.is_some(), taken.map(|taken| whole(planned, taken))) {
        (false, _) => State::LeftToHpa,
        (true, None) => State::Unknown,
        (true, Some(Ok(sample))) if sample.active => State::Active,
        (true, Some(Ok(_))) => State::Inactive,
        (true, Some(Err(error))) => {
            explained.error = Some(error.to_string());
            let fallback = facts.plan.and_then(|plan| plan.fallback);
            match fallback.filter(|fallback| fallback.is_in_force(explained.failures)) {
                Some(fallback) => {
                    let has_formula = facts.plan.is_some_and(|plan| plan.modifiers.is_some());
                    for (metric, shown) in planned.external().zip(&mut explained.metrics) {
                        shown.reported_instead =
                            reported(&fallback, metric, replicas).filter(|_| !has_formula);
                    }
                    State::FallenBack
                }
                None => State::Failed,
            }
        }
    };
}

/// The metrics of a trigger with the values of its last sample.
pub(super) fn metrics(planned: &PlannedTrigger, taken: Option<&Taken>) -> Vec<Metric> {
    let sample = taken.and_then(|taken| taken.result.as_ref().ok());
    let mut values = sample.into_iter().flat_map(|sample| &sample.values);
    let metrics = planned.metrics.iter().map(|metric| {
        let is_external = metric.spec.external_name().is_some();
        let value = if is_external { values.next() } else { None };
        let (target, target_type) = target(metric);
        Metric {
            name: metric.name.clone(),
            value: value.map(|value| Quantity::from_f64_milli(value.value).to_string()),
            target: Some(target),
            target_type: target_type.to_owned(),
            reported_instead: None,
        }
    });
    metrics.collect()
}

fn target(metric: &NamedMetric) -> (String, &'static str) {
    match metric.spec.target() {
        MetricTarget::AverageValue(target) => (target.to_string(), "AverageValue"),
        MetricTarget::Value(target) => (target.to_string(), "Value"),
        MetricTarget::Utilization(percent) => (format!("{percent}%"), "Utilization"),
        _ => (String::new(), ""),
    }
}

/// What makes the HPA want the fallback's replicas.
fn reported(fallback: &fallback::Fallback, metric: &NamedMetric, replicas: Option<i32>) -> Option<String> {
    let replicas = match replicas {
        Some(replicas) => fallback.replicas(replicas),
        None if fallback.ignores_current() => fallback.replicas,
        None => return None,
    };
    match metric.spec.target() {
        // That depends on how many pods are ready when the HPA asks.
        MetricTarget::Value(target) => Some(format!("{target} * {replicas} / ready pods")),
        target => fallback::metric_value(target, replicas, 0).map(|value| value.to_string()),
    }
}

/// What the status says of a trigger.
fn published(object: &ScaledObject, index: usize, explained: &mut Trigger) {
    let Some(status) = &object.status else { return };
    let prefix = format!("s{index}-");
    let names = status.external_metric_names.iter().flatten();
    for name in names.filter(|name| name.starts_with(&prefix)) {
        let activity = status.triggers_activity.as_ref().and_then(|all| all.get(name));
        let health = status.health.as_ref().and_then(|all| all.get(name));
        let failures = health.and_then(|health| health.number_of_failures).unwrap_or(0);
        explained.failures = explained.failures.max(failures);
        explained.state = match (failures, activity.map(|activity| activity.is_active)) {
            (1.., Some(true)) => State::FallenBack,
            (1.., _) => State::Failed,
            (_, Some(true)) => State::Active,
            (_, Some(false)) => State::Inactive,
            (_, None) => State::Unknown,
        };
        explained.metrics.push(Metric {
            name: name.clone(),
            ..Metric::default()
        });
    }
}

fn formula(facts: &Facts<'_>, replicas: Option<i32>) -> Option<Formula> {
    let spec = facts.object.spec.scaling_modifiers()?;
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut explained = Formula {
        formula: given(&spec.formula),
        target: given(&spec.target),
        target_type: spec
            .metric_type()
            .map_or_else(|_| String::new(), |kind| format!("{kind:?}")),
        activation_target: spec.activation_target.clone().unwrap_or_else(|| "0".to_owned()),
        ..Formula::default()
    };
    let Some((plan, modifiers)) = facts.plan.and_then(|plan| Some((plan, plan.modifiers.as_ref()?))) else {
        return Some(explained);
    };
    let inputs = inputs(facts, plan);
    let shown = inputs.iter().map(|(name, input)| {
        let value = match input {
            Input::Value(value) => Some(Quantity::from_f64_milli(*value).to_string()),
            Input::Failed(_) | Input::FallenBack(_) => None,
        };
        ((*name).to_owned(), value)
    });
    explained.inputs = shown.collect();
    if inputs.is_empty() {
        return Some(explained);
    }
    outcome(modifiers, plan, inputs, replicas, &mut explained);
    Some(explained)
}

fn inputs<'a>(facts: &Facts<'_>, plan: &'a Plan) -> Vec<(&'a str, Input)> {
    let inputs = plan.triggers.iter().filter_map(|trigger| {
        let name = trigger.name.as_deref()?;
        let taken = facts.samples.get(&trigger.index)?;
        let input = match whole(trigger, taken) {
            Ok(sample) => Input::Value(sample.values.last()?.value),
            Err(error) => {
                let in_force = plan.fallback.is_some_and(|fallback| {
                    let mut metrics = trigger.external();
                    metrics.any(|metric| fallback.is_in_force(facts.ledger.failures(&metric.name)))
                });
                match in_force {
                    true => Input::FallenBack(error.to_string()),
                    false => Input::Failed(error.to_string()),
                }
            }
        };
        Some((name, input))
    });
    inputs.collect()
}

fn outcome(
    modifiers: &Modifiers,
    plan: &Plan,
    inputs: Vec<(&str, Input)>,
    replicas: Option<i32>,
    explained: &mut Formula,
) {
    match modifiers.compose(inputs, plan.fallback.as_ref()) {
        Composite::Value(value) => {
            explained.result = Some(thousandths(value).to_string());
            explained.state = match modifiers.is_active(value) {
                true => State::Active,
                false => State::Inactive,
            };
        }
        Composite::Failed(problem) => {
            explained.problem = Some(problem);
            explained.state = State::Failed;
        }
        Composite::FallenBack(problem) => {
            explained.problem = Some(problem);
            explained.state = State::FallenBack;
            let fallback = plan.fallback.as_ref();
            explained.reported_instead =
                fallback.and_then(|fallback| reported(fallback, modifiers.metric(), replicas));
        }
    }
}

/// What the HPA was told last by a name, in thousandths.
fn total(triggers: &[Trigger], formula: Option<&Formula>, name: &str) -> Option<i64> {
    let millis = |text: &String| {
        text.parse::<Quantity>()
            .ok()
            .map(|quantity| quantity.milli_value())
    };
    if let Some(formula) = formula {
        return formula
            .result
            .as_ref()
            .or(formula.reported_instead.as_ref())
            .and_then(millis);
    }
    let metrics = triggers.iter().flat_map(|trigger| &trigger.metrics);
    let mut named = metrics.filter(|metric| metric.name.eq_ignore_ascii_case(name));
    let metric = named.next()?;
    metric
        .reported_instead
        .as_ref()
        .or(metric.value.as_ref())
        .and_then(millis)
}
