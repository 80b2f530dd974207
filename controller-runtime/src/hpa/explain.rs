//! One run of the algorithm step by step, for whoever asks why.
//!
//! [`explain`] does what [`decide`](super::decide) does on a copy of the state, and keeps what every step came to. It
//! writes nothing and remembers nothing, so it can be asked at any time, about a run that was made or one that is
//! supposed.

use jiff::{SignedDuration, Timestamp};
use scaler_api::Quantity;
use serde::{Deserialize, Serialize};

use super::{
    behavior::{
        Bounds, Explained, ScaleEvent, State, change_within, normalize, scale_down_limit, scale_up_limit,
    },
    metrics::{MetricContext, Reading},
    reconcile::{Input, tolerances},
    replicas::Tolerances,
    sources,
    spec::{Metric, Policy, PolicyType, ScalingRules, SelectPolicy, Target, TargetType},
    status::{MetricStatus, MetricValueStatus},
};

/// What one run came to, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Computation {
    /// The time of the run.
    pub at: Timestamp,
    /// The replicas that the target asked for then.
    pub current: i32,
    /// Every metric, in the order of the specification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricComputation>,
    /// What the metrics ask for together, before windows, rates and bounds; none where they were not asked, or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<i32>,
    /// Why the metrics were not asked, or why nothing could be computed from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// What the stabilisation windows made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilization: Option<Stabilization>,
    /// What rates and bounds made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The replicas that come of it.
    pub desired: i32,
}

/// What one metric asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricComputation {
    /// Its name; for resources `cpu`, or `cpu of container app`.
    pub name: String,
    /// What was measured, as a quantity, or in percent of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What it should be, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of which kind both are: `AverageValue` (per replica), `Value` (in total) or `Utilization` (percent of requests).
    pub target_type: String,
    /// What was measured over what it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// How far below 1 the ratio may be without a change.
    pub tolerance_down: f64,
    /// How far above 1 the ratio may be without a change.
    pub tolerance_up: f64,
    /// Whether the ratio is so near to 1 that the metric asks for no change.
    pub within_tolerance: bool,
    /// The replicas that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<i32>,
    /// Why it asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// More replicas.
    Up,
    /// Fewer replicas.
    Down,
}

/// What the stabilisation windows came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stabilization {
    /// `ReadyForNewScale`, `ScaleUpStabilized` or `ScaleDownStabilized`.
    pub reason: String,
    /// The replicas that went in.
    pub asked: i32,
    /// The replicas that came out.
    pub replicas: i32,
    /// If they differ: which way the window held it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Direction>,
    /// The window of that direction, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<i64>,
    /// When the recommendation that holds it back was last made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_at: Option<Timestamp>,
    /// When that leaves the window, if it is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What the windows would let through then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<i32>,
}

/// What rates and bounds came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// `DesiredWithinRange`, `TooFewReplicas`, `TooManyReplicas`, `ScaleUpLimit` or `ScaleDownLimit`.
    pub reason: String,
    /// The replicas that went in.
    pub asked: i32,
    /// The replicas that came out.
    pub replicas: i32,
    /// The direction of the change that was asked for; none where it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Whether that direction is switched off.
    pub disabled: bool,
    /// Which policy of that direction counts: `Max` allows the most change, `Min` the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// The policies of that direction; none where there is no `behavior`: then one step at most doubles, or goes to 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyUse>,
    /// When the rate allows more, if it was the rate that limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_at: Option<Timestamp>,
}

impl Limit {
    /// Whether the number was changed.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.asked != self.replicas
    }
}

/// One policy, and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyUse {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub policy_type: String,
    /// So many.
    pub value: i32,
    /// In so many seconds.
    pub period_seconds: i32,
    /// By how many pods the number changed in that direction within the period before the run.
    pub used: i32,
    /// How far the number may go.
    pub allows: i32,
    /// Whether it is the one that counts.
    pub counts: bool,
}

