//! `TestGroupPods` of `replica_calculator_test.go`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{minutes_ago, now, seconds_ago, test_config};
use crate::hpa::pods::{
    ConditionStatus::{False, True},
    Groups, Pod, PodPhase, PodSample, PodSamples, ReadyCondition, group,
};

fn pod(name: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        phase: PodPhase::Succeeded,
        ..Pod::default()
    }
}

fn started(name: &str, start: Timestamp) -> Pod {
    Pod {
        start_time: Some(start),
        ..pod(name)
    }
}

fn with_ready(pod: Pod, status: crate::hpa::pods::ConditionStatus, last_transition: Timestamp) -> Pod {
    Pod {
        ready: Some(ReadyCondition {
            status,
            last_transition,
        }),
        ..pod
    }
}

fn sample(timestamp: Timestamp, window_seconds: i64) -> PodSample {
    PodSample {
        value: 1,
        timestamp,
        window: SignedDuration::from_secs(window_seconds),
    }
}

/// A sample of no particular time.
fn any() -> PodSample {
    sample(Timestamp::UNIX_EPOCH, 0)
}

fn groups(ready: usize, unready: &[&str], missing: &[&str], ignored: &[&str]) -> Groups {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    Groups {
        ready,
        unready: set(unready),
        missing: set(missing),
        ignored: set(ignored),
    }
}

fn check(case: &str, pods: &[Pod], samples: &[(&str, PodSample)], is_cpu: bool, expected: &Groups) {
    let samples: PodSamples = samples
        .iter()
        .map(|(name, sample)| ((*name).to_owned(), *sample))
        .collect();
    assert_eq!(
        &group(pods, &samples, is_cpu, &test_config(), now()),
        expected,
        "{case}"
    );
}

#[test]
fn pods_without_cpu_readiness_rules_are_grouped_by_phase_and_sample() {
    let deleted = Pod {
        deleting: true,
        phase: PodPhase::Pending,
        ..pod("deleted")
    };
    let failed = Pod {
        phase: PodPhase::Failed,
        ..pod("failed")
    };
    let pending = Pod {
        phase: PodPhase::Pending,
        ..pod("unscheduled")
    };
    check("void", &[], &[], true, &groups(0, &[], &[], &[]));
    let memory = [("bentham", sample(now(), 60))];
    check(
        "a ready pod, memory",
        &[pod("bentham")],
        &memory,
        false,
        &groups(1, &[], &[], &[]),
    );
    let epicurus = started("epicurus", minutes_ago(3));
    check(
        "a missing pod",
        &[epicurus],
        &[],
        true,
        &groups(0, &[], &["epicurus"], &[]),
    );
    check(
        "pending pods are unready",
        &[pending],
        &[],
        true,
        &groups(0, &["unscheduled"], &[], &[]),
    );
    check(
        "deleted pods are ignored",
        &[deleted],
        &[("deleted", any())],
        true,
        &groups(0, &[], &[], &["deleted"]),
    );
    check(
        "failed pods are ignored",
        &[failed],
        &[("failed", any())],
        true,
        &groups(0, &[], &[], &["failed"]),
    );
}

#[test]
fn cpu_samples_count_only_of_pods_that_have_settled() {
    let counted = groups(1, &[], &[], &[]);
    let unready = |name: &str| groups(0, &[name], &[], &[]);
    check(
        "without a ready condition",
        &[started("lucretius", now())],
        &[("lucretius", any())],
        true,
        &unready("lucretius"),
    );
    let initialising = with_ready(started("bentham", minutes_ago(1)), True, seconds_ago(30));
    check(
        "initialising, with a fresh sample",
        std::slice::from_ref(&initialising),
        &[("bentham", sample(now(), 30))],
        true,
        &counted,
    );
    check(
        "initialising, with a sample from before it was ready",
        &[initialising],
        &[("bentham", sample(now(), 60))],
        true,
        &unready("bentham"),
    );
    let ten = minutes_ago(10);
    for (case, pod, sample, expected) in [
        (
            "unready, and became so within the readiness delay",
            with_ready(started("lucretius", ten), False, seconds_ago(9 * 60 + 54)),
            any(),
            unready("lucretius"),
        ),
        (
            "ready long ago, with an old sample",
            with_ready(started("lucretius", minutes_ago(3)), True, minutes_ago(3)),
            sample(minutes_ago(2), 60),
            counted.clone(),
        ),
        (
            "unready, but was ready after its initialisation",
            with_ready(started("lucretius", ten), False, minutes_ago(9)),
            any(),
            counted.clone(),
        ),
        (
            "unready since exactly the readiness delay",
            with_ready(started("lucretius", ten), False, seconds_ago(9 * 60 + 50)),
            any(),
            counted,
        ),
        (
            "unready while initialising",
            with_ready(started("lucretius", minutes_ago(1)), False, minutes_ago(1)),
            sample(now(), 10),
            unready("lucretius"),
        ),
    ] {
        check(case, &[pod], &[("lucretius", sample)], true, &expected);
    }
}

#[test]
fn several_pods_are_grouped_each_by_itself() {
    let pods = [
        started("lucretius", now()),
        with_ready(started("niccolo", minutes_ago(3)), True, minutes_ago(3)),
        started("epicurus", minutes_ago(3)),
    ];
    let samples = [("lucretius", any()), ("niccolo", any())];
    check(
        "several",
        &pods,
        &samples,
        true,
        &groups(1, &["lucretius"], &["epicurus"], &[]),
    );
}
