//! An explanation in words.

use jiff::Timestamp;

use super::{
    explanation::{Autoscaler, Check, Explanation, Fallback, Formula, Settings, State, Trigger},
    hpa_text, rules,
};
use crate::scaled_object::decision::Rule;

/// How many of the last decisions are shown.
const DECISIONS: usize = 10;

/// The explanation as text of a few dozen lines, the most important first.
#[must_use]
pub fn text(explained: &Explanation) -> String {
    let mut page = Page::new(explained.time);
    page.line(&format!(
        "{} {}/{} at {}",
        explained.kind,
        explained.namespace,
        explained.name,
        clock(explained.time)
    ));
    if let Some(problem) = &explained.problem {
        page.line(&format!("It does not run: {problem}"));
    }
    for note in &explained.notes {
        page.line(&format!("Note: {note}"));
    }
    page.section("Now", |page| {
        settings(page, &explained.settings);
        if let Some(check) = &explained.check {
            self::check(page, check, &explained.settings);
        }
    });
    page.section("Triggers", |page| {
        for trigger in &explained.triggers {
            self::trigger(
                page,
                trigger,
                explained.fallback.as_ref(),
                explained.kind == "ScaledJob",
            );
        }
        if let Some(formula) = &explained.formula {
            self::formula(page, formula);
        }
        if let Some(fallback) = &explained.fallback {
            self::fallback(page, fallback);
        }
    });
    if let Some(autoscaler) = &explained.autoscaler {
        page.section(&heading(autoscaler), |page| {
            hpa_text::autoscaler(page, autoscaler)
        });
    }
    page.section("Conditions", |page| {
        for condition in &explained.conditions {
            let reason = condition.reason.as_deref().unwrap_or_default();
            let message = condition.message.as_deref().unwrap_or_default();
            let mut words = format!("{} is {}", condition.type_, condition.status);
            if !reason.is_empty() {
                words.push_str(&format!(" ({reason})"));
            }
            if !message.is_empty() {
                words.push_str(&format!(": {}", without_selectors(message)));
            }
            page.line(&words);
        }
    });
    let decisions = &explained.decisions;
    page.section("Last decisions", |page| {
        for decision in &decisions[decisions.len().saturating_sub(DECISIONS)..] {
            let (from, to) = (nothing(&decision.from), nothing(&decision.to));
            page.line(&format!(
                "{} {}: {from} -> {to}: {}",
                page.ago(decision.time),
                decision.controller,
                decision.reason
            ));
        }
    });
    page.text
}

fn heading(autoscaler: &Autoscaler) -> String {
    format!("HPA {}", autoscaler.name)
}

fn nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// The lines so far.
pub(super) struct Page {
    pub(super) text: String,
    now: Timestamp,
    indented: bool,
}

