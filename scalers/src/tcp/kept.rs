//! One connection that all samples share, made when it is needed and again when it was lost.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use scaler_api::Error;

/// A server that is asked over a connection.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Clones share what is underneath.
    type Connection: Clone + Send + Sync;
    type Answer: Send;

    /// Connects and logs in.
    async fn connect(&self) -> Result<Self::Connection, Error>;

    /// Asks once.
    async fn ask(&self, connection: &Self::Connection) -> Result<Self::Answer, Failure>;
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the connection is of no use any more.
    pub(crate) is_lost: bool,
}

impl Failure {
    /// The server answered, and it is an error.
    pub(crate) fn answered(error: Error) -> Self {
        Self {
            error,
            is_lost: false,
        }
    }

    /// The connection is lost.
    #[cfg(any(test, feature = "kafka", feature = "rabbitmq", feature = "redis"))]
    pub(crate) fn lost(error: Error) -> Self {
        Self { error, is_lost: true }
    }
}

/// A peer with the connection to it, if there is one.
///
/// A question that is dropped half way, or that has no answer in time, takes the connection with it: whatever is answered
/// later is nobody's answer.
pub(crate) struct Kept<P: Peer> {
    peer: P,
    timeout: Duration,
    /// Held while a connection is made, so that those who come meanwhile share it.
    connecting: tokio::sync::Mutex<()>,
    state: Mutex<State<P::Connection>>,
}

struct State<C> {
    /// How many connections were made.
    made: u64,
    connection: Option<C>,
}

/// The use of a connection; unless it is [kept](Lease::keep), the connection is dropped with it.
struct Lease<'a, P: Peer> {
    kept: &'a Kept<P>,
    number: u64,
    connection: P::Connection,
    is_new: bool,
    is_good: bool,
}

impl<P: Peer> Kept<P> {
    pub(crate) fn new(peer: P, timeout: Duration) -> Self {
        Self {
            peer,
            timeout,
            connecting: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                made: 0,
                connection: None,
            }),
        }
    }

    /// Asks the peer, within the deadline.
    ///
    /// A connection that was made for an earlier question may have ended since, as it does where a server is started anew: it
    /// is made anew, once. An answer of the server, of whichever kind, is final.
    pub(crate) async fn ask(&self) -> Result<P::Answer, Error> {
        super::within(self.timeout, async {
            let lease = self.lease().await?;
            let was_new = lease.is_new;
            match lease.ask().await {
                Err(failure) if failure.is_lost && !was_new => {
                    let again = self.lease().await?.ask().await;
                    again.map_err(|failure| failure.error)
                }
                result => result.map_err(|failure| failure.error),
            }
        })
        .await
    }

    async fn lease(&self) -> Result<Lease<'_, P>, Error> {
        if let Some(lease) = self.current() {
            return Ok(lease);
        }
        let _connecting = self.connecting.lock().await;
        // Somebody else may have made it meanwhile.
        if let Some(lease) = self.current() {
            return Ok(lease);
        }
        let connection = self.peer.connect().await?;
        let mut state = self.state();
        state.made += 1;
        state.connection = Some(connection.clone());
        Ok(Lease {
            kept: self,
            number: state.made,
            connection,
            is_new: true,
            is_good: false,
        })
    }

    fn current(&self) -> Option<Lease<'_, P>> {
        let state = self.state();
        let connection = state.connection.clone()?;
        Some(Lease {
            kept: self,
            number: state.made,
            connection,
            is_new: false,
            is_good: false,
        })
    }

    fn state(&self) -> MutexGuard<'_, State<P::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Peer> Lease<'_, P> {
    async fn ask(mut self) -> Result<P::Answer, Failure> {
        let answer = self.kept.peer.ask(&self.connection).await;
        self.is_good = !matches!(&answer, Err(failure) if failure.is_lost);
        answer
    }
}

impl<P: Peer> Drop for Lease<'_, P> {
    fn drop(&mut self) {
        if self.is_good {
            return;
        }
        let mut state = self.kept.state();
        if state.made == self.number {
            state.connection = None;
        }
    }
}

impl<P: Peer> fmt::Debug for Kept<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use scaler_api::ErrorKind;

    use super::*;

    /// Connections end after some questions; every question takes a second.
    struct Fragile {
        made: AtomicU32,
        lasts: u32,
    }

    #[async_trait]
    impl Peer for Fragile {
        type Connection = std::sync::Arc<AtomicU32>;
        type Answer = u32;

        async fn connect(&self) -> Result<Self::Connection, Error> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.made.fetch_add(1, Ordering::SeqCst);
            Ok(std::sync::Arc::default())
        }

        async fn ask(&self, connection: &Self::Connection) -> Result<u32, Failure> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match connection.fetch_add(1, Ordering::SeqCst) {
                asked if asked < self.lasts => Ok(self.made.load(Ordering::SeqCst)),
                _ => Err(Failure::lost(Error::unavailable("the connection ended"))),
            }
        }
    }

    fn kept(lasts: u32, timeout: u64) -> Kept<Fragile> {
        let peer = Fragile {
            made: AtomicU32::new(0),
            lasts,
        };
        Kept::new(peer, Duration::from_secs(timeout))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_shared_until_it_ends_and_then_made_anew_once() {
        let kept = kept(2, 9);
        let answers = [kept.ask().await, kept.ask().await, kept.ask().await];
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [1, 1, 2]);
        let (one, other) = tokio::join!(kept.ask(), kept.ask());
        // The one that comes second has to do with a new one.
        assert_eq!(one.unwrap() + other.unwrap(), 2 + 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_new_and_ends_is_an_outage() {
        let kept = kept(0, 9);
        assert_eq!(kept.ask().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(kept.peer.made.load(Ordering::SeqCst), 1, "no second attempt");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_answer_in_time_takes_its_connection_with_it() {
        let kept = kept(9, 9);
        kept.ask().await.unwrap();
        tokio::time::timeout(Duration::from_millis(500), kept.ask())
            .await
            .unwrap_err();
        assert_eq!(kept.ask().await.unwrap(), 2);
        let slow = self::kept(9, 1);
        assert_eq!(slow.ask().await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
