//! What an HPA did, in words.

use super::{
    explanation::{Autoscaler, HpaCondition, Origin},
    text::{Page, plain, span},
};
use crate::hpa::explain::{Computation, Direction, Limit, MetricComputation, Stabilization};

pub(super) fn autoscaler(page: &mut Page, hpa: &Autoscaler) {
    if !hpa.exists {
        page.line("There is none");
        return;
    }
    let replicas = if hpa.current == 1 { "replica" } else { "replicas" };
    page.line(&format!(
        "{} {replicas} at its last run, wants {} (min {}, max {})",
        hpa.current, hpa.desired, hpa.min, hpa.max
    ));
    if let Some(at) = hpa.last_scale_time {
        page.line(&format!("Last changed the number {}", page.ago(at)));
    }
    for condition in &hpa.conditions {
        page.line(&self::condition(condition));
    }
    let Some(computation) = &hpa.computation else {
        return;
    };
    page.line(&match hpa.origin {
        Origin::Computed => format!("Its last run, {}:", page.ago(computation.at)),
        Origin::Inferred => "Its last run, inferred from its status and what was watched of it:".to_owned(),
    });
    self::computation(page, computation);
    for difference in &hpa.differences {
        page.line(&format!("  inferred otherwise than reported: {difference}"));
    }
}

/// A condition with what it means in practice.
#[must_use]
pub(super) fn condition(condition: &HpaCondition) -> String {
    let HpaCondition {
        condition_type,
        status,
        reason,
        message,
        ..
    } = condition;
    let meaning = match (condition_type.as_str(), status.as_str(), reason.as_str()) {
        ("AbleToScale", "True", "ScaleDownStabilized") => {
            "it may scale, but holds a recent higher recommendation"
        }
        ("AbleToScale", "True", "ScaleUpStabilized") => {
            "it may scale, but holds a recent lower recommendation"
        }
        ("AbleToScale", "True", "ReadyForNewScale") => "it may scale, and nothing holds it back",
        ("AbleToScale", "True", "SucceededRescale") => "it has just changed the number",
        ("AbleToScale", "True", _) => "it can read and write the target's scale",
        ("AbleToScale", ..) => "it can NOT read or write the target's scale",
        ("ScalingActive", "True", _) => "it has at least one metric to scale by",
        ("ScalingActive", _, "ScalingDisabled") => {
            "the target is at 0, so it does nothing until the target is woken"
        }
        ("ScalingActive", ..) => "it can NOT compute a number, so it keeps the replicas as they are",
        ("ScalingLimited", "True", "ScaleUpLimit") => {
            "it wants more, but its policies allow no faster growth"
        }
        ("ScalingLimited", "True", "ScaleDownLimit") => {
            "it wants fewer, but its policies allow no faster decline"
        }
        ("ScalingLimited", "True", "TooManyReplicas") => "it wants more than maxReplicas",
        ("ScalingLimited", "True", "TooFewReplicas") => "it wants fewer than minReplicas",
        ("ScalingLimited", "True", _) => "a limit changed the number",
        ("ScalingLimited", ..) => "no limit changes the number",
        _ => message,
    };
    let said = match status.as_str() {
        // What went wrong is in the message only.
        "True" => String::new(),
        _ if message.is_empty() || condition_type == "ScalingLimited" || reason == "ScalingDisabled" => {
            String::new()
        }
        _ => format!(": {message}"),
    };
    format!("{condition_type} {status} ({reason}): {meaning}{said}")
}

fn computation(page: &mut Page, computation: &Computation) {
    for metric in &computation.metrics {
        page.line(&format!("  {}", self::metric(metric, computation.current)));
    }
    if let Some(held) = &computation.held {
        page.line(&format!("  kept {}: {held}", computation.current));
        return;
    }
    if let Some(proposed) = computation.proposed
        && computation.metrics.len() > 1
    {
        page.line(&format!("  together they ask for {proposed}, the largest"));
    }
    if let Some(stabilization) = &computation.stabilization {
        page.line(&format!("  {}", self::stabilization(page, stabilization)));
    }
    if let Some(limit) = &computation.limit {
        for line in self::limit(page, limit) {
            page.line(&format!("  {line}"));
        }
    }
    if computation.desired == computation.current {
        page.line(&format!("  so {} stay", computation.current));
    } else {
        page.line(&format!(
            "  so {} become {}",
            computation.current, computation.desired
        ));
    }
}

fn metric(metric: &MetricComputation, current: i32) -> String {
    if let Some(error) = &metric.error {
        return format!("{}: cannot be read: {error}", metric.name);
    }
    let unit = match metric.target_type.as_str() {
        "AverageValue" => " per replica",
        "Value" => " in total",
        _ => "",
    };
    let mut words = format!("{}:", metric.name);
    if let (Some(current), Some(target)) = (&metric.current, &metric.target) {
        words.push_str(&format!(" {} of {}{unit}", plain(current), plain(target)));
    }
    if let Some(ratio) = metric.ratio {
        words.push_str(&format!(", ratio {ratio:.2}"));
    }
    let Some(asks) = metric.asks else { return words };
    if metric.within_tolerance {
        let tolerance = match metric.ratio {
            Some(ratio) if ratio < 1.0 => metric.tolerance_down,
            _ => metric.tolerance_up,
        };
        words.push_str(&format!(
            ", within the tolerance of {}%: no change, {asks}",
            (tolerance * 1000.0).round() / 10.0
        ));
    } else if asks == current {
        words.push_str(&format!(", asks for {asks} as there are"));
    } else {
        words.push_str(&format!(", asks for {asks}"));
    }
    words
}

