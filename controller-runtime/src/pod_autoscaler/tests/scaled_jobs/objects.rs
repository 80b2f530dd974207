//! What happens to the object and to its Jobs besides being made: keda.md §1.2, §3.7, §8, §9.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_its_finalizer_and_status_and_says_what_it_does() {
    let world = World::new();
    world.scaled_job(&json!({}));
    world.pass(1).await;
    let object = world.object("keda.sh", "scaledjobs", "work").unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    let conditions = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap().clone();
        let shown = conditions.iter().map(|found| {
            format!("{} {} {}", found["type"], found["status"], found["reason"]).replace('"', "")
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(
        conditions(&object["status"]),
        [
            "Ready True ScaledJobReady",
            "Active False ScalerNotActive",
            "Paused False null"
        ]
    );
    world.script.set("orders", 2.0);
    world.pass(5).await;
    let mut status = world.job_status();
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        status,
        json!({
            "lastActiveTime": "2026-01-01T00:00:05Z",
            "triggersTypes": "test",
            "triggersActivity": {"s0-test-orders": {"isActive": true}},
        })
    );
    world.script.set("orders", 0.0);
    world.pass(5).await;
    assert_eq!(
        world.events("work"),
        [
            "Normal KEDAScalersStarted Scaler test is built.",
            "Normal KEDAScalersStarted Started scalers watch",
            "Normal ScaledJobReady ScaledJob is ready for scaling",
            "Normal KEDAJobsCreated Created 2 jobs",
            "Normal ScaledJobActive Scaling is performed because triggers are active",
            "Normal ScaledJobInactive Scaling is not performed because triggers are not active",
        ]
    );
    assert_eq!(
        world.job_decisions(),
        [
            "0->2: s0-test-orders is active (value 2, target 1 per replica); queue length 2, worth 2 of at most 10 Jobs; \
             0 Jobs run, 0 of them pending; strategy default asks for 2 and allows 2"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn its_jobs_are_its_own_and_go_with_it() {
    let world = World::new();
    world.script.set("orders", 2.0);
    world.scaled_job(&json!({}));
    world.pass(1).await;
    let (object, jobs) = (
        world.object("keda.sh", "scaledjobs", "work").unwrap(),
        world.jobs(),
    );
    let job = &jobs[0];
    assert!(name_of(job).starts_with("work-"));
    assert_eq!(job["metadata"]["labels"]["scaledjob.keda.sh/name"], "work");
    assert_eq!(
        job["metadata"]["ownerReferences"][0]["uid"],
        object["metadata"]["uid"]
    );
    assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
    world.delete(OBJECT).await;
    world.pass(5).await;
    assert!(world.object("keda.sh", "scaledjobs", "work").is_none());
    assert!(world.jobs().is_empty());
    let events = world.events("work");
    assert!(events.contains(&"Warning ScaledJobDeleted ScaledJob was deleted".to_owned()));
    let samples = world.script.samples("orders");
    world.pass(60).await;
    assert_eq!(
        world.script.samples("orders"),
        samples,
        "nobody asks for what is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes() {
    for (queue, min, per_ten_minutes) in [(0.0, 0, 0), (0.0, 2, 0), (3.0, 0, 20)] {
        let world = World::new();
        world.script.set("orders", queue);
        world.scaled_job(&json!({"minReplicaCount": min}));
        world.pass(60).await;
        let (revision, samples) = (world.server.resource_version(), world.script.samples("orders"));
        world.pass(600).await;
        let written = world.server.resource_version() - revision;
        // While there is work, when it was last active is written every 30 s.
        assert_eq!(written, per_ten_minutes, "queue at {queue}, minimum of {min}");
        assert_eq!(world.script.samples("orders") - samples, 120, "start to start");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_specification_replaces_jobs_at_once_or_lets_them_end() {
    let change = json!({"spec": {"jobTargetRef": {"backoffLimit": 1}}});
    for (rollout, left, kept) in [(json!({}), 3, 0), (json!({"strategy": "gradual"}), 3, 3)] {
        let world = World::new();
        world.script.set("orders", 3.0);
        world.scaled_job(&json!({"rollout": rollout}));
        world.pass(1).await;
        let before = world.job_names();
        assert_eq!(before.len(), 3);
        world.patch(OBJECT, &change).await;
        world.pass(1).await;
        let after = world.job_names();
        assert_eq!(after.len(), left, "§3.7 rollout {rollout}");
        assert_eq!(
            after.iter().filter(|job| before.contains(job)).count(),
            kept,
            "§3.7 rollout {rollout}"
        );
        let events = world.events("work").join("\n");
        let said = events.contains("ScaledJobRolloutCleanupStarted Deleting 3 jobs")
            && events.contains("ScaledJobRolloutCleanupCompleted Deleted 3 jobs");
        assert_eq!(said, kept == 0, "{events}");
        world.pass(60).await;
        assert_eq!(world.jobs().len(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_deletes_jobs_that_have_ended_and_those_of_no_generation() {
    let world = World::new();
    world.script.set("orders", 2.0);
    world.scaled_job(&json!({}));
    world.pass(1).await;
    let jobs = world.job_names();
    world.end(&jobs[0], "Complete").await;
    let unmarked = json!({"metadata": {"annotations": {"scaledjob.keda.sh/generation": null}}});
    world.patch(&job_path(&jobs[1]), &unmarked).await;
    world.script.set("orders", 0.0);
    world
        .patch(OBJECT, &json!({"spec": {"maxReplicaCount": 9}}))
        .await;
    world.pass(1).await;
    assert!(world.jobs().is_empty(), "§3.7 finished ones too");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_their_pods_to_go_still_count() {
    let world = World::new();
    world.script.set("orders", 10.0);
    world.scaled_job(&json!({"rollout": {"propagationPolicy": "foreground"}}));
    world.pass(1).await;
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    for job in world.job_names() {
        world.patch(&job_path(&job), &hold).await;
    }
    world
        .patch(OBJECT, &json!({"spec": {"jobTargetRef": {"backoffLimit": 1}}}))
        .await;
    world.pass(30).await;
    let jobs = world.jobs();
    assert_eq!(jobs.len(), 10, "never more than maxReplicaCount");
    assert!(
        jobs.iter()
            .all(|job| job["metadata"]["deletionTimestamp"].is_string())
    );
    let started = world
        .events("work")
        .join("\n")
        .matches("RolloutCleanupStarted")
        .count();
    assert_eq!(started, 1, "asked for once");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_ended_jobs_go_beyond_the_history() {
    let world = World::new();
    world.script.set("orders", 6.0);
    world.scaled_job(&json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 2}));
    world.pass(1).await;
    world.script.set("orders", 0.0);
    let jobs = world.job_names();
    for (job, outcome) in jobs
        .iter()
        .rev()
        .zip(["Failed", "Failed", "Failed", "Complete", "Complete"])
    {
        world.end(job, outcome).await;
    }
    world.pass(6).await;
    // Ended from the last to the first: of the failed ones the first of them goes, of the complete ones, too.
    assert_eq!(
        world.job_names(),
        [&jobs[0], &jobs[1], &jobs[3], &jobs[4]].map(Clone::clone)
    );
    let decisions = world.job_decisions();
    assert!(
        decisions
            .iter()
            .any(|why| why.ends_with("the history keeps 1 complete and 2 failed Jobs")),
        "{decisions:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_makes_nothing_and_lets_jobs_run() {
    let world = World::new();
    world.script.set("orders", 2.0);
    world.scaled_job(&json!({"minReplicaCount": 1}));
    world.pass(6).await;
    let before = world.job_names();
    assert_eq!(before.len(), 3);
    let pause = |value: Value| json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": value}}});
    world.patch(OBJECT, &pause(json!("true"))).await;
    world.script.set("orders", 8.0);
    let samples = world.script.samples("orders");
    world.pass(60).await;
    assert_eq!(world.job_condition("Paused"), "True ScaledJobPaused");
    assert_eq!(world.job_status()["Paused"], "True");
    assert_eq!(
        (world.job_names(), world.script.samples("orders")),
        (before, samples),
        "§9 pause_scaledjob"
    );
    world.patch(OBJECT, &pause(json!("false"))).await;
    world.pass(1).await;
    assert_eq!(world.job_condition("Paused"), "False ScaledJobUnpaused");
    assert_eq!(world.job_status()["Paused"], Value::Null);
    assert_eq!(world.jobs().len(), 9, "at once");
    let events = world.events("work").join("\n");
    assert!(
        events.contains("Normal ScaledJobPaused ScaledJob is paused"),
        "{events}"
    );
    assert!(
        events.contains("Normal ScaledJobUnpaused pause annotation removed for ScaledJob"),
        "{events}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_at_once_and_a_repair_is_seen() {
    let world = World::new();
    world.script.set("orders", 2.0);
    let wrong = json!([
        {"type": "tset", "metadata": {}},
        {"type": "test", "metricType": "Value", "metadata": {"target": "many"}},
    ]);
    world.scaled_job(&json!({"triggers": wrong}));
    world.pass(1).await;
    assert_eq!(world.job_condition("Ready"), "False ScaledJobCheckFailed");
    assert_eq!(world.job_condition("Active"), "Unknown UnknownState");
    let message = world.job_status()["conditions"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.starts_with("Failed to ensure ScaledJob is correctly created: "),
        "{message}"
    );
    for expected in [
        "spec.triggers[0].type: no scaler found for type: tset (did you mean \"test\"?)",
        "spec.triggers[1].metricType",
        "spec.triggers[1].metadata.queue",
        "spec.triggers[1].metadata.target",
    ] {
        assert_eq!(message.matches(expected).count(), 1, "{expected} in {message}");
    }
    let revision = world.server.resource_version();
    world.pass(600).await;
    assert_eq!(world.server.resource_version(), revision, "said once");
    assert!(world.jobs().is_empty());
    let right = json!([{"type": "test", "metadata": {"queue": "orders", "target": "1"}}]);
    world.patch(OBJECT, &json!({"spec": {"triggers": right}})).await;
    world.pass(1).await;
    assert_eq!(
        (world.job_condition("Ready").as_str(), world.jobs().len()),
        ("True ScaledJobReady", 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_and_the_environment_of_the_template_are_used() {
    let world = World::new();
    let secret = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words", "namespace": "default"},
            "stringData": {"password": password},
        })
    };
    world.apply(secret("one"));
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "auth", "namespace": "default"},
        "spec": {"secretTargetRef": [{"parameter": "password", "name": "words", "key": "password"}]},
    }));
    world.scaled_job(&json!({
        "envSourceContainerName": "second",
        "jobTargetRef": {"template": {"spec": {"containers": [
            {"name": "first", "image": "worker"},
            {"name": "second", "image": "worker", "env": [{"name": "WORD", "value": "from env"}]},
        ]}}},
        "triggers": [
            {"type": "test", "metadata": {"queue": "orders", "target": "1"}, "authenticationRef": {"name": "auth"}},
            {"type": "test", "metadata": {"queue": "other", "target": "1", "passwordFromEnv": "WORD"}},
        ],
    }));
    world.pass(1).await;
    let passwords = |world: &World| ["orders", "other"].map(|queue| world.script.password(queue));
    assert_eq!(passwords(&world), ["one", "from env"]);
    assert_eq!(world.job_status()["authenticationsTypes"], "auth");
    world.apply(secret("two"));
    world.pass(6).await;
    assert_eq!(passwords(&world), ["two", "from env"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_story_is_written_in_the_same_order() {
    async fn story() -> Vec<String> {
        let world = World::new();
        let mut changes = world.server.observe();
        world.scaled_job(&json!({"minReplicaCount": 2, "successfulJobsHistoryLimit": 0}));
        world.pass(11).await;
        world.script.set("orders", 6.0);
        world.pass(11).await;
        for job in world.job_names() {
            world.end(&job, "Complete").await;
        }
        world.pass(30).await;
        let mut told = Vec::new();
        while let Ok(change) = changes.try_recv() {
            told.push(format!("{:?} {}", change.verb, change.object));
        }
        told
    }
    let (first, second) = (story().await, story().await);
    assert!(first.len() > 10);
    assert_eq!(first, second);
}
