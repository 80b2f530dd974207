//! Cases that read the source.

use std::{
    fmt::Debug,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use futures::{StreamExt as _, future::join_all};

use super::{Harness, Verdict, connect, ensure, metadata::discover, parse};
use crate::{ErrorKind, Sample, Scaler, Trigger};

/// How many scalers are made and dropped.
const DROPS: usize = 100;
/// How many samples are taken at once.
const READERS: usize = 16;
/// After how many polls a sample is dropped, at most.
const MOST_POLLS: usize = 6;

async fn connected<H: Harness>(harness: &H) -> Result<Arc<dyn Scaler>, String> {
    connect(harness, &harness.input())
        .await
        .map_err(|error| format!("it does not connect: {error}"))
}

/// A sample that has to succeed.
async fn sample<H: Harness>(harness: &H, scaler: &dyn Scaler) -> Result<Sample, String> {
    let result = tokio::time::timeout(harness.deadline(), scaler.sample()).await;
    result
        .map_err(|_| format!("no sample within {:?}", harness.deadline()))?
        .map_err(|error| format!("the source is well, but the sample fails: {error}"))
}

/// A sample that has to show a value.
async fn sample_of<H: Harness>(harness: &H, scaler: &dyn Scaler, value: f64) -> Result<Sample, String> {
    let sample = sample(harness, scaler).await?;
    let shown = sample.values.first().map(|shown| shown.value);
    // Sources may hold less precision than a float.
    let is_shown = shown.is_some_and(|shown| (shown - value).abs() <= 1e-3 * value.abs().max(1.0));
    ensure(is_shown, || {
        format!("the source shows {value}, the sample {shown:?}")
    })?;
    Ok(sample)
}

pub(super) async fn samples_follow_the_source<H: Harness>(harness: &H) -> Verdict {
    let metrics = discover(harness, &parse::<H>(&harness.input())?).await?;
    let names: Vec<&str> = metrics
        .iter()
        .filter_map(|metric| metric.external_name())
        .collect();
    if names.is_empty() {
        return Ok(Some("the trigger has no external metric"));
    }
    let scaler = connected(harness).await?;
    let levels = harness.levels();
    for value in [
        levels.active,
        levels.idle.first().copied().unwrap_or_default(),
        levels.active,
    ] {
        harness.set_value(value).await;
        let sample = sample_of(harness, &*scaler, value).await?;
        let shown: Vec<&str> = sample.values.iter().map(|value| value.name.as_str()).collect();
        ensure(shown == names, || {
            format!("the metrics are {names:?}, the values are of {shown:?}")
        })?;
    }
    Ok(None)
}

pub(super) async fn activation_is_strictly_above<H: Harness>(harness: &H) -> Verdict {
    let scaler = connected(harness).await?;
    let levels = harness.levels();
    let expected = levels
        .idle
        .iter()
        .map(|value| (*value, false))
        .chain([(levels.active, true)]);
    for (value, active) in expected {
        harness.set_value(value).await;
        let sample = sample(harness, &*scaler).await?;
        ensure(sample.active == active, || {
            format!("at {value} active is {}", sample.active)
        })?;
    }
    Ok(None)
}

pub(super) async fn readers_do_not_disturb_each_other<H: Harness>(harness: &H) -> Verdict {
    let scaler = connected(harness).await?;
    let value = harness.levels().active;
    harness.set_value(value).await;
    let samples = join_all((0..READERS).map(|_| sample_of(harness, &*scaler, value))).await;
    samples.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(None)
}

pub(super) async fn an_outage_is_an_error<H: Harness>(harness: &H) -> Verdict {
    if harness.outages().is_empty() {
        return Ok(Some("the source cannot fail"));
    }
    let value = harness.levels().active;
    for outage in harness.outages() {
        harness.set_outage(None).await;
        harness.set_value(value).await;
        let scaler = connected(harness).await?;
        sample_of(harness, &*scaler, value).await?;
        harness.set_outage(Some(*outage)).await;
        let result = tokio::time::timeout(harness.deadline(), scaler.sample()).await;
        harness.set_outage(None).await;
        match result {
            Err(_) => return Err(format!("{outage:?}: no answer within {:?}", harness.deadline())),
            Ok(Ok(sample)) => return Err(format!("{outage:?}: a value instead of an error: {sample:?}")),
            Ok(Err(error)) if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                return Err(format!(
                    "{outage:?}: an error of kind {:?}: {error}",
                    error.kind()
                ));
            }
            Ok(Err(_)) => {}
        }
        sample_of(harness, &*scaler, value)
            .await
            .map_err(|why| format!("after {outage:?}: {why}"))?;
    }
    Ok(None)
}

