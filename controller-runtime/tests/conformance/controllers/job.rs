//! Jobs: pods that run to their end, and how they are counted.

use std::time::Duration;

use serde_json::{Value, json};

use super::play::{
    LIMIT, bind, condition, created, has_condition, list, make, merge, name, now, owned_by, pods, quiet,
    ready, remain, set_status, wait, wait_count, wait_pods, wait_status, with,
};
use crate::harness::{Cluster, cases, contains, same, text};

pub(super) const BATCH: &str = "batch/v1";
pub(super) const WORK: &str = "jobs/work";
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

cases![
    a_job_selects_its_pods_by_its_uid,
    pods_carry_the_jobs_name_and_a_finalizer,
    a_job_is_complete_when_its_pods_succeeded,
    no_more_pods_than_there_is_work_for,
    parallelism_can_change,
    a_work_queue_is_done_when_one_succeeded_and_none_works,
    too_many_failures_fail_the_job,
    a_deleted_pod_counts_as_failed,
    a_failed_pod_is_tried_again_after_a_while,
    a_job_has_only_so_much_time,
    a_suspended_job_has_no_pods,
    a_suspended_job_goes_on_where_it_was,
    a_finished_job_is_deleted_after_its_time,
    pods_on_their_way_out_count_as_such,
    a_replacement_waits_for_the_failure_if_told_to,
    a_job_managed_by_another_is_left_alone,
    a_manual_selector_adopts_orphans,
    its_deletion_takes_pods_that_are_not_counted,
];

fn spec(more: Value) -> Value {
    let spec = json!({"template": {"spec": {
        "schedulerName": "nobody", "restartPolicy": "Never", "containers": [{"name": "main", "image": "work:1"}],
    }}});
    with(spec, more)
}

pub(super) async fn make_job(c: &Cluster, more: Value) -> anyhow::Result<Value> {
    make(c, BATCH, "jobs", "work", spec(more)).await
}

/// A status of a pod that has come to its end now.
pub(super) async fn ended(c: &Cluster, code: i32) -> anyhow::Result<Value> {
    let now = now(c).await?.to_string();
    let state = json!({"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now}});
    Ok(json!({
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{"name": "main", "image": "work:1", "imageID": "", "ready": false, "restartCount": 0, "state": state}],
    }))
}

pub(super) async fn succeed(c: &Cluster, pod: &str) -> anyhow::Result<()> {
    set_status(c, pod, ended(c, 0).await?).await?;
    Ok(())
}

pub(super) async fn fail(c: &Cluster, pod: &str, code: i32) -> anyhow::Result<()> {
    set_status(c, pod, ended(c, code).await?).await?;
    Ok(())
}

/// The pods that have not come to their end.
pub(super) fn working(pods: &[Value]) -> Vec<&Value> {
    pods.iter()
        .filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"))
        .collect()
}

/// Waits until this many pods work; their names, by index if they have one.
pub(super) async fn wait_working(c: &Cluster, count: usize) -> anyhow::Result<Vec<String>> {
    let what = format!("{count} pods work");
    let pods = wait_pods(c, &what, |pods| working(pods).len() == count).await?;
    Ok(working(&pods).into_iter().map(name).collect())
}

pub(super) async fn wait_condition(c: &Cluster, type_: &str, reason: &str) -> anyhow::Result<Value> {
    wait(
        c,
        BATCH,
        WORK,
        &format!("it is {type_} because of {reason}"),
        |job| has_condition(job, type_, "True", reason),
    )
    .await
}

pub(super) fn types(job: &Value) -> Vec<&str> {
    let conditions = job["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    conditions
        .iter()
        .map(|condition| text(condition, "/type"))
        .collect()
}

async fn a_job_selects_its_pods_by_its_uid(c: &Cluster) -> anyhow::Result<()> {
    let job = make_job(c, json!({"suspend": true})).await?;
    let uid = text(&job, "/metadata/uid");
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "work",
        "controller-uid": uid, "job-name": "work",
    });
    same(
        job["spec"]["selector"].clone(),
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    )?;
    same(job["spec"]["template"]["metadata"]["labels"].clone(), labels)?;
    contains(
        &job["spec"],
        json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed"}),
    )
}