/// What a run with this input and this state before it comes to.
#[must_use]
pub fn explain(input: &Input<'_>, state: &State, now: Timestamp) -> Computation {
    let mut after = state.clone();
    let outcome = super::decide(input, &mut after, now);
    let current = input.scale.spec_replicas;
    let mut computation = Computation {
        at: now,
        current,
        metrics: Vec::new(),
        proposed: None,
        held: None,
        stabilization: None,
        limit: None,
        desired: outcome.rescale.as_ref().map_or(current, |rescale| rescale.to),
    };
    if !Input::needs_metrics(input.spec, input.scale) {
        computation.held = Some(not_asked(input));
        return computation;
    }
    computation.metrics = metrics(input, now);
    let asked = computation.metrics.iter().filter_map(|metric| metric.asks);
    let most = asked.max();
    // While a metric fails, the others may scale up but not down.
    if let Some(error) = &outcome.error
        && (most.is_none() || most.is_some_and(|most| most < current))
    {
        computation.held = Some(error.clone());
        return computation;
    }
    let Some(proposed) = most.map(|most| most.max(0)) else {
        return computation;
    };
    computation.proposed = Some(proposed);
    let mut before = state.clone();
    before.seed(current, now);
    let bounds = Bounds {
        min: input.spec.min_replicas(),
        max: input.spec.max_replicas,
        current,
    };
    let behavior = input.spec.behavior.as_ref();
    let normalized = normalize(proposed, bounds, behavior, input.config, &mut before.clone(), now);
    computation.stabilization = Some(stabilization(
        proposed,
        current,
        normalized.stabilized,
        input,
        &before,
        now,
    ));
    computation.limit = Some(limit(
        normalized.stabilized.replicas,
        current,
        normalized.limited,
        input,
        &before,
        now,
    ));
    computation.desired = normalized.limited.replicas;
    computation
}

fn not_asked(input: &Input<'_>) -> String {
    let (spec, current) = (input.spec, input.scale.spec_replicas);
    if current > spec.max_replicas {
        format!("{current} replicas are above maxReplicas {}", spec.max_replicas)
    } else if current == 0 {
        "the target is at 0 replicas, which switches the HPA off".to_owned()
    } else {
        format!("{current} replicas are below minReplicas {}", spec.min_replicas())
    }
}

fn metrics(input: &Input<'_>, now: Timestamp) -> Vec<MetricComputation> {
    let tolerances = tolerances(input.spec.behavior.as_ref(), input.config);
    let context = MetricContext {
        namespace: input.namespace,
        spec_replicas: input.scale.spec_replicas,
        status_replicas: input.scale.status_replicas,
        pods: input.pods,
        tolerances,
        config: input.config,
        now,
    };
    let unread = Reading::Failed("the metric was not read".to_owned());
    let computed = input.spec.metrics.iter().enumerate().map(|(index, metric)| {
        let reading = input.readings.get(index).unwrap_or(&unread);
        let (name, target) = identify(metric);
        let mut computation = MetricComputation {
            name,
            target: target.and_then(in_target_form),
            target_type: target.map_or_else(String::new, |target| {
                format!("{:?}", form(target).unwrap_or_default())
            }),
            tolerance_down: tolerances.scale_down,
            tolerance_up: tolerances.scale_up,
            ..MetricComputation::default()
        };
        match sources::propose(metric, reading, &context) {
            Ok(proposal) => {
                computation.asks = Some(proposal.replicas);
                computation.current = measured(&proposal.status).and_then(|(_, current)| current);
                computation.ratio = ratio(target, reading, &proposal.status, input.scale.status_replicas);
                computation.within_tolerance = is_within(computation.ratio, tolerances);
            }
            Err(invalid) => computation.error = Some(invalid.error),
        }
        computation
    });
    computed.collect()
}

fn is_within(ratio: Option<f64>, tolerances: Tolerances) -> bool {
    ratio.is_some_and(|ratio| tolerances.contain(ratio))
}

fn identify(metric: &Metric) -> (String, Option<&Target>) {
    match metric {
        Metric::External(metric) => (metric.metric.name.clone(), Some(&metric.target)),
        Metric::Object(metric) => (metric.metric.name.clone(), Some(&metric.target)),
        Metric::Pods(metric) => (metric.metric.name.clone(), Some(&metric.target)),
        Metric::Resource(metric) => (metric.name.clone(), Some(&metric.target)),
        Metric::ContainerResource(metric) => {
            let name = format!("{} of container {}", metric.name, metric.container);
            (name, Some(&metric.target))
        }
        Metric::Unknown(metric_type) => (metric_type.clone(), None),
    }
}

