//! `replica_calculator_test.go`: metrics of objects and from outside the cluster.

use super::Pods;
use crate::hpa::replicas::{
    CalculationError, Proposal, Tolerances, by_average_value, by_value, total, total_for_average,
};

enum Target {
    Value(i64),
    AverageValue(i64),
}

use Target::{AverageValue, Value};

/// One row: case, replicas now, readiness of the pods, series, target, tolerance upwards, expected replicas and usage.
type Row = (
    &'static str,
    i32,
    &'static str,
    &'static [i64],
    Target,
    f64,
    (i32, i64),
);

fn check(rows: impl IntoIterator<Item = Row>) {
    for (case, current, ready, series, target, scale_up, (replicas, usage)) in rows {
        let pods = Pods {
            count: usize::try_from(current).unwrap(),
            ready,
            ..Pods::default()
        }
        .build();
        let tolerances = Tolerances {
            scale_down: 0.1,
            scale_up,
        };
        let proposal = match target {
            Value(target) => by_value(current, total(series), target, &pods, tolerances).unwrap(),
            AverageValue(target) => by_average_value(current, total_for_average(series), target, tolerances),
        };
        assert_eq!(proposal, Proposal { replicas, usage }, "case {case}");
    }
}

#[test]
fn metrics_of_objects_scale_as_in_kubernetes() {
    check([
        ("11", 3, "", &[20000][..], Value(15000), 0.1, (4, 20000)),
        ("12", 3, "", &[20000], AverageValue(5000), 0.1, (4, 6667)),
        ("13", 3, "FTF", &[50000], Value(10000), 0.1, (5, 50000)),
        ("18", 5, "", &[6000], AverageValue(2000), 0.1, (3, 1200)),
        ("19", 5, "", &[12000], Value(20000), 0.1, (3, 12000)),
        ("25 value", 3, "", &[20666], Value(20000), 0.1, (3, 20666)),
        ("25 average", 4, "", &[20166], AverageValue(5000), 0.1, (4, 5042)),
        ("31 value", 3, "", &[20666], Value(20000), 0.01, (4, 20666)),
        ("31 average", 4, "", &[20208], AverageValue(5000), 0.01, (5, 5052)),
        (
            "40 value",
            3,
            "",
            &[i64::MAX],
            Value(1),
            0.1,
            (i32::MAX, i64::MAX),
        ),
    ]);
}

#[test]
fn external_metrics_scale_as_in_kubernetes() {
    const HALF: i64 = i64::MAX / 2 + 1;
    check([
        ("14", 3, "FTF", &[8600][..], Value(4400), 0.1, (2, 8600)),
        ("15", 3, "", &[8600], AverageValue(2150), 0.1, (4, 2867)),
        ("20 value", 5, "", &[8600], Value(14334), 0.1, (3, 8600)),
        ("20 average", 5, "", &[8600], AverageValue(2867), 0.1, (3, 1720)),
        ("26 value", 3, "", &[8600], Value(8888), 0.1, (3, 8600)),
        ("26 average", 3, "", &[8600], AverageValue(2900), 0.1, (3, 2867)),
        ("31 value", 3, "", &[8900], Value(8800), 0.01, (4, 8900)),
        ("31 average", 3, "", &[8600], AverageValue(2800), 0.01, (4, 2867)),
        (
            "40 average of 1",
            1,
            "",
            &[i64::MAX],
            AverageValue(1),
            0.1,
            (i32::MAX, i64::MAX),
        ),
        (
            "40 average of all",
            1,
            "",
            &[i64::MAX],
            AverageValue(i64::MAX),
            0.1,
            (1, i64::MAX),
        ),
        ("41", 3, "", &[HALF, HALF], Value(i64::MAX), 0.1, (3, i64::MAX)),
        (
            "41 average",
            3,
            "",
            &[HALF, HALF],
            AverageValue(i64::MAX),
            0.1,
            (1, i64::MAX),
        ),
        (
            "series are summed",
            1,
            "",
            &[3000, 4000],
            AverageValue(5000),
            0.1,
            (2, 7000),
        ),
    ]);
}

#[test]
fn from_zero_the_ratio_itself_counts_and_the_tolerance_does_not() {
    check([
        ("value", 0, "", &[20000][..], Value(15000), 0.1, (2, 20000)),
        (
            "value within the tolerance",
            0,
            "",
            &[1000],
            Value(1000),
            0.1,
            (1, 1000),
        ),
        ("nothing to do", 0, "", &[0], Value(1000), 0.1, (0, 0)),
    ]);
    // There is no average over no replicas: the ratio is infinite or undefined, so never within a tolerance.
    let tolerances = Tolerances::both(0.1);
    assert_eq!(by_average_value(0, 13000, 5000, tolerances).replicas, 3);
    assert_eq!(by_average_value(0, 0, 5000, tolerances).replicas, 0);
    assert_eq!(by_average_value(0, 13000, 5000, tolerances).usage, i64::MIN);
}

#[test]
fn both_ends_of_a_tolerance_belong_to_it() {
    check([
        ("up", 10, "", &[11000][..], Value(10000), 0.1, (10, 11000)),
        ("beyond", 10, "", &[11001], Value(10000), 0.1, (12, 11001)),
        ("down", 10, "", &[9000], Value(10000), 0.1, (10, 9000)),
        ("below", 10, "", &[8999], Value(10000), 0.1, (9, 8999)),
    ]);
}

#[test]
fn a_target_in_total_needs_pods_to_multiply() {
    let tolerances = Tolerances::both(0.1);
    let error = by_value(3, 20000, 15000, &[], tolerances).unwrap_err();
    assert_eq!(error, CalculationError::NoReadyPods);
    // Within the tolerance nobody looks at the pods.
    assert_eq!(by_value(3, 15000, 15000, &[], tolerances).unwrap().replicas, 3);
    // Pods that are not ready do not multiply: the target goes to zero by itself.
    let pods = Pods {
        count: 3,
        ready: "FFF",
        ..Pods::default()
    }
    .build();
    assert_eq!(by_value(3, 60000, 15000, &pods, tolerances).unwrap().replicas, 0);
}

#[test]
fn a_negative_sum_counts_as_an_overflow_for_averages_only() {
    assert_eq!(total(&[-1000, -1000]), -2000);
    assert_eq!(total_for_average(&[-1000]), i64::MAX);
    assert_eq!(total_for_average(&[1000, -500]), 500);
    assert_eq!(total(&[i64::MAX, 1]), i64::MAX);
}
