//! Which Lease, in whose name, and how long.

use std::time::Duration;

/// How an [`Elector`](super::Elector) elects. The times are client-go's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectorOptions {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who stands for election: a name that no other process has, nor will have after this one has ended.
    pub identity: String,
    /// How long others wait after they last saw the leader renew.
    pub lease_duration: Duration,
    /// How long a leader that cannot renew leads on.
    pub renew_deadline: Duration,
    /// How often the leader renews, and others look.
    pub retry_period: Duration,
}

/// Options that elect nobody, or two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOptions {
    /// A name is missing.
    #[error("{0} is empty, expected a name")]
    Empty(&'static str),
    /// Leases are counted in seconds.
    #[error("lease duration is {0:?}, expected at least 1s")]
    Short(Duration),
    /// Others could lead before the leader has stepped down.
    #[error(
        "lease duration is {lease_duration:?}, expected more than the renew deadline, which is {renew_deadline:?}"
    )]
    Lease {
        /// As given.
        lease_duration: Duration,
        /// As given.
        renew_deadline: Duration,
    },
    /// The leader could not try twice.
    #[error(
        "renew deadline is {renew_deadline:?}, expected more than 1.2 times the retry period, which is {retry_period:?}"
    )]
    Renewal {
        /// As given.
        renew_deadline: Duration,
        /// As given.
        retry_period: Duration,
    },
    /// The leader would never wait.
    #[error("retry period is 0s, expected more")]
    Restless,
}

impl ElectorOptions {
    /// The usual times: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Whether they can be used.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        let names = [
            ("namespace of the lease", &self.namespace),
            ("name of the lease", &self.name),
            ("identity", &self.identity),
        ];
        if let Some((what, _)) = names.into_iter().find(|(_, name)| name.is_empty()) {
            return Err(InvalidOptions::Empty(what));
        }
        let (lease_duration, renew_deadline, retry_period) =
            (self.lease_duration, self.renew_deadline, self.retry_period);
        if lease_duration < Duration::from_secs(1) {
            return Err(InvalidOptions::Short(lease_duration));
        }
        if lease_duration <= renew_deadline {
            return Err(InvalidOptions::Lease {
                lease_duration,
                renew_deadline,
            });
        }
        if retry_period.is_zero() {
            return Err(InvalidOptions::Restless);
        }
        if renew_deadline <= retry_period * 6 / 5 {
            return Err(InvalidOptions::Renewal {
                renew_deadline,
                retry_period,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_could_elect_two_or_none_are_refused_by_name_and_value() {
        let cases = [
            ((15_000, 10_000, 2_000), ""),
            (
                (15_000, 15_000, 2_000),
                "lease duration is 15s, expected more than the renew deadline, which is 15s",
            ),
            (
                (9_000, 10_000, 2_000),
                "lease duration is 9s, expected more than the renew deadline, which is 10s",
            ),
            (
                (15_000, 2_400, 2_000),
                "renew deadline is 2.4s, expected more than 1.2 times the retry period, which is 2s",
            ),
            ((15_000, 2_401, 2_000), ""),
            ((15_000, 10_000, 0), "retry period is 0s, expected more"),
            ((900, 500, 100), "lease duration is 900ms, expected at least 1s"),
        ];
        for ((lease, renew, retry), expected) in cases {
            let options = ElectorOptions {
                lease_duration: Duration::from_millis(lease),
                renew_deadline: Duration::from_millis(renew),
                retry_period: Duration::from_millis(retry),
                ..ElectorOptions::new("default", "autoscaler", "a")
            };
            let found = options
                .check()
                .err()
                .map_or_else(String::new, |error| error.to_string());
            assert_eq!(found, expected);
        }
        let nameless = ElectorOptions::new("default", "autoscaler", "");
        assert_eq!(nameless.check(), Err(InvalidOptions::Empty("identity")));
    }
}
