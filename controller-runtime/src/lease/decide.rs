//! What to do about a Lease: a pure decision on what was seen of it.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use tokio::time::Instant;

/// A Lease as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// What it says. Of one that is gone, what it said.
    pub spec: LeaseSpec,
    /// When it was first seen to say so, by this process's own steady clock.
    pub since: Instant,
    /// The object to replace; none where it is gone.
    pub lease: Option<Lease>,
}

impl Observed {
    /// After looking at `now`: the time counts on from before, unless the Lease says something else.
    #[must_use]
    pub fn after(previous: Option<Self>, lease: Option<Lease>, now: Instant) -> Option<Self> {
        let Some(lease) = lease else {
            // Somebody took it away. Whoever held it does not know that yet.
            return previous.map(|previous| Self {
                lease: None,
                ..previous
            });
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match previous {
            Some(previous) if previous.spec == spec => previous.since,
            _ => now,
        };
        Some(Self {
            spec,
            since,
            lease: Some(lease),
        })
    }

    /// When it ends if it is not renewed.
    fn ends(&self, usual: Duration) -> Instant {
        let seconds = self
            .spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        self.since + seconds.map_or(usual, Duration::from_secs)
    }
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its identity.
    pub identity: String,
    /// How long Leases last that do not say so.
    pub lease_duration: Duration,
    /// The renewal times that it has written, or tried to.
    pub written: BTreeSet<Timestamp>,
}

impl Own {
    /// Whether this process wrote `spec`, not only one of the same name: an answer may have been lost.
    #[must_use]
    pub fn wrote(&self, spec: &LeaseSpec) -> bool {
        let renewed = spec.renew_time.as_ref().map(|time| time.0);
        spec.holder_identity.as_deref() == Some(self.identity.as_str())
            && renewed.is_some_and(|time| self.written.contains(&time))
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no Lease: make one.
    Create,
    /// It is this process's own.
    Renew,
    /// It is nobody's, or has ended.
    Take,
    /// It is another's: look again, at the latest then.
    Wait {
        /// When it ends if it is not renewed.
        until: Instant,
    },
}

/// Decides.
#[must_use]
pub fn decide(observed: Option<&Observed>, own: &Own, now: Instant) -> Step {
    let Some(observed) = observed else {
        return Step::Create;
    };
    let is_own = own.wrote(&observed.spec);
    let is_held = observed
        .spec
        .holder_identity
        .as_deref()
        .is_some_and(|holder| !holder.is_empty());
    let until = observed.ends(own.lease_duration);
    if is_held && !is_own && now < until {
        Step::Wait { until }
    } else if observed.lease.is_none() {
        Step::Create
    } else if is_own {
        Step::Renew
    } else {
        Step::Take
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(holder: &str, renewed: i64, seconds: Option<i32>) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(time(renewed))),
                lease_duration_seconds: seconds,
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    fn own() -> Own {
        Own {
            identity: "a".to_owned(),
            lease_duration: Duration::from_secs(15),
            written: BTreeSet::from([time(100)]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_made_renewed_taken_or_waited_for() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let seen = |lease: Lease| Observed::after(None, Some(lease), start);
        let gone = |lease: Lease| Observed::after(seen(lease), None, start);
        let wait = |seconds: u64| Step::Wait {
            until: after(seconds),
        };
        let held = |holder, renewed| seen(lease(holder, renewed, Some(15)));
        let lost = |holder, renewed| gone(lease(holder, renewed, Some(15)));
        let cases = [
            ("there is none", None, 0, Step::Create),
            ("my own", held("a", 100), 0, Step::Renew),
            ("my own, long after", held("a", 100), 99, Step::Renew),
            ("of my name only", held("a", 99), 0, wait(15)),
            ("another's", held("b", 1), 0, wait(15)),
            ("another's, from the future", held("b", 1 << 33), 14, wait(15)),
            ("another's, of the same time", held("b", 100), 14, wait(15)),
            ("another's, ended", held("b", 1), 15, Step::Take),
            (
                "another's, for longer",
                seen(lease("b", 1, Some(60))),
                59,
                wait(60),
            ),
            (
                "another's, for who knows",
                seen(lease("b", 1, None)),
                14,
                wait(15),
            ),
            ("given back", seen(lease("", 1, Some(1))), 0, Step::Take),
            ("another's, taken away", lost("b", 1), 14, wait(15)),
            ("another's, taken away, ended", lost("b", 1), 15, Step::Create),
            ("my own, taken away", lost("a", 100), 0, Step::Create),
            ("empty", seen(Lease::default()), 0, Step::Take),
        ];
        for (name, observed, seconds, expected) in cases {
            assert_eq!(
                decide(observed.as_ref(), &own(), after(seconds)),
                expected,
                "{name}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_when_a_renewal_was_seen_first() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let first = Observed::after(None, Some(lease("b", 1, Some(15))), start);
        let same = Observed::after(first, Some(lease("b", 1, Some(15))), after(9)).unwrap();
        assert_eq!(same.since, start);
        // A clock that went back renews all the same.
        let renewed = Observed::after(Some(same), Some(lease("b", 0, Some(15))), after(10)).unwrap();
        assert_eq!(renewed.since, after(10));
        let gone = Observed::after(Some(renewed), None, after(12)).unwrap();
        assert_eq!((gone.since, gone.lease), (after(10), None));
    }
}
