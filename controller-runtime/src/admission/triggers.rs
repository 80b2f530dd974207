//! The rules for a list of triggers.

use std::collections::BTreeSet;

use scaler_api::{ParsedTrigger, Problem, Registry, TriggerInput, keda::ScaleTrigger};

use super::{Findings, Severity};

/// The class of these rules.
pub(super) const TRIGGERS: &str = "incorrect-triggers";

/// Every rule for a list of triggers that ScaledObjects and ScaledJobs share.
pub(super) fn check(triggers: &[ScaleTrigger], registry: &Registry, findings: &mut Findings) {
    if triggers.is_empty() {
        let message = "no triggers defined, expected at least one";
        findings.add(Severity::Error, TRIGGERS, "spec.triggers", "", message);
    }
    let mut names = BTreeSet::new();
    for (index, trigger) in triggers.iter().enumerate() {
        let path = |field: &str| format!("spec.triggers[{index}].{field}");
        if let Some(name) = trigger.name().filter(|name| !names.insert(*name)) {
            let message = format!("{name:?} is defined multiple times, expected unique names");
            findings.add(Severity::Error, TRIGGERS, path("name"), name, message);
        }
        let kind = trigger.trigger_type.as_str();
        if trigger.use_cached_metrics() && (is_resource(trigger) || kind == "cron") {
            let message = format!("is true, which a trigger of type {kind} does not support");
            findings.add(Severity::Error, TRIGGERS, path("useCachedMetrics"), true, message);
        }
        if registry.fields(kind).is_none() {
            parse_trigger(index, trigger, registry, &TriggerInput::default(), findings);
        }
        authentication(trigger, path, findings);
    }
}

/// What a trigger says about its authentication.
fn authentication(trigger: &ScaleTrigger, path: impl Fn(&str) -> String, findings: &mut Findings) {
    let Some(reference) = &trigger.authentication_ref else {
        return;
    };
    if reference.name.is_empty() {
        let message = format!("is empty, expected the name of a {}", reference.kind());
        findings.add(
            Severity::Error,
            TRIGGERS,
            path("authenticationRef.name"),
            "",
            message,
        );
    }
    if !matches!(
        reference.kind(),
        "TriggerAuthentication" | "ClusterTriggerAuthentication"
    ) {
        let message = format!(
            "{:?} is not one of TriggerAuthentication, ClusterTriggerAuthentication",
            reference.kind()
        );
        findings.add(
            Severity::Error,
            TRIGGERS,
            path("authenticationRef.kind"),
            reference.kind(),
            message,
        );
    }
}

/// Parses one trigger; what is wrong goes into `findings`, all of it.
pub fn parse_trigger(
    index: usize,
    trigger: &ScaleTrigger,
    registry: &Registry,
    input: &TriggerInput,
    findings: &mut Findings,
) -> Option<ParsedTrigger> {
    let path = |problem: &Problem| match problem.field.as_str() {
        "type" | "" => format!("spec.triggers[{index}].type"),
        key => format!("spec.triggers[{index}].metadata.{key}"),
    };
    match registry.parse(&trigger.trigger_type, input) {
        Ok(parsed) => {
            for problem in parsed.warnings.warnings() {
                findings.add(
                    Severity::Warning,
                    TRIGGERS,
                    path(problem),
                    &problem.value,
                    &problem.message,
                );
            }
            Some(parsed)
        }
        Err(problems) => {
            for problem in problems.errors() {
                findings.add(
                    Severity::Error,
                    TRIGGERS,
                    path(problem),
                    &problem.value,
                    &problem.message,
                );
            }
            for problem in problems.warnings() {
                findings.add(
                    Severity::Warning,
                    TRIGGERS,
                    path(problem),
                    &problem.value,
                    &problem.message,
                );
            }
            None
        }
    }
}

/// Whether a trigger is a matter of the HPA alone.
#[must_use]
pub fn is_resource(trigger: &ScaleTrigger) -> bool {
    matches!(trigger.trigger_type.as_str(), "cpu" | "memory")
}
