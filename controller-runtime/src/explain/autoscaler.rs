//! What the HPA of an object did, from the HPA and either its last run or what was watched of it.

use jiff::Timestamp;

use super::{
    explanation::{Autoscaler, HpaCondition, Origin},
    observed::{self, Observed},
};
use crate::{
    hpa::{
        State, Status,
        explain::Computation,
        pods::ConditionStatus,
        status::{Condition, ConditionType},
    },
    scaled_object::hpa::Autoscaler as Object,
};

/// What is known of an HPA.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) object: Option<&'a Object>,
    /// Its last run, where its controller is in this process.
    pub(super) run: Option<Computation>,
    pub(super) observed: Option<&'a Observed>,
    pub(super) now: Timestamp,
}

pub(super) fn explain(facts: Facts<'_>, total: impl Fn(&str) -> Option<i64>) -> Autoscaler {
    let name = facts.name.to_owned();
    let Some((spec, status)) = facts.object.and_then(observed::parse) else {
        let exists = facts.object.is_some();
        return Autoscaler {
            name,
            exists,
            ..Autoscaler::default()
        };
    };
    let has_run = status.conditions.is_some();
    let (origin, computation) = match facts.run {
        Some(run) => (Origin::Computed, Some(run)),
        None if has_run => {
            let fresh = State::default();
            let (before, at) = facts
                .observed
                .map_or((&fresh, facts.now), |seen| (&seen.before, seen.at));
            (
                Origin::Inferred,
                Some(observed::run(&spec, &status, before, total, at)),
            )
        }
        None => (Origin::Inferred, None),
    };
    let mut differences = match (&computation, origin) {
        (Some(computation), Origin::Inferred) => differences(computation, &status),
        _ => Vec::new(),
    };
    if !differences.is_empty() {
        differences.push(match facts.observed {
            Some(seen) => format!("its recommendations are known since {} only", seen.since),
            None => "its earlier recommendations and changes are not known".to_owned(),
        });
    }
    Autoscaler {
        name,
        exists: true,
        min: spec.min_replicas(),
        max: spec.max_replicas,
        current: status.current_replicas,
        desired: status.desired_replicas,
        last_scale_time: status.last_scale_time,
        conditions: status.conditions.iter().flatten().map(condition).collect(),
        origin,
        computation,
        differences,
    }
}

fn condition(condition: &Condition) -> HpaCondition {
    HpaCondition {
        condition_type: format!("{:?}", condition.condition_type),
        status: format!("{:?}", condition.status),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        since: condition.last_transition_time,
    }
}

/// Where the status says something else.
fn differences(inferred: &Computation, status: &Status) -> Vec<String> {
    let mut found = Vec::new();
    if inferred.desired != status.desired_replicas {
        found.push(format!(
            "{} replicas, where its status wants {}",
            inferred.desired, status.desired_replicas
        ));
    }
    let mut compare = |condition_type, inferred: Option<&str>| {
        let said = status.condition(condition_type).map(|said| said.reason.as_str());
        if let (Some(inferred), Some(said)) = (inferred, said)
            && inferred != said
            // Says that the number was written, and no longer how it was stabilised.
            && said != "SucceededRescale"
        {
            found.push(format!(
                "{condition_type:?} {inferred}, where its status says {said}"
            ));
        }
    };
    let stabilization = inferred.stabilization.as_ref();
    let limit = inferred.limit.as_ref();
    let active = status.condition(ConditionType::ScalingActive);
    if active.is_some_and(|active| active.status == ConditionStatus::True) {
        compare(
            ConditionType::AbleToScale,
            stabilization.map(|found| found.reason.as_str()),
        );
        compare(
            ConditionType::ScalingLimited,
            limit.map(|found| found.reason.as_str()),
        );
    }
    found
}