fn form(target: &Target) -> Option<TargetType> {
    if target.average_utilization.is_some() {
        Some(TargetType::Utilization)
    } else if target.average_value.is_some() {
        Some(TargetType::AverageValue)
    } else {
        target.value.map(|_| TargetType::Value)
    }
}

fn in_target_form(target: &Target) -> Option<String> {
    if let Some(percent) = target.average_utilization {
        return Some(format!("{percent}%"));
    }
    let millis = target.average_value.or(target.value)?;
    Some(Quantity::from_millis(millis).to_string())
}

/// The measured number, and as it is shown.
fn measured(status: &MetricStatus) -> Option<(f64, Option<String>)> {
    let current: &MetricValueStatus = status
        .external
        .as_ref()
        .map(|metric| &metric.current)
        .or(status.object.as_ref().map(|metric| &metric.current))
        .or(status.pods.as_ref().map(|metric| &metric.current))
        .or(status.resource.as_ref().map(|metric| &metric.current))
        .or(status.container_resource.as_ref().map(|metric| &metric.current))?;
    if let Some(percent) = current.average_utilization {
        return Some((f64::from(percent), Some(format!("{percent}%"))));
    }
    let quantity = current.average_value.as_ref().or(current.value.as_ref())?;
    // With no replicas there is no average.
    let shown = (quantity.milli_value() != i64::MIN).then(|| quantity.to_string());
    Some((quantity.as_f64(), shown))
}

/// Of an external metric exactly as the algorithm has it, since the reported average is rounded up.
fn ratio(target: Option<&Target>, reading: &Reading, status: &MetricStatus, replicas: i32) -> Option<f64> {
    let target = target?;
    if let (Reading::External(values), None) = (reading, target.average_utilization) {
        let usage: f64 = values.iter().map(|value| *value as f64).sum();
        let ratio = match (target.average_value, target.value) {
            (Some(average), _) => usage / (average as f64 * f64::from(replicas)),
            (None, Some(total)) => usage / total as f64,
            (None, None) => return None,
        };
        return ratio.is_finite().then_some(ratio);
    }
    let wanted = match target.average_utilization {
        Some(percent) => f64::from(percent),
        None => target.average_value.or(target.value)? as f64 / 1000.0,
    };
    let (current, _) = measured(status)?;
    Some(current / wanted).filter(|ratio| ratio.is_finite())
}

fn stabilization(
    asked: i32,
    current: i32,
    stabilized: Explained,
    input: &Input<'_>,
    state: &State,
    now: Timestamp,
) -> Stabilization {
    let mut explained = Stabilization {
        reason: stabilized.reason.to_owned(),
        asked,
        replicas: stabilized.replicas,
        held: None,
        window_seconds: None,
        recommended_at: None,
        until: None,
        then: None,
    };
    let held = match stabilized.reason {
        "ScaleDownStabilized" => Direction::Down,
        "ScaleUpStabilized" => Direction::Up,
        _ => return explained,
    };
    let behavior = input.spec.behavior.as_ref();
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    let window = match held {
        Direction::Down => behavior
            .and_then(|behavior| behavior.scale_down.stabilization_window_seconds)
            .map_or(input.config.downscale_stabilization, seconds),
        Direction::Up => behavior
            .and_then(|behavior| behavior.scale_up.stabilization_window_seconds)
            .map_or(SignedDuration::ZERO, seconds),
    };
    let recent = || {
        let all = state.recommendations.iter().flatten();
        all.filter(|recommendation| now.duration_since(recommendation.time) <= window)
    };
    let holds = |replicas: i32| match held {
        Direction::Down => replicas >= stabilized.replicas,
        Direction::Up => replicas <= stabilized.replicas,
    };
    let last = recent()
        .filter(|recommendation| holds(recommendation.replicas))
        .map(|recommendation| recommendation.time)
        .max();
    explained.held = Some(held);
    explained.window_seconds = Some(window.as_secs());
    explained.recommended_at = last;
    explained.until = last.map(|last| last.saturating_add(window).unwrap_or(Timestamp::MAX));
    let later = recent()
        .filter(|recommendation| Some(recommendation.time) > last)
        .map(|recommendation| recommendation.replicas);
    explained.then = Some(match held {
        Direction::Down => later.fold(asked, i32::max).min(current),
        Direction::Up => later.fold(asked, i32::min).max(current),
    });
    explained
}

