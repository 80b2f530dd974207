//! Which of several replicas of a process may write.
//!
//! Every replica watches, samples and answers; only the leader writes. A controller asks its
//! [`Leadership`] before it writes, or runs [`while_leading`](Leadership::while_leading).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::{Either, select};
use tokio::sync::Notify;

/// Whether this process leads. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    leads: AtomicBool,
    changed: Notify,
}

impl Leadership {
    fn new(leads: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                leads: AtomicBool::new(leads),
                changed: Notify::new(),
            }),
        }
    }

    /// The leadership of a process that has no replicas.
    #[must_use]
    pub fn always() -> Self {
        Self::new(true)
    }

    /// The leadership of a process that does not lead yet; whoever elects [sets](Self::set) it.
    #[must_use]
    pub fn standby() -> Self {
        Self::new(false)
    }

    /// Whether this process leads now.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared.leads.load(Ordering::Acquire)
    }

    /// Says that this process leads from now on, or no longer.
    pub fn set(&self, leads: bool) {
        if self.shared.leads.swap(leads, Ordering::AcqRel) != leads {
            self.shared.changed.notify_waiters();
        }
    }

    /// Waits until this process leads; returns at once where it does.
    pub async fn gained(&self) {
        self.wait_for(true).await;
    }

    /// Waits until this process does not lead; returns at once where it does not.
    pub async fn lost(&self) {
        self.wait_for(false).await;
    }

    async fn wait_for(&self, leads: bool) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // First in line, then look: nothing is missed in between.
            changed.as_mut().enable();
            if self.leads() == leads {
                return;
            }
            changed.await;
        }
    }

    /// Runs `work` whenever this process leads and drops it when it no longer does, until `work` ends by itself.
    pub async fn while_leading<F: Future>(&self, mut work: impl FnMut() -> F) -> F::Output {
        loop {
            self.gained().await;
            let (work, lost) = (std::pin::pin!(work()), std::pin::pin!(self.lost()));
            if let Either::Left((output, _)) = select(work, lost).await {
                return output;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_runs_only_while_the_process_leads() {
        let leadership = Leadership::standby();
        let runs = std::cell::Cell::new(0);
        let work = leadership.while_leading(|| async {
            runs.set(runs.get() + 1);
            std::future::pending::<()>().await;
        });
        let drive = async {
            assert_eq!(runs.get(), 0);
            for expected in 1..=2 {
                leadership.set(true);
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(runs.get(), expected);
                leadership.set(false);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! { biased; () = work => unreachable!("it is pending"), () = drive => {} }
    }
}
