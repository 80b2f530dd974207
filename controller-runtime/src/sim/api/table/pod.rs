//! Rows of pods.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age, age_of, name, or_none, shown, wide};
use crate::sim::api::value;

pub(super) const COLUMNS: &[Column] = &[
    shown("Name", "string"),
    shown("Ready", "string"),
    shown("Status", "string"),
    shown("Restarts", "string"),
    shown("Age", "string"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = value::items(pod, &["status", "containerStatuses"]);
    let total = value::items(pod, &["spec", "containers"]).len();
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true && status["state"].get("running").is_some());
    let gates = value::items(pod, &["spec", "readinessGates"]);
    vec![
        name(pod),
        format!("{}/{total}", ready.count()).into(),
        status(pod).into(),
        restarts(statuses, now).into(),
        age_of(pod, now),
        or_none(value::text(pod, &["status", "podIP"])),
        or_none(value::text(pod, &["spec", "nodeName"])),
        or_none(value::text(pod, &["status", "nominatedNodeName"])),
        if gates.is_empty() {
            "<none>".into()
        } else {
            format!("0/{}", gates.len()).into()
        },
    ]
}

fn restarts(statuses: &[Value], now: Timestamp) -> String {
    let count: i64 = statuses
        .iter()
        .filter_map(|status| value::int(status, &["restartCount"]))
        .sum();
    let last = statuses
        .iter()
        .map(|status| value::text(status, &["lastState", "terminated", "finishedAt"]))
        .max()
        .unwrap_or_default();
    if count == 0 || last.is_empty() {
        count.to_string()
    } else {
        format!("{count} ({} ago)", age(last, now))
    }
}

/// The one word that sums a pod up.
fn status(pod: &Value) -> String {
    let reason = value::text(pod, &["status", "reason"]);
    let mut word = if reason.is_empty() {
        value::text(pod, &["status", "phase"])
    } else {
        reason
    }
    .to_owned();
    let conditions = value::items(pod, &["status", "conditions"]);
    if conditions
        .iter()
        .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated")
    {
        word = "SchedulingGated".to_owned();
    }
    let initializing = initializing(pod);
    if let Some(found) = &initializing {
        word.clone_from(found);
    } else {
        word = of_containers(pod, word);
    }
    if value::is_deleting(pod) && reason == "NodeLost" {
        "Unknown".to_owned()
    } else if value::is_deleting(pod)
        && !matches!(value::text(pod, &["status", "phase"]), "Succeeded" | "Failed")
    {
        "Terminating".to_owned()
    } else {
        word
    }
}

/// What the first init container that has not ended well says.
fn initializing(pod: &Value) -> Option<String> {
    let total = value::items(pod, &["spec", "initContainers"]).len();
    for (index, status) in value::items(pod, &["status", "initContainerStatuses"])
        .iter()
        .enumerate()
    {
        let terminated = value::at(status, &["state", "terminated"]);
        if terminated.is_some_and(|ended| ended["exitCode"] == 0) {
            continue;
        }
        if let Some(ended) = terminated {
            return Some(format!("Init:{}", ended_word(ended)));
        }
        let waiting = value::text(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{index}/{total}"));
    }
    None
}

fn ended_word(ended: &Value) -> String {
    let reason = value::text(ended, &["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match value::int(ended, &["signal"]).filter(|&signal| signal != 0) {
        Some(signal) => format!("Signal:{signal}"),
        None => format!("ExitCode:{}", value::int(ended, &["exitCode"]).unwrap_or(0)),
    }
}

fn of_containers(pod: &Value, mut word: String) -> String {
    let mut running = false;
    for status in value::items(pod, &["status", "containerStatuses"]).iter().rev() {
        let waiting = value::text(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut word);
        } else if let Some(ended) = value::at(status, &["state", "terminated"]) {
            word = ended_word(ended);
        } else if status["ready"] == true && value::at(status, &["state", "running"]).is_some() {
            running = true;
        }
    }
    if word == "Completed" && running {
        let ready = value::items(pod, &["status", "conditions"])
            .iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        if ready { "Running" } else { "NotReady" }.clone_into(&mut word);
    }
    word
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_word_sums_a_pod_up() {
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
        let cases = [
            (json!({"status": {"phase": "Pending"}}), "Pending"),
            (
                json!({"status": {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}}),
                "ContainerCreating",
            ),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [{"ready": true, "state": {"running": {}}}]}}),
                "Running",
            ),
            (
                json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}}),
                "Terminating",
            ),
            (
                json!({"status": {"phase": "Succeeded", "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
                ]}}),
                "Completed",
            ),
            (
                json!({"spec": {"initContainers": [{}, {}]}, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"state": {"terminated": {"exitCode": 0}}}, {"state": {"running": {}}},
                ]}}),
                "Init:1/2",
            ),
        ];
        for (pod, expected) in cases {
            assert_eq!(status(&pod), expected, "{pod}");
        }
    }
}