impl Page {
    fn new(now: Timestamp) -> Self {
        Self {
            text: String::new(),
            now,
            indented: false,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        if self.indented {
            self.text.push_str("  ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A section that is left out if nothing is in it.
    fn section(&mut self, heading: &str, fill: impl FnOnce(&mut Self)) {
        let start = self.text.len();
        self.text.push_str(&format!("\n{heading}\n"));
        let empty = self.text.len();
        self.indented = true;
        fill(self);
        self.indented = false;
        if self.text.len() == empty {
            self.text.truncate(start);
        }
    }

    /// `12:03:04 (56 s ago)`.
    pub(super) fn ago(&self, time: Timestamp) -> String {
        let seconds = self.now.duration_since(time).as_secs();
        match seconds {
            0 => format!("{} (now)", clock(time)),
            1.. => format!("{} ({} ago)", clock(time), span(seconds)),
            _ => format!("{} (in {})", clock(time), span(-seconds)),
        }
    }

    /// Seconds from now on; negative for what is over.
    pub(super) fn left(&self, time: Timestamp) -> i64 {
        time.duration_since(self.now).as_secs()
    }
}

fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Seconds as a person says them.
pub(super) fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 if seconds % 60 == 0 => format!("{minutes} min"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn settings(page: &mut Page, settings: &Settings) {
    let mut words = Vec::new();
    if !settings.target.is_empty() {
        words.push(format!("scales {}", settings.target));
    }
    words.push(format!("min {}, max {}", settings.min, settings.max));
    if let Some(idle) = settings.idle {
        words.push(format!("{idle} when idle"));
    }
    words.push(format!("checked every {} s", settings.polling_interval));
    if let Some(cooldown) = settings.cooldown_period {
        words.push(format!("cooldown {cooldown} s"));
    }
    if let Some(initial) = settings.initial_cooldown_period.filter(|seconds| *seconds > 0) {
        words.push(format!("initial cooldown {initial} s"));
    }
    page.line(&capital(&words.join(", ")));
    for switch in &settings.switches {
        page.line(&switched(switch, settings.paused_replicas));
    }
}

fn switched(switch: &str, replicas: Option<i32>) -> String {
    match (switch, replicas) {
        ("paused", Some(replicas)) => {
            format!("PAUSED by an annotation at {replicas} replicas: it has no HPA")
        }
        ("paused", None) => "PAUSED by an annotation: it has no HPA, nothing is checked".to_owned(),
        ("pausedScaleIn", _) => "Scaling in is PAUSED by an annotation".to_owned(),
        ("pausedScaleOut", _) => "Scaling out is PAUSED by an annotation".to_owned(),
        ("forceActivation", _) => "Activation is FORCED by an annotation".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn check(page: &mut Page, check: &Check, settings: &Settings) {
    let what = if settings.target.is_empty() {
        "Jobs ran"
    } else {
        "replicas"
    };
    let found = match check.replicas {
        Some(1) if !settings.target.is_empty() => "1 replica".to_owned(),
        Some(replicas) => format!("{replicas} {what}"),
        None => format!("unknown how many {what}"),
    };
    page.line(&format!("Last check {}: {found}", page.ago(check.at)));
    if let Some(rule) = check.rule {
        page.line(&format!(
            "Rule {}: {}",
            rules::number(rule),
            rules::in_words(rule)
        ));
    }
    page.line(&format!("Because {}", check.reason));
    match (check.set, check.succeeded) {
        (Some(set), Some(false)) => page.line(&format!("It FAILED to set {set}")),
        (Some(set), _) if settings.target.is_empty() => page.line(&format!("It made {set} Jobs")),
        (Some(set), _) => page.line(&format!("It set {set}")),
        (None, _) => {}
    }
    match check.last_active {
        Some(at) => page.line(&format!("Last active {}", page.ago(at))),
        None => page.line("Never active so far"),
    }
    // While there is work the cooldown starts anew at every check, and at rest nobody waits for it.
    let counts = matches!(
        check.rule,
        Some(
            Rule::CoolingDown | Rule::RestPaused | Rule::PartlyFailing | Rule::Failing | Rule::AwaitsFallback
        )
    );
    if let Some(ends) = check.cooldown_ends.filter(|_| counts) {
        let which = if check.initial_cooldown {
            "initial cooldown"
        } else {
            "cooldown"
        };
        match page.left(ends) {
            left @ 0.. => page.line(&format!("The {which} ends in {}", span(left))),
            over => page.line(&format!("The {which} has been over for {}", span(-over))),
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Active => "ACTIVE",
        State::Inactive => "not active",
        State::Failed => "FAILED",
        State::FallenBack => "FAILED, fallback in force",
        State::LeftToHpa => "left to the HPA",
        State::Unknown => "not asked by this process",
    }
}

fn per(target_type: &str) -> &'static str {
    match target_type {
        "AverageValue" => " per replica",
        "Value" => " in total",
        _ => "",
    }
}

fn trigger(page: &mut Page, trigger: &Trigger, fallback: Option<&Fallback>, makes_jobs: bool) {
    let name = trigger
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!(" {name:?}"));
    page.line(&format!(
        "{}. {}{name}: {}",
        trigger.index,
        trigger.trigger_type,
        word(trigger.state)
    ));
    for metric in &trigger.metrics {
        let mut words = vec![metric.name.clone()];
        if let Some(value) = &metric.value {
            words.push(format!("value {}", plain(value)));
        }
        if let Some(target) = &metric.target {
            words.push(format!("target {}{}", plain(target), per(&metric.target_type)));
        }
        if let Some(reported) = &metric.reported_instead {
            words.push(format!("the HPA is told {} instead", plain(reported)));
        }
        page.line(&format!("   {}", words.join(", ")));
    }
    if let Some(activation) = &trigger.activation {
        page.line(&format!("   active above {activation}"));
    }
    if let Some(error) = &trigger.error {
        let since = trigger
            .failing_since
            .map_or_else(String::new, |since| format!(" since {}", page.ago(since)));
        page.line(&format!("   failing{since}: {error}"));
        let borne = fallback.map_or_else(
            || match makes_jobs {
                true => "it counts as no work".to_owned(),
                false => "there is no fallback".to_owned(),
            },
            |fallback| match trigger.failures > fallback.failure_threshold {
                true => format!(
                    "more than the {} that the fallback bears",
                    fallback.failure_threshold
                ),
                false => format!("the fallback bears {}", fallback.failure_threshold),
            },
        );
        let failures = match (trigger.failures, fallback) {
            // Not counted any further.
            (failures, None) if !makes_jobs => format!("at least {failures}"),
            (failures, Some(fallback)) if failures > fallback.failure_threshold => {
                format!("at least {failures}")
            }
            (failures, _) => failures.to_string(),
        };
        page.line(&format!("   {failures} failures in a row; {borne}"));
    }
    if let Some(at) = trigger.sampled_at {
        let how = match trigger.cached {
            _ if makes_jobs => "every check takes a fresh one",
            true => "the HPA gets the last poll's sample (useCachedMetrics)",
            false => "the HPA gets a fresh one when it asks",
        };
        page.line(&format!("   sampled {}; {how}", page.ago(at)));
    }
}

fn formula(page: &mut Page, formula: &Formula) {
    let inputs: Vec<_> = formula
        .inputs
        .iter()
        .map(|(name, value)| {
            format!(
                "{name} = {}",
                value.as_deref().map_or_else(|| "nil".to_owned(), plain)
            )
        })
        .collect();
    page.line(&format!("Formula {}: {}", formula.formula, word(formula.state)));
    page.line(&format!("   with {}", inputs.join(", ")));
    if let Some(result) = &formula.result {
        page.line(&format!(
            "   comes to {}, target {}{}, active above {}",
            plain(result),
            formula.target,
            per(&formula.target_type),
            formula.activation_target
        ));
    }
    if let Some(problem) = &formula.problem {
        page.line(&format!("   comes to nothing: {problem}"));
    }
    if let Some(reported) = &formula.reported_instead {
        page.line(&format!("   the HPA is told {reported} instead"));
    }
}

fn fallback(page: &mut Page, fallback: &Fallback) {
    let state = if fallback.in_force {
        "IN FORCE"
    } else {
        "not in force"
    };
    let comes_to = fallback
        .comes_to
        .filter(|_| fallback.in_force)
        .map_or_else(String::new, |to| format!(", which comes to {to}"));
    page.line(&format!(
        "Fallback {state}: after more than {} failures in a row {} replicas (behavior {}){comes_to}",
        fallback.failure_threshold, fallback.replicas, fallback.behavior
    ));
}

/// The message of an HPA without the labels that it prints in Go's form.
fn without_selectors(message: &str) -> String {
    let mut parts = message.split("(&LabelSelector{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once("})").map_or("", |(_, rest)| rest));
    }
    text
}

/// A quantity as a number where it has thousandths: 6.5 for 6500m.
pub(super) fn plain(quantity: &str) -> String {
    let thousandths = quantity
        .strip_suffix('m')
        .and_then(|text| text.parse::<i64>().ok());
    thousandths.map_or_else(
        || quantity.to_owned(),
        |millis| (millis as f64 / 1000.0).to_string(),
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_said_as_a_person_says_them() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (150, "2 min 30 s"),
            (7_260, "2 h 1 min"),
            (100_000, "1 d 3 h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
        for (quantity, expected) in [("6500m", "6.5"), ("12", "12"), ("1Ki", "1Ki"), ("50%", "50%")] {
            assert_eq!(plain(quantity), expected);
        }
        let message = "from external metric s0-x(&LabelSelector{MatchLabels:map[a: b],}) above";
        assert_eq!(without_selectors(message), "from external metric s0-x above");
    }

    #[test]
    fn an_explanation_without_anything_is_short() {
        let empty = Explanation {
            kind: "ScaledObject".to_owned(),
            namespace: "a".to_owned(),
            name: "b".to_owned(),
            problem: Some("its target is missing".to_owned()),
            ..Explanation::default()
        };
        assert_eq!(
            text(&empty),
            "ScaledObject a/b at 1970-01-01 00:00:00Z\nIt does not run: its target is missing\n\nNow\n  \
             Min 0, max 0, checked every 0 s\n"
        );
    }
}
