//! The status of a ScaledObject: what is said, and the smallest patch that says it.

use jiff::{SignedDuration, Timestamp};
use scaler_api::keda::{Condition, ScaleTrigger, ScaledObjectStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::hpa::Text;

/// The conditions in the order in which KEDA shows them.
const ORDER: [&str; 5] = ["Ready", "Active", "Fallback", "Paused", "HPAActive"];

/// Adds the conditions that every ScaledObject has from the start.
pub fn initialize(status: &mut ScaledObjectStatus) {
    let initially = [
        ("Ready", "Unknown"),
        ("Active", "Unknown"),
        ("Fallback", "Unknown"),
        ("Paused", "False"),
    ];
    add_conditions(&mut status.conditions, &initially);
}

/// Adds conditions that are not there yet.
pub(crate) fn add_conditions(conditions: &mut Option<Vec<Condition>>, initially: &[(&str, &str)]) {
    let conditions = conditions.get_or_insert_default();
    for (type_, initially) in initially {
        if !conditions.iter().any(|condition| condition.type_ == *type_) {
            let status = (*initially).to_owned();
            conditions.push(Condition {
                type_: (*type_).to_owned(),
                status,
                reason: None,
                message: None,
            });
        }
    }
    sort(conditions);
}

/// Sets a condition; whether its status or reason changed.
pub fn set_condition(status: &mut ScaledObjectStatus, condition: Condition) -> bool {
    put_condition(&mut status.conditions, condition)
}

/// Puts a condition among others; whether its status or reason changed.
pub(crate) fn put_condition(conditions: &mut Option<Vec<Condition>>, condition: Condition) -> bool {
    let conditions = conditions.get_or_insert_default();
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            let changed = known.status != condition.status || known.reason != condition.reason;
            *known = condition;
            changed
        }
        None => {
            // There are few, and thousands of objects have them.
            conditions.reserve_exact(1);
            conditions.push(condition);
            sort(conditions);
            true
        }
    }
}

fn sort(conditions: &mut [Condition]) {
    let place = |condition: &Condition| {
        ORDER
            .iter()
            .position(|type_| *type_ == condition.type_)
            .unwrap_or(ORDER.len())
    };
    conditions.sort_by_key(place);
}

/// The condition `Fallback`.
#[must_use]
pub fn fallback_condition(in_force: bool) -> Condition {
    if in_force {
        let message = "At least one trigger is falling back on this scaled object";
        Condition::new("Fallback", "True", "FallbackExists", message)
    } else {
        Condition::new(
            "Fallback",
            "False",
            "NoFallbackFound",
            "No fallbacks are active on this scaled object",
        )
    }
}

/// The condition `Paused`.
#[must_use]
pub fn paused_condition(paused: bool) -> Condition {
    if paused {
        Condition::new("Paused", "True", "ScaledObjectPaused", "ScaledObject is paused")
    } else {
        Condition::new(
            "Paused",
            "False",
            "ScaledObjectUnpaused",
            "pause annotation removed for ScaledObject",
        )
    }
}

/// The condition `HPAActive` for the status of an HPA; none while the HPA has said nothing.
#[must_use]
pub fn hpa_condition(hpa_status: &Value) -> Option<Condition> {
    let conditions = hpa_status["conditions"].as_array()?;
    let scaling = conditions
        .iter()
        .find(|condition| condition["type"] == "ScalingActive")?;
    let text = |field: &str| scaling[field].as_str().unwrap_or_default();
    let (status, reason) = match (text("status"), text("reason")) {
        ("True", _) => ("True", "HPAActive"),
        (_, "ScalingDisabled") => ("True", "ScalingDisabled"),
        ("False", "") => ("False", "HPAMetricsUnavailable"),
        ("False", reason) => ("False", reason),
        _ => return None,
    };
    Some(Condition::new("HPAActive", status, reason, text("message")))
}

/// The types and the authentications of triggers, each once, comma-separated.
#[must_use]
pub fn summarize(triggers: &[ScaleTrigger]) -> (String, String) {
    let types = triggers.iter().map(|trigger| trigger.trigger_type.as_str());
    let authentications = triggers
        .iter()
        .filter_map(|trigger| Some(trigger.authentication_ref.as_ref()?.name.as_str()));
    (each_once(types), each_once(authentications))
}

