//! `cargo xtask bench scalers`: what a sample takes and costs, in place of the cases that a suite checks.
//!
//! Whatever suite says that its scaler leaves no connection behind is measured there; a type needs nothing more.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use scaler_api::{
    Context, DEFAULT_SAMPLE_MAX_AGE, Scaler as _, SourceKey, Trigger, TriggerInput, conformance::Harness,
    layer::Shared, metadata,
};
use xtask::services::MEASURES;

use super::{
    proxy::Proxy,
    support::{Live, connect_in},
};

/// How many samples are timed.
const SAMPLES: usize = 1000;
/// How many objects have the same trigger.
const TRIGGERS: usize = 1000;

/// Whether this is a measurement and no test.
pub(crate) fn is_on() -> bool {
    std::env::var_os(MEASURES).is_some()
}

/// What has reached a server so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// Bytes that have passed either way.
    pub(crate) bytes: usize,
    /// Requests, of a server that counts them; where none does, they are known by the bytes that a sample takes.
    pub(crate) requests: Option<usize>,
}

/// Measures a type at its active level through a proxy, and notes it for the table.
pub(crate) async fn run<H: Harness>(live: &Live, harness: &H, proxy: &Proxy) {
    harness.set_value(harness.levels().active).await;
    let traffic = async || Traffic {
        bytes: proxy.bytes(),
        requests: None,
    };
    trigger::<H::Trigger>(live, &harness.input(), &harness.context(), traffic).await;
}

/// Measures a trigger as it is, and notes it for the table.
pub(crate) async fn trigger<T: Trigger>(
    live: &Live,
    input: &TriggerInput,
    context: &Context,
    traffic: impl AsyncFn() -> Traffic,
) {
    let scaler = connect_in::<T>(input, context).await.unwrap();
    for _ in 0..10 {
        scaler.sample().await.unwrap();
    }
    let before = traffic().await.bytes;
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        #[allow(clippy::disallowed_methods, reason = "what a sample takes is real time")]
        let start = Instant::now();
        scaler.sample().await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    #[allow(clippy::cast_precision_loss, reason = "bytes are far fewer than 2^52")]
    let bytes = (traffic().await.bytes - before) as f64 / SAMPLES as f64;
    let requests = round::<T>(input, context, traffic, bytes).await;
    let line = format!(
        "{}\t{}\t{}\t{}\t{bytes:.0}\t{TRIGGERS}\t{requests:.1}\n",
        live.trigger,
        live.server,
        microseconds(times[SAMPLES / 2]),
        microseconds(times[SAMPLES * 99 / 100]),
    );
    let path = std::env::var_os(MEASURES).unwrap();
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

fn microseconds(time: Duration) -> u128 {
    time.as_micros()
}

/// How many requests reach the server when every one of many equal triggers is polled at once.
async fn round<T: Trigger>(
    input: &TriggerInput,
    context: &Context,
    traffic: impl AsyncFn() -> Traffic,
    bytes_of_a_sample: f64,
) -> f64 {
    let mut sources: BTreeMap<SourceKey, Arc<Shared>> = BTreeMap::new();
    let mut triggers = Vec::new();
    for _ in 0..TRIGGERS {
        let trigger = metadata::parse::<T>(input).unwrap().0;
        let key = Trigger::source_key(&trigger);
        if !sources.contains_key(&key) {
            let scaler = Trigger::connect(trigger, context).await.unwrap();
            // The connection is there already when a poll comes.
            scaler.sample().await.unwrap();
            sources.insert(key.clone(), Arc::new(Shared::new(Arc::new(scaler))));
        }
        triggers.push(Arc::clone(&sources[&key]));
    }
    let before = traffic().await;
    let polls = triggers
        .iter()
        .map(|source| source.sample_within(DEFAULT_SAMPLE_MAX_AGE));
    for sample in join_all(polls).await {
        sample.unwrap();
    }
    let after = traffic().await;
    #[allow(clippy::cast_precision_loss, reason = "what is counted is far less than 2^52")]
    match (before.requests, after.requests) {
        (Some(before), Some(after)) => (after - before) as f64,
        _ => (after.bytes - before.bytes) as f64 / bytes_of_a_sample,
    }
}
