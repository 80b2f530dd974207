//! From what the triggers say to one queue length and the most Jobs that it is worth.

use scaler_api::{
    MetricSpec, MetricTarget, Sample,
    keda::{MultipleScalersCalculation, ScaledJobSpec},
};

/// What one trigger says, and what several come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// How much work there is, in the source's own unit.
    pub queue_length: f64,
    /// How many Jobs that is worth, before it is rounded up.
    pub max_value: f64,
    /// Whether there is something to do.
    pub is_active: bool,
}

impl Demand {
    /// The demand of one trigger with external metrics `specs`, of which there may be at most `most` Jobs.
    ///
    /// The length is the sum of the values under the first metric's name; the Jobs that it is worth go by the mean of
    /// all targets, of which those in total count as zero.
    #[must_use]
    pub fn of(specs: &[&MetricSpec], sample: &Sample, most: i64) -> Self {
        let first = specs.first().and_then(|spec| spec.external_name());
        // Values stand in the order of the metrics.
        let named = specs.iter().zip(&sample.values);
        let of_first = named.filter(|(spec, _)| spec.external_name() == first);
        let queue_length = of_first.map(|(_, value)| value.value).sum::<f64>();
        let target = mean_target(specs);
        let max_value = if target > 0.0 {
            (queue_length / target).min(as_float(most))
        } else {
            0.0
        };
        Self {
            queue_length,
            max_value,
            is_active: sample.active,
        }
    }

    /// The queue's length in whole messages.
    #[must_use]
    pub fn scale_to(&self) -> i64 {
        round_up(self.queue_length)
    }

    /// The most Jobs that it is worth.
    #[must_use]
    pub fn max_scale(&self) -> i64 {
        round_up(self.max_value)
    }
}

fn mean_target(specs: &[&MetricSpec]) -> f64 {
    let target = |spec: &&MetricSpec| match spec.target() {
        MetricTarget::AverageValue(target) => target.as_f64(),
        _ => 0.0,
    };
    let (sum, count) = specs
        .iter()
        .fold((0.0, 0.0), |(sum, count), spec| (sum + target(spec), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// How many Jobs there may be at most and at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Jobs that always run.
    pub min: i64,
    /// Jobs beyond those.
    pub headroom: i64,
}

impl Bounds {
    /// The bounds of `spec`. Where the minimum is beyond the maximum, it is the maximum.
    #[must_use]
    pub fn of(spec: &ScaledJobSpec) -> Self {
        let min = i64::from(spec.min_replica_count());
        let headroom = match (spec.min_replica_count, spec.max_replica_count) {
            (Some(least), Some(most)) if least <= most => i64::from(most) - min,
            _ => i64::from(spec.max_replica_count()),
        };
        Self { min, headroom }
    }
}

/// What the triggers that could be asked come to. Those that are not active say nothing.
///
/// Two corners are KEDA's: with `max` an active trigger without a queue leaves the object at rest, and with `min` a
/// queue of length zero gives way to the next one.
#[must_use]
pub fn combine(calculation: MultipleScalersCalculation, triggers: &[Demand], bounds: Bounds) -> Demand {
    let active = triggers.iter().filter(|trigger| trigger.is_active);
    let mut demand = match calculation {
        MultipleScalersCalculation::Max => active.fold(Demand::default(), |longest, trigger| {
            if trigger.queue_length > longest.queue_length {
                *trigger
            } else {
                longest
            }
        }),
        MultipleScalersCalculation::Min => active.fold(Demand::default(), |shortest, trigger| {
            let is_unset = shortest.queue_length <= 0.0;
            if is_unset || trigger.queue_length < shortest.queue_length {
                *trigger
            } else {
                shortest
            }
        }),
        MultipleScalersCalculation::Sum => sum(active).0,
        MultipleScalersCalculation::Avg => {
            let (sum, count) = sum(active);
            Demand {
                queue_length: sum.queue_length / f64::max(count, 1.0),
                max_value: sum.max_value / f64::max(count, 1.0),
                is_active: sum.is_active,
            }
        }
    };
    demand.is_active |= bounds.min > 0;
    demand.max_value = demand.max_value.min(as_float(bounds.headroom));
    demand
}

fn sum<'a>(triggers: impl Iterator<Item = &'a Demand>) -> (Demand, f64) {
    triggers.fold((Demand::default(), 0.0), |(sum, count), trigger| {
        let sum = Demand {
            queue_length: sum.queue_length + trigger.queue_length,
            max_value: sum.max_value + trigger.max_value,
            is_active: true,
        };
        (sum, count + 1.0)
    })
}

#[allow(clippy::cast_precision_loss, reason = "numbers of Jobs are small")]
fn as_float(number: i64) -> f64 {
    number as f64
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "it saturates, and what is no number becomes zero"
)]
fn round_up(number: f64) -> i64 {
    number.ceil() as i64
}

#[cfg(test)]
mod tests {
    //! keda.md §3.7 and §0.
    use scaler_api::{MetricValue, Quantity};

    use super::*;

    const WIDE: Bounds = Bounds {
        min: 0,
        headroom: 100,
    };

    fn active(queue_length: f64, max_value: f64) -> Demand {
        Demand {
            queue_length,
            max_value,
            is_active: true,
        }
    }

    fn idle(queue_length: f64, max_value: f64) -> Demand {
        Demand {
            is_active: false,
            ..active(queue_length, max_value)
        }
    }

