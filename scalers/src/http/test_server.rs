//! A small HTTP/1.1 server on loopback for tests: it answers what it is told and remembers what it was asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status and body.
    Body(u16, String),
    /// Status, one more header, and body.
    Header(u16, &'static str, String),
    /// Nothing, and the connection stays open.
    Silence,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    /// What a request must contain, lest the answer be 401.
    required: Mutex<String>,
    requests: Mutex<Vec<String>>,
    open: AtomicUsize,
}

impl TestServer {
    /// Starts a server, and sees to the TLS provider that the client wants.
    pub(crate) async fn start(reply: Reply) -> Self {
        // Another test may have installed it already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            required: Mutex::default(),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    served.open.fetch_add(1, Ordering::SeqCst);
                    serve(stream, &served).await;
                    served.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// Answers 401 to requests that do not contain `text`.
    pub(crate) fn require(&self, text: &str) {
        text.clone_into(&mut self.shared.required.lock().unwrap());
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The last request.
    pub(crate) fn last_request(&self) -> String {
        self.requests().last().cloned().unwrap_or_default()
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let mut request = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let length = request
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        request.push_str(&String::from_utf8_lossy(&body));
        let admitted = request.contains(&*shared.required.lock().unwrap());
        shared.requests.lock().unwrap().push(request);
        let reply = shared.reply.lock().unwrap().clone();
        let (status, extra, body) = match reply {
            _ if !admitted => (401, "", String::new()),
            Reply::Body(status, body) => (status, "", body),
            Reply::Header(status, header, body) => (status, header, body),
            Reply::Silence => {
                while stream.read_u8().await.is_ok() {}
                return;
            }
        };
        let extra = if extra.is_empty() {
            String::new()
        } else {
            format!("{extra}\r\n")
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{extra}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
