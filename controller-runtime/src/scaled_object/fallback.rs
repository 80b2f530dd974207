//! What stands in for a source that fails, and when.

use std::collections::BTreeMap;

use scaler_api::{
    MetricTarget, Quantity,
    keda::{self, FallbackBehavior, HealthStatus},
};

/// A usable `fallback` of a ScaledObject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Failures in a row that are borne.
    pub failure_threshold: i32,
    /// Replicas to fall back to.
    pub replicas: i32,
    /// How they are combined with those that there are.
    pub behavior: FallbackBehavior,
}

impl Fallback {
    /// The fallback of a specification, if it can be used.
    #[must_use]
    pub fn of(spec: &keda::ScaledObjectSpec) -> Option<Self> {
        let fallback = spec.fallback.as_ref()?;
        let behavior = fallback.behavior().ok()?;
        let usable = fallback.failure_threshold >= 0 && fallback.replicas >= 0;
        usable.then_some(Self {
            failure_threshold: fallback.failure_threshold,
            replicas: fallback.replicas,
            behavior,
        })
    }

    /// Whether it is in force: strictly more failures in a row than the threshold.
    #[must_use]
    pub fn is_in_force(&self, failures: i32) -> bool {
        failures > self.failure_threshold
    }

    /// Whether it is the same for any number of current replicas.
    #[must_use]
    pub fn ignores_current(&self) -> bool {
        matches!(
            self.behavior,
            FallbackBehavior::Static | FallbackBehavior::ScalingModifiers
        )
    }

    /// The replicas to fall back to where there are `current`.
    #[must_use]
    pub fn replicas(&self, current: i32) -> i32 {
        match self.behavior {
            FallbackBehavior::Static | FallbackBehavior::ScalingModifiers => self.replicas,
            FallbackBehavior::CurrentReplicas => current,
            FallbackBehavior::CurrentReplicasIfHigher => self.replicas.max(current),
            FallbackBehavior::CurrentReplicasIfLower => self.replicas.min(current),
        }
    }
}

