#![doc = include_str!("docs.md")]

mod schedule;

use async_trait::async_trait;
use jiff::{Zoned, tz::TimeZone};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SharedClock, SourceKey, Trigger,
    TriggerSettings, normalize_name,
};
use serde::Deserialize;

use self::schedule::Schedule;
use crate::target;

/// The metadata of `cron`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronTrigger {
    timezone: String,
    start: String,
    end: String,
    desired_replicas: i64,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("timezone", "Time zone of the schedules, by its IANA name.").required(),
    Field::new(
        "start",
        "When the window begins: minute, hour, day of month, month, day of week.",
    )
    .required(),
    Field::new("end", "When the window ends, in the same form.").required(),
    Field::new("desiredReplicas", "Replicas inside the window.").required(),
];

impl CronTrigger {
    fn metric_name(&self) -> String {
        let (start, end) = (name_of(&self.start), name_of(&self.end));
        normalize_name(&format!("cron-{}-{start}-{end}", self.timezone))
    }

    fn window(&self) -> Result<Window, Error> {
        let parse = |name: &str, text: &str| {
            Schedule::parse(text).map_err(|problem| Error::invalid(format!("{name} {text:?}: {problem}")))
        };
        Ok(Window {
            timezone: timezone(&self.timezone).map_err(Error::invalid)?,
            start: parse("start", &self.start)?,
            end: parse("end", &self.end)?,
        })
    }
}

/// A schedule as a part of a metric's name.
fn name_of(schedule: &str) -> String {
    let words = schedule.chars().filter(|c| *c != ' ').map(|c| match c {
        '*' => "x".to_owned(),
        '/' => "Sl".to_owned(),
        '?' => "Qm".to_owned(),
        ',' => "Cm".to_owned(),
        other => other.to_string(),
    });
    words.collect()
}

fn timezone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("unable to load timezone {name:?}: expected an IANA name such as Europe/Berlin"))
}

impl Trigger for CronTrigger {
    const TYPE: &'static str = "cron";
    type Scaler = CronScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "timezone: Europe/Berlin\n\
         start: 0 8 * * 1-5\n\
         end: 0 18 * * 1-5\n\
         desiredReplicas: \"10\"\n"
    }

    fn summary() -> &'static str {
        "a number of replicas inside a window of time that repeats"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(message) = timezone(&self.timezone) {
            problems.error("timezone", &self.timezone, message);
        }
        for (field, text) in [("start", &self.start), ("end", &self.end)] {
            if let Err(problem) = Schedule::parse(text) {
                problems.error(
                    field,
                    text,
                    format!("error parsing {field} schedule {text:?}: {problem}"),
                );
            }
        }
        if self.start == self.end {
            let message = format!(
                "start and end can not have exactly same time input, both are {:?}",
                self.start
            );
            problems.error("end", &self.end, message);
        }
        target::check_positive("desiredReplicas", self.desired_replicas, problems);
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            Quantity::from_units(1),
        )]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
            .with("timezone", &self.timezone)
            .with("start", &self.start)
            .with("end", &self.end)
            .with("replicas", self.desired_replicas)
    }

    async fn connect(self, context: &Context) -> Result<CronScaler, Error> {
        Ok(CronScaler {
            window: self.window()?,
            metric_name: self.metric_name(),
            desired_replicas: self.desired_replicas,
            clock: context.clock.clone(),
        })
    }
}

/// From `start` to `end`, over and over.
#[derive(Clone, Debug)]
struct Window {
    timezone: TimeZone,
    start: Schedule,
    end: Schedule,
}

impl Window {
    /// Whether `now` is inside: the end comes no later than the next start.
    ///
    /// # Errors
    /// If one of them comes no more before the end of the calendar.
    fn contains(&self, now: &Zoned) -> Result<bool, Error> {
        let missing = || Error::invalid(format!("the schedule does not fire after {now}"));
        let start = self.start.next(now).ok_or_else(missing)?;
        let end = self.end.next(now).ok_or_else(missing)?;
        Ok(end <= start)
    }
}

/// Tells whether it is time.
#[derive(Clone, Debug)]
pub struct CronScaler {
    window: Window,
    metric_name: String,
    desired_replicas: i64,
    clock: SharedClock,
}

#[async_trait]
impl Scaler for CronScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let now = self.clock.now().to_zoned(self.window.timezone.clone());
        let inside = self.window.contains(&now)?;
        #[allow(clippy::cast_precision_loss, reason = "replicas are far fewer than 2^52")]
        let value = if inside { self.desired_replicas as f64 } else { 0.0 };
        Ok(Sample::single(&self.metric_name, value, inside))
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
