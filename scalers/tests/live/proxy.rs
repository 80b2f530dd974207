//! A TCP proxy on loopback in front of a server: it can refuse, fall silent, and count.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
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
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(Mode::Forward);
        let (open, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, total, server) = (Arc::clone(&open), Arc::clone(&made), server.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, modes, server) = (Arc::clone(&counted), modes.clone(), server.clone());
                total.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    serve(stream, &server, modes).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            mode,
            open,
            made,
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

async fn serve(mut client: TcpStream, server: &str, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow() == Mode::Forward {
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        // What passes through must not wait for more to come.
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok();
        }
        tokio::select! {
            biased;
            _ = modes.wait_for(|mode| *mode != Mode::Forward) => {}
            _ = copy_bidirectional(&mut client, &mut server) => return,
        }
    }
    if *modes.borrow() == Mode::Silent {
        // Until the client has enough of it, or the proxy answers again.
        let gone = async {
            let mut buffer = [0; 512];
            while let Ok(read) = tokio::io::AsyncReadExt::read(&mut client, &mut buffer).await {
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
