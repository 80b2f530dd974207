//! How many Jobs are made: keda.md §3.7, and the numbers of §9.

use super::*;

/// Messages come four at a time; Jobs that run hold theirs.
async fn four_at_a_time(strategy: &str) -> Vec<usize> {
    let world = World::new();
    world.scaled_job_by(strategy);
    // Between two polls.
    world.pass(1).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        world.script.set("orders", 4.0);
        world.pass(5).await;
        counts.push(world.jobs().len());
        world.run_pods("Running").await;
        world.script.set("orders", 0.0);
        world.pass(5).await;
        assert_eq!(world.jobs().len(), *counts.last().unwrap(), "the queue is empty");
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn accurate_makes_4_then_8_then_10() {
    assert_eq!(four_at_a_time("accurate").await, [4, 8, 10], "§9");
}

#[tokio::test(start_paused = true)]
async fn eager_makes_4_then_8_then_10() {
    assert_eq!(four_at_a_time("eager").await, [4, 8, 10], "§9");
}

#[tokio::test(start_paused = true)]
async fn default_takes_off_what_runs_as_its_queue_still_counts_it() {
    assert_eq!(four_at_a_time("default").await, [4, 4, 4], "§3.7");
    let world = World::new();
    world.scaled_job(&json!({}));
    for (queue, expected) in [(4.0, 4), (4.0, 4), (6.0, 6), (50.0, 10)] {
        world.script.set("orders", queue);
        world.pass(5).await;
        assert_eq!(world.jobs().len(), expected, "§3.7 {queue} messages");
    }
}

#[tokio::test(start_paused = true)]
async fn custom_takes_off_a_share_of_what_runs() {
    let world = World::new();
    world.scaled_job(&json!({"scalingStrategy": {
        "strategy": "custom", "customScalingQueueLengthDeduction": 1, "customScalingRunningJobPercentage": "0.5",
    }}));
    world.script.set("orders", 5.0);
    world.pass(4).await;
    assert_eq!(world.jobs().len(), 4, "5 - 1");
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 6, "5 - 1 - 4 / 2");
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_is_not_made_again_until_its_conditions_hold() {
    let world = World::new();
    world
        .scaled_job(&json!({"scalingStrategy": {"strategy": "accurate", "pendingPodConditions": ["Ready"]}}));
    world.script.set("orders", 3.0);
    world.pass(11).await;
    world.run_pods("Running").await;
    world.pass(10).await;
    assert_eq!(world.jobs().len(), 3, "§3.7 no pod is ready");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    for pod in world.job_names() {
        let path = format!("/api/v1/namespaces/default/pods/{pod}/status");
        world.patch(&path, &ready).await;
    }
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn several_triggers_come_to_one_number() {
    for (calculation, expected) in [("max", 4), ("min", 2), ("avg", 3), ("sum", 6)] {
        let world = World::new();
        let trigger = |queue: &str| json!({"type": "test", "metadata": {"queue": queue, "target": "1"}});
        world.script.set("a", 2.0);
        world.script.set("b", 4.0);
        world.scaled_job(&json!({
            "triggers": [trigger("a"), trigger("b"), trigger("idle")],
            "scalingStrategy": {"multipleScalersCalculation": calculation},
        }));
        world.pass(1).await;
        assert_eq!(world.jobs().len(), expected, "§3.7 {calculation}");
        assert_eq!(
            world.job_status()["triggersActivity"],
            json!({"s0-test-a": {"isActive": true}, "s1-test-b": {"isActive": true}, "s2-test-idle": {"isActive": false}})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_minimum_always_runs_and_stands_beside_the_queue() {
    let world = World::new();
    world.scaled_job(&json!({"minReplicaCount": 3}));
    world.pass(1).await;
    assert_eq!(world.jobs().len(), 3, "§9 min_replica_sj");
    assert_eq!(
        world.job_condition("Active"),
        "True ScalerActive",
        "§3.7 min forces active"
    );
    world.script.set("orders", 2.0);
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 5);
    world.script.set("orders", 100.0);
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 10, "§3.7 Max() = max - min");
    world.script.set("orders", 0.0);
    for job in &world.job_names()[..9] {
        world.end(job, "Complete").await;
    }
    world.pass(6).await;
    assert_eq!(world.jobs().len(), 12, "one runs, two are missing");
    let decisions = world.job_decisions();
    assert_eq!(
        decisions[0],
        "0->3: s0-test-orders is not active (value 0, target 1 per replica); 0 Jobs run, 0 of them pending, fewer than \
         minReplicaCount 3"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_makes_nothing_but_the_minimum() {
    let world = World::new();
    world.script.refuse("orders");
    world.scaled_job(&json!({}));
    world.pass(60).await;
    assert!(world.jobs().is_empty());
    assert_eq!(world.job_condition("Ready"), "False TriggerError");
    let trigger = |queue: &str| json!({"type": "test", "metadata": {"queue": queue, "target": "1"}});
    world.script.set("other", 2.0);
    let both = json!({"spec": {"triggers": [trigger("orders"), trigger("other")]}});
    world.patch(OBJECT, &both).await;
    world.pass(1).await;
    assert_eq!(world.jobs().len(), 2);
    assert_eq!(world.job_condition("Ready"), "Unknown PartialTriggerError");
    world.script.set("orders", 0.0);
    world.pass(20).await;
    assert_eq!(world.job_condition("Ready"), "True ScaledJobReady");
    let events = world.events("work");
    let failed = events.iter().filter(|event| event.contains("KEDAScalerFailed"));
    assert_eq!(failed.count(), 1, "said once: {events:#?}");
}