async fn pods_carry_the_jobs_name_and_a_finalizer(c: &Cluster) -> anyhow::Result<()> {
    let job = make_job(
        c,
        json!({"template": {"metadata": {"labels": {"app": "work"}, "finalizers": ["example.com/stay"]}}}),
    )
    .await?;
    let uid = text(&job, "/metadata/uid");
    let pods = wait_pods(c, "there is a pod", |pods| pods.len() == 1).await?;
    contains(
        &pods[0],
        json!({"metadata": {
            "generateName": "work-",
            "labels": {
                "app": "work", "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "work",
                "controller-uid": uid, "job-name": "work", INDEX: null,
            },
            "annotations": null,
            "finalizers": ["example.com/stay", FINALIZER],
            "ownerReferences": owned_by(BATCH, "Job", &job),
        }}),
    )?;
    let path = format!("pods/{}", name(&pods[0]));
    merge(c, "v1", &path, json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
    Ok(())
}

async fn a_job_is_complete_when_its_pods_succeeded(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"completions": 2, "parallelism": 2})).await?;
    let names = wait_working(c, 2).await?;
    let job = wait_status(
        c,
        BATCH,
        WORK,
        json!({"active": 2, "ready": 0, "terminating": 0, "conditions": null}),
    )
    .await?;
    anyhow::ensure!(!text(&job, "/status/startTime").is_empty(), "{job}");
    set_status(c, &names[0], ready(now(c).await?, 0)).await?;
    wait_status(c, BATCH, WORK, json!({"active": 2, "ready": 1})).await?;
    succeed(c, &names[0]).await?;
    let status =
        json!({"active": 1, "ready": 0, "succeeded": 1, "failed": null, "uncountedTerminatedPods": {}});
    wait_status(c, BATCH, WORK, status).await?;
    succeed(c, &names[1]).await?;
    let job = wait_condition(c, "Complete", "CompletionsReached").await?;
    same(types(&job), vec!["SuccessCriteriaMet", "Complete"])?;
    for type_ in types(&job) {
        contains(
            condition(&job, type_).unwrap_or(&Value::Null),
            json!({"status": "True", "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}),
        )?;
    }
    contains(
        &job["status"],
        json!({"active": null, "succeeded": 2, "failed": null, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}),
    )?;
    anyhow::ensure!(!text(&job, "/status/completionTime").is_empty(), "{job}");
    // Its pods stay, without the finalizer.
    for pod in pods(c).await? {
        contains(
            &pod,
            json!({"metadata": {"finalizers": null}, "status": {"phase": "Succeeded"}}),
        )?;
    }
    remain(c, &names).await
}

async fn no_more_pods_than_there_is_work_for(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"completions": 3, "parallelism": 2})).await?;
    let names = wait_working(c, 2).await?;
    succeed(c, &names[0]).await?;
    wait_status(c, BATCH, WORK, json!({"succeeded": 1, "active": 2})).await?;
    let names = wait_working(c, 2).await?;
    succeed(c, &names[0]).await?;
    wait_status(c, BATCH, WORK, json!({"succeeded": 2, "active": 1})).await?;
    quiet().await;
    same(pods(c).await?.len(), 3)
}

async fn parallelism_can_change(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"completions": 5, "parallelism": 3})).await?;
    let names = wait_working(c, 3).await?;
    set_status(c, &names[1], ready(now(c).await?, 0)).await?;
    wait_status(c, BATCH, WORK, json!({"active": 3, "ready": 1})).await?;
    merge(c, BATCH, WORK, json!({"spec": {"parallelism": 1}})).await?;
    same(wait_working(c, 1).await?, vec![names[1].clone()])?;
    wait_status(c, BATCH, WORK, json!({"active": 1, "failed": null})).await?;
    merge(c, BATCH, WORK, json!({"spec": {"parallelism": 0}})).await?;
    wait_working(c, 0).await?;
    let job = wait_status(c, BATCH, WORK, json!({"active": null, "failed": null})).await?;
    same(types(&job), vec![])?;
    merge(c, BATCH, WORK, json!({"spec": {"parallelism": 2}})).await?;
    wait_working(c, 2).await?;
    Ok(())
}

async fn a_work_queue_is_done_when_one_succeeded_and_none_works(c: &Cluster) -> anyhow::Result<()> {
    let job = make_job(c, json!({"parallelism": 2})).await?;
    contains(&job["spec"], json!({"completions": null}))?;
    let names = wait_working(c, 2).await?;
    succeed(c, &names[0]).await?;
    let job = wait_status(c, BATCH, WORK, json!({"succeeded": 1, "active": 1})).await?;
    same(types(&job), vec![])?;
    remain(c, &names).await?;
    succeed(c, &names[1]).await?;
    let job = wait_condition(c, "Complete", "CompletionsReached").await?;
    contains(&job["status"], json!({"succeeded": 2, "active": null}))
}

