//! A door between a process and the API server, which a test can shut at a request.
//!
//! A crash is worst between a write and its answer, or just before a write. From outside these moments last for
//! microseconds; a door makes them last for as long as the test needs. A request that is let go arrives, even if the process
//! that sent it has ended meanwhile.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Method, Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::timeout};

use super::PATIENCE;

/// More than any request of a test has.
const LARGEST: usize = 16 << 20;

/// A request that wants to write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// What the API server answered, once it has.
    pub(crate) status: Option<StatusCode>,
}

impl Write {
    /// Whether it is of this method and its path holds `part`.
    pub(crate) fn is(&self, method: &Method, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It does not reach the API server.
    Before,
    /// It has been answered; the answer does not reach the process.
    After,
}

/// A request that was held, until it is let go; it stays held where this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) write: Write,
    go: oneshot::Sender<()>,
}

impl Held {
    pub(crate) fn let_go(self) {
        self.go.send(()).ok();
    }
}

/// What waits for a request to be held.
#[derive(Debug)]
pub(crate) struct Trap {
    what: String,
    held: oneshot::Receiver<Held>,
}

impl Trap {
    pub(crate) async fn caught(self) -> Held {
        let held = timeout(PATIENCE, self.held).await;
        assert!(held.is_ok(), "{}: no such request within {PATIENCE:?}", self.what);
        held.unwrap().unwrap()
    }
}

struct Set {
    side: Side,
    matches: Box<dyn Fn(&Write) -> bool + Send>,
    caught: oneshot::Sender<Held>,
}

#[derive(Default)]
struct Shared {
    traps: Mutex<Vec<Set>>,
    writes: Mutex<Vec<Write>>,
}

/// The API server for one process, without encryption: whoever comes this way is the administrator.
pub(crate) struct Door {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// Opens a door to the API server of `client`.
    pub(crate) async fn open(client: Client) -> Self {
        let shared = Arc::<Shared>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(pass)
            .with_state((client, Arc::clone(&shared)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "clusters": [{"name": "door", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "door", "user": {}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "door"}}],
        });
        std::fs::write(file(folder.path()), content.to_string()).unwrap();
        Self { shared, folder }
    }

    /// The way through the door.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        file(self.folder.path())
    }

    /// Holds the next write of which `matches` is true.
    pub(crate) fn hold(
        &self,
        what: &str,
        side: Side,
        matches: impl Fn(&Write) -> bool + Send + 'static,
    ) -> Trap {
        let (caught, held) = oneshot::channel();
        self.shared.traps.lock().unwrap().push(Set {
            side,
            matches: Box::new(matches),
            caught,
        });
        Trap {
            what: format!("{what}, {side:?}"),
            held,
        }
    }

    /// The writes that the API server has answered, in the order of the answers.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.shared.writes.lock().unwrap().clone()
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

impl Shared {
    fn trap(&self, write: &Write) -> Option<Set> {
        let mut traps = self.traps.lock().unwrap();
        let at = traps.iter().position(|trap| (trap.matches)(write))?;
        Some(traps.remove(at))
    }
}

/// Stays until the test lets go.
async fn hold(trap: Set, write: &Write) {
    let (go, gone) = oneshot::channel();
    let write = write.clone();
    trap.caught.send(Held { write, go }).ok();
    if gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What has arrived is done, as by any server, even if nobody waits for the answer any more.
async fn pass(State((client, shared)): State<(Client, Arc<Shared>)>, request: Request<Body>) -> Response {
    tokio::spawn(carry(client, shared, request)).await.unwrap()
}

async fn carry(client: Client, shared: Arc<Shared>, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, LARGEST).await.unwrap();
    let path = parts.uri.path().to_owned();
    let mut write = (parts.method != Method::GET).then(|| Write {
        method: parts.method.clone(),
        path,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        status: None,
    });
    let mut trap = write.as_ref().and_then(|write| shared.trap(write));
    if let (Some(write), Some(set)) = (&write, trap.take_if(|trap| trap.side == Side::Before)) {
        hold(set, write).await;
    }
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        parts.headers.remove(name);
    }
    let request = http::Request::from_parts(parts, kube::client::Body::from(bytes.to_vec()));
    let (mut parts, body) = match client.send(request).await {
        Ok(response) => response.into_parts(),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if let Some(write) = &mut write {
        write.status = Some(parts.status);
        shared.writes.lock().unwrap().push(write.clone());
    }
    if let (Some(write), Some(set)) = (&write, trap) {
        hold(set, write).await;
    }
    for name in [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::CONNECTION,
    ] {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::new(body))
}
