//! The suite that every scaler passes.
//!
//! The author of a scaler tells the suite how to steer the source, a [`Harness`], and runs everything in one test:
//!
//! ```
//! // In a `#[tokio::test(start_paused = true)]`, with a harness of one's own:
//! async fn conforms<H: scaler_api::conformance::Harness>(harness: &H) {
//!     scaler_api::conformance::assert_conforms(harness).await;
//! }
//! ```
//!
//! | case | what it asks for |
//! |---|---|
//! | `fields describe the struct` | [`Trigger::fields`] and the struct have the same keys, each with a sentence; defaults are allowed words |
//! | `the example parses` | [`Trigger::example`] is a map of strings that parses without warnings |
//! | `metrics are stable` | the same input gives the same metrics ([`Trigger::discover`]) and source key; names are normalised and unique |
//! | `credentials are hidden` | in `Debug`, `Display` and errors of everything that was given them |
//! | `samples follow the source` | every metric has its value, in order, again and again |
//! | `activation is strictly above` | at the activation value the trigger is idle, above it active |
//! | `readers do not disturb each other` | many samples at once |
//! | `an outage is an error` | of kind `Unavailable` or `Timeout`, within the deadline, never a value; afterwards all is well |
//! | `a dropped sample leaves no trace` | cancelled anywhere, the scaler stays usable |
//! | `bad credentials are told` | as an error of kind `Unauthorized` |
//! | `dropped scalers leave nothing open` | as far as the harness can count |
//! | `activations are pushed` | if the scaler can |
//!
//! The suite uses tokio's time only: with sources in memory run it under paused time, with real ones under real time.

mod metadata;
mod sampling;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Context, Scaler, Trigger, TriggerInput,
    layer::{Stack, Timeout},
};

/// How the suite steers the source of one trigger type.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The trigger under test.
    type Trigger: Trigger;

    /// A trigger of the source, with credentials if it takes any.
    fn input(&self) -> TriggerInput;

    /// Makes the source show this value; it is one of [`levels`](Harness::levels).
    async fn set_value(&self, value: f64);

    /// Breaks the source, or with `None` repairs it.
    async fn set_outage(&self, outage: Option<Outage>);

    /// The kinds of outages that [`set_outage`](Harness::set_outage) can make; none for sources that cannot fail.
    fn outages(&self) -> &[Outage] {
        &[Outage::Down, Outage::Silent]
    }

    /// Values for which the trigger of [`input`](Harness::input) is idle, and one for which it is active.
    fn levels(&self) -> Levels {
        Levels::around(0.0)
    }

    /// What the scaler may use.
    fn context(&self) -> Context {
        Context::new()
    }

    /// What is put around the scaler; a deadline of [`Context::timeout`], as every program does.
    fn layers(&self) -> Stack {
        Stack::new().with(Timeout::new(self.context().timeout))
    }

    /// Within which a sample has to end one way or the other, all layers included; three times
    /// [`Context::timeout`], which leaves room for slow machines and a second attempt.
    fn deadline(&self) -> Duration {
        self.context().timeout * 3
    }

    /// Text that must appear nowhere: all values of the authentication of [`input`](Harness::input).
    fn secrets(&self) -> Vec<String> {
        self.input()
            .authentication
            .values()
            .map(|secret| secret.expose().to_owned())
            .collect()
    }

    /// The same trigger with credentials that the source refuses, if it looks at any.
    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        None
    }

    /// How many connections, or whatever a scaler holds, are open now, if the source can tell.
    async fn open_connections(&self) -> Option<usize> {
        None
    }

    /// Makes the source push an activation; `false` if it cannot.
    async fn push_activation(&self) -> bool {
        false
    }
}

/// How a source fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// It refuses connections or answers with server errors.
    Down,
    /// It takes requests and never answers.
    Silent,
}

/// Values of a source on both sides of a trigger's activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Values at which the trigger is idle, the activation value among them.
    pub idle: Vec<f64>,
    /// A value at which it is active.
    pub active: f64,
}

