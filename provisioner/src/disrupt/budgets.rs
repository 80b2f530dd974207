//! Disruption budgets: how many nodes of a pool may go at once, and when.

use std::{collections::BTreeMap, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use jiff::{Timestamp, tz::TimeZone};

use super::{Cluster, PoolPolicy};
use crate::{
    Error, ErrorKind,
    karpenter::{Budget, DisruptionReason},
};

/// Reads the schedule of a budget: five fields or a macro such as `@daily`.
///
/// # Errors
/// If it is neither; the message has the text.
pub fn schedule(text: &str) -> Result<Cron, Error> {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .build()
        .parse(text)
        .map_err(|source| {
            let message =
                format!("schedule {text:?} is neither cron with five fields nor a macro such as @daily");
            Error::new(ErrorKind::Invalid, message).with_source(source)
        })
}

/// `nodes` of a budget for a pool of `total` nodes: a number, or a share rounded up. `None` if it is neither.
#[must_use]
pub fn budget_nodes(nodes: &str, total: u32) -> Option<u32> {
    match nodes.strip_suffix('%') {
        Some(percent) => {
            let percent: u32 = percent.parse().ok().filter(|percent| *percent <= 100)?;
            u32::try_from((u64::from(total) * u64::from(percent)).div_ceil(100)).ok()
        }
        None => nodes.parse().ok(),
    }
}

/// Whether a budget holds at `now`: always without a schedule, else from each time of the schedule for its duration, in
/// UTC.
///
/// # Errors
/// If the schedule cannot be read.
pub fn is_active(budget: &Budget, now: Timestamp) -> Result<bool, Error> {
    let (Some(text), Some(duration)) = (&budget.schedule, &budget.duration) else {
        return Ok(true);
    };
    let cron = schedule(text)?;
    let duration = duration.get().unwrap_or(Duration::ZERO);
    let Ok(begin) = jiff::SignedDuration::try_from(duration)
        .map_err(drop)
        .and_then(|d| now.checked_sub(d).map_err(drop))
    else {
        return Ok(true);
    };
    let begin = begin.to_zoned(TimeZone::UTC);
    Ok(cron
        .find_next_occurrence(&begin, false)
        .is_ok_and(|hit| hit.timestamp() <= now))
}

/// What budgets are measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetUsage {
    /// Initialised nodes of the pool whose instances are not being returned.
    pub total: u32,
    /// Nodes that already disrupt: not ready, marked for deletion or being deleted.
    pub disrupting: u32,
}

/// How many more nodes of a pool may be disrupted now for `reason`; `None` for any number.
///
/// A schedule that cannot be read allows nothing.
#[must_use]
pub fn allowed(
    budgets: &[Budget],
    reason: DisruptionReason,
    usage: BudgetUsage,
    now: Timestamp,
) -> Option<u32> {
    budgets
        .iter()
        .filter(|budget| {
            budget
                .reasons
                .as_ref()
                .is_none_or(|reasons| reasons.contains(&reason))
        })
        .filter_map(|budget| match is_active(budget, now) {
            Ok(true) => Some(budget_nodes(&budget.nodes, usage.total).unwrap_or(0)),
            Ok(false) => None,
            Err(_) => Some(0),
        })
        .min()
        .map(|nodes| nodes.saturating_sub(usage.disrupting))
}

/// How many nodes of each pool may still be disrupted in one decision.
#[derive(Clone, Debug)]
pub struct BudgetBook {
    reason: DisruptionReason,
    left: BTreeMap<String, Option<u32>>,
}

impl BudgetBook {
    /// Of all pools, for a reason.
    #[must_use]
    pub fn new(cluster: &Cluster<'_>, reason: DisruptionReason) -> Self {
        let left = |(name, policy): (&String, &PoolPolicy)| {
            (
                name.clone(),
                allowed(&policy.budgets, reason, usage(cluster, name), cluster.now),
            )
        };
        Self {
            reason,
            left: cluster.pools.iter().map(left).collect(),
        }
    }

    /// Takes one node of a pool, if it may go.
    pub fn take(&mut self, pool: &str) -> bool {
        match self.left.get_mut(pool) {
            Some(Some(0)) | None => false,
            Some(Some(left)) => {
                *left -= 1;
                true
            }
            Some(None) => true,
        }
    }