fn limit(
    asked: i32,
    current: i32,
    limited: Explained,
    input: &Input<'_>,
    state: &State,
    now: Timestamp,
) -> Limit {
    let direction = match asked.cmp(&current) {
        std::cmp::Ordering::Greater => Some(Direction::Up),
        std::cmp::Ordering::Less => Some(Direction::Down),
        std::cmp::Ordering::Equal => None,
    };
    let mut explained = Limit {
        reason: limited.reason.to_owned(),
        asked,
        replicas: limited.replicas,
        direction,
        disabled: false,
        select: None,
        policies: Vec::new(),
        more_at: None,
    };
    let by_rate = matches!(limited.reason, "ScaleUpLimit" | "ScaleDownLimit");
    let (Some(direction), Some(behavior)) = (direction, &input.spec.behavior) else {
        explained.more_at = by_rate.then(|| now.saturating_add(input.config.sync_period).unwrap_or(now));
        return explained;
    };
    let (rules, events) = match direction {
        Direction::Up => (&behavior.scale_up, &state.scale_up_events),
        Direction::Down => (&behavior.scale_down, &state.scale_down_events),
    };
    explained.disabled = rules.select_policy == SelectPolicy::Disabled;
    explained.select = Some(format!("{:?}", rules.select_policy));
    if explained.disabled {
        return explained;
    }
    let allowed = |rules: &ScalingRules| match direction {
        Direction::Up => scale_up_limit(current, rules, state, now),
        Direction::Down => scale_down_limit(current, rules, state, now),
    };
    let counted = allowed(rules);
    for policy in &rules.policies {
        let alone = ScalingRules {
            policies: vec![*policy],
            ..rules.clone()
        };
        let allows = allowed(&alone);
        explained.policies.push(PolicyUse {
            policy_type: match policy.policy_type {
                PolicyType::Pods => "Pods".to_owned(),
                PolicyType::Percent => "Percent".to_owned(),
            },
            value: policy.value,
            period_seconds: policy.period_seconds,
            used: change_within(policy.period_seconds, events, now),
            allows,
            counts: allows == counted && !explained.policies.iter().any(|other| other.counts),
        });
    }
    if by_rate {
        let counting = explained.policies.iter().position(|policy| policy.counts);
        let policy = counting.and_then(|index| rules.policies.get(index));
        explained.more_at = policy.map(|policy| more_at(policy, events, now));
    }
    explained
}