/// Polls a future so often and drops it.
async fn poll_and_drop(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|context: &mut TaskContext<'_>| {
            Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if poll.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_dropped_sample_leaves_no_trace<H: Harness>(harness: &H) -> Verdict {
    let scaler = connected(harness).await?;
    let value = harness.levels().active;
    harness.set_value(value).await;
    for polls in 1..=MOST_POLLS {
        poll_and_drop(scaler.sample(), polls).await;
        let after = sample_of(harness, &*scaler, value).await;
        after.map_err(|why| format!("after a sample was dropped at poll {polls}: {why}"))?;
    }
    Ok(None)
}

pub(super) async fn bad_credentials_are_told<H: Harness>(harness: &H) -> Verdict {
    let Some(input) = harness.input_with_bad_credentials() else {
        return Ok(Some("the harness has none"));
    };
    let result = match connect(harness, &input).await {
        Ok(scaler) => tokio::time::timeout(harness.deadline(), scaler.sample())
            .await
            .map_err(|_| "no answer")?,
        Err(error) => Err(error),
    };
    match result {
        Ok(sample) => Err(format!("a value instead of an error: {sample:?}")),
        Err(error) if error.kind() == ErrorKind::Unauthorized => Ok(None),
        Err(error) => Err(format!("an error of kind {:?}: {error}", error.kind())),
    }
}

pub(super) async fn dropped_scalers_leave_nothing_open<H: Harness>(harness: &H) -> Verdict {
    let Some(before) = harness.open_connections().await else {
        return Ok(Some("the harness cannot count"));
    };
    for _ in 0..DROPS {
        let scaler = connected(harness).await?;
        sample(harness, &*scaler).await?;
    }
    // Tasks behind a connection may need a moment to see that it is gone.
    tokio::time::sleep(harness.context().timeout).await;
    let after = harness.open_connections().await.unwrap_or(before);
    ensure(after <= before, || {
        format!("{before} were open before {DROPS} scalers were made and dropped, {after} after")
    })?;
    Ok(None)
}

pub(super) async fn activations_are_pushed<H: Harness>(harness: &H) -> Verdict {
    let scaler = connected(harness).await?;
    let Some(push) = scaler.push() else {
        return Ok(Some("the scaler does not push"));
    };
    let mut activations = push.activations();
    let first = tokio::time::timeout(harness.deadline(), activations.next());
    match futures::join!(first, harness.push_activation()) {
        (_, false) => Ok(Some("the harness cannot push")),
        (Ok(Some(Ok(true))), true) => Ok(None),
        (other, true) => Err(format!("the first activation is {other:?}")),
    }
}

pub(super) async fn credentials_are_hidden<H: Harness>(harness: &H) -> Verdict {
    let secrets = harness.secrets();
    if secrets.is_empty() {
        return Ok(Some("the harness has none"));
    }
    let check = |what: &str, text: String| -> Result<(), String> {
        let shown = secrets
            .iter()
            .any(|secret| !secret.is_empty() && text.contains(secret.as_str()));
        ensure(!shown, || format!("{what} shows a credential"))
    };
    let input = harness.input();
    let trigger = parse::<H>(&input)?;
    check("Debug of the trigger", format!("{trigger:?}"))?;
    check(
        "the source key",
        format!("{0:?} {1}", trigger.source_key(), trigger.source_key().as_str()),
    )?;
    for key in input.metadata.keys() {
        let mut bad = input.clone();
        bad.metadata.insert(key.clone(), "\u{1f980},=".to_owned());
        if let Err(problems) = crate::metadata::parse::<H::Trigger>(&bad) {
            check("a problem with the metadata", format!("{problems} {problems:?}"))?;
        }
    }
    let scaler = connected(harness).await?;
    check("Debug of the scaler", format!("{scaler:?}"))?;
    let mut errors = Vec::new();
    for outage in harness.outages() {
        harness.set_outage(Some(*outage)).await;
        errors.push(tokio::time::timeout(harness.deadline(), scaler.sample()).await);
        harness.set_outage(None).await;
    }
    for error in errors.into_iter().filter_map(|result| result.ok()?.err()) {
        check("an error", with_sources(&error))?;
    }
    Ok(None)
}

fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    fn text<E: Debug + ToString + ?Sized>(error: &E) -> String {
        format!("{error:?} {}", error.to_string())
    }
    let sources = std::iter::successors(error.source(), |error| error.source()).map(text);
    std::iter::once(text(error))
        .chain(sources)
        .collect::<Vec<_>>()
        .join(" ")
}
