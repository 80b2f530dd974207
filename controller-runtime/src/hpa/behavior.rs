//! From what the metrics ask for to what may be done now: stabilisation, rates and bounds.
//!
//! Without `behavior` the old rules hold: the highest recommendation of the downscale window counts, and one step at
//! most doubles. With it, each direction has its own window and policies. What was recommended and done before is
//! [`State`], which the caller owns; Kubernetes keeps it in memory and forgets it on a restart.

use jiff::{SignedDuration, Timestamp};

use super::{
    Config,
    spec::{Behavior, Policy, PolicyType, ScalingRules, SelectPolicy},
};

/// What the algorithm remembers of one autoscaler between two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What was asked for, before stabilisation; nothing before the first run.
    pub recommendations: Option<Vec<Recommendation>>,
    /// What was added. Kept only for autoscalers with `behavior`.
    pub scale_up_events: Vec<ScaleEvent>,
    /// What was removed. Kept only for autoscalers with `behavior`.
    pub scale_down_events: Vec<ScaleEvent>,
}

/// A number of replicas that the metrics asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// So many.
    pub replicas: i32,
    /// When.
    pub time: Timestamp,
}

/// A change of the number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// By how many; never negative.
    pub change: i32,
    /// When.
    pub time: Timestamp,
    /// Older than every policy's period: its place may be taken.
    pub outdated: bool,
}

impl ScaleEvent {
    /// A change at a time.
    #[must_use]
    pub fn new(change: i32, time: Timestamp) -> Self {
        Self {
            change,
            time,
            outdated: false,
        }
    }
}

impl State {
    /// Before the first recommendation the current number counts as one, so that a restart scales nothing down for the
    /// length of a window.
    pub fn seed(&mut self, current: i32, now: Timestamp) {
        self.recommendations.get_or_insert_with(|| {
            vec![Recommendation {
                replicas: current,
                time: now,
            }]
        });
    }

    /// Remembers what was asked for, in the place of one that nobody looks at any more.
    fn recommend(&mut self, replicas: i32, now: Timestamp, is_old: impl Fn(&Recommendation) -> bool) {
        let recommendations = self.recommendations.get_or_insert_default();
        let new = Recommendation { replicas, time: now };
        match recommendations.iter().rposition(is_old) {
            Some(index) => recommendations[index] = new,
            None => recommendations.push(new),
        }
    }

    /// Remembers a change that was made. Without `behavior` nobody will ask, so nothing is kept.
    pub fn record_change(&mut self, behavior: Option<&Behavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let (events, rules) = if to > from {
            (&mut self.scale_up_events, &behavior.scale_up)
        } else {
            (&mut self.scale_down_events, &behavior.scale_down)
        };
        let longest = rules
            .policies
            .iter()
            .map(|policy| policy.period_seconds)
            .max()
            .unwrap_or(0);
        for event in events.iter_mut() {
            event.outdated |= age(event.time, now) > seconds(longest);
        }
        let new = ScaleEvent::new(from.abs_diff(to).try_into().unwrap_or(i32::MAX), now);
        match events.iter().rposition(|event| event.outdated) {
            Some(index) => events[index] = new,
            None => events.push(new),
        }
    }
}

/// The bounds and the two numbers that normalisation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest number of replicas.
    pub min: i32,
    /// The highest number of replicas.
    pub max: i32,
    /// The number of replicas now.
    pub current: i32,
}

/// A number of replicas, and the reason and message of the condition that explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// So many replicas.
    pub replicas: i32,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: &'static str,
}

impl Explained {
    const fn new(replicas: i32, reason: &'static str, message: &'static str) -> Self {
        Self {
            replicas,
            reason,
            message,
        }
    }

    const fn within(replicas: i32) -> Self {
        Self::new(
            replicas,
            "DesiredWithinRange",
            "the desired count is within the acceptable range",
        )
    }

    const fn too_few(replicas: i32) -> Self {
        let message = "the desired replica count is less than the minimum replica count";
        Self::new(replicas, "TooFewReplicas", message)
    }

    const fn too_many(replicas: i32) -> Self {
        let message = "the desired replica count is more than the maximum replica count";
        Self::new(replicas, "TooManyReplicas", message)
    }

    const fn too_fast_up(replicas: i32) -> Self {
        let message = "the desired replica count is increasing faster than the maximum scale rate";
        Self::new(replicas, "ScaleUpLimit", message)
    }

    const fn too_fast_down(replicas: i32) -> Self {
        let message = "the desired replica count is decreasing faster than the maximum scale rate";
        Self::new(replicas, "ScaleDownLimit", message)
    }

    const fn ready(replicas: i32) -> Self {
        Self::new(
            replicas,
            "ReadyForNewScale",
            "recommended size matches current size",
        )
    }

    const fn stabilized_up(replicas: i32) -> Self {
        let message =
            "recent recommendations were lower than current one, applying the lowest recent recommendation";
        Self::new(replicas, "ScaleUpStabilized", message)
    }

    const fn stabilized_down(replicas: i32) -> Self {
        let message =
            "recent recommendations were higher than current one, applying the highest recent recommendation";
        Self::new(replicas, "ScaleDownStabilized", message)
    }
}

/// What may be done: the stabilised number, and that within rates and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// Explains `AbleToScale`.
    pub stabilized: Explained,
    /// Explains `ScalingLimited`, which holds if the number differs from the stabilised one.
    pub limited: Explained,
}

impl Normalized {
    /// Whether rates or bounds changed the number.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.stabilized.replicas != self.limited.replicas
    }
}

