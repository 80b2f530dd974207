//! How many Jobs are made now: the four strategies.

use scaler_api::{
    Error,
    keda::{ScaledJobSpec, ScalingStrategyKind},
};

use super::combine::{Bounds, Demand};

/// A strategy with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// The queue's worth less what runs.
    Default,
    /// The queue's worth less a deduction and a share of what runs.
    Custom {
        /// Taken off as it is.
        deduction: i64,
        /// The share of running Jobs that is taken off, 1 being all of them.
        percentage: f64,
    },
    /// The queue's worth less what is pending: for sources that hide messages in flight.
    Accurate,
    /// As many as there may be, up to the queue's worth.
    Eager,
}

impl Strategy {
    /// The strategy of `spec`; `custom` without a percentage that is a number is the default one.
    ///
    /// # Errors
    /// [`Invalid`](scaler_api::ErrorKind::Invalid) for words that name no strategy.
    pub fn of(spec: &ScaledJobSpec) -> Result<Self, Error> {
        Ok(match spec.scaling_strategy_kind()? {
            ScalingStrategyKind::Default => Self::Default,
            ScalingStrategyKind::Accurate => Self::Accurate,
            ScalingStrategyKind::Eager => Self::Eager,
            ScalingStrategyKind::Custom => {
                let given = spec.scaling_strategy.as_ref();
                let percentage = given
                    .and_then(|given| given.custom_scaling_running_job_percentage.as_deref())
                    .and_then(|percentage| percentage.parse().ok());
                let deduction = given.and_then(|given| given.custom_scaling_queue_length_deduction);
                percentage.map_or(Self::Default, |percentage| Self::Custom {
                    deduction: i64::from(deduction.unwrap_or(0)),
                    percentage,
                })
            }
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Custom { .. } => "custom",
            Self::Accurate => "accurate",
            Self::Eager => "eager",
        }
    }
}

/// The Jobs of an object that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub running: i64,
    /// Those whose pods do not work yet.
    pub pending: i64,
}

/// How many Jobs are to be made now, and the numbers that it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How many are made.
    pub create: i64,
    /// How many are asked for.
    pub scale_to: i64,
    /// How many are allowed.
    pub effective_max: i64,
    /// Whether they are made for the minimum alone.
    pub is_for_minimum: bool,
}

/// How many Jobs are to be made now.
#[must_use]
pub fn step(strategy: Strategy, demand: &Demand, counts: Counts, bounds: Bounds) -> Step {
    let is_for_minimum = counts.running < bounds.min;
    let (effective_max, scale_to) = if is_for_minimum {
        let missing = bounds.min - counts.running;
        (missing, missing)
    } else {
        let beyond_minimum = Counts {
            running: counts.running - bounds.min,
            ..counts
        };
        effective(strategy, demand, beyond_minimum, bounds.headroom)
    };
    let effective_max = effective_max.max(0);
    let create = if demand.is_active {
        scale_to.min(effective_max).max(0)
    } else {
        0
    };
    Step {
        create,
        scale_to,
        effective_max,
        is_for_minimum,
    }
}

/// How many Jobs are allowed and how many are asked for, by the formulas of the strategies.
fn effective(strategy: Strategy, demand: &Demand, counts: Counts, headroom: i64) -> (i64, i64) {
    let (max_scale, scale_to) = (demand.max_scale(), demand.scale_to());
    let Counts { running, pending } = counts;
    match strategy {
        Strategy::Default => (max_scale - running, scale_to),
        Strategy::Custom {
            deduction,
            percentage,
        } => {
            let share = share(running, percentage);
            let left = max_scale.saturating_sub(deduction).saturating_sub(share);
            (left.min(headroom), scale_to)
        }
        Strategy::Accurate if max_scale + running - pending > headroom => (headroom - running, scale_to),
        Strategy::Accurate => (max_scale - pending, scale_to),
        // What is pending runs too, and counts twice.
        Strategy::Eager => ((headroom - running - pending).min(max_scale), headroom),
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "numbers of Jobs are small, and it saturates"
)]
fn share(running: i64, percentage: f64) -> i64 {
    (running as f64 * percentage) as i64
}

#[cfg(test)]
mod tests {
    //! keda.md §3.7, the table of strategies.
    use scaler_api::keda::ScalingStrategy;

    use super::*;

    fn demand(queue_length: f64, max_value: f64) -> Demand {
        Demand {
            queue_length,
            max_value,
            is_active: true,
        }
    }

    fn wide(headroom: i64) -> Bounds {
        Bounds { min: 0, headroom }
    }

