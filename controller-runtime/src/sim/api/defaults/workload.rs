//! Defaults of what makes pods.

use serde_json::{Value, json};

use super::pod::template;
use crate::sim::api::value::{self, default};

pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(super) fn deployment(object: &mut Value) {
    value::object_at(object, &["status"]);
    template(object, &["spec", "template"]);
    default(object, &["spec", "replicas"], 1);
    default(object, &["spec", "revisionHistoryLimit"], 10);
    default(object, &["spec", "progressDeadlineSeconds"], 600);
    default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if value::text(object, &["spec", "strategy", "type"]) == "RollingUpdate" {
        default(
            object,
            &["spec", "strategy", "rollingUpdate", "maxUnavailable"],
            "25%",
        );
        default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
    }
}

pub(super) fn replica_set(object: &mut Value) {
    template(object, &["spec", "template"]);
    default(object, &["spec", "replicas"], 1);
    default(object, &["status", "replicas"], 0);
}

pub(super) fn stateful_set(object: &mut Value) {
    template(object, &["spec", "template"]);
    default(object, &["spec", "replicas"], 1);
    default(object, &["spec", "revisionHistoryLimit"], 10);
    default(object, &["spec", "podManagementPolicy"], "OrderedReady");
    default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if value::text(object, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
        default(
            object,
            &["spec", "updateStrategy", "rollingUpdate", "partition"],
            0,
        );
    }
    default(
        object,
        &["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"],
        "Retain",
    );
    default(
        object,
        &["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"],
        "Retain",
    );
    default(object, &["status", "replicas"], 0);
}

pub(super) fn daemon_set(object: &mut Value) {
    template(object, &["spec", "template"]);
    default(object, &["spec", "revisionHistoryLimit"], 10);
    default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if value::text(object, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
        default(
            object,
            &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"],
            1,
        );
        default(
            object,
            &["spec", "updateStrategy", "rollingUpdate", "maxSurge"],
            0,
        );
    }
    for count in [
        "currentNumberScheduled",
        "desiredNumberScheduled",
        "numberMisscheduled",
        "numberReady",
    ] {
        default(object, &["status", count], 0);
    }
}

/// A DaemonSet counts its templates in an annotation, which its pods get as a label.
pub(super) fn count_template(old: Option<&Value>, object: &mut Value) {
    let path = ["metadata", "annotations", TEMPLATE_GENERATION];
    let count = old.map_or(1, |old| {
        let before = value::text(old, &path).parse::<i64>().unwrap_or(1);
        let template = ["spec", "template"];
        let same = value::at(old, &template) == value::at(object, &template);
        before + i64::from(!same)
    });
    value::set(object, &path, count.to_string());
}

/// A job selects its pods by its own uid.
pub(super) fn job(object: &mut Value) {
    value::object_at(object, &["status"]);
    default(object, &["spec", "manualSelector"], false);
    job_spec(object, &["spec"]);
    let manual = value::at(object, &["spec", "manualSelector"]).is_some_and(|manual| manual == true);
    let uid = value::uid(object).to_owned();
    if manual || uid.is_empty() {
        return;
    }
    let name = value::name(object).to_owned();
    default(
        object,
        &["spec", "selector", "matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": uid}),
    );
    for (label, text) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        default(
            object,
            &["spec", "template", "metadata", "labels", label],
            text.as_str(),
        );
    }
    if let Some(labels) = value::at(object, &["spec", "template", "metadata", "labels"]).cloned() {
        default(object, &["metadata", "labels"], labels);
    }
}

fn job_spec(object: &mut Value, path: &[&str]) {
    value::object_at(object, path);
    let Some(spec) = value::at_mut(object, path) else {
        return;
    };
    template(spec, &["template"]);
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default(spec, &["completions"], 1);
    }
    default(spec, &["parallelism"], 1);
    default(spec, &["completionMode"], "NonIndexed");
    default(spec, &["suspend"], false);
    let limit = if spec.get("backoffLimitPerIndex").is_some() {
        i64::from(i32::MAX)
    } else {
        6
    };
    default(spec, &["backoffLimit"], limit);
    let replacement = if spec.get("podFailurePolicy").is_some() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default(spec, &["podReplacementPolicy"], replacement);
}

pub(super) fn cron_job(object: &mut Value) {
    value::object_at(object, &["status"]);
    template(object, &["spec", "jobTemplate", "spec", "template"]);
    default(object, &["spec", "concurrencyPolicy"], "Allow");
    default(object, &["spec", "suspend"], false);
    default(object, &["spec", "successfulJobsHistoryLimit"], 3);
    default(object, &["spec", "failedJobsHistoryLimit"], 1);
}
