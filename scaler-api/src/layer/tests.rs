//! Every layer in paused time.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time::Instant;

use super::*;
use crate::{
    Error, ErrorKind, Sample,
    testing::{Probe, State, World},
};

const SECOND: Duration = Duration::from_secs(1);

fn world(value: f64) -> (Arc<World>, Arc<dyn Scaler>) {
    let world = Arc::new(World::default());
    world.set_value(value);
    let probe = Arc::new(Probe::new(&world));
    (world, probe)
}

fn value(result: Result<Sample, Error>) -> f64 {
    result.unwrap_or_else(|error| panic!("{error}")).values[0].value
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_times_out_and_is_usable_again() {
    let (world, probe) = world(3.0);
    let scaler = Timeout::new(3 * SECOND).layer(probe);
    world.set_state(State::Silent);
    let started = Instant::now();
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(
        (error.kind(), started.elapsed()),
        (ErrorKind::Timeout, 3 * SECOND)
    );
    assert_eq!(error.to_string(), "the source did not answer within 3s");
    world.set_state(State::Up);
    assert_eq!(value(scaler.sample().await), 3.0);
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_tried_again_with_doubling_waits() {
    let (world, probe) = world(3.0);
    let scaler = Retry::new(4).with_backoff(SECOND, 3 * SECOND).layer(probe);
    world.fail_with((0..3).map(|_| Error::unavailable("down")));
    let started = Instant::now();
    assert_eq!(value(scaler.sample().await), 3.0);
    assert_eq!((started.elapsed(), world.started()), ((1 + 2 + 3) * SECOND, 4));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_other_errors_are_final() {
    let (world, probe) = world(3.0);
    let scaler = Retry::new(2).layer(probe);
    world.set_state(State::Down);
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(world.started(), 2);
    world.set_state(State::Up);
    world.fail_with([Error::new(ErrorKind::Unauthorized, "no")]);
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(world.started(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_gets_the_time_it_asks_for_if_that_is_not_too_long() {
    for (asked, waited, attempts) in [(1, 1, 2), (9, 0, 1)] {
        let (world, probe) = world(3.0);
        let scaler = Retry::new(2).layer(probe);
        world.fail_with([Error::new(ErrorKind::Throttled, "slow down").with_retry_after(asked * SECOND)]);
        let started = Instant::now();
        assert_eq!(scaler.sample().await.is_ok(), attempts == 2);
        assert_eq!(
            (started.elapsed(), world.started()),
            (waited * SECOND, attempts),
            "{asked}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_one_sample() {
    let (world, probe) = world(3.0);
    world.set_delay(SECOND);
    let shared = Shared::new(probe);
    let results = join_all((0..50).map(|_| shared.sample_within(Duration::ZERO))).await;
    assert!(
        results
            .into_iter()
            .all(|result| result.unwrap().0.values[0].value == 3.0)
    );
    assert_eq!((world.started(), shared.samples_taken()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_those_who_wait_and_tried_again_by_those_who_come_later() {
    let (world, probe) = world(3.0);
    world.set_delay(SECOND);
    world.set_state(State::Down);
    let shared = Shared::new(probe);
    let results = join_all((0..5).map(|_| shared.sample_within(5 * SECOND))).await;
    assert!(
        results
            .into_iter()
            .all(|result| result.unwrap_err().kind() == ErrorKind::Unavailable)
    );
    assert_eq!(world.started(), 1);
    assert!(shared.last().unwrap().0.is_err());
    world.set_state(State::Up);
    assert_eq!(value(shared.sample().await), 3.0);
    assert_eq!(world.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_given_again_until_it_is_too_old() {
    let (world, probe) = world(3.0);
    let shared = Shared::new(probe);
    let (_, first) = shared.sample_within(5 * SECOND).await.unwrap();
    world.set_value(4.0);
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(
        shared.sample_within(5 * SECOND).await.unwrap(),
        (Sample::single("probe", 3.0, true), first)
    );
    assert_eq!(
        shared.sample_within(4 * SECOND).await.unwrap().0.values[0].value,
        4.0
    );
    world.set_value(5.0);
    assert_eq!(
        shared.sample_within(Duration::ZERO).await.unwrap().0.values[0].value,
        5.0,
        "zero is never old"
    );
    tokio::time::advance(100 * SECOND).await;
    assert_eq!(value(shared.last().unwrap().0), 5.0);
    assert_eq!(world.started(), 3);
}

#[tokio::test(start_paused = true)]
async fn another_reader_takes_over_when_the_leading_one_is_dropped() {
    let (world, probe) = world(3.0);
    world.set_delay(10 * SECOND);
    let shared = Arc::new(Shared::new(probe));
    let leader = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.sample().await }
    });
    tokio::time::sleep(SECOND).await;
    let followers = join_all((0..3).map(|_| shared.sample()));
    let started = Instant::now();
    let aborted = async {
        tokio::time::sleep(SECOND).await;
        leader.abort();
    };
    let (results, ()) = futures::join!(followers, aborted);
    assert!(results.into_iter().all(|result| value(result) == 3.0));
    assert_eq!((started.elapsed(), world.started()), (11 * SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn samples_are_counted_by_outcome_and_timed() {
    let (world, probe) = world(3.0);
    let mut registry = Registry::default();
    let metrics = SampleMetrics::register(&mut registry);
    let scaler = Metered::new(metrics, "probe").layer(probe);
    world.set_delay(Duration::from_millis(200));
    world.fail_with([Error::not_found("gone")]);
    assert!(scaler.sample().await.is_err());
    assert!(scaler.sample().await.is_ok());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        r#"scaler_samples_total{trigger_type="probe",outcome="ok"} 1"#,
        r#"scaler_samples_total{trigger_type="probe",outcome="not_found"} 1"#,
        r#"scaler_sample_duration_seconds_sum{trigger_type="probe"} 0.4"#,
        r#"scaler_sample_duration_seconds_bucket{le="0.1",trigger_type="probe"} 0"#,
        r#"scaler_sample_duration_seconds_bucket{le="0.25",trigger_type="probe"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn chaos_is_the_same_for_the_same_seed() {
    async fn outcomes(seed: u64) -> (Vec<Option<ErrorKind>>, Duration) {
        let (_, probe) = world(3.0);
        let chaos = Chaos::new(seed)
            .with_errors(0.3)
            .with_kinds([ErrorKind::Unavailable, ErrorKind::Throttled])
            .with_delays(SECOND);
        let scaler = chaos.layer(probe);
        let started = Instant::now();
        let mut outcomes = Vec::new();
        for _ in 0..200 {
            outcomes.push(scaler.sample().await.err().map(|error| error.kind()));
        }
        (outcomes, started.elapsed())
    }
    let (first, elapsed) = outcomes(7).await;
    assert_eq!((first.clone(), elapsed), outcomes(7).await);
    assert_ne!(first, outcomes(8).await.0);
    let failures = first.iter().flatten().count();
    assert!((40..80).contains(&failures), "{failures} of 200 at a rate of 0.3");
    assert!(first.contains(&Some(ErrorKind::Throttled)) && first.contains(&Some(ErrorKind::Unavailable)));
    assert!(
        (80 * SECOND..120 * SECOND).contains(&elapsed),
        "{elapsed:?} for 200 delays of up to a second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stack_puts_the_first_layer_outside() {
    let (world, probe) = world(3.0);
    world.set_state(State::Silent);
    // The retry is outside the deadline, so each attempt has its own.
    let stack = Stack::new()
        .with(Retry::new(2).with_backoff(SECOND, SECOND))
        .with(Timeout::new(3 * SECOND));
    let started = Instant::now();
    assert_eq!(
        stack.apply(probe).sample().await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!((started.elapsed(), world.started()), (7 * SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn every_layer_passes_activations_on() {
    let (_, probe) = world(3.0);
    let mut registry = Registry::default();
    let scaler = Stack::new()
        .with(Sharing::new(SECOND))
        .with(Traced::new("probe"))
        .with(Metered::new(SampleMetrics::register(&mut registry), "probe"))
        .with(Retry::new(2))
        .with(Timeout::new(SECOND))
        .with(Chaos::new(1))
        .apply(probe);
    let activations: Vec<_> = scaler.push().expect("it pushes").activations().collect().await;
    assert!(matches!(activations[..], [Ok(true), Err(_)]));
}
