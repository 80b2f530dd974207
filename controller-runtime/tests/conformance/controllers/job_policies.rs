//! Jobs: numbered pods, and policies of failure and success.

use serde_json::{Value, json};

use super::{
    job::{BATCH, INDEX, WORK, ended, fail, make_job, succeed, types, wait_condition, wait_working, working},
    play::{LIMIT, condition, name, now, pods, set_status, wait_pods, wait_status, with},
};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    an_indexed_job_numbers_its_pods,
    a_failed_index_is_tried_again,
    a_failure_that_ends_the_job,
    a_failure_that_does_not_count,
    a_failure_that_ends_an_index,
    every_index_has_failures_of_its_own,
    enough_indexes_are_a_success,
];

fn policy(rules: Value) -> Value {
    json!({"podFailurePolicy": {"rules": rules}})
}

fn index(pod: &Value) -> String {
    pod["metadata"]["annotations"][INDEX]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The working pod of an index.
async fn of_index(c: &Cluster, wanted: &str) -> anyhow::Result<String> {
    let what = format!("a pod of index {wanted} works");
    let found = |pods: &[Value]| {
        working(pods)
            .into_iter()
            .find(|pod| index(pod) == wanted)
            .map(name)
    };
    let pods = wait_pods(c, &what, |pods| found(pods).is_some()).await?;
    Ok(found(&pods).unwrap_or_default())
}

async fn an_indexed_job_numbers_its_pods(c: &Cluster) -> anyhow::Result<()> {
    make_job(
        c,
        json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4}),
    )
    .await?;
    let mut pods = wait_pods(c, "there are four pods", |pods| pods.len() == 4).await?;
    pods.sort_by_key(index);
    for (number, pod) in pods.iter().enumerate() {
        let number = number.to_string();
        contains(
            pod,
            json!({
                "metadata": {
                    "generateName": format!("work-{number}-"),
                    "labels": {INDEX: number},
                    "annotations": {INDEX: number},
                },
                "spec": {
                    "hostname": format!("work-{number}"),
                    "containers": [{"env": [{
                        "name": "JOB_COMPLETION_INDEX",
                        "valueFrom": {"fieldRef": {
                            "apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']"),
                        }},
                    }]}],
                },
            }),
        )?;
    }
    for (number, completed) in [(3, "3"), (0, "0,3"), (1, "0,1,3"), (2, "0-3")] {
        succeed(c, &name(&pods[number])).await?;
        wait_status(c, BATCH, WORK, json!({"completedIndexes": completed})).await?;
    }
    let job = wait_condition(c, "Complete", "CompletionsReached").await?;
    contains(&job["status"], json!({"succeeded": 4, "completedIndexes": "0-3"}))
}

async fn a_failed_index_is_tried_again(c: &Cluster) -> anyhow::Result<()> {
    make_job(
        c,
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}),
    )
    .await?;
    wait_working(c, 2).await?;
    let one = of_index(c, "1").await?;
    // Ended long ago, so that nothing has to be waited for.
    let mut status = ended(c, 1).await?;
    let before = (now(c).await? - jiff::SignedDuration::from_secs(60)).to_string();
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(before);
    status["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!(before);
    set_status(c, &one, status).await?;
    let again = c
        .wait_for("another pod has the index", LIMIT, async || {
            let pods = pods(c).await?;
            let found = working(&pods)
                .into_iter()
                .find(|pod| index(pod) == "1" && name(pod) != one);
            Ok(found.map(name))
        })
        .await?;
    wait_status(c, BATCH, WORK, json!({"failed": 1, "active": 2})).await?;
    succeed(c, &again).await?;
    wait_status(
        c,
        BATCH,
        WORK,
        json!({"completedIndexes": "1", "succeeded": 1, "failed": 1}),
    )
    .await?;
    Ok(())
}

async fn a_failure_that_ends_the_job(c: &Cluster) -> anyhow::Result<()> {
    let rules = json!([
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
    ]);
    make_job(
        c,
        with(policy(rules), json!({"completions": 2, "parallelism": 2})),
    )
    .await?;
    let names = wait_working(c, 2).await?;
    fail(c, &names[0], 42).await?;
    let job = wait_condition(c, "Failed", "PodFailurePolicy").await?;
    same(types(&job), vec!["FailureTarget", "Failed"])?;
    same(
        text(condition(&job, "Failed").unwrap_or(&Value::Null), "/message"),
        &format!(
            "Container main for pod {}/{} failed with exit code 42 matching FailJob rule at index 0",
            c.namespace(),
            names[0]
        ),
    )?;
    contains(&job["status"], json!({"failed": 2, "active": null}))
}