fn stabilization(page: &Page, found: &Stabilization) -> String {
    let (Some(held), Some(window)) = (found.held, found.window_seconds) else {
        return format!("stabilisation: nothing holds {} back", found.asked);
    };
    let (which, kind) = match held {
        Direction::Down => ("scaling down", "highest"),
        Direction::Up => ("scaling up", "lowest"),
    };
    let mut words = format!(
        "stabilisation: {} is held back at {}, the {kind} recommendation of the {} window of {}",
        found.asked,
        found.replicas,
        which,
        span(window)
    );
    if let Some(until) = found.until {
        words.push_str(&format!(", until {}", page.ago(until)));
        if let Some(then) = found.then.filter(|then| *then != found.replicas) {
            words.push_str(&format!(", then {then}"));
        }
        words.push_str(" if it is not asked for again");
    }
    words
}

fn limit(page: &Page, found: &Limit) -> Vec<String> {
    let direction = match found.direction {
        Some(Direction::Down) => "down",
        _ => "up",
    };
    if found.disabled {
        return vec![format!(
            "scaling {direction} is switched off (selectPolicy Disabled)"
        )];
    }
    if !found.is_limited() {
        return vec![format!("limits: {} is within all of them", found.asked)];
    }
    let (asked, replicas) = (found.asked, found.replicas);
    let why = match found.reason.as_str() {
        "TooManyReplicas" => "maxReplicas",
        "TooFewReplicas" => "minReplicas",
        _ if found.policies.is_empty() => "one step at most doubles, or goes to 4",
        _ => "the policies",
    };
    let mut lines = vec![format!("limits: {asked} is cut to {replicas} by {why}")];
    if matches!(found.reason.as_str(), "TooManyReplicas" | "TooFewReplicas") {
        return lines;
    }
    for policy in &found.policies {
        let unit = if policy.policy_type == "Pods" {
            " pods"
        } else {
            "%"
        };
        lines.push(format!(
            "  {} {}{unit} in {}: {} pods of change in that time, allows {}{}",
            direction,
            policy.value,
            span(i64::from(policy.period_seconds)),
            policy.used,
            policy.allows,
            if policy.counts { ", counts" } else { "" }
        ));
    }
    if let Some(more) = found.more_at {
        lines.push(format!("  more is allowed {}", page.ago(more)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn conditions_say_what_they_mean_in_practice() {
        let cases = [
            (
                "AbleToScale",
                "True",
                "ReadyForNewScale",
                "it may scale, and nothing holds it back",
            ),
            (
                "AbleToScale",
                "True",
                "ScaleDownStabilized",
                "it may scale, but holds a recent higher recommendation",
            ),
            (
                "AbleToScale",
                "True",
                "ScaleUpStabilized",
                "it may scale, but holds a recent lower recommendation",
            ),
            (
                "AbleToScale",
                "True",
                "SucceededRescale",
                "it has just changed the number",
            ),
            (
                "AbleToScale",
                "False",
                "FailedGetScale",
                "it can NOT read or write the target's scale: why",
            ),
            (
                "ScalingActive",
                "True",
                "ValidMetricFound",
                "it has at least one metric to scale by",
            ),
            (
                "ScalingActive",
                "False",
                "ScalingDisabled",
                "the target is at 0, so it does nothing until the target is woken",
            ),
            (
                "ScalingActive",
                "False",
                "FailedGetExternalMetric",
                "it can NOT compute a number, so it keeps the replicas as they are: why",
            ),
            (
                "ScalingLimited",
                "False",
                "DesiredWithinRange",
                "no limit changes the number",
            ),
            (
                "ScalingLimited",
                "True",
                "TooManyReplicas",
                "it wants more than maxReplicas",
            ),
            (
                "ScalingLimited",
                "True",
                "TooFewReplicas",
                "it wants fewer than minReplicas",
            ),
            (
                "ScalingLimited",
                "True",
                "ScaleDownLimit",
                "it wants fewer, but its policies allow no faster decline",
            ),
        ];
        for (condition_type, status, reason, expected) in cases {
            let said = condition(&HpaCondition {
                condition_type: condition_type.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: "why".to_owned(),
                since: None,
            });
            assert_eq!(said, format!("{condition_type} {status} ({reason}): {expected}"));
        }
    }

    #[test]
    fn a_metric_says_what_it_asks_for_and_why_not() {
        let metric = |ratio: f64, asks: i32, within: bool| MetricComputation {
            name: "s0-x".to_owned(),
            current: Some("6500m".to_owned()),
            target: Some("5".to_owned()),
            target_type: "AverageValue".to_owned(),
            ratio: Some(ratio),
            tolerance_down: 0.05,
            tolerance_up: 0.1,
            within_tolerance: within,
            asks: Some(asks),
            error: None,
        };
        let cases = [
            (
                metric(1.3, 3, false),
                "s0-x: 6.5 of 5 per replica, ratio 1.30, asks for 3",
            ),
            (
                metric(1.3, 2, false),
                "s0-x: 6.5 of 5 per replica, ratio 1.30, asks for 2 as there are",
            ),
            (
                metric(1.05, 2, true),
                "s0-x: 6.5 of 5 per replica, ratio 1.05, within the tolerance of 10%: no change, 2",
            ),
            (
                metric(0.97, 2, true),
                "s0-x: 6.5 of 5 per replica, ratio 0.97, within the tolerance of 5%: no change, 2",
            ),
        ];
        for (metric, expected) in cases {
            assert_eq!(self::metric(&metric, 2), expected);
        }
        let failed = MetricComputation {
            error: Some("down".to_owned()),
            ..metric(1.0, 2, true)
        };
        assert_eq!(self::metric(&failed, 2), "s0-x: cannot be read: down");
    }
}
