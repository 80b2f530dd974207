//! keda.md §9: ScaledJobs, with the Job controller, the scheduler and the kubelet at work.

use super::*;

/// Jobs that run for an hour.
fn long() -> Value {
    json!({"template": {
        "metadata": {"annotations": {"simulation.autoscaler.dev/run-seconds": "3600"}},
        "spec": {"containers": [{"name": "work", "image": "worker"}]},
    }})
}

/// Messages come four at a time, and Jobs take theirs at once.
async fn four_at_a_time(strategy: &str) -> Vec<usize> {
    let stage = Stage::new();
    stage.scaled_job(&json!({"jobTargetRef": long(), "scalingStrategy": {"strategy": strategy}}));
    stage.pass(1).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        stage.script.set("orders", 4.0);
        stage.pass(5).await;
        stage.script.set("orders", 0.0);
        stage.pass(25).await;
        counts.push(stage.jobs().len());
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn section_9_scaled_job_accurate_makes_4_then_8_then_10() {
    assert_eq!(four_at_a_time("accurate").await, [4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn section_9_scaled_job_eager_makes_4_then_8_then_10() {
    assert_eq!(four_at_a_time("eager").await, [4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn section_9_the_minimum_of_a_scaled_job_always_runs() {
    let stage = Stage::new();
    stage.scaled_job(&json!({"jobTargetRef": long(), "minReplicaCount": 2}));
    stage.pass(60).await;
    let running = || {
        let pods = stage.server.objects("", "pods", Some("default"));
        pods.iter()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .count()
    };
    assert_eq!((stage.jobs().len(), running()), (2, 2));
    let name = stage.jobs()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage
        .delete(&format!(
            "/apis/batch/v1/namespaces/default/jobs/{name}?propagationPolicy=Background"
        ))
        .await;
    stage.pass(60).await;
    assert_eq!((stage.jobs().len(), running()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn section_9_a_paused_scaled_job_makes_none_and_goes_on_afterwards() {
    let stage = Stage::new();
    stage.scaled_job(&json!({"jobTargetRef": long(), "scalingStrategy": {"strategy": "accurate"}}));
    let pause = async |value: Value| {
        let path = "/apis/keda.sh/v1alpha1/namespaces/default/scaledjobs/work";
        let annotations = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": value}}});
        stage.patch(path, &annotations).await;
        stage.pass(1).await;
    };
    for value in ["true", "", "not now"] {
        pause(json!(value)).await;
        stage.script.set("orders", 4.0);
        stage.pass(60).await;
        assert_eq!(stage.jobs().len(), 0, "{value:?}");
        assert_eq!(stage.job_condition("Paused"), "True ScaledJobPaused", "{value:?}");
    }
    pause(json!("false")).await;
    assert_eq!(stage.jobs().len(), 4);
}
