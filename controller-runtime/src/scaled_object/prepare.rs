//! From a ScaledObject to a plan that can run: rules, target, triggers. Reads and writes nothing, on every replica.

use std::sync::Arc;

use scaler_api::keda::ScaledObject;

use super::{
    controller::Core,
    fallback::Fallback,
    modifiers::Modifiers,
    plan::{BuildError, Built, Plan},
    state::Entry,
    target::{Scale, Target, TargetError},
};
use crate::{
    admission::{Finding, Findings, Severity, scaled_object as rules},
    store::ObjectKey,
};

/// Why an object does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Something is wrong with it, or with what it refers to.
    #[error("{0}")]
    Wrong(String),
    /// A trigger of it cannot be built.
    #[error("{0}")]
    Unbuilt(String),
    /// The API server did not answer.
    #[error("{0}")]
    Unanswered(String),
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        Self::Unanswered(error.to_string())
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        if error.is_transient() {
            Self::Unanswered(error.to_string())
        } else {
            Self::Wrong(error.to_string())
        }
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Target(error) => error.into(),
            error @ BuildError::Authentication(_) => Self::Unanswered(error.to_string()),
        }
    }
}

/// What an object comes to.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What its own rules say.
    pub(super) findings: Findings,
    /// What building its triggers found out.
    pub(super) built: Findings,
    /// What it scales, if that is there.
    pub(super) target: Option<(Target, Scale)>,
    /// How it runs, or why it does not.
    pub(super) plan: Result<Arc<Plan>, Refusal>,
}

impl Core {
    /// Resolves everything that an object which is not paused refers to.
    pub(super) async fn prepare(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
        entry: &Entry,
    ) -> Result<Prepared, Refusal> {
        let findings = rules::check(object, self.builder.sources.registry());
        let reference = &object.spec.scale_target_ref;
        let resolved = self.builder.targets.resolve(&key.namespace, reference).await;
        let (target, problem) = match resolved {
            Ok(found) => (Some(found), None),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => (None, Some(error.to_string())),
        };
        let only_target = target.as_ref().map(|(target, _)| target);
        let built = self.builder.build(object, only_target).await?;
        self.entries.set_dependencies(key, built.uses.clone());
        entry.live(|live| live.uses_containers = built.uses_containers);
        let mut problems = Vec::from_iter(problem);
        problems.extend(problems_of(&findings, &built));
        let plan = match only_target.filter(|_| problems.is_empty()) {
            Some(target) => Ok(Arc::new(Plan {
                target: target.clone(),
                triggers: built.triggers,
                fallback: Fallback::of(&object.spec),
                // What is wrong with them is among the findings.
                modifiers: Modifiers::of(&object.spec).ok().flatten(),
            })),
            None => Err(refusal(&findings, &built.findings, problems.join("; "))),
        };
        Ok(Prepared {
            findings,
            built: built.findings,
            target,
            plan,
        })
    }
}

fn refusal(findings: &Findings, built: &Findings, words: String) -> Refusal {
    let is_trigger = |finding: &Finding| finding.field.starts_with("spec.triggers");
    let errors = findings.at_least(Severity::Error);
    let mut errors = errors.chain(built.at_least(Severity::Error));
    if errors.any(is_trigger) {
        Refusal::Unbuilt(words)
    } else {
        Refusal::Wrong(words)
    }
}

/// Every problem at once; parameters that do not exist are named beside those that miss them.
fn problems_of(findings: &Findings, built: &Built) -> Vec<String> {
    let errors: Vec<_> = findings
        .at_least(Severity::Error)
        .chain(built.findings.at_least(Severity::Error))
        .collect();
    if errors.is_empty() {
        return Vec::new();
    }
    let missing = built.findings.all().iter().filter(|finding| {
        finding.severity == Severity::Warning && finding.field.ends_with("authenticationRef")
    });
    let words = errors
        .iter()
        .map(ToString::to_string)
        .chain(missing.map(ToString::to_string));
    let prefix = match errors
        .iter()
        .all(|finding| finding.reason == "incorrect-replicas")
    {
        true => "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification",
        false => "Failed to ensure HPA is correctly created for ScaledObject",
    };
    vec![format!("{prefix}: {}", words.collect::<Vec<_>>().join("; "))]
}