/// When the oldest change that counts leaves the period of a policy; where there is none, this run's change will.
fn more_at(policy: &Policy, events: &[ScaleEvent], now: Timestamp) -> Timestamp {
    let period = SignedDuration::from_secs(i64::from(policy.period_seconds));
    let recent = events
        .iter()
        .map(|event| event.time)
        .filter(|time| now.duration_since(*time) < period);
    let first = recent.min().unwrap_or(now);
    first.saturating_add(period).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::hpa::{Config, Scale, Spec, Status, behavior::Recommendation};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec(behavior: &Value) -> Spec {
        Spec::from_value(&json!({
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 20,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "s0-x"}, "target": {"type": "AverageValue", "averageValue": "5"},
            }}],
            "behavior": behavior,
        }))
        .unwrap()
    }

    fn run(behavior: &Value, replicas: i32, value: i64, state: &State, now: i64) -> Computation {
        run_on(behavior, replicas, &[Reading::External(vec![value])], state, now)
    }

    fn run_on(behavior: &Value, replicas: i32, readings: &[Reading], state: &State, now: i64) -> Computation {
        let spec = spec(behavior);
        let scale = Scale {
            spec_replicas: replicas,
            status_replicas: replicas,
            selector: "app=web".to_owned(),
        };
        let input = Input {
            namespace: "default",
            spec: &spec,
            status: &Status::default(),
            scale: &scale,
            pods: &[],
            controllers: &[],
            readings,
            config: &Config::default(),
        };
        let explained = explain(&input, state, at(now));
        // What is explained is what would be done.
        let done = crate::hpa::decide(&input, &mut state.clone(), at(now));
        assert_eq!(
            explained.desired,
            done.rescale.map_or(replicas, |rescale| rescale.to)
        );
        explained
    }

    fn recommended(recommendations: &[(i32, i64)]) -> State {
        let of = |(replicas, time): &(i32, i64)| Recommendation {
            replicas: *replicas,
            time: at(*time),
        };
        State {
            recommendations: Some(recommendations.iter().map(of).collect()),
            ..State::default()
        }
    }

    #[test]
    fn a_ratio_within_the_tolerance_asks_for_no_change() {
        for (value, within, asks) in [(10_900, true, 2), (11_100, false, 3), (9_100, true, 2)] {
            let found = run(&Value::Null, 2, value, &State::default(), 100);
            let metric = &found.metrics[0];
            assert_eq!(
                (metric.within_tolerance, metric.asks),
                (within, Some(asks)),
                "{value}"
            );
            assert_eq!(
                (metric.target.as_deref(), metric.target_type.as_str()),
                (Some("5"), "AverageValue")
            );
        }
    }

    #[test]
    fn a_recommendation_is_held_until_it_leaves_the_window() {
        let state = recommended(&[(8, 100), (6, 160), (2, 175)]);
        let found = run(&Value::Null, 8, 10_000, &state, 190).stabilization.unwrap();
        assert_eq!(
            (found.asked, found.replicas, found.held, found.window_seconds),
            (2, 8, Some(Direction::Down), Some(300))
        );
        assert_eq!(
            (found.recommended_at, found.until, found.then),
            (Some(at(100)), Some(at(400)), Some(6))
        );
        let up = json!({"scaleUp": {"stabilizationWindowSeconds": 60}});
        let found = run(&up, 2, 50_000, &recommended(&[(2, 100), (10, 130)]), 145)
            .stabilization
            .unwrap();
        assert_eq!(
            (found.held, found.until, found.then),
            (Some(Direction::Up), Some(at(160)), Some(10))
        );
    }

    #[test]
    fn a_policy_says_what_is_used_of_it_and_when_there_is_more() {
        let behavior = json!({"scaleUp": {"policies": [
            {"type": "Pods", "value": 2, "periodSeconds": 60},
            {"type": "Percent", "value": 10, "periodSeconds": 60},
        ]}});
        let mut state = recommended(&[(10, 50)]);
        state.scale_up_events.push(ScaleEvent::new(2, at(80)));
        let found = run(&behavior, 5, 50_000, &state, 100).limit.unwrap();
        assert_eq!(
            (found.reason.as_str(), found.replicas, found.more_at),
            ("ScaleUpLimit", 5, Some(at(140)))
        );
        let policies: Vec<_> = found
            .policies
            .iter()
            .map(|p| (p.used, p.allows, p.counts))
            .collect();
        assert_eq!(policies, [(2, 5, true), (2, 4, false)]);
        let fresh = run(&behavior, 5, 50_000, &recommended(&[(10, 50)]), 100)
            .limit
            .unwrap();
        assert_eq!((fresh.replicas, fresh.more_at), (7, Some(at(160))));
    }

    #[test]
    fn without_behaviour_one_step_doubles_and_bounds_hold() {
        let found = run(&Value::Null, 3, 50_000, &State::default(), 100)
            .limit
            .unwrap();
        assert_eq!(
            (found.reason.as_str(), found.replicas, found.more_at),
            ("ScaleUpLimit", 6, Some(at(115)))
        );
        let found = run(&Value::Null, 15, 500_000, &State::default(), 100)
            .limit
            .unwrap();
        assert_eq!(
            (found.reason.as_str(), found.replicas, found.more_at),
            ("TooManyReplicas", 20, None)
        );
    }

    #[test]
    fn a_direction_that_is_switched_off_is_named() {
        let behavior = json!({"scaleUp": {"selectPolicy": "Disabled"}});
        let found = run(&behavior, 3, 50_000, &State::default(), 100).limit.unwrap();
        assert!(found.disabled && found.replicas == 3, "{found:?}");
    }

    #[test]
    fn what_is_not_computed_says_why() {
        let held = |replicas, readings: &[Reading]| {
            run_on(&Value::Null, replicas, readings, &State::default(), 100)
                .held
                .unwrap()
        };
        assert_eq!(
            held(0, &[]),
            "the target is at 0 replicas, which switches the HPA off"
        );
        assert_eq!(held(30, &[]), "30 replicas are above maxReplicas 20");
        assert!(held(3, &[Reading::Failed("down".to_owned())]).contains("down"));
    }
}