    #[test]
    fn section_3_7_several_triggers_come_to_one_demand() {
        use MultipleScalersCalculation::{Avg, Max, Min, Sum};
        let (small, large, off) = (active(4.0, 2.0), active(10.0, 5.0), idle(50.0, 50.0));
        let cases = [
            (
                "§3.7 max: the longest",
                Max,
                vec![small, large, off],
                active(10.0, 5.0),
            ),
            (
                "§3.7 max: length decides, not what it is worth",
                Max,
                vec![active(9.0, 9.0), large],
                large,
            ),
            (
                "§3.7 min: the shortest",
                Min,
                vec![large, small, off],
                active(4.0, 2.0),
            ),
            (
                "§3.7 min: zero counts as unset",
                Min,
                vec![active(0.0, 0.0), large],
                large,
            ),
            (
                "§3.7 min: zero comes last",
                Min,
                vec![large, active(0.0, 0.0)],
                active(0.0, 0.0),
            ),
            (
                "§3.7 avg: of both, over active ones",
                Avg,
                vec![small, large, off],
                active(7.0, 3.5),
            ),
            ("§3.7 avg: of none", Avg, vec![off], idle(0.0, 0.0)),
            (
                "§3.7 sum: of both, over active ones",
                Sum,
                vec![small, large, off],
                active(14.0, 7.0),
            ),
            ("§3.7 nothing active", Sum, vec![off], idle(0.0, 0.0)),
            (
                "§0 max: active without a queue is at rest",
                Max,
                vec![active(0.0, 0.0)],
                idle(0.0, 0.0),
            ),
            (
                "§3.7 sum: active without a queue is active",
                Sum,
                vec![active(0.0, 0.0)],
                active(0.0, 0.0),
            ),
            ("no trigger could be asked", Max, vec![], idle(0.0, 0.0)),
        ];
        for (name, calculation, triggers, expected) in cases {
            assert_eq!(combine(calculation, &triggers, WIDE), expected, "{name}");
        }
    }

    #[test]
    fn section_3_7_a_minimum_makes_active_and_the_maximum_bounds_the_sum() {
        let bounds = Bounds { min: 2, headroom: 3 };
        let combined = combine(MultipleScalersCalculation::Max, &[], bounds);
        assert_eq!(combined, active(0.0, 0.0), "§3.7 min > 0 forces active");
        let triggers = [active(4.0, 2.0), active(10.0, 3.0)];
        let combined = combine(MultipleScalersCalculation::Sum, &triggers, bounds);
        assert_eq!(combined, active(14.0, 3.0), "§3.7 min(maxValue, Max())");
    }

    #[test]
    fn section_3_7_a_trigger_is_worth_its_queue_by_its_target() {
        let metric = |name: &str, target: MetricTarget| MetricSpec::External {
            name: name.into(),
            target,
        };
        let average = |target: &str| MetricTarget::AverageValue(target.parse::<Quantity>().unwrap());
        let one = [metric("a", average("2"))];
        let two = [metric("a", average("2")), metric("b", average("6"))];
        let same = [metric("a", average("2")), metric("a", average("2"))];
        let total = [metric("a", MetricTarget::Value("2".parse().unwrap()))];
        let mixed = [metric("a", average("4")), total[0].clone()];
        type Case<'a> = (&'a str, &'a [MetricSpec], &'a [f64], (f64, f64));
        let cases: [Case<'_>; 7] = [
            ("queueLength / target", &one, &[5.0], (5.0, 2.5)),
            ("at most Max()", &one, &[500.0], (500.0, 100.0)),
            (
                "the first metric's values, the mean of targets",
                &two,
                &[8.0, 100.0],
                (8.0, 2.0),
            ),
            ("the sum of values of that name", &same, &[5.0, 7.0], (12.0, 6.0)),
            ("Value-type counts 0", &total, &[5.0], (5.0, 0.0)),
            (
                "Value-type counts 0 in the mean",
                &mixed,
                &[8.0, 8.0],
                (16.0, 8.0),
            ),
            ("no values", &one, &[], (0.0, 0.0)),
        ];
        for (name, specs, values, (queue_length, max_value)) in cases {
            let sample = Sample {
                values: values
                    .iter()
                    .zip(specs)
                    .map(|(value, spec)| MetricValue {
                        name: spec.external_name().unwrap().into(),
                        value: *value,
                    })
                    .collect(),
                active: true,
            };
            let found = Demand::of(&specs.iter().collect::<Vec<_>>(), &sample, 100);
            assert_eq!(found, active(queue_length, max_value), "§3.7 {name}");
        }
    }

    #[test]
    fn section_3_7_both_numbers_are_rounded_up() {
        let demand = active(4.2, 1.01);
        assert_eq!((demand.scale_to(), demand.max_scale()), (5, 2), "§3.7 ceil");
        assert_eq!(
            (idle(f64::NAN, -3.5).scale_to(), idle(0.0, -3.5).max_scale()),
            (0, -3)
        );
    }

    #[test]
    fn section_3_7_bounds_come_from_both_counts() {
        let cases = [
            ("§1.2 defaults", None, None, (0, 100)),
            ("§3.7 Max() without max", Some(5), None, (5, 100)),
            ("§3.7 Max() without min", None, Some(10), (0, 10)),
            ("§3.7 Max() = max - min", Some(4), Some(10), (4, 6)),
            ("§3.7 min = max", Some(10), Some(10), (10, 0)),
            (
                "§0 min > max: the effective min is max",
                Some(12),
                Some(10),
                (10, 10),
            ),
        ];
        for (name, min, max, (least, headroom)) in cases {
            let spec = ScaledJobSpec {
                min_replica_count: min,
                max_replica_count: max,
                ..ScaledJobSpec::default()
            };
            assert_eq!(Bounds::of(&spec), Bounds { min: least, headroom }, "{name}");
        }
    }
}
