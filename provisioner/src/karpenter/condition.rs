//! Conditions: one per type, their root, and when they change.

use jiff::Timestamp;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The type of the root condition.
pub const READY: &str = "Ready";

/// What a condition is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `Some(true)` True, `Some(false)` False, `None` Unknown.
    pub status: Option<bool>,
    /// `reason`; the type's name if empty.
    pub reason: &'a str,
    /// `message`.
    pub message: &'a str,
}

impl<'a> ConditionValue<'a> {
    /// True; the reason is the type's name, as Karpenter writes it.
    #[must_use]
    pub fn is_true(kind: &'a str) -> Self {
        Self {
            kind,
            status: Some(true),
            reason: kind,
            message: "",
        }
    }

    /// False, with a reason.
    #[must_use]
    pub fn is_false(kind: &'a str, reason: &'a str, message: &'a str) -> Self {
        Self {
            kind,
            status: Some(false),
            reason,
            message,
        }
    }

    /// Unknown, with a reason.
    #[must_use]
    pub fn unknown(kind: &'a str, reason: &'a str, message: &'a str) -> Self {
        Self {
            kind,
            status: None,
            reason,
            message,
        }
    }

    /// As a condition that changed at `now`.
    #[must_use]
    pub fn at(&self, observed_generation: Option<i64>, now: Timestamp) -> Condition {
        let reason = if self.reason.is_empty() {
            self.kind
        } else {
            self.reason
        };
        Condition {
            type_: self.kind.to_owned(),
            status: status_word(self.status).to_owned(),
            reason: reason.to_owned(),
            message: self.message.to_owned(),
            observed_generation,
            last_transition_time: Time(now),
        }
    }
}

fn status_word(status: Option<bool>) -> &'static str {
    match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type is True.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// Whether the condition of a type is False.
#[must_use]
pub fn is_false(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "False")
}

/// Sets a condition; the transition time moves only when the status does. Says whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    value: &ConditionValue<'_>,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let mut wanted = value.at(observed_generation, now);
    let Some(current) = conditions
        .iter_mut()
        .find(|condition| condition.type_ == wanted.type_)
    else {
        conditions.push(wanted);
        return true;
    };
    if current.status == wanted.status {
        wanted.last_transition_time = current.last_transition_time.clone();
    }
    if *current == wanted {
        return false;
    }
    *current = wanted;
    true
}

/// Removes a condition. Says whether there was one.
pub fn clear_condition(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.len() != before
}

/// Sets `Ready` to the conjunction of the conditions of `dependents`: False if one is False, else Unknown if one is
/// Unknown or missing, else True. Says whether anything changed.
pub fn set_root(
    conditions: &mut Vec<Condition>,
    dependents: &[&str],
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let with_status = |status: &str, conditions: &[Condition]| -> Vec<String> {
        dependents
            .iter()
            .filter(|kind| {
                find(conditions, kind).map_or("Unknown", |condition| condition.status.as_str()) == status
            })
            .map(|kind| format!("{kind}={status}"))
            .collect()
    };
    let unhealthy = with_status("False", conditions);
    let unknown = with_status("Unknown", conditions);
    let message = [unhealthy.clone(), unknown.clone()].concat().join(", ");
    let value = if !unhealthy.is_empty() {
        ConditionValue::is_false(READY, "UnhealthyDependents", &message)
    } else if !unknown.is_empty() {
        ConditionValue::unknown(READY, "ReconcilingDependents", &message)
    } else {
        ConditionValue::is_true(READY)
    };
    set_condition(conditions, &value, observed_generation, now)
}

/// What the conditions of a class become when `found` was found out: transition times move only with the status, and
/// `Ready` is the conjunction of `found`, as of the latest of them.
#[must_use]
pub fn merge(current: &[Condition], found: &[Condition], observed_generation: Option<i64>) -> Vec<Condition> {
    let mut merged: Vec<Condition> = current.to_vec();
    let mut latest = Timestamp::UNIX_EPOCH;
    for condition in found {
        latest = latest.max(condition.last_transition_time.0);
        let status = match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        let value = ConditionValue {
            kind: &condition.type_,
            status,
            reason: &condition.reason,
            message: &condition.message,
        };
        set_condition(
            &mut merged,
            &value,
            observed_generation,
            condition.last_transition_time.0,
        );
    }
    let dependents: Vec<&str> = found.iter().map(|condition| condition.type_.as_str()).collect();
    set_root(&mut merged, &dependents, observed_generation, latest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        assert!(set_condition(
            &mut conditions,
            &ConditionValue::unknown("Launched", "X", ""),
            None,
            at(1)
        ));
        assert!(set_condition(
            &mut conditions,
            &ConditionValue::unknown("Launched", "Y", ""),
            None,
            at(2)
        ));
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert!(set_condition(
            &mut conditions,
            &ConditionValue::is_true("Launched"),
            None,
            at(3)
        ));
        assert_eq!(conditions[0].last_transition_time.0, at(3));
        assert!(!set_condition(
            &mut conditions,
            &ConditionValue::is_true("Launched"),
            None,
            at(4)
        ));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn ready_is_the_conjunction() {
        let mut conditions = vec![ConditionValue::is_true("A").at(None, at(1))];
        set_root(&mut conditions, &["A", "B"], None, at(1));
        assert_eq!(find(&conditions, READY).unwrap().status, "Unknown");
        assert_eq!(find(&conditions, READY).unwrap().message, "B=Unknown");
        set_condition(
            &mut conditions,
            &ConditionValue::is_false("B", "Broken", "no"),
            None,
            at(2),
        );
        set_root(&mut conditions, &["A", "B"], None, at(2));
        assert!(is_false(&conditions, READY));
        set_condition(&mut conditions, &ConditionValue::is_true("B"), None, at(3));
        set_root(&mut conditions, &["A", "B"], None, at(3));
        assert!(is_true(&conditions, READY));
    }
}
