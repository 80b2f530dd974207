//! `horizontal_test.go`: bounds, rates, stabilisation and what is remembered.

use super::{now, seconds_ago};
use crate::hpa::{
    Config, State,
    behavior::{Bounds, ScaleEvent, limit, limit_with_behavior, scale_down_limit, scale_up_limit},
    spec::{Behavior, Policy, ScalingRules, SelectPolicy},
};

const ACCEPTABLE: &str = "the desired count is within the acceptable range";
const FEW: &str = "the desired replica count is less than the minimum replica count";
const MANY: &str = "the desired replica count is more than the maximum replica count";
const FAST_UP: &str = "the desired replica count is increasing faster than the maximum scale rate";
const FAST_DOWN: &str = "the desired replica count is decreasing faster than the maximum scale rate";

/// Rules of one direction: pods within seconds, percent within seconds, each left out if zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pods: (i32, i32),
    percent: (i32, i32),
}

impl Rates {
    pub(super) fn rules(self, window_seconds: i32) -> ScalingRules {
        let pods = (self.pods.0 != 0).then(|| Policy::pods(self.pods.0, self.pods.1));
        let percent = (self.percent.0 != 0).then(|| Policy::percent(self.percent.0, self.percent.1));
        ScalingRules {
            stabilization_window_seconds: Some(window_seconds),
            policies: pods.into_iter().chain(percent).collect(),
            ..ScalingRules::default_up()
        }
    }
}

pub(super) const fn pods(value: i32, seconds: i32) -> Option<Rates> {
    Some(Rates {
        pods: (value, seconds),
        percent: (0, 0),
    })
}

const fn percent(value: i32, seconds: i32) -> Option<Rates> {
    Some(Rates {
        pods: (0, 0),
        percent: (value, seconds),
    })
}

pub(super) const fn both(pods: (i32, i32), percent: (i32, i32)) -> Option<Rates> {
    Some(Rates { pods, percent })
}

/// Changes spread evenly over the last `seconds`, each in the middle of its share.
fn spread(changes: &[i32], seconds: i32) -> Vec<ScaleEvent> {
    let share = f64::from(seconds) / changes.len().max(1) as f64;
    let middle = |index: usize| f64::from(seconds) - share * (index + 1) as f64 + share / 2.0;
    let event = |(index, change): (usize, &i32)| ScaleEvent::new(*change, seconds_ago(middle(index) as i64));
    changes.iter().enumerate().map(event).collect()
}

#[test]
fn without_behavior_a_number_is_kept_within_bounds_and_a_factor() {
    for (factor, current, desired, min, max, expected, reason, message) in [
        (8.0, 5, 7, 3, 8, 7, "DesiredWithinRange", ACCEPTABLE),
        (8.0, 3, 1, 2, 8, 2, "TooFewReplicas", FEW),
        (8.0, 1, 0, 0, 10, 0, "DesiredWithinRange", ACCEPTABLE),
        (8.0, 20, 1000, 1, 10, 10, "TooManyReplicas", MANY),
        (8.0, 3, 1000, 1, 2000, 24, "ScaleUpLimit", FAST_UP),
        (2.0, 3, 1000, 1, 2000, 6, "ScaleUpLimit", FAST_UP),
        (2.0, 1, 1000, 1, 2000, 4, "ScaleUpLimit", FAST_UP),
        (2.0, 0, 1000, 0, 2000, 4, "ScaleUpLimit", FAST_UP),
    ] {
        let config = Config {
            scale_up_limit_factor: factor,
            ..Config::default()
        };
        let limited = limit(desired, Bounds { min, max, current }, &config);
        assert_eq!(
            (limited.replicas, limited.reason, limited.message),
            (expected, reason, message),
            "{current} to {desired} within {min}..{max}, factor {factor}"
        );
    }
}