async fn too_many_failures_fail_the_job(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"completions": 4, "parallelism": 4, "backoffLimit": 1})).await?;
    let names = wait_working(c, 4).await?;
    succeed(c, &names[3]).await?;
    fail(c, &names[0], 1).await?;
    fail(c, &names[1], 1).await?;
    let job = wait_condition(c, "Failed", "BackoffLimitExceeded").await?;
    same(types(&job), vec!["FailureTarget", "Failed"])?;
    for type_ in types(&job) {
        contains(
            condition(&job, type_).unwrap_or(&Value::Null),
            json!({"status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}),
        )?;
    }
    // What still worked is stopped and counts as failed.
    contains(
        &job["status"],
        json!({"failed": 3, "succeeded": 1, "active": null, "completionTime": null, "terminating": 0}),
    )?;
    wait_working(c, 0).await?;
    Ok(())
}

async fn a_deleted_pod_counts_as_failed(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"backoffLimit": 0})).await?;
    let names = wait_working(c, 1).await?;
    c.delete(&c.at("v1", &format!("pods/{}", names[0])))
        .await?
        .with_code(200)?;
    let job = wait_condition(c, "Failed", "BackoffLimitExceeded").await?;
    contains(&job["status"], json!({"failed": 1, "active": null}))?;
    wait_count(c, 0).await?;
    Ok(())
}

async fn a_failed_pod_is_tried_again_after_a_while(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({})).await?;
    let names = wait_working(c, 1).await?;
    fail(c, &names[0], 1).await?;
    let since = now(c).await?;
    wait_status(c, BATCH, WORK, json!({"failed": 1, "active": null})).await?;
    wait_working(c, 1).await?;
    let elapsed = now(c).await?.duration_since(since).as_secs();
    anyhow::ensure!((8..=13).contains(&elapsed), "after {elapsed} s");
    wait_status(c, BATCH, WORK, json!({"failed": 1, "active": 1})).await?;
    Ok(())
}

async fn a_job_has_only_so_much_time(c: &Cluster) -> anyhow::Result<()> {
    let job = make_job(
        c,
        json!({"activeDeadlineSeconds": 2, "parallelism": 2, "completions": 2}),
    )
    .await?;
    wait_working(c, 2).await?;
    let done = wait_condition(c, "Failed", "DeadlineExceeded").await?;
    same(types(&done), vec!["FailureTarget", "Failed"])?;
    same(
        text(condition(&done, "Failed").unwrap_or(&Value::Null), "/message"),
        "Job was active longer than specified deadline",
    )?;
    contains(&done["status"], json!({"failed": 2, "active": null}))?;
    anyhow::ensure!(
        now(c).await?.duration_since(created(&job)?).as_secs() >= 2,
        "too early"
    );
    wait_count(c, 0).await?;
    Ok(())
}

async fn a_suspended_job_has_no_pods(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"suspend": true, "parallelism": 2, "completions": 2})).await?;
    let job = wait_condition(c, "Suspended", "JobSuspended").await?;
    contains(
        &job["status"],
        json!({"startTime": null, "active": null, "conditions": [{"message": "Job suspended"}]}),
    )?;
    remain(c, &[]).await?;
    merge(c, BATCH, WORK, json!({"spec": {"suspend": false}})).await?;
    wait_working(c, 2).await?;
    let job = wait_status(c, BATCH, WORK, json!({"active": 2})).await?;
    anyhow::ensure!(has_condition(&job, "Suspended", "False", "JobResumed"), "{job}");
    anyhow::ensure!(!text(&job, "/status/startTime").is_empty(), "{job}");
    same(
        text(condition(&job, "Suspended").unwrap_or(&Value::Null), "/message"),
        "Job resumed",
    )
}

async fn a_suspended_job_goes_on_where_it_was(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"parallelism": 2, "completions": 3})).await?;
    let names = wait_working(c, 2).await?;
    succeed(c, &names[0]).await?;
    wait_status(c, BATCH, WORK, json!({"succeeded": 1, "active": 2})).await?;
    merge(c, BATCH, WORK, json!({"spec": {"suspend": true}})).await?;
    wait_working(c, 0).await?;
    // What is stopped for this is no failure.
    let status = json!({"succeeded": 1, "failed": null, "active": null});
    let job = wait_status(c, BATCH, WORK, status).await?;
    anyhow::ensure!(has_condition(&job, "Suspended", "True", "JobSuspended"), "{job}");
    merge(c, BATCH, WORK, json!({"spec": {"suspend": false}})).await?;
    for name in wait_working(c, 2).await? {
        succeed(c, &name).await?;
    }
    let job = wait_condition(c, "Complete", "CompletionsReached").await?;
    contains(&job["status"], json!({"succeeded": 3, "failed": null}))
}

