//! `horizontal_test.go`: what is remembered, and how it stabilises.

use jiff::SignedDuration;

use super::{
    ago,
    behavior_cases::{Rates, both, pods},
    minutes_ago, now, seconds_ago, test_config,
};
use crate::hpa::{
    Config, State,
    behavior::{Recommendation, ScaleEvent, change_within, stabilize, stabilize_with_behavior},
    spec::{Behavior, ScalingRules},
};

/// Changes with their age in seconds.
type Changes = &'static [(i32, i64)];

/// Name, rates, what was, what of it counts within a minute, what is after a change by 5, and which of that is outdated.
type Row = (
    &'static str,
    Option<Rates>,
    Changes,
    i32,
    &'static [i32],
    &'static [bool],
);

#[test]
fn changes_are_remembered_as_long_as_a_policy_looks_back() {
    let two = |periods: (i32, i32)| both((10, periods.0), (100, periods.1));
    let rows: [Row; 8] = [
        ("no behavior", None, &[], 0, &[], &[]),
        ("first change", two((60, 60)), &[], 0, &[5], &[false]),
        ("no behavior leaves what was", None, &[(7, 61)], 0, &[7], &[false]),
        (
            "an outdated slot is used again",
            two((60, 60)),
            &[(7, 61)],
            0,
            &[5],
            &[false],
        ),
        (
            "a slot that counts is kept",
            two((60, 60)),
            &[(7, 58)],
            7,
            &[7, 5],
            &[false, false],
        ),
        (
            "one of two",
            pods(10, 60),
            &[(7, 61), (6, 59)],
            6,
            &[5, 6],
            &[false, false],
        ),
        (
            "periods of 60 and 30",
            two((60, 30)),
            &[(8, 29), (6, 59), (7, 61), (9, 61)],
            14,
            &[8, 6, 7, 5],
            &[false, false, true, false],
        ),
        (
            "both count",
            two((120, 30)),
            &[(7, 58), (6, 59)],
            13,
            &[7, 6, 5],
            &[false, false, false],
        ),
    ];
    for (name, rates, before, counted, after, outdated) in rows {
        let behavior = rates.map(|rates| Behavior {
            scale_up: rates.rules(0),
            scale_down: rates.rules(300),
        });
        let before: Vec<_> = before
            .iter()
            .map(|(change, age)| ScaleEvent::new(*change, seconds_ago(*age)))
            .collect();
        assert_eq!(change_within(60, &before, now()), counted, "{name}");
        let mut state = State {
            scale_up_events: before.clone(),
            scale_down_events: before,
            ..State::default()
        };
        state.record_change(behavior.as_ref(), 10, 15, now());
        state.record_change(behavior.as_ref(), 10, 5, now());
        for events in [&state.scale_up_events, &state.scale_down_events] {
            let changes: Vec<_> = events.iter().map(|event| event.change).collect();
            let marks: Vec<_> = events.iter().map(|event| event.outdated).collect();
            assert_eq!(
                (changes.as_slice(), marks.as_slice()),
                (after, outdated),
                "{name}"
            );
        }
    }
}

fn recommended(recommendations: &[(i32, i64)]) -> State {
    let recommendation = |(replicas, minutes): &(i32, i64)| Recommendation {
        replicas: *replicas,
        time: minutes_ago(*minutes),
    };
    State {
        recommendations: Some(recommendations.iter().map(recommendation).collect()),
        ..State::default()
    }
}

fn replicas(state: &State) -> Vec<i32> {
    state
        .recommendations
        .iter()
        .flatten()
        .map(|recommendation| recommendation.replicas)
        .collect()
}

#[test]
fn without_behavior_the_highest_recommendation_of_five_minutes_counts() {
    for (recommendations, desired, expected, kept) in [
        (&[][..], 5, 5, &[5][..]),
        (&[(4, 2), (5, 1)], 3, 5, &[4, 5, 3]),
        (&[(1, 2), (2, 1)], 3, 3, &[1, 2, 3]),
        (&[(10, 10), (9, 9)], 3, 3, &[10, 3]),
        (&[(10, 10), (4, 1), (5, 2), (9, 9)], 3, 5, &[10, 4, 5, 3]),
    ] {
        let mut state = recommended(recommendations);
        let stabilized = stabilize(desired, &test_config(), &mut state, now());
        assert_eq!(
            (stabilized.replicas, replicas(&state).as_slice()),
            (expected, kept),
            "{recommendations:?}"
        );
        let reason = if expected == desired {
            "ReadyForNewScale"
        } else {
            "ScaleDownStabilized"
        };
        assert_eq!(stabilized.reason, reason, "{recommendations:?}");
    }
}

