//! How far a group is behind: arithmetic on offsets, and nothing else.

use std::collections::BTreeMap;

/// A topic and the number of a partition.
pub(super) type Partition = (String, i32);

/// Where a group and a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    /// What the group committed, if it did.
    pub(super) committed: Option<i64>,
    /// The end of the partition.
    pub(super) latest: i64,
}

/// Where a consumer begins that has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum OffsetReset {
    Latest,
    Earliest,
}

/// What the metadata says about the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "these are KEDA's switches")]
pub(super) struct Rules {
    pub(super) threshold: i64,
    pub(super) activation: i64,
    pub(super) reset: OffsetReset,
    pub(super) zero_on_invalid_offset: bool,
    pub(super) allow_idle_consumers: bool,
    pub(super) exclude_persistent: bool,
    pub(super) limit_to_lagging: bool,
    pub(super) even: bool,
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) value: i64,
    pub(super) active: bool,
}

impl Rules {
    /// The lag of all partitions.
    ///
    /// `seen` are the offsets at which the group was the last time; they are brought up to date.
    pub(super) fn lag(
        &self,
        partitions: &BTreeMap<Partition, Offsets>,
        seen: &mut BTreeMap<Partition, i64>,
    ) -> Lag {
        let (mut total, mut with_persistent, mut lagging) = (0_i64, 0_i64, 0_i64);
        for (partition, offsets) in partitions {
            let all = self.behind(*offsets);
            let counted = match offsets.committed {
                // Still where it was: no replica would help.
                Some(at) if self.exclude_persistent && seen.insert(partition.clone(), at) == Some(at) => 0,
                _ => all,
            };
            total = total.saturating_add(counted);
            with_persistent = with_persistent.saturating_add(all);
            lagging += i64::from(counted > 0);
        }
        let count = i64::try_from(partitions.len()).unwrap_or(i64::MAX);
        Lag {
            value: self.bounded(total, count, lagging),
            active: with_persistent > self.activation,
        }
    }

    /// The lag of one partition.
    fn behind(&self, offsets: Offsets) -> i64 {
        match offsets.committed {
            // A group ahead of the end waits for nothing, and may not hide what others wait for.
            Some(committed) => offsets.latest.saturating_sub(committed).max(0),
            None if self.zero_on_invalid_offset => 0,
            None => match self.reset {
                // Somebody has to run who commits something.
                OffsetReset::Latest => 1,
                OffsetReset::Earliest => offsets.latest,
            },
        }
    }

    /// Keeps replicas from outnumbering the partitions that they could consume.
    fn bounded(&self, total: i64, partitions: i64, lagging: i64) -> i64 {
        if self.allow_idle_consumers && !self.limit_to_lagging && !self.even {
            return total;
        }
        let total = match self.even {
            true => self
                .even_replicas(total, partitions)
                .saturating_mul(self.threshold),
            false => total,
        };
        let bound = if self.limit_to_lagging {
            lagging
        } else {
            partitions
        };
        match total / self.threshold.max(1) > bound {
            true => bound.saturating_mul(self.threshold),
            false => total,
        }
    }

