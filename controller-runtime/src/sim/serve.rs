//! The embedded cluster over HTTP, for kubectl, in time that follows the wall clock.
//!
//! The simulation runs on one thread in virtual time, where waiting for a socket would let the clock jump to the next
//! timer. So the sockets live on a thread of their own ([`listen`]), whose requests are handed over by a channel, and
//! a [`Pacer`] inside the simulation alternates between two things: it waits on that channel for a moment of real time
//! (a blocking wait, during which a paused clock stands still), and it sleeps to where virtual time should be by now
//! (during which the clock goes from timer to timer, in order, as it does without a pacer).

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, response::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{mpsc as async_mpsc, oneshot},
};
use tower::ServiceExt;

use super::api::{ApiBody, ApiServer};

/// How long the pacer waits for requests before it lets virtual time follow.
const STEP: Duration = Duration::from_millis(10);

/// The most virtual time that is made up at once, in steps: a simulation slower than its pace falls behind.
const MOST_STEPS: u32 = 25;

/// A request on its way into the simulation, and where its answer goes.
#[derive(Debug)]
struct Forward {
    request: Request<Full<Bytes>>,
    answer: oneshot::Sender<Answer>,
}

/// A response on its way out: its head, and its body as it comes.
#[derive(Debug)]
struct Answer {
    parts: Parts,
    chunks: async_mpsc::UnboundedReceiver<Bytes>,
}

/// The listener's end of the channel. Dropping it stops the listener.
#[derive(Debug)]
pub struct Gateway {
    requests: Receiver<Forward>,
    stop: oneshot::Sender<()>,
}

/// Listens on `address`, on a thread of its own. The requests wait until a [`Pacer`] with the gateway runs.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<(Gateway, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (sender, requests) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new()
        .name("kubernetes-http".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(accept(listener, sender, stopped)) {
                tracing::error!(%error, "the HTTP listener has ended");
            }
        })?;
    Ok((Gateway { requests, stop }, local))
}

async fn accept(
    listener: std::net::TcpListener,
    requests: Sender<Forward>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let stream = tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            accepted = listener.accept() => accepted?.0,
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| hand_over(request, requests.clone()));
            let connection = http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
    }
}

type Chunks = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Sends a request into the simulation and passes its answer on.
async fn hand_over(
    request: Request<Incoming>,
    requests: Sender<Forward>,
) -> Result<Response<Chunks>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(failure(StatusCode::BAD_REQUEST));
    };
    let request = Request::from_parts(parts, Full::new(body.to_bytes()));
    let (answer, answered) = oneshot::channel();
    if requests.send(Forward { request, answer }).is_err() {
        return Ok(failure(StatusCode::SERVICE_UNAVAILABLE));
    }
    let Ok(Answer { parts, chunks }) = answered.await else {
        return Ok(failure(StatusCode::SERVICE_UNAVAILABLE));
    };
    let frames = futures::stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (Ok(Frame::data(chunk)), chunks))
    });
    Ok(Response::from_parts(
        parts,
        StreamBody::new(frames).boxed_unsync(),
    ))
}

fn failure(status: StatusCode) -> Response<Chunks> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Lets virtual time follow the wall clock, and serves the requests of a [`Gateway`].
#[derive(Debug)]
pub struct Pacer {
    /// Virtual seconds per real second.
    pub speed: f64,
    server: ApiServer,
    gateway: Option<Gateway>,
}

impl Pacer {
    /// A pacer at `speed` virtual seconds per real second.
    #[must_use]
    pub fn new(server: ApiServer, speed: f64) -> Self {
        Self {
            speed,
            server,
            gateway: None,
        }
    }

    /// Serves this gateway's requests as well.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Paces the simulation in whose paused runtime it is polled, for ever.
    #[allow(
        clippy::disallowed_methods,
        reason = "pacing compares virtual time with real time"
    )]
    pub async fn pace(self) {
        let Self {
            speed,
            server,
            gateway,
        } = self;
        // Without a gateway nobody sends: the held sender keeps the wait from ending early.
        let (_idle, requests, _stop) = match gateway {
            Some(Gateway { requests, stop }) => (None, requests, Some(stop)),
            None => {
                let (sender, requests) = mpsc::channel();
                (Some(sender), requests, None)
            }
        };
        let mut requests = requests;
        let mut wall = std::time::Instant::now();
        let mut virtually = tokio::time::Instant::now();
        loop {
            let waited = tokio::task::spawn_blocking(move || {
                let first = requests.recv_timeout(STEP);
                (requests, first)
            });
            let Ok((returned, first)) = waited.await else {
                return;
            };
            requests = returned;
            match first {
                Ok(forward) => {
                    tokio::spawn(serve(server.clone(), forward));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(forward) = requests.try_recv() {
                tokio::spawn(serve(server.clone(), forward));
            }
            let now = std::time::Instant::now();
            let passed = now.duration_since(wall).min(STEP * MOST_STEPS);
            wall = now;
            virtually += passed.mul_f64(speed.max(0.0));
            tokio::time::sleep_until(virtually).await;
        }
    }
}

/// Answers one request inside the simulation. A client that goes away takes its watch with it.
async fn serve(server: ApiServer, forward: Forward) {
    let Forward { request, answer } = forward;
    let Ok(response) = server.service().oneshot(request).await;
    let (parts, body) = response.into_parts();
    let (sender, chunks) = async_mpsc::unbounded_channel();
    if answer.send(Answer { parts, chunks }).is_ok() {
        forward_body(body, &sender).await;
    }
}

async fn forward_body(mut body: ApiBody, sender: &async_mpsc::UnboundedSender<Bytes>) {
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        if let Ok(chunk) = frame.into_data()
            && sender.send(chunk).is_err()
        {
            return;
        }
    }
}

/// A kubeconfig for the server at `address`.
#[must_use]
pub fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: embedded\n  cluster:\n    server: http://{address}\n\
         users:\n\
         - name: embedded\n  user: {{}}\n\
         contexts:\n\
         - name: embedded\n  context:\n    cluster: embedded\n    user: embedded\n    namespace: default\n\
         current-context: embedded\n"
    )
}