fn each_once<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut known = Vec::new();
    for word in words {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    known.join(",")
}

/// The least time between two writes of `lastActiveTime` while an object stays active.
#[must_use]
pub fn last_active_interval(cooldown: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(30).max(cooldown / 4)
}

/// Whether `last_active` shall be written over `published`.
///
/// It is when activity begins or ends (`turned`), and while it lasts now and then: a restart loses no cooldown worth
/// the name, and a busy fleet does not write at every poll.
#[must_use]
pub fn publishes_last_active(
    published: Option<Timestamp>,
    last_active: Timestamp,
    turned: bool,
    cooldown: SignedDuration,
) -> bool {
    let Some(published) = published else { return true };
    // Published with seconds only.
    let newer = last_active.duration_since(published);
    newer.as_secs() >= 1 && (turned || newer >= last_active_interval(cooldown))
}

/// When an object was last active, for a leader that has only its status: an object that was active when the status
/// was written may have been active until it would have been written again.
#[must_use]
pub fn resumed_last_active(
    status: &ScaledObjectStatus,
    cooldown: SignedDuration,
    now: Timestamp,
) -> Option<Timestamp> {
    let published = status.last_active_time.as_ref()?.0;
    let is_active = status.condition("Active").is_some_and(Condition::is_true);
    let latest = published.saturating_add(last_active_interval(cooldown));
    match latest {
        Ok(latest) if is_active => Some(latest.min(now).max(published)),
        _ => Some(published),
    }
}

/// A merge patch of the status subresource from `before` to `after`; none where nothing changed.
#[must_use]
pub fn patch<S: PartialEq + Serialize>(before: &S, after: &S) -> Option<Value> {
    if before == after {
        return None;
    }
    let before = serde_json::to_value(before).unwrap_or_default();
    let after = serde_json::to_value(after).unwrap_or_default();
    merge_patch(&before, &after).map(|status| json!({"status": status}))
}

/// A status that was written, kept as text: there are thousands, and each is only looked at to see whether it is still
/// what shall be said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    text: Text,
    is_ready: bool,
    last_active: Option<Timestamp>,
}

impl Published {
    pub(crate) fn of(status: &ScaledObjectStatus) -> Self {
        Self {
            text: Text::of(status),
            is_ready: status.condition("Ready").is_some_and(Condition::is_true),
            last_active: status.last_active_time.as_ref().map(|time| time.0),
        }
    }

    /// Whether it is this status.
    pub(crate) fn says(&self, status: &ScaledObjectStatus) -> bool {
        self.text == Text::of(status)
    }

    /// What has to be written so that it is this status; none where it is.
    pub(crate) fn patch(&self, status: &ScaledObjectStatus) -> Option<Value> {
        let known = match self.text.value() {
            Value::Null => json!({}),
            known => known,
        };
        let wanted = serde_json::to_value(status).unwrap_or_default();
        merge_patch(&known, &wanted).map(|status| json!({"status": status}))
    }

    /// Whether it says that the object is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// When it says that the object was last active.
    pub(crate) fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }
}

