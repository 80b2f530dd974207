//! Named checks, and whether all of them pass.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};

/// Says why something is not well.
type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks of a process. Clones share them.
///
/// ```
/// use controller_runtime::admin::Health;
///
/// let health = Health::new();
/// health.add_readiness("caches", || Err("ScaledObjects are not listed yet".to_owned()));
/// assert!(health.live().is_ok());
/// assert!(health.ready().is_err());
/// ```
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Checks>>,
}

#[derive(Default)]
struct Checks {
    liveness: Vec<(&'static str, Check)>,
    readiness: Vec<(&'static str, Check)>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let names =
            |checks: &[(&'static str, Check)]| checks.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        f.debug_struct("Health")
            .field("liveness", &names(&checks.liveness))
            .field("readiness", &names(&checks.readiness))
            .finish()
    }
}

impl Health {
    /// Without a check everything is well.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check without which the process is to be restarted.
    pub fn add_liveness(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.liveness.push((name, Arc::new(check)));
    }

    /// Adds a check without which the process is to get no requests.
    pub fn add_readiness(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.readiness.push((name, Arc::new(check)));
    }

    /// Whether the process is alive.
    ///
    /// # Errors
    /// The checks that fail, as `name: why`.
    pub fn live(&self) -> Result<(), Vec<String>> {
        verdict(&self.liveness())
    }

    /// Whether the process may get requests.
    ///
    /// # Errors
    /// The checks that fail, as `name: why`.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        verdict(&self.readiness())
    }

    pub(super) fn liveness(&self) -> Vec<Outcome> {
        let checks = self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .liveness
            .clone();
        run(&checks)
    }

    pub(super) fn readiness(&self) -> Vec<Outcome> {
        let checks = self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .readiness
            .clone();
        run(&checks)
    }
}

/// What a check said.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) result: Result<(), String>,
}

/// Outside the lock: a check may ask anything.
fn run(checks: &[(&'static str, Check)]) -> Vec<Outcome> {
    let ping = Outcome {
        name: "ping",
        result: Ok(()),
    };
    let outcomes = checks.iter().map(|(name, check)| Outcome {
        name,
        result: check(),
    });
    std::iter::once(ping).chain(outcomes).collect()
}

fn verdict(outcomes: &[Outcome]) -> Result<(), Vec<String>> {
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let why = outcome.result.as_ref().err()?;
            Some(format!("{}: {why}", outcome.name))
        })
        .collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures)
    }
}

/// Shows that a task still turns. Clones share it.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    last: Arc<Mutex<Instant>>,
}

impl Heartbeat {
    /// How often it beats.
    const PERIOD: Duration = Duration::from_secs(1);

    /// A heartbeat that has just beaten; make it inside a runtime.
    #[must_use]
    pub fn new() -> Self {
        Self {
            last: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Runs `work` and beats in the same task: work that does not give way stops the heart.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(Self::PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                now = ticks.tick() => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now,
            }
        }
    }

    /// A check that fails when it has not beaten for longer than `patience`.
    pub fn check(&self, patience: Duration) -> impl Fn() -> Result<(), String> + Send + Sync + use<> {
        let last = Arc::clone(&self.last);
        move || {
            let since = last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if since > patience {
                return Err(format!("has not turned for {} s", since.as_secs()));
            }
            Ok(())
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_and_readiness_are_two_things() {
        let health = Health::new();
        health.add_readiness("adapter", || Err("no certificate yet".to_owned()));
        health.add_readiness("caches", || Ok(()));
        health.add_liveness("loop", || Ok(()));
        assert_eq!(health.live(), Ok(()));
        assert_eq!(
            health.ready(),
            Err(vec!["adapter: no certificate yet".to_owned()])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stands_still_is_noticed() {
        let heartbeat = Heartbeat::new();
        let check = heartbeat.check(Duration::from_secs(10));
        heartbeat
            .beside(tokio::time::sleep(Duration::from_secs(60)))
            .await;
        assert_eq!(check(), Ok(()));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(check(), Err("has not turned for 12 s".to_owned()));
    }
}