    /// Gives one node of a pool back.
    pub fn give_back(&mut self, pool: &str) {
        if let Some(Some(left)) = self.left.get_mut(pool) {
            *left += 1;
        }
    }

    /// What is said of a node that may not go.
    #[must_use]
    pub fn refusal(&self) -> String {
        format!(
            "No allowed disruptions for disruption reason {} due to blocking budget",
            self.reason
        )
    }
}

/// What a pool's budgets are measured against.
fn usage(cluster: &Cluster<'_>, pool: &str) -> BudgetUsage {
    let of_pool = cluster
        .nodes
        .iter()
        .filter(|facts| facts.pool.as_deref() == Some(pool));
    let counted: Vec<_> = of_pool
        .filter(|facts| facts.initialized_at.is_some() && !facts.instance_terminating)
        .collect();
    let disrupting = counted
        .iter()
        .filter(|facts| !facts.is_ready || facts.is_deleting || facts.is_queued)
        .count();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    BudgetUsage {
        total: number(counted.len()),
        disrupting: number(disrupting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(nodes: &str) -> Budget {
        Budget {
            nodes: nodes.to_owned(),
            ..Budget::default()
        }
    }

    fn scheduled(nodes: &str, schedule: &str, duration: &str) -> Budget {
        Budget {
            schedule: Some(schedule.to_owned()),
            duration: Some(duration.parse().unwrap()),
            ..budget(nodes)
        }
    }

    fn allowed_at(budgets: &[Budget], total: u32, disrupting: u32, now: &str) -> Option<u32> {
        let usage = BudgetUsage { total, disrupting };
        allowed(budgets, DisruptionReason::Empty, usage, now.parse().unwrap())
    }

    const NOON: &str = "2026-01-05T12:00:00Z";

    #[test]
    fn shares_are_rounded_up_and_the_least_budget_counts() {
        assert_eq!(allowed_at(&[budget("10%")], 1, 0, NOON), Some(1));
        assert_eq!(allowed_at(&[budget("10%")], 19, 0, NOON), Some(2));
        assert_eq!(allowed_at(&[budget("10%")], 19, 2, NOON), Some(0));
        assert_eq!(allowed_at(&[budget("50%"), budget("3")], 10, 1, NOON), Some(2));
        assert_eq!(allowed_at(&[budget("0")], 10, 0, NOON), Some(0));
        assert_eq!(allowed_at(&[], 10, 4, NOON), None);
    }

    #[test]
    fn a_budget_for_other_reasons_does_not_count() {
        let drifted = Budget {
            reasons: Some(vec![DisruptionReason::Drifted]),
            ..budget("0")
        };
        assert_eq!(allowed_at(&[drifted], 10, 0, NOON), None);
    }

    #[test]
    fn a_schedule_holds_from_its_time_for_its_duration() {
        let office = [scheduled("0", "0 9 * * 1-5", "8h")];
        let cases = [
            ("2026-01-05T08:59:59Z", None),
            ("2026-01-05T09:00:00Z", Some(0)),
            (NOON, Some(0)),
            ("2026-01-05T16:59:59Z", Some(0)),
            ("2026-01-05T17:00:00Z", None),
            ("2026-01-04T12:00:00Z", None),
        ];
        for (now, expected) in cases {
            assert_eq!(allowed_at(&office, 10, 0, now), expected, "{now}");
        }
        assert_eq!(
            allowed_at(&[scheduled("0", "@daily", "1h")], 1, 0, "2026-01-05T00:30:00Z"),
            Some(0)
        );
    }

    #[test]
    fn an_unreadable_schedule_allows_nothing() {
        assert_eq!(
            allowed_at(&[scheduled("5", "whenever", "1h")], 10, 0, NOON),
            Some(0)
        );
        assert!(schedule("* * * * * *").is_err());
        assert!(
            schedule("whenever")
                .unwrap_err()
                .to_string()
                .contains("\"whenever\"")
        );
    }

    #[test]
    fn numbers_and_shares_are_told_from_nonsense() {
        assert_eq!(budget_nodes("101%", 10), None);
        assert_eq!(budget_nodes("-1", 10), None);
        assert_eq!(budget_nodes("ten", 10), None);
        assert_eq!(budget_nodes("100%", 7), Some(7));
    }
}
