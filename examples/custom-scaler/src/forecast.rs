//! Trigger type `forecast`: the load that a file foretells.

use async_trait::async_trait;
use jiff::Timestamp;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SharedClock, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

/// The metadata: strings in YAML, here what they stand for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastTrigger {
    file: String,
    target_value: i64,
    activation_value: f64,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("file", "The file, in lines of a time and the load from then on.").required(),
    Field::new("targetValue", "Load that one replica carries.").default("10"),
    Field::new("activationValue", "The trigger is active above this load.").default("0"),
];

#[rustfmt::skip]
impl Trigger for ForecastTrigger {
    const TYPE: &'static str = "forecast";
    type Scaler = ForecastScaler;

    fn fields() -> &'static [Field] { FIELDS }
    fn example() -> &'static str { "file: /etc/load/tomorrow.txt\ntargetValue: \"20\"\n" }
    fn summary() -> &'static str { "the load that a file foretells" }
    fn settings(&mut self, settings: &TriggerSettings) { self.settings = settings.clone(); }

    fn check(&self, problems: &mut Problems) {
        if self.target_value < 1 {
            let value = self.target_value.to_string();
            problems.error("targetValue", &value, format!("targetValue must be above 0, got {value}"));
        }
        self.settings.metric_type.check_external(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = Quantity::from_units(self.target_value);
        vec![MetricSpec::external("forecast", self.settings.metric_type, target)]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE).with("file", &self.file).with("activation", self.activation_value)
    }

    async fn connect(self, context: &Context) -> Result<ForecastScaler, Error> {
        Ok(ForecastScaler { trigger: self, clock: context.clock.clone() })
    }
}

/// Reads the file.
#[derive(Debug)]
pub struct ForecastScaler {
    trigger: ForecastTrigger,
    clock: SharedClock,
}

#[async_trait]
impl Scaler for ForecastScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let answer = std::fs::read_to_string(&self.trigger.file).map_err(|error| {
            Error::unavailable("the file cannot be read")
                .with_context("file", &self.trigger.file)
                .with_source(error)
        })?;
        let value = value(&answer, self.clock.now())?;
        Ok(Sample::single(
            "forecast",
            value,
            value > self.trigger.activation_value,
        ))
    }
}

/// What the answer of the source says of this moment.
fn value(answer: &str, now: Timestamp) -> Result<f64, Error> {
    let mut latest = 0.0;
    for line in answer.lines() {
        let bad = |_| Error::invalid(format!("{line:?} is no time with a number"));
        let (time, load) = line.split_once(' ').unwrap_or_default();
        if time.parse::<Timestamp>().map_err(bad)? <= now {
            latest = load
                .parse()
                .map_err(|_| Error::invalid(format!("{load:?} is no number")))?;
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod conformance;
