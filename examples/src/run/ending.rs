//! When the process ends: signals, and the parts that must not end before.

use std::{fmt, future::Future};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{AbortHandle, Id, JoinSet},
};

/// Exit code of a process that was told twice.
const TOLD_TWICE: i32 = 130;

/// Whether it is time to end. Clones share it; the last sender to go does not count as one.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    told: watch::Sender<bool>,
}

impl Ending {
    pub(super) fn new() -> Self {
        Self {
            told: watch::Sender::new(false),
        }
    }

    /// It is.
    pub(super) fn begin(&self) {
        self.told.send_replace(true);
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.told.borrow()
    }

    /// Resolves when it is.
    pub(super) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut told = self.told.subscribe();
        async move {
            // The sender lives in `self`, which may be gone: then nobody can begin any more.
            if told.wait_for(|told| *told).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Begins with the first SIGTERM or SIGINT; a second one ends the process at once.
    ///
    /// # Errors
    /// If signals cannot be listened for.
    pub(super) fn on_signals(&self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let ending = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    biased;
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if ending.has_begun() {
                    tracing::warn!(signal = name, "told again to end, ending at once");
                    std::process::exit(TOLD_TWICE);
                }
                tracing::info!(signal = name, "told to end");
                ending.begin();
            }
        });
        Ok(())
    }
}

/// The parts of the process, each a task; none of them ends by itself.
#[derive(Default)]
pub(super) struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    names: Vec<(Id, &'static str, AbortHandle)>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.names.iter().map(|(_, name, _)| name))
            .finish()
    }
}

impl Parts {
    /// Starts a part.
    pub(super) fn add(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.add_fallible(name, async move {
            part.await;
            Ok(())
        });
    }

    /// Starts a part that may fail.
    pub(super) fn add_fallible(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.names.push((handle.id(), name, handle));
    }

    fn name(&self, id: Id) -> &'static str {
        self.names
            .iter()
            .find(|(known, ..)| *known == id)
            .map_or("a part", |(_, name, _)| name)
    }

    /// Waits for a part that ends, which none should, and says why it did.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, Ok(())))) => anyhow!("{} ended by itself", self.name(id)),
            Some(Ok((id, Err(error)))) => error.context(format!("{} failed", self.name(id))),
            Some(Err(error)) => {
                let name = self.name(error.id());
                anyhow!("{name} panicked")
            }
        }
    }

    /// Drops every part and waits until it is gone.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
        self.names.clear();
    }

    /// Waits until every part has ended, as they do once they were told.
    ///
    /// # Errors
    /// The first failure.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let failure = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((id, Err(error))) => error.context(format!("{} failed", self.name(id))),
                Err(error) => anyhow!("{} panicked", self.name(error.id())),
            };
            result = result.and(Err(failure));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_fails_or_panics_is_a_failure_with_its_name() {
        let mut parts = Parts::default();
        parts.add("the loop", std::future::pending());
        parts.add("the pod half", async {});
        assert_eq!(parts.failure().await.to_string(), "the pod half ended by itself");
        parts.add_fallible("the adapter", async { Err(anyhow!("no port")) });
        assert_eq!(
            format!("{:#}", parts.failure().await),
            "the adapter failed: no port"
        );
        parts.add("the node half", async {
            assert!(tokio::runtime::Handle::try_current().is_err(), "on purpose");
        });
        assert_eq!(parts.failure().await.to_string(), "the node half panicked");
        parts.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_were_told_finish() {
        let ending = Ending::new();
        let mut parts = Parts::default();
        let begun = ending.begun();
        parts.add("a listener", async move {
            begun.await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        ending.begin();
        parts.finish().await.unwrap();
        assert!(ending.has_begun());
    }
}
