//! The source: a path for every ScaledObject, and when each was asked for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// When each path was asked for.
type Polled = Arc<Vec<Mutex<Vec<Instant>>>>;

/// A source that says 0 on every path.
#[derive(Debug)]
pub(super) struct Source {
    base: String,
    polled: Polled,
}

impl Source {
    pub(super) async fn start(paths: usize) -> anyhow::Result<Self> {
        let polled: Polled = Arc::new((0..paths).map(|_| Mutex::default()).collect());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/{number}", get(answer))
            .with_state(Arc::clone(&polled));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { base, polled })
    }

    pub(super) fn url(&self, number: usize) -> String {
        format!("{}/{number}", self.base)
    }

    /// How often it was asked.
    pub(super) fn polls(&self) -> usize {
        self.polled.iter().map(|times| lock(times).len()).sum()
    }

    /// How long it was between two polls of the same path, the second of which came after `start`.
    pub(super) fn gaps(&self, start: Instant) -> Vec<Duration> {
        let gaps = self.polled.iter().flat_map(|times| {
            let times = lock(times);
            let pairs = times.windows(2).filter(|pair| pair[1] >= start);
            pairs.map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
        });
        gaps.collect()
    }
}

async fn answer(State(polled): State<Polled>, Path(number): Path<usize>) -> Result<Json<Value>, StatusCode> {
    let times = polled.get(number).ok_or(StatusCode::NOT_FOUND)?;
    lock(times).push(Instant::now());
    Ok(Json(json!({ "jobs": 0 })))
}

fn lock(times: &Mutex<Vec<Instant>>) -> std::sync::MutexGuard<'_, Vec<Instant>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
