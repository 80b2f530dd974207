//! Answers from a record.

use anyhow::bail;
use controller_runtime::{
    explain::{Explanation, PastDecision, nearest, of_scaled_job, of_scaled_object},
    scaled_object::hpa::Autoscaler,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Object;
use crate::record::{DecisionEntry, ObjectEntry, Record, to_seconds};

/// How many decisions are shown of an object, as by the process.
const DECISIONS: usize = 20;

/// Why an object was scaled as it was, so many seconds after the start, or at the end.
///
/// # Errors
/// If the record does not know it.
pub fn explain(record: &Record, kind: &str, object: &Object, at: Option<f64>) -> anyhow::Result<Explanation> {
    let kind = match kind {
        "scaledjob" | "scaledjobs" | "sj" => "ScaledJob",
        _ => "ScaledObject",
    };
    let at = at.unwrap_or(f64::INFINITY);
    let of_object = |explained: &&Explanation| {
        explained.kind == kind && explained.namespace == object.namespace && explained.name == object.name
    };
    let entries = record
        .explanations
        .iter()
        .filter(|entry| to_seconds(entry.t) <= at);
    if let Some(explanation) = entries.map(|entry| &entry.explanation).rfind(of_object) {
        let mut explanation = explanation.clone();
        explanation.decisions = decisions(
            record,
            kind,
            object,
            &explanation.settings.target,
            explanation.time,
        );
        return Ok(explanation);
    }
    from_objects(record, kind, object, at)
}

/// A record without explanations, or of the time before the first, still has the objects.
fn from_objects(record: &Record, kind: &str, object: &Object, at: f64) -> anyhow::Result<Explanation> {
    let last = |kind: &str, name: &str| {
        let mut entries = record.objects.iter().filter(|entry| to_seconds(entry.t) <= at);
        let found = |entry: &&ObjectEntry| is(&entry.object, kind, &object.namespace, name);
        entries.rfind(found).map(|entry| entry.object.clone())
    };
    let Some(found) = last(kind, &object.name) else {
        bail!(unknown(record, kind, object));
    };
    let now = time(record, at.min(record.virtual_seconds));
    if kind == "ScaledJob" {
        let found = serde_json::from_value(found)?;
        return Ok(of_scaled_job(
            &found,
            decisions(record, kind, object, "", now),
            now,
        ));
    }
    let found: scaler_api::keda::ScaledObject = serde_json::from_value(found)?;
    let hpa_name = found.status.as_ref().and_then(|status| status.hpa_name.clone());
    let hpa = hpa_name.and_then(|name| last("HorizontalPodAutoscaler", &name));
    let hpa: Option<Autoscaler> = hpa.map(serde_json::from_value).transpose()?;
    let reference = &found.spec.scale_target_ref;
    let target = format!("{}/{}", reference.kind(), reference.name);
    let decisions = decisions(record, kind, object, &target, now);
    Ok(of_scaled_object(&found, hpa.as_ref(), decisions, now))
}

fn is(object: &Value, kind: &str, namespace: &str, name: &str) -> bool {
    let metadata = &object["metadata"];
    object["kind"] == kind && metadata["namespace"] == namespace && metadata["name"] == name
}

fn unknown(record: &Record, kind: &str, object: &Object) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let objects = record.objects.iter().map(|entry| &entry.object);
    let mut known: Vec<_> = objects
        .filter(|object| object["kind"] == kind)
        .map(|object| {
            let metadata = &object["metadata"];
            format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]))
        })
        .collect();
    known.sort();
    known.dedup();
    let wanted = format!("{}/{}", object.namespace, object.name);
    let mut like = nearest(&wanted, known.iter().map(String::as_str));
    if like.is_empty() {
        like = known;
    }
    match like.as_slice() {
        [] => format!("the record has no {kind}"),
        names => format!(
            "the record has no {kind} {wanted} at that time, did you mean {}?",
            names.join(" or ")
        ),
    }
}

/// A time of the record on the cluster's clock.
fn time(record: &Record, seconds: f64) -> Timestamp {
    let start: Timestamp = record.start.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let since = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO);
    start.saturating_add(since).unwrap_or(start)
}

/// What was decided about the object and its target until then.
fn decisions(
    record: &Record,
    kind: &str,
    object: &Object,
    target: &str,
    until: Timestamp,
) -> Vec<PastDecision> {
    let own = format!("{kind}/{}/{}", object.namespace, object.name);
    let target = target
        .split_once('/')
        .map(|(kind, name)| format!("{kind}/{}/{name}", object.namespace));
    let about =
        |decision: &&DecisionEntry| decision.object == own || Some(&decision.object) == target.as_ref();
    let past = record
        .decisions
        .iter()
        .filter(about)
        .map(|decision| PastDecision {
            time: time(record, to_seconds(decision.t)),
            controller: decision.controller.clone(),
            from: decision.from.clone(),
            to: decision.to.clone(),
            reason: decision.reason.clone(),
        });
    let mut past: Vec<_> = past.filter(|decision| decision.time <= until).collect();
    past.drain(..past.len().saturating_sub(DECISIONS));
    past
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::ExplanationEntry;

    fn object(name: &str) -> Object {
        Object {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    fn record() -> Record {
        let explained = |t: u64, leads| ExplanationEntry {
            t,
            explanation: Explanation {
                kind: "ScaledObject".to_owned(),
                namespace: "default".to_owned(),
                name: "orders".to_owned(),
                time: "2026-01-01T00:00:30Z".parse().unwrap(),
                leads: Some(leads),
                ..Explanation::default()
            },
        };
        let decided = |t, to: &str| DecisionEntry {
            t,
            controller: "scaled-object".to_owned(),
            object: "ScaledObject/default/orders".to_owned(),
            from: String::new(),
            to: to.to_owned(),
            reason: String::new(),
        };
        let metadata = json!({"namespace": "default", "name": "orders"});
        let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": []});
        Record {
            start: "2026-01-01T00:00:00Z".to_owned(),
            virtual_seconds: 60.0,
            explanations: vec![explained(10_000, false), explained(30_000, true)],
            decisions: vec![decided(9_000, "1"), decided(40_000, "2")],
            objects: vec![ObjectEntry {
                t: 1_000,
                object: json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}),
            }],
            ..Record::default()
        }
    }

    #[test]
    fn the_last_explanation_until_then_counts_with_the_decisions_until_then() {
        let record = record();
        let last = explain(&record, "so", &object("orders"), None).unwrap();
        assert_eq!((last.leads, last.decisions.len()), (Some(true), 1));
        let first = explain(&record, "so", &object("orders"), Some(29.9)).unwrap();
        assert_eq!(first.leads, Some(false));
    }

    #[test]
    fn a_record_without_explanations_still_has_the_objects() {
        let mut record = record();
        record.explanations.clear();
        let found = explain(&record, "scaledobject", &object("orders"), None).unwrap();
        assert_eq!(
            (found.settings.target.as_str(), found.decisions.len()),
            ("Deployment/web", 2)
        );
        assert_eq!(found.notes.len(), 1);
        let error = explain(&record, "scaledobject", &object("ordres"), None).unwrap_err();
        assert!(
            error.to_string().ends_with("did you mean default/orders?"),
            "{error}"
        );
        assert!(explain(&record, "sj", &object("x"), None).is_err());
    }
}