    /// Name, strategy, queue length, what it is worth, running, pending, Max(), what is made.
    type Row = (&'static str, Strategy, f64, f64, i64, i64, i64, i64);

    fn check(rows: &[Row]) {
        for (name, strategy, queue, worth, running, pending, headroom, expected) in rows {
            let counts = Counts {
                running: *running,
                pending: *pending,
            };
            let found = step(*strategy, &demand(*queue, *worth), counts, wide(*headroom));
            assert_eq!(found.create, *expected, "§3.7 {name}: {found:?}");
        }
    }

    #[test]
    fn section_3_7_default_takes_off_what_runs() {
        check(&[
            ("maxScale - r", Strategy::Default, 10.0, 10.0, 3, 0, 100, 7),
            ("nothing left", Strategy::Default, 10.0, 10.0, 12, 0, 100, 0),
            (
                "pending is no matter",
                Strategy::Default,
                10.0,
                10.0,
                3,
                3,
                100,
                7,
            ),
            ("as asked for", Strategy::Default, 2.0, 10.0, 3, 0, 100, 2),
            ("target of 5", Strategy::Default, 10.0, 2.0, 1, 0, 100, 1),
        ]);
    }

    #[test]
    fn section_3_7_custom_takes_off_a_deduction_and_a_share() {
        let custom = |deduction, percentage| Strategy::Custom {
            deduction,
            percentage,
        };
        check(&[
            (
                "maxScale - deduction - int(r * p)",
                custom(1, 0.5),
                10.0,
                10.0,
                3,
                0,
                100,
                8,
            ),
            ("the share is cut off", custom(0, 0.5), 10.0, 10.0, 3, 0, 100, 9),
            ("without a share", custom(0, 0.0), 10.0, 10.0, 8, 0, 100, 10),
            ("at most Max()", custom(-5, 0.0), 10.0, 5.0, 0, 0, 7, 7),
            ("never below zero", custom(20, 0.0), 10.0, 10.0, 0, 0, 100, 0),
        ]);
    }

    #[test]
    fn section_3_7_accurate_takes_off_what_is_pending() {
        check(&[
            (
                "maxScale - pending",
                Strategy::Accurate,
                10.0,
                10.0,
                20,
                4,
                100,
                6,
            ),
            (
                "beyond Max(): Max() - r",
                Strategy::Accurate,
                10.0,
                10.0,
                8,
                0,
                10,
                2,
            ),
            (
                "pending counts in the comparison",
                Strategy::Accurate,
                10.0,
                10.0,
                8,
                8,
                10,
                2,
            ),
            ("at Max()", Strategy::Accurate, 10.0, 10.0, 10, 0, 10, 0),
            ("§9: 4", Strategy::Accurate, 4.0, 4.0, 0, 0, 10, 4),
            ("§9: 4 -> 8", Strategy::Accurate, 4.0, 4.0, 4, 0, 10, 4),
            ("§9: 8 -> 10", Strategy::Accurate, 4.0, 4.0, 8, 0, 10, 2),
        ]);
    }

    #[test]
    fn section_3_7_eager_fills_what_is_free() {
        check(&[
            ("maxScale", Strategy::Eager, 4.0, 4.0, 0, 0, 10, 4),
            ("Max() - r", Strategy::Eager, 10.0, 10.0, 4, 0, 10, 6),
            ("pending counts twice", Strategy::Eager, 10.0, 10.0, 4, 4, 10, 2),
            (
                "the queue's length is no bound",
                Strategy::Eager,
                1.0,
                4.0,
                0,
                0,
                10,
                4,
            ),
            ("full", Strategy::Eager, 10.0, 10.0, 10, 2, 10, 0),
            ("§9: 8", Strategy::Eager, 4.0, 4.0, 4, 0, 10, 4),
            ("§9: 10", Strategy::Eager, 4.0, 4.0, 8, 0, 10, 2),
        ]);
    }

    #[test]
    fn section_3_7_a_minimum_is_made_first_and_then_stands_aside() {
        let bounds = Bounds { min: 3, headroom: 7 };
        let made = |running, queue| {
            let counts = Counts { running, pending: 0 };
            step(Strategy::Default, &demand(queue, queue), counts, bounds)
        };
        assert_eq!(made(1, 50.0).create, 2, "§3.7 min - running, whatever the queue");
        assert!(made(1, 50.0).is_for_minimum);
        assert_eq!(made(3, 0.0).create, 0);
        assert_eq!(made(3, 4.0).create, 4, "§3.7 r = running - min");
        assert_eq!(made(5, 4.0).create, 2);
    }

    #[test]
    fn section_3_7_nothing_is_made_where_nothing_is_active() {
        let demand = Demand {
            is_active: false,
            ..demand(10.0, 10.0)
        };
        for bounds in [wide(10), Bounds { min: 1, headroom: 9 }] {
            let found = step(Strategy::Eager, &demand, Counts::default(), bounds);
            assert_eq!(found.create, 0, "§3.7 only when isActive");
        }
    }

    #[test]
    fn section_3_7_strategies_are_read_from_the_object() {
        let of = |strategy: &str, percentage: Option<&str>, deduction| {
            let spec = ScaledJobSpec {
                scaling_strategy: Some(ScalingStrategy {
                    strategy: Some(strategy.into()),
                    custom_scaling_running_job_percentage: percentage.map(Into::into),
                    custom_scaling_queue_length_deduction: deduction,
                    ..ScalingStrategy::default()
                }),
                ..ScaledJobSpec::default()
            };
            Strategy::of(&spec).ok()
        };
        let custom = Strategy::Custom {
            deduction: 2,
            percentage: 0.5,
        };
        let cases = [
            ("default", None, None, Some(Strategy::Default)),
            ("accurate", None, None, Some(Strategy::Accurate)),
            ("eager", None, None, Some(Strategy::Eager)),
            ("custom", Some("0.5"), Some(2), Some(custom)),
            ("custom", Some("half"), Some(2), Some(Strategy::Default)),
            ("custom", None, Some(2), Some(Strategy::Default)),
            ("greedy", None, None, None),
        ];
        for (strategy, percentage, deduction, expected) in cases {
            assert_eq!(
                of(strategy, percentage, deduction),
                expected,
                "§3.7 {strategy} {percentage:?}"
            );
        }
        assert_eq!(
            Strategy::of(&ScaledJobSpec::default()).unwrap(),
            Strategy::Default
        );
    }
}