async fn a_finished_job_is_deleted_after_its_time(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"ttlSecondsAfterFinished": 2})).await?;
    let names = wait_working(c, 1).await?;
    succeed(c, &names[0]).await?;
    let since = now(c).await?;
    c.wait_gone(LIMIT, &c.at(BATCH, WORK)).await?;
    let elapsed = now(c).await?.duration_since(since).as_secs();
    anyhow::ensure!((1..=10).contains(&elapsed), "after {elapsed} s");
    wait_count(c, 0).await?;
    Ok(())
}

async fn pods_on_their_way_out_count_as_such(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({})).await?;
    let names = wait_working(c, 1).await?;
    bind(c, &names[0], "nowhere").await?;
    set_status(c, &names[0], ready(now(c).await?, 0)).await?;
    c.delete(&c.at("v1", &format!("pods/{}", names[0])))
        .await?
        .with_code(200)?;
    wait_status(c, BATCH, WORK, json!({"terminating": 1})).await?;
    // It is replaced after the wait that any failure brings, though it still stops.
    let others = wait_working(c, 1).await?;
    anyhow::ensure!(others[0] != names[0]);
    wait_status(
        c,
        BATCH,
        WORK,
        json!({"terminating": 1, "active": 1, "failed": 1}),
    )
    .await?;
    Ok(())
}

async fn a_replacement_waits_for_the_failure_if_told_to(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"podReplacementPolicy": "Failed"})).await?;
    let names = wait_working(c, 1).await?;
    bind(c, &names[0], "nowhere").await?;
    set_status(c, &names[0], ready(now(c).await?, 0)).await?;
    c.delete(&c.at("v1", &format!("pods/{}", names[0])))
        .await?
        .with_code(200)?;
    wait_status(
        c,
        BATCH,
        WORK,
        json!({"terminating": 1, "active": null, "failed": null}),
    )
    .await?;
    quiet().await;
    same(list(c, "v1", "pods").await?.len(), 1)?;
    let mut status = ended(c, 143).await?;
    let before = (now(c).await? - jiff::SignedDuration::from_secs(60)).to_string();
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(before);
    status["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!(before);
    set_status(c, &names[0], status).await?;
    wait_status(c, BATCH, WORK, json!({"terminating": 0, "failed": 1})).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    c.wait_until("another works", LIMIT, async || {
        Ok(!working(&pods(c).await?).is_empty())
    })
    .await
}

async fn a_job_managed_by_another_is_left_alone(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"managedBy": "example.com/other"})).await?;
    remain(c, &[]).await?;
    let job = c.get(&c.at(BATCH, WORK)).await?.with_code(200)?;
    same(job["status"].clone(), json!({}))
}

async fn a_manual_selector_adopts_orphans(c: &Cluster) -> anyhow::Result<()> {
    let orphan = with(
        super::play::template("work:1"),
        json!({"metadata": {"name": "orphan", "labels": {"app": "work"}}, "spec": {"restartPolicy": "Never"}}),
    );
    c.post(&c.at("v1", "pods"), &orphan).await?.with_code(201)?;
    let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"app": "work"}},
        "template": {"metadata": {"labels": {"app": "work"}}}});
    let job = make_job(c, manual).await?;
    let what = "it is adopted";
    let pod = wait(c, "v1", "pods/orphan", what, |pod| {
        !pod["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    contains(
        &pod,
        json!({"metadata": {"ownerReferences": owned_by(BATCH, "Job", &job), "finalizers": [FINALIZER]}}),
    )?;
    wait_status(c, BATCH, WORK, json!({"active": 1})).await?;
    succeed(c, "orphan").await?;
    let job = wait_condition(c, "Complete", "CompletionsReached").await?;
    contains(&job["status"], json!({"succeeded": 1}))?;
    remain(c, &["orphan".to_owned()]).await
}

async fn its_deletion_takes_pods_that_are_not_counted(c: &Cluster) -> anyhow::Result<()> {
    make_job(c, json!({"parallelism": 2, "completions": 2})).await?;
    wait_working(c, 2).await?;
    let options = json!({"propagationPolicy": "Background"});
    c.delete_with(&c.at(BATCH, WORK), &options)
        .await?
        .with_code(200)?;
    wait_count(c, 0).await?;
    c.wait_until("they are gone", LIMIT, async || {
        Ok(list(c, "v1", "pods").await?.is_empty())
    })
    .await
}