impl Levels {
    /// Zero, a value and the next whole number above it.
    #[must_use]
    pub fn around(activation: f64) -> Self {
        let idle = if activation > 0.0 {
            vec![0.0, activation]
        } else {
            vec![activation]
        };
        Self {
            idle,
            active: activation.floor() + 1.0,
        }
    }
}

/// What the suite found.
#[derive(Clone, Debug)]
pub struct Report {
    cases: Vec<Case>,
}

/// The outcome of one case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// It does not apply, and why.
    Skipped(&'static str),
    /// It did not, and why.
    Failed(String),
}

impl Report {
    /// All cases in the order in which they ran.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Whether no case failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self
            .cases
            .iter()
            .any(|case| matches!(case.outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.outcome {
                Outcome::Passed => writeln!(f, "passed   {}", case.name)?,
                Outcome::Skipped(why) => writeln!(f, "skipped  {}: {why}", case.name)?,
                Outcome::Failed(why) => writeln!(f, "FAILED   {}: {why}", case.name)?,
            }
        }
        Ok(())
    }
}

/// Runs every case, one after the other.
pub async fn run<H: Harness>(harness: &H) -> Report {
    let mut cases = vec![
        Case::of(
            "fields describe the struct",
            metadata::fields_describe_the_struct(harness),
        ),
        Case::of("the example parses", metadata::the_example_parses(harness)),
    ];
    macro_rules! run_cases {
        ($($name:literal => $case:path),* $(,)?) => {$(
            cases.push(Case::of($name, Box::pin($case(harness)).await));
        )*};
    }
    run_cases! {
        "metrics are stable" => metadata::metrics_are_stable,
        "credentials are hidden" => sampling::credentials_are_hidden,
        "samples follow the source" => sampling::samples_follow_the_source,
        "activation is strictly above" => sampling::activation_is_strictly_above,
        "readers do not disturb each other" => sampling::readers_do_not_disturb_each_other,
        "an outage is an error" => sampling::an_outage_is_an_error,
        "a dropped sample leaves no trace" => sampling::a_dropped_sample_leaves_no_trace,
        "bad credentials are told" => sampling::bad_credentials_are_told,
        "dropped scalers leave nothing open" => sampling::dropped_scalers_leave_nothing_open,
        "activations are pushed" => sampling::activations_are_pushed,
    }
    Report { cases }
}

/// Runs every case.
///
/// # Panics
/// If one fails, with the whole report.
pub async fn assert_conforms<H: Harness>(harness: &H) {
    let report = run(harness).await;
    assert!(
        report.passed(),
        "{} does not conform:\n{report}",
        <H::Trigger as Trigger>::TYPE
    );
}

/// `Err` for a failure, `Ok(Some(why))` where a case does not apply.
type Verdict = Result<Option<&'static str>, String>;

impl Case {
    fn of(name: &'static str, verdict: Verdict) -> Self {
        let outcome = match verdict {
            Ok(None) => Outcome::Passed,
            Ok(Some(why)) => Outcome::Skipped(why),
            Err(why) => Outcome::Failed(why),
        };
        Self { name, outcome }
    }
}

/// What a case asks for.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn parse<H: Harness>(input: &TriggerInput) -> Result<H::Trigger, String> {
    let (trigger, _) =
        crate::metadata::parse::<H::Trigger>(input).map_err(|problems| problems.to_string())?;
    Ok(trigger)
}

/// The scaler of an input, with the harness's layers around it.
async fn connect<H: Harness>(harness: &H, input: &TriggerInput) -> Result<Arc<dyn Scaler>, crate::Error> {
    let trigger = parse::<H>(input).map_err(crate::Error::invalid)?;
    let scaler = trigger.connect(&harness.context()).await?;
    Ok(harness.layers().apply(Arc::new(scaler)))
}

#[cfg(test)]
mod tests;