    /// The fewest replicas that carry the lag with as many partitions each.
    fn even_replicas(&self, total: i64, partitions: i64) -> i64 {
        (1..=partitions)
            .filter(|replicas| partitions % replicas == 0)
            .find(|replicas| replicas.saturating_mul(self.threshold) >= total)
            .unwrap_or(partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        threshold: 10,
        activation: 0,
        reset: OffsetReset::Latest,
        zero_on_invalid_offset: false,
        allow_idle_consumers: false,
        exclude_persistent: false,
        limit_to_lagging: false,
        even: false,
    };

    /// Partitions by committed offset (-1 for none) and end.
    fn partitions(offsets: &[(i64, i64)]) -> BTreeMap<Partition, Offsets> {
        let numbered = (0..).zip(offsets);
        numbered
            .map(|(number, (committed, latest))| {
                let committed = (*committed >= 0).then_some(*committed);
                let offsets = Offsets {
                    committed,
                    latest: *latest,
                };
                (("orders".to_owned(), number), offsets)
            })
            .collect()
    }

    fn lag(rules: Rules, offsets: &[(i64, i64)]) -> (i64, bool) {
        let lag = rules.lag(&partitions(offsets), &mut BTreeMap::new());
        (lag.value, lag.active)
    }

    #[test]
    fn the_lag_of_a_partition_follows_the_policy() {
        let earliest = Rules {
            reset: OffsetReset::Earliest,
            ..RULES
        };
        let zero = |rules| Rules {
            zero_on_invalid_offset: true,
            ..rules
        };
        // keda.md §5.3, in its order.
        for (case, rules, offsets, expected) in [
            ("nothing committed, latest", RULES, (-1, 7), (1, true)),
            (
                "nothing committed, latest, zero",
                zero(RULES),
                (-1, 7),
                (0, false),
            ),
            ("nothing committed, earliest", earliest, (-1, 7), (7, true)),
            (
                "nothing committed, earliest, empty",
                earliest,
                (-1, 0),
                (0, false),
            ),
            (
                "nothing committed, earliest, zero",
                zero(earliest),
                (-1, 7),
                (0, false),
            ),
            ("behind", RULES, (3, 7), (4, true)),
            ("behind, zero has no say", zero(earliest), (3, 7), (4, true)),
            ("at the end", RULES, (7, 7), (0, false)),
            ("committed to the begin", RULES, (0, 7), (7, true)),
            ("ahead of the end", RULES, (9, 7), (0, false)),
        ] {
            assert_eq!(lag(rules, &[offsets]), expected, "{case}");
        }
    }

    #[test]
    fn the_total_is_bounded_by_what_can_be_consumed() {
        let idle = Rules {
            allow_idle_consumers: true,
            ..RULES
        };
        let limited = Rules {
            limit_to_lagging: true,
            ..RULES
        };
        let even = Rules { even: true, ..RULES };
        let ten =
            |lag: i64| -> Vec<(i64, i64)> { (0..10).map(|at| (0, if at == 0 { lag } else { 0 })).collect() };
        // keda.md §5.3, "total"; §9: even distribution over 10 partitions gives 5 for a lag of 5, 10 for one of 8.
        let one = Rules {
            threshold: 1,
            ..RULES
        };
        let even_one = Rules { threshold: 1, ..even };
        for (case, rules, offsets, expected) in [
            ("sum", RULES, vec![(0, 5), (2, 9)], 12),
            ("three partitions", RULES, vec![(0, 90), (0, 0), (0, 0)], 30),
            (
                "division without remainder",
                RULES,
                vec![(0, 39), (0, 0), (0, 0)],
                39,
            ),
            ("idle consumers", idle, vec![(0, 90), (0, 0), (0, 0)], 90),
            ("lagging only", limited, vec![(0, 90), (0, 5), (0, 0)], 20),
            ("lagging only, none", limited, vec![(0, 0), (0, 0)], 0),
            ("lagging only, below the threshold", limited, vec![(0, 9)], 9),
            ("even, no lag", even, ten(0), 10),
            ("even, one replica", even, ten(10), 10),
            ("even, two", even, ten(11), 20),
            ("even, five", even, ten(21), 50),
            ("even, ten", even, ten(51), 100),
            ("even, more than that", even, ten(1000), 100),
            ("even, idle consumers", Rules { even: true, ..idle }, ten(21), 50),
            ("even, 5 of 10", even_one, ten(5), 5),
            ("even, 8 of 10", even_one, ten(8), 10),
            ("§9: cap at 3 partitions", one, vec![(0, 50), (0, 50), (0, 50)], 3),
            ("no partitions", RULES, vec![], 0),
            ("a lot", idle, vec![(0, i64::MAX), (0, i64::MAX)], i64::MAX),
            ("a lot, bounded", RULES, vec![(0, i64::MAX), (0, i64::MAX)], 20),
        ] {
            assert_eq!(lag(rules, &offsets).0, expected, "{case}");
        }
    }

    #[test]
    fn activity_is_strictly_above_the_activation_and_knows_no_bounds() {
        let rules = Rules {
            activation: 5,
            limit_to_lagging: true,
            threshold: 1,
            ..RULES
        };
        assert_eq!(lag(rules, &[(0, 5)]), (1, false));
        assert_eq!(lag(rules, &[(0, 6)]), (1, true));
        // An even distribution reports one replica where there is no lag; that does not start it.
        assert_eq!(lag(Rules { even: true, ..RULES }, &[(3, 3)]), (10, false));
    }

    #[test]
    fn lag_that_stays_where_it_is_counts_for_activity_only() {
        let rules = Rules {
            exclude_persistent: true,
            allow_idle_consumers: true,
            ..RULES
        };
        let mut seen = BTreeMap::new();
        let steps = [
            // The first time nobody knows.
            (vec![(3, 10), (0, 4)], 11, true),
            // The first partition moved, the second did not.
            (vec![(5, 10), (0, 9)], 5, true),
            (vec![(5, 10), (0, 9)], 0, true),
            (vec![(6, 10), (9, 9)], 4, true),
            // At the end and still there.
            (vec![(10, 10), (9, 9)], 0, false),
            (vec![(10, 10), (9, 9)], 0, false),
            // New messages for a group that has been waiting at the end look the same as persistent lag.
            (vec![(10, 12), (9, 9)], 0, true),
            // What has committed nothing has no offset to stay at.
            (vec![(-1, 12), (9, 9)], 1, true),
            (vec![(-1, 12), (9, 9)], 1, true),
        ];
        for (step, (offsets, value, active)) in steps.into_iter().enumerate() {
            let lag = rules.lag(&partitions(&offsets), &mut seen);
            assert_eq!((lag.value, lag.active), (value, active), "step {step}");
        }
        let limited = Rules {
            limit_to_lagging: true,
            allow_idle_consumers: false,
            threshold: 1,
            ..rules
        };
        let mut seen = BTreeMap::new();
        limited.lag(&partitions(&[(0, 9), (0, 9)]), &mut seen);
        let second = limited.lag(&partitions(&[(0, 9), (1, 9)]), &mut seen);
        assert_eq!(
            second.value, 1,
            "a partition with persistent lag is none with lag"
        );
    }
}
