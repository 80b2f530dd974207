//! keda.md §3.7: a leader that ends while it makes Jobs.

use super::*;

/// How many Jobs there are for eight messages, and how many were ever made.
async fn made(disturbance: Option<(End, Duration)>) -> (usize, usize) {
    let pair = Pair::new(Duration::from_millis(20));
    let story = async {
        let world = &pair.world;
        world.pass(2).await;
        world.scaled_job(&json!({}));
        world.pass(8).await;
        world.script.set("orders", 8.0);
        world.pass(40).await;
        assert_eq!(world.job_condition("Active"), "True ScalerActive");
        assert_eq!(world.job_condition("Ready"), "True ScaledJobReady");
    };
    let disturb = async {
        if let Some((end, after)) = disturbance {
            tokio::time::sleep(after).await;
            pair.hand_over(end).await;
        }
    };
    futures::join!(story, disturb);
    let written = pair.written.lock().unwrap();
    let posts = written
        .iter()
        .filter(|words| words.ends_with("/jobs") && words.starts_with("POST"));
    (pair.world.jobs().len(), posts.count())
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_while_it_makes_jobs_leaves_neither_too_many_nor_too_few() {
    assert_eq!(made(None).await, (8, 8));
    for after in moments(1_980, 2_300, 160).chain(moments(12_000, 12_600, 40)) {
        for end in [End::Crash, End::Stop] {
            assert_eq!(made(Some((end, after))).await, (8, 8), "{end:?} after {after:?}");
        }
    }
}