#[test]
fn a_recommendation_exactly_as_old_as_the_window_still_counts_without_behavior() {
    let mut state = recommended(&[(9, 5)]);
    assert_eq!(stabilize(3, &test_config(), &mut state, now()).replicas, 9);
    let just_older = ago(SignedDuration::from_secs(300) + SignedDuration::from_nanos(1));
    state.recommendations = Some(vec![Recommendation {
        replicas: 9,
        time: just_older,
    }]);
    assert_eq!(stabilize(3, &test_config(), &mut state, now()).replicas, 3);
}

#[test]
fn with_behavior_each_direction_has_its_window() {
    let old = &[(10, 10), (9, 9)][..];
    let lately = &[(4, 2), (5, 1)][..];
    let mixed = &[(10, 100), (6, 1), (5, 2), (9, 3)][..];
    // Name, recommendations, windows up and down, current, desired, expected, kept.
    for (name, recommendations, (up, down), current, desired, expected, kept) in [
        ("empty", &[][..], (0, 0), 100, 5, 5, &[5][..]),
        ("down", lately, (0, 180), 100, 3, 5, &[4, 5, 3]),
        ("up", lately, (300, 0), 1, 7, 4, &[4, 5, 7]),
        ("not down", &[(1, 2), (2, 1)], (300, 0), 100, 3, 3, &[1, 2, 3]),
        ("not up", lately, (0, 300), 1, 3, 3, &[4, 5, 3]),
        ("not down, slot used again", old, (0, 0), 100, 3, 3, &[10, 3]),
        ("not up, slot used again", old, (0, 0), 1, 100, 100, &[10, 100]),
        (
            "down, slot used again",
            &[(10, 10), (4, 1), (5, 2), (9, 9)],
            (0, 180),
            100,
            3,
            5,
            &[10, 4, 5, 3],
        ),
        ("up, slot used again", mixed, (300, 0), 1, 100, 5, &[100, 6, 5, 9]),
        (
            "both, going down",
            &[(2, 100), (3, 3)],
            (300, 300),
            2,
            1,
            2,
            &[1, 3],
        ),
        (
            "both, going up",
            &[(2, 100), (1, 3)],
            (300, 300),
            2,
            3,
            2,
            &[3, 1],
        ),
    ] {
        let window = |seconds, rules| ScalingRules {
            stabilization_window_seconds: Some(seconds),
            ..rules
        };
        let behavior = Behavior {
            scale_up: window(up, ScalingRules::default_up()),
            scale_down: window(down, ScalingRules::default_down()),
        };
        let mut state = recommended(recommendations);
        let config = test_config();
        let stabilized = stabilize_with_behavior(desired, current, &behavior, &config, &mut state, now());
        assert_eq!(
            (stabilized.replicas, replicas(&state).as_slice()),
            (expected, kept),
            "{name}"
        );
        let reason = match (expected == desired, desired >= current) {
            (true, _) => "ReadyForNewScale",
            (false, true) => "ScaleUpStabilized",
            (false, false) => "ScaleDownStabilized",
        };
        assert_eq!(stabilized.reason, reason, "{name}");
    }
}

#[test]
fn a_window_down_that_is_not_set_is_the_configured_one() {
    let mut state = recommended(&[(7, 4)]);
    let config = test_config();
    let held = stabilize_with_behavior(3, 7, &Behavior::default(), &config, &mut state, now());
    assert_eq!(held.replicas, 7);
    let short = Config {
        downscale_stabilization: SignedDuration::from_mins(3),
        ..config
    };
    let mut state = recommended(&[(7, 4)]);
    assert_eq!(
        stabilize_with_behavior(3, 7, &Behavior::default(), &short, &mut state, now()).replicas,
        3
    );
}