struct Rule {
    name: &'static str,
    up_events: (&'static [i32], i32),
    down_events: (&'static [i32], i32),
    bounds: (i32, i32),
    up: Option<Rates>,
    down: Option<Rates>,
    current: i32,
    desired: i32,
    expected: (i32, &'static str),
}

const RULE: Rule = Rule {
    name: "",
    up_events: (&[], 120),
    down_events: (&[], 120),
    bounds: (1, 1000),
    up: None,
    down: None,
    current: 0,
    desired: 0,
    expected: (0, ""),
};

impl Rule {
    fn check(&self) {
        let up = self
            .up
            .map_or_else(ScalingRules::default_up, |rates| rates.rules(0));
        let down = self
            .down
            .map_or_else(ScalingRules::default_down, |rates| rates.rules(300));
        let behavior = Behavior {
            scale_up: up,
            scale_down: down,
        };
        let state = State {
            recommendations: None,
            scale_up_events: spread(self.up_events.0, self.up_events.1),
            scale_down_events: spread(self.down_events.0, self.down_events.1),
        };
        let bounds = Bounds {
            min: self.bounds.0,
            max: self.bounds.1,
            current: self.current,
        };
        let limited = limit_with_behavior(self.desired, bounds, &behavior, &state, now());
        assert_eq!((limited.replicas, limited.reason), self.expected, "{}", self.name);
        let message = match limited.reason {
            "DesiredWithinRange" => ACCEPTABLE,
            "TooFewReplicas" => FEW,
            "TooManyReplicas" => MANY,
            "ScaleUpLimit" => FAST_UP,
            "ScaleDownLimit" => FAST_DOWN,
            other => panic!("{other}"),
        };
        assert_eq!(limited.message, message, "{}", self.name);
    }
}

const WITHIN: &str = "DesiredWithinRange";
const UP: &str = "ScaleUpLimit";
const DOWN: &str = "ScaleDownLimit";
const TOO_MANY: &str = "TooManyReplicas";
const TOO_FEW: &str = "TooFewReplicas";

#[test]
fn bounds_hold_with_behavior_as_without() {
    let rule = |name, bounds, current, desired, expected| Rule {
        name,
        bounds,
        current,
        desired,
        expected,
        ..RULE
    };
    let rows = [
        rule("within range", (3, 8), 5, 7, (7, WITHIN)),
        rule("below min", (2, 8), 3, 1, (2, TOO_FEW)),
        rule("zero is within range if min is", (0, 10), 1, 0, (0, WITHIN)),
        rule("max below the rate", (1, 10), 20, 1000, (10, TOO_MANY)),
        rule("above max", (100, 150), 100, 1000, (150, TOO_MANY)),
        Rule {
            up: percent(1, 60),
            ..rule("rate below max", (1, 2000), 3, 1000, (4, UP))
        },
        Rule {
            down: pods(20, 60),
            ..rule("rate above min", (3, 2000), 1000, 3, (980, DOWN))
        },
    ];
    rows.iter().for_each(Rule::check);
}

#[test]
fn policies_without_past_events_as_in_kubernetes() {
    let up = |name, up, desired, expected| Rule {
        name,
        up,
        current: 10,
        desired,
        expected,
        ..RULE
    };
    let down = |name, down, current, desired, expected| Rule {
        name,
        down,
        current,
        desired,
        expected,
        ..RULE
    };
    let rows = [
        up("default", None, 50, (20, UP)),
        up(
            "pods larger than percent",
            both((100, 60), (100, 60)),
            500,
            (110, UP),
        ),
        up(
            "percent larger than pods",
            both((2, 60), (100, 60)),
            500,
            (20, UP),
        ),
        up("large pods", pods(100, 60), 50, (50, WITHIN)),
        up("very large pods", pods(10000, 60), 50, (50, WITHIN)),
        up("pods", pods(30, 60), 50, (40, UP)),
        up("percent", percent(200, 60), 50, (30, UP)),
        down(
            "percent larger than pods",
            both((20, 60), (1, 60)),
            100,
            2,
            (80, DOWN),
        ),
        down(
            "pods larger than percent",
            both((2, 60), (1, 60)),
            100,
            2,
            (98, DOWN),
        ),
        down("large pods", pods(100, 60), 10, 0, (1, TOO_FEW)),
        Rule {
            bounds: (5, 1000),
            ..down("large percent", percent(100, 60), 10, 2, (5, TOO_FEW))
        },
        down("pods", pods(5, 60), 10, 2, (5, DOWN)),
        down("percent", percent(50, 60), 10, 5, (5, WITHIN)),
    ];
    rows.iter().for_each(Rule::check);
}

#[test]
fn policies_count_what_was_added_within_their_period() {
    let up = |name, up, max, expected| Rule {
        name,
        up,
        bounds: (1, max),
        up_events: (&[1, 5, 9], 120),
        current: 100,
        desired: 500,
        expected,
        ..RULE
    };
    let rows = [
        up("max below large pods", pods(300, 60), 200, (200, TOO_MANY)),
        up(
            "max below large percent",
            percent(10000, 60),
            200,
            (200, TOO_MANY),
        ),
        up(
            "more was added than the policy allows",
            pods(5, 120),
            1000,
            (100, UP),
        ),
        up("pods", pods(150, 120), 1000, (235, UP)),
        up("percent", percent(200, 120), 1000, (255, UP)),
        Rule {
            up_events: (&[4], 120),
            down_events: (&[2], 120),
            current: 6,
            desired: 24,
            ..up("added and removed", percent(300, 300), 1000, (16, UP))
        },
    ];
    rows.iter().for_each(Rule::check);
    for (name, rates) in [
        ("one policy", pods(1000, 60)),
        ("two policies, all events", both((1000, 120), (100, 60))),
        ("two policies, some events", both((1000, 30), (100, 60))),
    ] {
        let events = (&[8, 12, 9, 11][..], 120);
        let expected = (200, WITHIN);
        Rule {
            name,
            up: rates,
            up_events: events,
            current: 100,
            desired: 200,
            expected,
            ..RULE
        }
        .check();
    }
}

#[test]
fn policies_count_what_was_removed_within_their_period() {
    let down = |name, down, min, desired, expected| Rule {
        name,
        down,
        bounds: (min, 1000),
        down_events: (&[1, 5, 9], 120),
        current: 100,
        desired,
        expected,
        ..RULE
    };
    let ten = (&[10, 10, 10][..], 120);
    let rows = [
        Rule {
            current: 10,
            ..down("default", None, 1, 5, (5, WITHIN))
        },
        down("large pods", pods(115, 120), 1, 0, (1, TOO_FEW)),
        down("large pods, min 5", pods(130, 120), 5, 0, (5, TOO_FEW)),
        down("large percent, min 5", percent(100, 120), 5, 2, (5, TOO_FEW)),
        down("pods", pods(5, 120), 1, 2, (100, DOWN)),
        Rule {
            down_events: (&[2, 4, 6], 120),
            ..down("percent", percent(50, 120), 1, 0, (56, DOWN))
        },
        Rule {
            up_events: (&[2], 120),
            down_events: (&[4], 120),
            current: 10,
            ..down("added and removed", percent(50, 180), 1, 1, (6, DOWN))
        },
        Rule {
            down_events: ten,
            ..down(
                "more was removed than allowed",
                percent(10, 120),
                1,
                0,
                (100, DOWN),
            )
        },
        Rule {
            down_events: ten,
            current: 10,
            ..down("below zero", percent(1000, 120), 1, 5, (5, WITHIN))
        },
    ];
    rows.iter().for_each(Rule::check);
    for (name, rates) in [
        ("one policy", pods(1000, 60)),
        ("two policies, all events", both((1000, 120), (100, 60))),
        ("two policies, some events", both((1000, 30), (100, 60))),
    ] {
        let down_events = (&[8, 12, 9, 11][..], 120);
        let expected = (5, WITHIN);
        Rule {
            name,
            down: rates,
            down_events,
            current: 100,
            desired: 5,
            expected,
            ..RULE
        }
        .check();
    }
}

#[test]
fn the_policy_that_is_selected_counts() {
    let rules = |select_policy| ScalingRules {
        select_policy,
        policies: vec![Policy::pods(2, 60), Policy::percent(50, 60)],
        ..ScalingRules::default_up()
    };
    let state = State::default();
    for (select, current, up, down) in [
        (SelectPolicy::Min, 1, 2, 0),
        (SelectPolicy::Min, 5, 7, 3),
        (SelectPolicy::Max, 1, 3, -1),
        (SelectPolicy::Max, 5, 8, 2),
        (SelectPolicy::Disabled, 5, 5, 5),
    ] {
        let rules = rules(select);
        let limits = (
            scale_up_limit(current, &rules, &state, now()),
            scale_down_limit(current, &rules, &state, now()),
        );
        assert_eq!(limits, (up, down), "{select:?} of {current}");
    }
}
