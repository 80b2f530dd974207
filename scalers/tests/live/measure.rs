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
    DEFAULT_SAMPLE_MAX_AGE, Error, Scaler, SourceKey, Trigger, conformance::Harness, layer::Shared, metadata,
};
use xtask::services::MEASURES;

use super::{proxy::Proxy, support::Live};

/// How many samples are timed.
const SAMPLES: usize = 1000;
/// How many objects have the same trigger.
const TRIGGERS: usize = 1000;

/// Whether this is a measurement and no test.
pub(crate) fn is_on() -> bool {
    std::env::var_os(MEASURES).is_some()
}

/// Measures a type, and notes it for the table.
pub(crate) async fn run<H: Harness>(live: &Live, harness: &H, proxy: &Proxy) {
    harness.set_value(harness.levels().active).await;
    let scaler = connect(harness).await.unwrap();
    for _ in 0..10 {
        scaler.sample().await.unwrap();
    }
    let before = proxy.bytes();
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        #[allow(clippy::disallowed_methods, reason = "what a sample takes is real time")]
        let start = Instant::now();
        scaler.sample().await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    #[allow(clippy::cast_precision_loss, reason = "bytes are far fewer than 2^52")]
    let bytes = (proxy.bytes() - before) as f64 / SAMPLES as f64;
    let (triggers, requests) = round(harness, proxy, bytes).await;
    let line = format!(
        "{}\t{}\t{}\t{}\t{bytes:.0}\t{triggers}\t{requests:.1}\n",
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

async fn connect<H: Harness>(harness: &H) -> Result<impl Scaler + use<H>, Error> {
    Trigger::connect(parse(harness), &harness.context()).await
}

fn parse<H: Harness>(harness: &H) -> H::Trigger {
    metadata::parse::<H::Trigger>(&harness.input()).unwrap().0
}

/// How many times a sample's bytes pass when every one of many equal triggers is polled at once.
async fn round<H: Harness>(harness: &H, proxy: &Proxy, bytes_of_a_sample: f64) -> (usize, f64) {
    let mut sources: BTreeMap<SourceKey, Arc<Shared>> = BTreeMap::new();
    let mut triggers = Vec::new();
    for _ in 0..TRIGGERS {
        let trigger = parse(harness);
        let key = Trigger::source_key(&trigger);
        if !sources.contains_key(&key) {
            let scaler = Trigger::connect(trigger, &harness.context()).await.unwrap();
            // The connection is there already when a poll comes.
            scaler.sample().await.unwrap();
            sources.insert(key.clone(), Arc::new(Shared::new(Arc::new(scaler))));
        }
        triggers.push(Arc::clone(&sources[&key]));
    }
    let before = proxy.bytes();
    let polls = triggers
        .iter()
        .map(|source| source.sample_within(DEFAULT_SAMPLE_MAX_AGE));
    for sample in join_all(polls).await {
        sample.unwrap();
    }
    #[allow(clippy::cast_precision_loss, reason = "bytes are far fewer than 2^52")]
    let bytes = (proxy.bytes() - before) as f64;
    (triggers.len(), bytes / bytes_of_a_sample)
}
