//! A source that tests steer.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::{Error, ErrorKind, PushScaler, Sample, Scaler};

/// The outside world of a [`Probe`].
#[derive(Debug, Default)]
pub(crate) struct World {
    value: Mutex<f64>,
    failures: Mutex<Vec<Error>>,
    state: Mutex<State>,
    delay_millis: AtomicU64,
    pub(crate) started: AtomicUsize,
    pub(crate) finished: AtomicUsize,
    pub(crate) open: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum State {
    #[default]
    Up,
    Down,
    Silent,
}

impl World {
    pub(crate) fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_millis
            .store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The next samples fail so, in this order.
    pub(crate) fn fail_with(&self, errors: impl IntoIterator<Item = Error>) {
        let mut failures: Vec<Error> = errors.into_iter().collect();
        failures.reverse();
        *self.failures.lock().unwrap() = failures;
    }

    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

/// Reads a [`World`].
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) world: Arc<World>,
    pub(crate) activation: f64,
}

impl Probe {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        world.open.fetch_add(1, Ordering::SeqCst);
        Self {
            world: Arc::clone(world),
            activation: 0.0,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.world.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Scaler for Probe {
    async fn sample(&self) -> Result<Sample, Error> {
        self.world.started.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(
            self.world.delay_millis.load(Ordering::SeqCst),
        ))
        .await;
        let state = *self.world.state.lock().unwrap();
        match state {
            State::Up => {}
            State::Down => return Err(Error::unavailable("the source is down")),
            State::Silent => std::future::pending().await,
        }
        if let Some(error) = self.world.failures.lock().unwrap().pop() {
            return Err(error);
        }
        self.world.finished.fetch_add(1, Ordering::SeqCst);
        let value = *self.world.value.lock().unwrap();
        Ok(Sample::single("probe", value, value > self.activation))
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        Some(self)
    }
}

impl PushScaler for Probe {
    fn activations(&self) -> BoxStream<'_, Result<bool, Error>> {
        stream::iter([Ok(true), Err(Error::new(ErrorKind::Unavailable, "closed"))]).boxed()
    }
}
