//! What scalers notice while they read their source, beside the values: for whoever counts.
//!
//! A program puts an [`Observer`] into the [`Context`] that a scaler connects in, and takes what it has seen after each
//! sample. A scaler finds it there and tells it; it need not know whether anybody listens, nor how it is counted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::Context;

/// Requests that are kept until somebody takes them; a sample makes one or two.
const KEPT: usize = 64;

/// Hears what scalers notice. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    seen: Arc<Mutex<Observed>>,
}

/// What an [`Observer`] has heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Requests over HTTP, in the order in which they ended.
    pub requests: Vec<HttpRequest>,
    /// Answers without a value that counted as 0.
    pub empty_as_zero: u64,
    /// Answers without a value that counted as an error.
    pub empty_as_error: u64,
}

/// One request over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The status of its answer; none where there was no answer.
    pub status: Option<u16>,
    /// How long it took to the answer's head, or to the failure.
    pub took: Duration,
}

impl Observer {
    /// One that nobody has told anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The observer of `context`; one that nobody listens to where there is none.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        context
            .get::<Self>()
            .map_or_else(Self::new, |observer| (*observer).clone())
    }

    fn seen(&self) -> MutexGuard<'_, Observed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request over HTTP begins. If the value is dropped before it was [answered](PendingRequest::answered), it had no
    /// answer.
    #[must_use]
    pub fn begin_request(&self) -> PendingRequest {
        PendingRequest {
            observer: Some(self.clone()),
            began: Instant::now(),
        }
    }

    /// The source answered, but without a value; whether that counts as 0, or as an error.
    pub fn empty_answer(&self, is_zero: bool) {
        let mut seen = self.seen();
        match is_zero {
            true => seen.empty_as_zero += 1,
            false => seen.empty_as_error += 1,
        }
    }

    /// What was heard since this was last asked.
    #[must_use]
    pub fn take(&self) -> Observed {
        std::mem::take(&mut *self.seen())
    }
}

/// A request that has no answer yet.
#[derive(Debug)]
pub struct PendingRequest {
    observer: Option<Observer>,
    began: Instant,
}

impl PendingRequest {
    /// The head of the answer is there.
    pub fn answered(mut self, status: u16) {
        self.end(Some(status));
    }

    fn end(&mut self, status: Option<u16>) {
        let Some(observer) = self.observer.take() else {
            return;
        };
        let mut seen = observer.seen();
        if seen.requests.len() < KEPT {
            seen.requests.push(HttpRequest {
                status,
                took: self.began.elapsed(),
            });
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_heard_with_and_without_an_answer_and_taken_once() {
        let observer = Observer::new();
        let context = Context::new().with(observer.clone());
        let scaler = Observer::of(&context);
        let answered = scaler.begin_request();
        tokio::time::advance(Duration::from_millis(20)).await;
        answered.answered(503);
        drop(scaler.begin_request());
        scaler.empty_answer(true);
        let request = |status, millis| HttpRequest {
            status,
            took: Duration::from_millis(millis),
        };
        let seen = Observed {
            requests: vec![request(Some(503), 20), request(None, 0)],
            empty_as_zero: 1,
            empty_as_error: 0,
        };
        assert_eq!(observer.take(), seen);
        assert_eq!(observer.take(), Observed::default());
    }

    #[tokio::test]
    async fn what_nobody_takes_does_not_grow() {
        let observer = Observer::new();
        for _ in 0..1000 {
            drop(observer.begin_request());
        }
        assert_eq!(observer.take().requests.len(), KEPT);
    }
}
