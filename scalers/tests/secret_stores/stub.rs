//! A stub of an HTTP API on loopback: a function answers, and what it finds wrong with a request fails the test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        assert_eq!(self.header("content-type"), "application/x-www-form-urlencoded");
        let url = Url::parse(&format!("http://unused/?{}", self.body)).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let form: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(form.len(), pairs.len(), "a field is given twice");
        form
    }
}

/// Status, further headers, body.
pub(crate) type Reply = (u16, &'static str, String);

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running stub; it stops when this is dropped, and fails the test if a request was not as it should be.
pub(crate) struct Stub {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    answer: Box<Answer>,
    /// Method and path of every request.
    asked: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

impl Stub {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            asked: Mutex::default(),
            wrong: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&served)));
            }
        });
        Self { port, shared, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Method and path of every request since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            assert_eq!(*self.shared.wrong.lock().unwrap(), [""; 0]);
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let mut request = read(&String::from_utf8_lossy(&head));
        head.clear();
        let length = request.header("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        request.body = String::from_utf8_lossy(&body).into_owned();
        let line = format!("{} {}", request.method, request.path);
        shared.asked.lock().unwrap().push(line.clone());
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (shared.answer)(&request)));
        let (status, headers, body) = answered.unwrap_or_else(|reason| {
            let words = reason.downcast_ref::<String>().cloned();
            let words = words.or_else(|| reason.downcast_ref::<&str>().map(ToString::to_string));
            let words = format!("{line}: {}", words.unwrap_or_default());
            shared.wrong.lock().unwrap().push(words);
            (400, "", String::new())
        });
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn read(head: &str) -> Request {
    let mut lines = head.lines();
    let mut start = lines.next().unwrap_or_default().split(' ');
    let method = start.next().unwrap_or_default().to_owned();
    let target = start.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(": "));
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: String::new(),
    }
}
