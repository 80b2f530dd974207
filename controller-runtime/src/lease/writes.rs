//! Writes that are under way when whoever asked for them is gone.

use std::{
    collections::BTreeSet,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http::{Method, Request, Response};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// Sees every write of a client through to its answer, and knows which have none yet.
///
/// A future that is dropped between a request and its answer takes nothing back: the API server may do what was asked
/// for long after another replica has looked. An [`Elector`](super::Elector) that is given the writes of the client that
/// all work goes through gives the Lease back only when they are [settled](Self::settled).
///
/// Put it around the client's service as a layer. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    under_way: BTreeSet<u64>,
}

impl Writes {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self) -> UnderWay {
        let number = self.with(|state| {
            state.begun += 1;
            state.under_way.insert(state.begun);
            state.begun
        });
        UnderWay {
            writes: self.clone(),
            number,
        }
    }

    /// Waits until every write has its answer that was begun before; returns at once where none is under way.
    pub async fn settled(&self) {
        let last = self.with(|state| state.begun);
        loop {
            let mut answered = std::pin::pin!(self.shared.answered.notified());
            // First in line, then look: nothing is missed in between.
            answered.as_mut().enable();
            let first = self.with(|state| state.under_way.first().copied());
            if first.is_none_or(|first| first > last) {
                return;
            }
            answered.await;
        }
    }
}

/// A write without an answer.
struct UnderWay {
    writes: Writes,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.writes.with(|state| state.under_way.remove(&self.number));
        self.writes.shared.answered.notify_waiters();
    }
}

impl<S> Layer<S> for Writes {
    type Service = WritesService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WritesService {
            inner,
            writes: self.clone(),
        }
    }
}

/// A service whose writes go on when nobody waits for their answers any more.
#[derive(Clone, Debug)]
pub struct WritesService<S> {
    inner: S,
    writes: Writes,
}

/// Whether a request changes what others find. Leases are written by the election only, over a version that it has seen.
fn changes<B>(request: &Request<B>) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    !is_read && !request.uri().path().starts_with("/apis/coordination.k8s.io/")
}

impl<S, B, R> Service<Request<B>> for WritesService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.inner.poll_ready(context))?;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let under_way = changes(&request).then(|| self.writes.begin());
        let answer = self.inner.call(request);
        let Some(under_way) = under_way else {
            return Box::pin(answer);
        };
        let task = tokio::spawn(async move {
            let answer = answer.await;
            drop(under_way);
            answer
        });
        Box::pin(async move {
            match task.await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends, and this with it.
                    Err(_) => pending().await,
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use tokio::time::{Instant, sleep};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    fn request(method: Method, path: &str) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request
    }

    /// How long is waited for a request that was dropped and takes a second.
    async fn wait_after(method: Method, path: &str) -> Duration {
        let writes = Writes::default();
        let service = writes.layer(service_fn(|_: Request<()>| async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(Response::new(()))
        }));
        let mut answer = Box::pin(service.oneshot(request(method, path)));
        assert!(futures::poll!(&mut answer).is_pending());
        drop(answer);
        let start = Instant::now();
        writes.settled().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_dropped_is_waited_for_and_nothing_else() {
        let second = Duration::from_secs(1);
        assert_eq!(wait_after(Method::POST, "/api/v1/nodes").await, second);
        assert_eq!(wait_after(Method::DELETE, "/api/v1/nodes/a").await, second);
        assert_eq!(wait_after(Method::GET, "/api/v1/nodes").await, Duration::ZERO);
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/b";
        assert_eq!(wait_after(Method::PUT, lease).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_later_is_not_waited_for() {
        let writes = Writes::default();
        let first = writes.begin();
        let mut settled = Box::pin(writes.settled());
        assert!(futures::poll!(&mut settled).is_pending());
        let _second = writes.begin();
        drop(first);
        assert!(futures::poll!(&mut settled).is_ready());
    }
}