async fn a_failure_that_does_not_count(c: &Cluster) -> anyhow::Result<()> {
    let rules = json!([
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [42]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]);
    let more = with(
        policy(rules),
        json!({"backoffLimit": 0, "completions": 2, "parallelism": 1}),
    );
    make_job(c, more).await?;
    let names = wait_working(c, 1).await?;
    let disrupted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]});
    set_status(c, &names[0], with(ended(c, 42).await?, disrupted)).await?;
    let what = "another works";
    let pods = wait_pods(c, what, |pods| {
        working(pods).iter().any(|pod| name(pod) != names[0])
    })
    .await?;
    let again = name(working(&pods)[0]);
    let job = wait_status(c, BATCH, WORK, json!({"active": 1})).await?;
    contains(&job["status"], json!({"failed": null, "conditions": null}))?;
    fail(c, &again, 7).await?;
    let job = wait_condition(c, "Failed", "BackoffLimitExceeded").await?;
    contains(&job["status"], json!({"failed": 1}))
}

async fn a_failure_that_ends_an_index(c: &Cluster) -> anyhow::Result<()> {
    let rules = json!([{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]);
    let more =
        json!({"backoffLimitPerIndex": 3, "completionMode": "Indexed", "completions": 2, "parallelism": 2});
    make_job(c, with(policy(rules), more)).await?;
    wait_working(c, 2).await?;
    fail(c, &of_index(c, "0").await?, 42).await?;
    wait_status(
        c,
        BATCH,
        WORK,
        json!({"failedIndexes": "0", "active": 1, "failed": 1}),
    )
    .await?;
    succeed(c, &of_index(c, "1").await?).await?;
    let job = wait_condition(c, "Failed", "FailedIndexes").await?;
    same(
        text(condition(&job, "Failed").unwrap_or(&Value::Null), "/message"),
        "Job has failed indexes",
    )?;
    contains(
        &job["status"],
        json!({"failedIndexes": "0", "completedIndexes": "1", "succeeded": 1, "failed": 1}),
    )
}

async fn every_index_has_failures_of_its_own(c: &Cluster) -> anyhow::Result<()> {
    let more = json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "completionMode": "Indexed",
        "completions": 4, "parallelism": 4});
    let job = make_job(c, more).await?;
    contains(&job["spec"], json!({"backoffLimit": i32::MAX}))?;
    let made = wait_pods(c, "there are four pods", |pods| pods.len() == 4).await?;
    for pod in &made {
        contains(
            pod,
            json!({"metadata": {"annotations": {"batch.kubernetes.io/job-index-failure-count": "0"}}}),
        )?;
    }
    fail(c, &of_index(c, "0").await?, 1).await?;
    wait_status(c, BATCH, WORK, json!({"failedIndexes": "0", "active": 3})).await?;
    fail(c, &of_index(c, "2").await?, 1).await?;
    let job = wait_condition(c, "Failed", "MaxFailedIndexesExceeded").await?;
    same(
        text(condition(&job, "Failed").unwrap_or(&Value::Null), "/message"),
        "Job has exceeded the specified maximal number of failed indexes",
    )?;
    contains(
        &job["status"],
        json!({"failedIndexes": "0,2", "failed": 4, "active": null}),
    )
}

async fn enough_indexes_are_a_success(c: &Cluster) -> anyhow::Result<()> {
    let more = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}});
    make_job(c, more).await?;
    wait_working(c, 3).await?;
    succeed(c, &of_index(c, "0").await?).await?;
    wait_status(
        c,
        BATCH,
        WORK,
        json!({"completedIndexes": "0", "active": 2, "conditions": null}),
    )
    .await?;
    succeed(c, &of_index(c, "2").await?).await?;
    let job = wait_condition(c, "Complete", "SuccessPolicy").await?;
    same(types(&job), vec!["SuccessCriteriaMet", "Complete"])?;
    same(
        text(condition(&job, "Complete").unwrap_or(&Value::Null), "/message"),
        "Matched rules at index 0",
    )?;
    contains(
        &job["status"],
        json!({"completedIndexes": "0,2", "succeeded": 2, "active": null, "failed": null}),
    )?;
    wait_working(c, 0).await?;
    Ok(())
}