/// The value that makes the HPA want `replicas`, where `ready_pods` are ready; none where no value does.
///
/// A target per replica needs `target * replicas`. A target in total is compared with what each ready pod does, so it
/// needs a share of that, and none can be named while no pod is ready.
#[must_use]
pub fn metric_value(target: &MetricTarget, replicas: i32, ready_pods: i64) -> Option<Quantity> {
    match target {
        MetricTarget::AverageValue(target) => {
            let milli = i128::from(target.milli_value()) * i128::from(replicas);
            Some(Quantity::from_millis(saturate(milli)))
        }
        MetricTarget::Value(target) => {
            let milli = i128::from(target.milli_value()) * i128::from(replicas);
            (ready_pods > 0).then(|| Quantity::from_millis(saturate(milli / i128::from(ready_pods))))
        }
        _ => None,
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many samples in a row failed, by metric.
///
/// The count is of samples, not of queries: two readers of one sample do not make it fail twice. It stops one above
/// the threshold, so that a source that is down for good causes no more writes of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthLedger {
    failures: BTreeMap<String, i32>,
}

impl HealthLedger {
    /// Takes up the counts of a status.
    #[must_use]
    pub fn of(status: Option<&BTreeMap<String, keda::Health>>) -> Self {
        let entries = status.into_iter().flatten();
        let failures = entries.map(|(metric, health)| {
            let failing = health.status.as_deref() == Some(HealthStatus::Failing.as_str());
            (
                metric.clone(),
                if failing {
                    health.number_of_failures.unwrap_or(1).max(1)
                } else {
                    0
                },
            )
        });
        Self {
            failures: failures.collect(),
        }
    }

    /// Takes up what another replica has counted. A metric that works there may still fail here, so its count is
    /// left to the next sample.
    pub fn learn(&mut self, status: Option<&BTreeMap<String, keda::Health>>) {
        for (metric, failures) in Self::of(status).failures {
            let known = self.failures.entry(metric).or_insert(0);
            *known = failures.max(*known);
        }
    }

    /// The failures in a row of a metric.
    #[must_use]
    pub fn failures(&self, metric: &str) -> i32 {
        self.failures.get(metric).copied().unwrap_or(0)
    }

    /// Counts one sample of a metric; whether anything changed.
    pub fn count(&mut self, metric: &str, succeeded: bool, fallback: Option<&Fallback>) -> bool {
        let most = fallback.map_or(1, |fallback| fallback.failure_threshold.saturating_add(1));
        let known = self.failures.get(metric).copied();
        let now = if succeeded {
            0
        } else {
            known
                .unwrap_or(0)
                .saturating_add(1)
                .min(most.max(known.unwrap_or(0)))
        };
        if known == Some(now) {
            return false;
        }
        self.failures.insert(metric.to_owned(), now);
        true
    }

    /// Forgets metrics that are not in `metrics`.
    pub fn retain(&mut self, metrics: &[String]) {
        self.failures.retain(|metric, _| metrics.contains(metric));
    }

    /// Whether the fallback is in force for any metric.
    #[must_use]
    pub fn any_in_force(&self, fallback: Option<&Fallback>) -> bool {
        fallback.is_some_and(|fallback| {
            self.failures
                .values()
                .any(|failures| fallback.is_in_force(*failures))
        })
    }

    /// As the status shows it.
    #[must_use]
    pub fn to_status(&self) -> Option<BTreeMap<String, keda::Health>> {
        let entries = self.failures.iter().map(|(metric, failures)| {
            let status = if *failures == 0 {
                HealthStatus::Happy
            } else {
                HealthStatus::Failing
            };
            let health = keda::Health {
                number_of_failures: Some(*failures),
                status: Some(status.as_str().to_owned()),
            };
            (metric.clone(), health)
        });
        let health: BTreeMap<_, _> = entries.collect();
        (!health.is_empty()).then_some(health)
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §3.4.
    use super::*;

    fn fallback(behavior: FallbackBehavior) -> Fallback {
        Fallback {
            failure_threshold: 3,
            replicas: 3,
            behavior,
        }
    }

    #[test]
    fn behaviours_combine_replicas_as_section_3_4_says() {
        use FallbackBehavior::{CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Static};
        let cases = [
            (Static, 5, 3),
            (Static, 0, 3),
            (CurrentReplicas, 5, 5),
            (CurrentReplicas, 0, 0),
            (CurrentReplicasIfHigher, 4, 4),
            (CurrentReplicasIfHigher, 2, 3),
            (CurrentReplicasIfLower, 5, 3),
            (CurrentReplicasIfLower, 2, 2),
        ];
        for (behavior, current, expected) in cases {
            assert_eq!(
                fallback(behavior).replicas(current),
                expected,
                "{behavior:?} at {current}"
            );
        }
    }

    #[test]
    fn section_3_4_it_is_in_force_strictly_above_the_threshold() {
        let fallback = fallback(FallbackBehavior::Static);
        for (failures, in_force) in [(0, false), (3, false), (4, true)] {
            assert_eq!(fallback.is_in_force(failures), in_force, "{failures}");
        }
    }

    #[test]
    fn section_3_4_the_value_makes_the_hpa_want_the_replicas() {
        let average = |target: &str| MetricTarget::AverageValue(target.parse().unwrap());
        let value = |target: &str| MetricTarget::Value(target.parse().unwrap());
        let cases = [
            (average("5"), 2, 0, Some("10")),
            (average("1500m"), 3, 9, Some("4500m")),
            (average("5"), 0, 0, Some("0")),
            (value("5"), 3, 2, Some("7500m")),
            (value("10"), 3, 7, Some("4285m")),
            (value("5"), 3, 0, None),
            (MetricTarget::Utilization(50), 3, 2, None),
        ];
        for (target, replicas, ready, expected) in cases {
            let found = metric_value(&target, replicas, ready).map(|quantity| quantity.to_string());
            assert_eq!(found.as_deref(), expected, "{target:?} {replicas} {ready}");
        }
    }

    #[test]
    fn section_3_4_failures_are_counted_up_to_one_above_the_threshold_and_forgotten_by_a_success() {
        let fallback = fallback(FallbackBehavior::Static);
        let mut ledger = HealthLedger::default();
        let counted: Vec<_> = (0..6)
            .map(|_| ledger.count("s0-x", false, Some(&fallback)))
            .collect();
        assert_eq!(counted, [true, true, true, true, false, false]);
        assert_eq!(ledger.failures("s0-x"), 4);
        assert!(ledger.any_in_force(Some(&fallback)));
        assert!(ledger.count("s0-x", true, Some(&fallback)));
        assert!(!ledger.any_in_force(Some(&fallback)));
        assert!(!ledger.count("s0-x", true, Some(&fallback)));
        assert_eq!(
            ledger.to_status().unwrap()["s0-x"].status.as_deref(),
            Some("Happy")
        );
    }

    #[test]
    fn section_3_4_metrics_that_are_gone_are_pruned() {
        let mut ledger = HealthLedger::default();
        for metric in ["s0-x", "s1-y"] {
            ledger.count(metric, false, None);
        }
        ledger.retain(&["s1-y".to_owned()]);
        let left: Vec<_> = ledger.to_status().unwrap().into_keys().collect();
        assert_eq!(left, ["s1-y"]);
    }

    #[test]
    fn section_3_4_counts_survive_in_the_status() {
        let fallback = fallback(FallbackBehavior::Static);
        let mut ledger = HealthLedger::default();
        for _ in 0..4 {
            ledger.count("s0-x", false, Some(&fallback));
        }
        ledger.count("s1-y", true, Some(&fallback));
        assert_eq!(HealthLedger::of(ledger.to_status().as_ref()), ledger);
    }

    #[test]
    fn section_3_4_what_another_replica_has_counted_is_learnt_but_its_success_is_not() {
        let ledger = |failures: i32| HealthLedger {
            failures: BTreeMap::from([("s0-x".to_owned(), failures)]),
        };
        for (here, there, expected) in [(0, 4, 4), (2, 4, 4), (4, 2, 4), (4, 0, 4), (0, 0, 0)] {
            let mut found = ledger(here);
            found.learn(ledger(there).to_status().as_ref());
            assert_eq!(found, ledger(expected), "{here} here, {there} there");
        }
        let mut found = HealthLedger::default();
        found.learn(ledger(3).to_status().as_ref());
        assert_eq!(found, ledger(3));
    }

    #[test]
    fn section_3_4_an_invalid_fallback_is_none() {
        let spec = |fallback| keda::ScaledObjectSpec {
            fallback: Some(fallback),
            ..Default::default()
        };
        let wire = |failure_threshold, replicas, behavior: &str| keda::Fallback {
            failure_threshold,
            replicas,
            behavior: behavior.into(),
            ..Default::default()
        };
        assert!(Fallback::of(&spec(wire(0, 0, "static"))).is_some());
        assert!(Fallback::of(&spec(wire(-1, 1, "static"))).is_none());
        assert!(Fallback::of(&spec(wire(1, -1, "static"))).is_none());
        assert!(Fallback::of(&spec(wire(1, 1, "sometimes"))).is_none());
        assert!(Fallback::of(&keda::ScaledObjectSpec::default()).is_none());
    }
}
