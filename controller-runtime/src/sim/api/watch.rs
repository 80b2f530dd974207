//! Watches: what happened since a version, then what happens, as a stream of lines.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    ApiServer,
    encode::Encoder,
    state::State,
    status::ApiError,
    store::{Filter, Notice, Verb},
    verbs::Call,
};

/// What a real server draws between half an hour and an hour.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// Events are gathered into one chunk up to this size.
const CHUNK_BYTES: usize = 64 * 1024;

/// The body of a watch.
pub(crate) struct WatchStream {
    server: ApiServer,
    encoder: Encoder,
    initial: VecDeque<Notice>,
    /// A bookmark that ends the initial events, with its revision.
    initial_end: Option<u64>,
    failure: Option<ApiError>,
    receiver: mpsc::UnboundedReceiver<Notice>,
    deadline: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

/// Begins a watch.
///
/// # Errors
/// 500 for a version that is no number; an expired one is an event of the stream.
pub(crate) fn start(
    server: &ApiServer,
    state: &mut State,
    call: &Call,
    filter: Filter,
) -> Result<WatchStream, ApiError> {
    let asked = super::verbs::revision(&call.query).map_err(|error| ApiError::new(500, "", error.message))?;
    let send_initial = call.query.get("sendInitialEvents").map(|text| text == "true");
    let filter = Arc::new(filter);
    let (sender, receiver) = mpsc::unbounded_channel();
    let current = state.revision;
    let store = state.store_mut(&call.resource)?;
    let mut initial = VecDeque::new();
    let mut failure = None;
    let mut after = current;
    let synthetic = send_initial.unwrap_or(asked.unwrap_or(0) == 0);
    if synthetic {
        let notice = |entry: &Arc<_>| Notice {
            verb: Verb::Added,
            entry: Arc::clone(entry),
        };
        initial.extend(store.list(&filter).map(notice));
    } else if let Some(revision) = asked.filter(|&revision| revision > 0) {
        match store.since(revision) {
            Some(events) => initial.extend(events.filter_map(|event| filter.view(event))),
            None => {
                let message = format!("too old resource version: {revision} ({})", store.oldest);
                failure = Some(ApiError::expired(message));
            }
        }
        after = current.max(revision);
    }
    store.watch(filter, after, sender);
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let timeout = call
        .query
        .get("timeoutSeconds")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs);
    Ok(WatchStream {
        server: server.clone(),
        encoder: Encoder::new(call.resource.clone(), &call.version.name, call.form, &call.query),
        initial,
        initial_end: (send_initial == Some(true) && bookmarks).then_some(current),
        failure,
        receiver,
        deadline: Box::pin(sleep(timeout.unwrap_or(DEFAULT_TIMEOUT))),
        bookmark: bookmarks.then(|| Box::pin(sleep(BOOKMARK_PERIOD))),
        over: false,
    })
}

impl WatchStream {
    /// The next chunk: one line an event.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        if self.drain(cx, &mut out) {
            self.over = true;
        } else if out.is_empty() {
            self.tick(cx, &mut out);
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Bytes::from(out)));
        }
        if self.over {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    /// Writes what is there; true if the watch is over.
    fn drain(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> bool {
        let now = self.server.inner.clock.now();
        while out.len() < CHUNK_BYTES {
            if let Some(notice) = self.initial.pop_front() {
                self.encoder.event(notice.verb, &notice.entry, now, out);
                self.encoder.columns_told();
                continue;
            }
            if let Some(failure) = self.failure.take() {
                let event = json!({"type": "ERROR", "object": failure.to_value()});
                out.extend_from_slice(event.to_string().as_bytes());
                out.push(b'\n');
                return true;
            }
            if let Some(revision) = self.initial_end.take() {
                self.encoder.bookmark(revision, true, out);
            }
            match self.receiver.poll_recv(cx) {
                Poll::Ready(Some(notice)) => {
                    self.encoder.event(notice.verb, &notice.entry, now, out);
                    self.encoder.columns_told();
                }
                // The resource itself is gone.
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        // More may be there: ask to be polled again.
        cx.waker().wake_by_ref();
        false
    }

    /// Minds the deadline and the bookmarks, once no event waits.
    fn tick(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let ended = self.deadline.as_mut().poll(cx).is_ready();
        let Some(timer) = &mut self.bookmark else {
            self.over |= ended;
            return;
        };
        if !ended && timer.as_mut().poll(cx).is_pending() {
            return;
        }
        let state = self.server.inner.lock();
        // What was committed meanwhile comes before the bookmark.
        let now = state.now;
        while let Ok(notice) = self.receiver.try_recv() {
            self.encoder.event(notice.verb, &notice.entry, now, out);
        }
        self.encoder.bookmark(state.revision, false, out);
        drop(state);
        self.over |= ended;
        if !ended {
            let mut next = Box::pin(sleep_until(Instant::now() + BOOKMARK_PERIOD));
            // Registers the waker of the new timer.
            let _ = next.as_mut().poll(cx).is_ready();
            self.bookmark = Some(next);
        }
    }
}