/// What has to be merged into `before` to get `after`; none where they are equal.
#[must_use]
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return Some(after.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        let known = before.get(key).unwrap_or(&Value::Null);
        if let Some(change) = merge_patch(known, value) {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    //! keda.md §1.1; design: when `lastActiveTime` is written.
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn section_1_1_conditions_start_unknown_and_keep_their_order() {
        let mut status = ScaledObjectStatus::default();
        set_condition(&mut status, Condition::new("HPAActive", "True", "HPAActive", ""));
        set_condition(&mut status, paused_condition(true));
        initialize(&mut status);
        let shown: Vec<_> = status
            .conditions
            .unwrap()
            .into_iter()
            .map(|condition| format!("{}={}", condition.type_, condition.status))
            .collect();
        assert_eq!(
            shown,
            [
                "Ready=Unknown",
                "Active=Unknown",
                "Fallback=Unknown",
                "Paused=True",
                "HPAActive=True"
            ]
        );
    }

    #[test]
    fn a_condition_changes_by_status_or_reason() {
        let mut status = ScaledObjectStatus::default();
        assert!(set_condition(&mut status, fallback_condition(false)));
        assert!(!set_condition(&mut status, fallback_condition(false)));
        assert!(set_condition(&mut status, fallback_condition(true)));
        assert!(status.condition("Fallback").unwrap().is_true());
    }

    #[test]
    fn section_1_1_the_hpas_scaling_active_becomes_hpa_active() {
        let hpa = |status: &str, reason: &str| json!({"conditions": [{"type": "ScalingActive", "status": status, "reason": reason, "message": "m"}]});
        let cases = [
            (json!({}), None),
            (Value::Null, None),
            (hpa("True", "ValidMetricFound"), Some(("True", "HPAActive"))),
            (hpa("False", "ScalingDisabled"), Some(("True", "ScalingDisabled"))),
            (
                hpa("False", "FailedGetExternalMetric"),
                Some(("False", "FailedGetExternalMetric")),
            ),
            (hpa("False", ""), Some(("False", "HPAMetricsUnavailable"))),
            (hpa("Unknown", "x"), None),
        ];
        for (status, expected) in cases {
            let found = hpa_condition(&status);
            let found = found
                .as_ref()
                .map(|found| (found.status.as_str(), found.reason.as_deref().unwrap()));
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn section_1_1_types_and_authentications_are_named_once() {
        let trigger = |trigger_type: &str, authentication: Option<&str>| ScaleTrigger {
            trigger_type: trigger_type.into(),
            authentication_ref: authentication.map(|name| scaler_api::keda::AuthenticationRef {
                name: name.into(),
                ..Default::default()
            }),
            ..ScaleTrigger::default()
        };
        let triggers = [
            trigger("cron", None),
            trigger("kafka", Some("a")),
            trigger("cron", Some("a")),
        ];
        assert_eq!(summarize(&triggers), ("cron,kafka".to_owned(), "a".to_owned()));
    }

    #[test]
    fn last_active_time_is_written_when_activity_turns_and_seldom_in_between() {
        let cases = [
            ("first", None, 100, false, 10, true),
            ("next poll", Some(100), 105, false, 10, false),
            ("30 s later", Some(100), 130, false, 10, true),
            ("a quarter of a long cooldown", Some(100), 130, false, 300, false),
            (
                "a quarter of a long cooldown is over",
                Some(100),
                175,
                false,
                300,
                true,
            ),
            ("it ends", Some(100), 105, true, 300, true),
            ("it ends where it was written", Some(100), 100, true, 300, false),
        ];
        for (name, published, last_active, turned, cooldown, expected) in cases {
            let cooldown = SignedDuration::from_secs(cooldown);
            assert_eq!(
                publishes_last_active(published.map(at), at(last_active), turned, cooldown),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn who_resumes_loses_no_cooldown() {
        let cases = [
            ("never active", None, true, 200, None),
            ("at rest", Some(100), false, 200, Some(100)),
            ("active, just written", Some(100), true, 104, Some(104)),
            ("active, not written since", Some(100), true, 200, Some(130)),
            ("active, in the future", Some(100), true, 90, Some(100)),
        ];
        for (name, published, active, now, expected) in cases {
            let mut status = ScaledObjectStatus {
                last_active_time: published
                    .map(|second| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second))),
                ..Default::default()
            };
            let word = if active { "True" } else { "False" };
            set_condition(&mut status, Condition::new("Active", word, "", ""));
            let found = resumed_last_active(&status, SignedDuration::from_secs(60), at(now));
            assert_eq!(found, expected.map(at), "{name}");
        }
    }

    #[test]
    fn a_patch_holds_only_what_changed() {
        let mut before = ScaledObjectStatus {
            original_replica_count: Some(1),
            ..Default::default()
        };
        initialize(&mut before);
        assert_eq!(patch(&before, &before.clone()), None);
        let mut after = before.clone();
        after.hpa_name = Some("keda-hpa-x".into());
        after.original_replica_count = None;
        assert_eq!(
            patch(&before, &after),
            Some(json!({"status": {"hpaName": "keda-hpa-x", "originalReplicaCount": null}}))
        );
    }
}
