//! Why a number of replicas was chosen, for whoever reads it at night: what was measured, what was wanted, what held it
//! back.

use scaler_api::Quantity;

use crate::hpa::{
    Outcome, Spec,
    pods::ConditionStatus,
    spec::Metric,
    status::{ConditionType, MetricStatus},
};

/// The reason of the event without the selector of the metric, and the numbers that the event does not have.
pub(super) fn in_words(spec: &Spec, outcome: &Outcome, reason: &str) -> String {
    let mut text = if reason.is_empty() {
        outcome.able_to_scale().to_owned()
    } else {
        without_selector(reason)
    };
    let measured = outcome.status.current_metrics.iter().flatten();
    let measured: Vec<(&str, String)> = spec
        .metrics
        .iter()
        .zip(measured)
        .filter_map(|(metric, status)| reading(metric, status))
        .collect();
    match measured.as_slice() {
        [] => {}
        // The reason names the only metric there is.
        [(name, only)] if text.contains(name) => text.push_str(&format!(" ({only})")),
        several => {
            let several = several.iter().map(|(name, one)| format!("{name}: {one}"));
            text.push_str(&format!(" ({})", several.collect::<Vec<_>>().join("; ")));
        }
    }
    let limited = outcome
        .status
        .condition(ConditionType::ScalingLimited)
        .filter(|limited| limited.status == ConditionStatus::True);
    if let Some(limited) = limited {
        text.push_str("; limited: ");
        text.push_str(&limited.message);
    }
    text
}

/// `s0-x(&LabelSelector{...}) above target` without what stands in the brackets.
fn without_selector(reason: &str) -> String {
    match reason.split_once("(&LabelSelector{") {
        Some((name, rest)) => {
            let rest = rest.rsplit_once("})").map_or("", |(_, rest)| rest);
            format!("{name}{rest}")
        }
        None => reason.to_owned(),
    }
}

/// What an external metric was and what it should be.
fn reading<'a>(metric: &'a Metric, status: &MetricStatus) -> Option<(&'a str, String)> {
    let (Metric::External(metric), Some(status)) = (metric, &status.external) else {
        return None;
    };
    let number = |quantity: &Quantity| quantity.as_f64();
    let target = |millis: i64| millis as f64 / 1000.0;
    let text = match (&status.current.average_value, metric.target.average_value) {
        (Some(current), Some(wanted)) => {
            format!("{} per replica, target {}", number(current), target(wanted))
        }
        _ => {
            let (current, wanted) = (status.current.value.as_ref()?, metric.target.value?);
            format!("{}, target {}", number(current), target(wanted))
        }
    };
    Some((metric.metric.name.as_str(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_of_a_metric_is_left_out() {
        for (reason, expected) in [
            (
                "external metric s0-x(&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}) above target",
                "external metric s0-x above target",
            ),
            (
                "external metric s0-x(nil) above target",
                "external metric s0-x(nil) above target",
            ),
            ("All metrics below target", "All metrics below target"),
        ] {
            assert_eq!(without_selector(reason), expected);
        }
    }
}
