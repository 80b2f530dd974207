//! A TCP proxy on loopback in front of a server: it can refuse, fall silent, and count.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    /// Connections are closed as soon as they are made.
    Refuse,
    /// Connections are taken, and nothing is ever answered.
    Silent,
}

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    mode: watch::Sender<Mode>,
    open: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Self {
        Self::start_at("127.0.0.1:0", server).await
    }

    /// A proxy at an address that is known before it is there.
    pub(crate) async fn start_at(address: &str, server: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(Mode::Forward);
        let (open, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let bytes = Arc::<AtomicUsize>::default();
        let (counted, total, server) = (Arc::clone(&open), Arc::clone(&made), server.to_owned());
        let passed = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, modes, server) = (Arc::clone(&counted), modes.clone(), server.clone());
                let passed = Arc::clone(&passed);
                total.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    serve(stream, &server, modes, &passed).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            mode,
            open,
            made,
            bytes,
            task,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Bytes that have passed either way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Connections that were ever made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what one side says until it is done.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &AtomicUsize,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        bytes.fetch_add(read, Ordering::SeqCst);
        to.write_all(&buffer[..read]).await?;
    }
}

async fn serve(mut client: TcpStream, server: &str, mut modes: watch::Receiver<Mode>, bytes: &AtomicUsize) {
    if *modes.borrow() == Mode::Forward {
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        // Small messages are not to wait for each other, which neither side makes them do.
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let (mut asked, mut asking) = client.split();
        let (mut answered, mut answering) = server.split();
        let both = async {
            tokio::try_join!(
                pass(&mut asked, &mut answering, bytes),
                pass(&mut answered, &mut asking, bytes)
            )
        };
        tokio::select! {
            biased;
            _ = modes.wait_for(|mode| *mode != Mode::Forward) => {}
            _ = both => return,
        }
    }
    if *modes.borrow() == Mode::Silent {
        // Until the client has enough of it, or the proxy answers again.
        let gone = async {
            let mut buffer = [0; 512];
            while let Ok(read) = client.read(&mut buffer).await {
                if read == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            _ = modes.wait_for(|mode| *mode != Mode::Silent) => {}
            () = gone => {}
        }
    }
}
