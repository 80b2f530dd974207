//! Whether this process leads, and work that depends on it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use futures::future::pending;
use tokio::{sync::Notify, time::Instant};

/// Whether this process leads. Clones share it.
///
/// Leadership comes in terms. A process that loses it and gains it again is in another term: what ran in the first one
/// knows nothing of what another leader did in between, so it is dropped even if it did not notice.
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    term: Option<Term>,
    terms: u64,
    /// How much work has begun as a leader and has not ended.
    working: usize,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    number: u64,
    /// When it ends if nobody prolongs it; never where nobody elects.
    ends: Option<Instant>,
}

impl State {
    fn term(&self) -> Option<u64> {
        let lasts = |term: &Term| term.ends.is_none_or(|ends| Instant::now() < ends);
        self.term.filter(lasts).map(|term| term.number)
    }
}

impl Leadership {
    /// The leadership of a process that has no replicas.
    #[must_use]
    pub fn always() -> Self {
        let leadership = Self::standby();
        leadership.set(true);
        leadership
    }

    /// The leadership of a process that does not lead yet; whoever elects [sets](Self::set) it.
    #[must_use]
    pub fn standby() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and wakes those who wait for what has changed by it.
    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A term that has ended by itself was not told of yet.
        let facts = |state: &State| {
            let told = state.term.map(|term| term.number);
            (told, state.term(), state.working == 0)
        };
        let (changed, result) = self.with(|state| {
            let before = facts(state);
            let result = work(state);
            (before != facts(state), result)
        });
        if changed {
            self.shared.changed.notify_waiters();
        }
        result
    }

    /// Whether this process leads now.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.with(|state| state.term().is_some())
    }

    /// Says that this process leads from now on, or no longer.
    pub fn set(&self, leads: bool) {
        self.begin_or_end(leads.then_some(None));
    }

    /// Says that this process leads until `ends`, unless it is said again: a process that is kept from running does
    /// not lead on.
    pub fn lead_until(&self, ends: Instant) {
        self.begin_or_end(Some(Some(ends)));
    }

    fn begin_or_end(&self, ends: Option<Option<Instant>>) {
        self.change(|state| {
            let Some(ends) = ends else {
                state.term = None;
                return;
            };
            let number = match state.term {
                Some(term) => term.number,
                None => {
                    state.terms += 1;
                    state.terms
                }
            };
            state.term = Some(Term { number, ends });
        });
    }

    /// Waits until this process leads; returns at once where it does.
    pub async fn gained(&self) {
        self.wait_for(|state| state.term().is_some()).await;
    }

    /// Waits until this process does not lead; returns at once where it does not.
    pub async fn lost(&self) {
        self.wait_for(|state| state.term().is_none()).await;
    }

    /// Waits until nothing runs any more that began as a leader; returns at once where nothing does.
    pub async fn idle(&self) {
        self.wait_for(|state| state.working == 0).await;
    }

    async fn wait_for(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // First in line, then look: nothing is missed in between.
            changed.as_mut().enable();
            if self.with(|state| holds(state)) {
                return;
            }
            changed.await;
        }
    }

    /// Runs `work` whenever this process leads and drops it when it no longer does, until `work` ends by itself.
    pub async fn while_leading<F: Future>(&self, work: impl FnMut() -> F) -> F::Output {
        self.alternate(pending::<()>, work).await
    }

    /// Runs `stand_by` while this process does not lead and `lead` while it does, each from its beginning and never
    /// both; what runs is dropped when that changes. Ends when `lead` ends by itself.
    pub async fn alternate<S: Future, L: Future>(
        &self,
        mut stand_by: impl FnMut() -> S,
        mut lead: impl FnMut() -> L,
    ) -> L::Output {
        loop {
            if !self.leads() {
                let waiting = std::pin::pin!(async {
                    stand_by().await;
                    pending::<()>().await;
                });
                let gained = std::pin::pin!(self.gained());
                futures::future::select(gained, waiting).await;
            }
            // Dropped after the work that it stands for.
            let Some(working) = Working::begin(self) else {
                continue;
            };
            let work = std::pin::pin!(lead());
            if let Some(output) = self.during(working.term, work).await {
                return output;
            }
        }
    }

    /// Polls `work` only while the term lasts.
    async fn during<F: Future>(&self, term: u64, mut work: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut over = std::pin::pin!(self.wait_for(|state| state.term() != Some(term)));
        std::future::poll_fn(|context| {
            // A term may have ended without anybody having said so.
            let is_over =
                over.as_mut().poll(context).is_ready() || self.with(|state| state.term()) != Some(term);
            if is_over {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

/// Work of a leader that has not ended.
struct Working {
    leadership: Leadership,
    term: u64,
}

impl Working {
    fn begin(leadership: &Leadership) -> Option<Self> {
        let term = leadership.change(|state| {
            let term = state.term();
            state.working += usize::from(term.is_some());
            term
        });
        term.map(|term| Self {
            leadership: leadership.clone(),
            term,
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.leadership.change(|state| state.working -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    async fn second() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_runs_only_while_the_process_leads() {
        let leadership = Leadership::standby();
        let runs = Cell::new(0);
        let work = leadership.while_leading(|| async {
            runs.set(runs.get() + 1);
            pending::<()>().await;
        });
        let drive = async {
            assert_eq!(runs.get(), 0);
            for expected in 1..=2 {
                leadership.set(true);
                second().await;
                assert_eq!(runs.get(), expected);
                leadership.set(false);
                second().await;
            }
        };
        tokio::select! { biased; () = work => unreachable!("it is pending"), () = drive => {} }
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_works_beside_no_leader() {
        let leadership = Leadership::standby();
        let told = std::cell::RefCell::new(Vec::new());
        let say = |words: &'static str| {
            told.borrow_mut().push(words);
            pending::<()>()
        };
        let work = leadership.alternate(|| say("stands by"), || say("leads"));
        let drive = async {
            second().await;
            leadership.set(true);
            second().await;
            leadership.set(false);
            second().await;
        };
        tokio::select! { biased; () = work => unreachable!("it is pending"), () = drive => {} }
        assert_eq!(*told.borrow(), ["stands by", "leads", "stands by"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_that_nobody_noticed_ends_the_work_all_the_same() {
        let leadership = Leadership::always();
        let runs = Cell::new(0);
        let work = leadership.while_leading(|| async {
            runs.set(runs.get() + 1);
            pending::<()>().await;
        });
        let drive = async {
            second().await;
            leadership.set(false);
            leadership.set(true);
            second().await;
        };
        tokio::select! { biased; () = work => unreachable!("it is pending"), () = drive => {} }
        assert_eq!(runs.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_itself_and_its_work_is_not_polled_any_more() {
        let leadership = Leadership::standby();
        leadership.lead_until(Instant::now() + Duration::from_millis(2500));
        let steps = Cell::new(0);
        let work = leadership.while_leading(|| async {
            loop {
                second().await;
                steps.set(steps.get() + 1);
            }
        });
        let drive = tokio::time::sleep(Duration::from_secs(10));
        tokio::select! { biased; () = work => unreachable!("it is endless"), () = drive => {} }
        assert_eq!((steps.get(), leadership.leads()), (2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_is_prolonged_in_time_is_the_same() {
        let leadership = Leadership::standby();
        let soon = || Instant::now() + Duration::from_millis(1500);
        leadership.lead_until(soon());
        let runs = Cell::new(0);
        let work = leadership.while_leading(|| async {
            runs.set(runs.get() + 1);
            loop {
                second().await;
            }
        });
        let drive = async {
            for _ in 0..5 {
                second().await;
                leadership.lead_until(soon());
            }
        };
        tokio::select! { biased; () = work => unreachable!("it is endless"), () = drive => {} }
        assert_eq!(runs.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_idleness_waits_for_the_work_to_be_dropped() {
        let leadership = Leadership::always();
        let mut work = Box::pin(leadership.while_leading(pending::<()>));
        assert!(futures::poll!(&mut work).is_pending());
        leadership.set(false);
        let mut idle = Box::pin(leadership.idle());
        assert!(futures::poll!(&mut idle).is_pending(), "it is not dropped yet");
        assert!(futures::poll!(&mut work).is_pending());
        assert!(futures::poll!(&mut idle).is_ready());
    }
}