/// Normalises what the metrics ask for, and remembers it.
pub fn normalize(
    desired: i32,
    bounds: Bounds,
    behavior: Option<&Behavior>,
    config: &Config,
    state: &mut State,
    now: Timestamp,
) -> Normalized {
    if let Some(behavior) = behavior {
        let stabilized = stabilize_with_behavior(desired, bounds.current, behavior, config, state, now);
        let limited = limit_with_behavior(stabilized.replicas, bounds, behavior, state, now);
        Normalized { stabilized, limited }
    } else {
        let stabilized = stabilize(desired, config, state, now);
        let limited = limit(stabilized.replicas, bounds, config);
        Normalized { stabilized, limited }
    }
}

/// The highest recommendation within the downscale window.
pub fn stabilize(desired: i32, config: &Config, state: &mut State, now: Timestamp) -> Explained {
    let window = config.downscale_stabilization;
    let is_old = |recommendation: &Recommendation| age(recommendation.time, now) > window;
    let recent = state
        .recommendations
        .iter()
        .flatten()
        .filter(|recommendation| !is_old(recommendation));
    let highest = recent
        .map(|recommendation| recommendation.replicas)
        .fold(desired, i32::max);
    state.recommend(desired, now, is_old);
    if highest == desired {
        Explained::ready(desired)
    } else {
        Explained::stabilized_down(highest)
    }
}

/// The bounds, and at most a doubling.
#[must_use]
pub fn limit(desired: i32, bounds: Bounds, config: &Config) -> Explained {
    let doubled = config.scale_up_limit_factor * f64::from(bounds.current);
    let fastest = doubled.max(config.scale_up_limit_minimum) as i32;
    if desired < bounds.min {
        Explained::too_few(bounds.min)
    } else if desired > bounds.max.min(fastest) {
        if bounds.max > fastest {
            Explained::too_fast_up(fastest)
        } else {
            Explained::too_many(bounds.max)
        }
    } else {
        Explained::within(desired)
    }
}

/// Raised to the lowest recommendation of the window upwards, lowered to the highest of the window downwards, else as
/// it is.
pub fn stabilize_with_behavior(
    desired: i32,
    current: i32,
    behavior: &Behavior,
    config: &Config,
    state: &mut State,
    now: Timestamp,
) -> Explained {
    let up_window = seconds(behavior.scale_up.stabilization_window_seconds.unwrap_or(0));
    let down_window = behavior
        .scale_down
        .stabilization_window_seconds
        .map_or(config.downscale_stabilization, seconds);
    let within = |window: SignedDuration| {
        let recommendations = state.recommendations.iter().flatten();
        recommendations
            .filter(move |recommendation| age(recommendation.time, now) < window)
            .map(|r| r.replicas)
    };
    let lowest = within(up_window).fold(desired, i32::min);
    let highest = within(down_window).fold(desired, i32::max);
    let stabilized = current.max(lowest).min(highest);
    let longest = up_window.max(down_window);
    state.recommend(desired, now, |recommendation| {
        age(recommendation.time, now) > longest
    });
    if stabilized == desired {
        Explained::ready(stabilized)
    } else if desired >= current {
        Explained::stabilized_up(stabilized)
    } else {
        Explained::stabilized_down(stabilized)
    }
}

/// The bounds, and the rates of the policies.
#[must_use]
pub fn limit_with_behavior(
    desired: i32,
    bounds: Bounds,
    behavior: &Behavior,
    state: &State,
    now: Timestamp,
) -> Explained {
    let Bounds { min, max, current } = bounds;
    if desired > current {
        // After many changes the rate may lie below the current number: then it stays.
        let fastest = scale_up_limit(current, &behavior.scale_up, state, now).max(current);
        if desired > max.min(fastest) {
            return if max > fastest {
                Explained::too_fast_up(fastest)
            } else {
                Explained::too_many(max)
            };
        }
    } else if desired < current {
        let fastest = scale_down_limit(current, &behavior.scale_down, state, now).min(current);
        if desired < min.max(fastest) {
            return if min < fastest {
                Explained::too_fast_down(fastest)
            } else {
                Explained::too_few(min)
            };
        }
    }
    Explained::within(desired)
}

/// The highest number that the policies allow now.
#[must_use]
pub fn scale_up_limit(current: i32, rules: &ScalingRules, state: &State, now: Timestamp) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = replicas_at_start(current, policy, state, now);
        match policy.policy_type {
            PolicyType::Pods => start.saturating_add(policy.value),
            // Rounded up, else a small number of replicas would never grow.
            PolicyType::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    match rules.select_policy {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => proposals.fold(i32::MAX, i32::min),
        SelectPolicy::Max => proposals.fold(i32::MIN, i32::max),
    }
}

/// The lowest number that the policies allow now.
#[must_use]
pub fn scale_down_limit(current: i32, rules: &ScalingRules, state: &State, now: Timestamp) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = replicas_at_start(current, policy, state, now);
        match policy.policy_type {
            PolicyType::Pods => start.saturating_sub(policy.value),
            PolicyType::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    match rules.select_policy {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => proposals.fold(i32::MIN, i32::max),
        SelectPolicy::Max => proposals.fold(i32::MAX, i32::min),
    }
}

/// The replicas at the start of the policy's period: those of now without what was added and removed since.
fn replicas_at_start(current: i32, policy: &Policy, state: &State, now: Timestamp) -> i32 {
    let added = change_within(policy.period_seconds, &state.scale_up_events, now);
    let removed = change_within(policy.period_seconds, &state.scale_down_events, now);
    current.saturating_sub(added).saturating_add(removed)
}

/// By how much the number changed within the last so many seconds.
#[must_use]
pub fn change_within(period_seconds: i32, events: &[ScaleEvent], now: Timestamp) -> i32 {
    let recent = events
        .iter()
        .filter(|event| age(event.time, now) < seconds(period_seconds));
    recent.map(|event| event.change).fold(0, i32::saturating_add)
}

fn age(time: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(time)
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}
