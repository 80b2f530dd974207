//! The process in the background that holds a control plane.

use std::{
    fs,
    io::{BufRead as _, ErrorKind, Write as _},
    process,
    time::Duration,
};

use anyhow::Context as _;
use controller_runtime::envtest::{ControlPlane, Options, Program};
use scaler_api::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, UnboundedReceiver},
    time::sleep,
};

use super::place::{Place, Process, State};

/// What whoever started the holder says when it should stay.
pub(crate) const KEEP: &str = "keep";

/// The one line that the holder says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Message {
    /// It is up.
    Ready(State),
    /// Somebody else holds it already.
    Busy,
    /// It cannot be.
    Failed(String),
}

/// Holds a control plane until a signal ends it, or until its starter is gone before it has said [`KEEP`].
pub(crate) fn run(place: &Place, options: Options) -> anyhow::Result<()> {
    // Away from the terminal, whose end must not be this process's.
    rustix::process::setsid().context("a session of its own")?;
    let Some(_lock) = place.acquire()? else {
        return say(&Message::Busy);
    };
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?
        .block_on(hold(place, options));
    // It is gone with the control plane, unless that never began.
    match fs::remove_dir(place.folder()) {
        Err(error) if error.kind() != ErrorKind::NotFound => result.and(Err(error.into())),
        _ => result,
    }
}

async fn hold(place: &Place, options: Options) -> anyhow::Result<()> {
    let mut end = End::new()?;
    let mut starter = starter();
    let control_plane = tokio::select! {
        biased;
        () = end.wait() => return Ok(()),
        _ = starter.recv() => return Ok(()),
        started = ControlPlane::start(options) => match started {
            Ok(control_plane) => control_plane,
            Err(error) => return say(&Message::Failed(error.to_string())),
        },
    };
    let state = state(&control_plane);
    place.write_state(&state)?;
    say(&Message::Ready(state.clone()))?;
    let stays = tokio::select! {
        biased;
        () = end.wait() => false,
        word = starter.recv() => word.as_deref() == Some(KEEP),
    };
    if stays {
        tokio::select! {
            biased;
            () = end.wait() => {}
            result = watch(place, &control_plane, state) => result?,
        }
    }
    control_plane.stop().await;
    Ok(())
}

/// Keeps the state up to date with what has ended.
async fn watch(place: &Place, control_plane: &ControlPlane, mut state: State) -> anyhow::Result<()> {
    loop {
        sleep(Duration::from_secs(1)).await;
        let processes = processes(control_plane);
        if processes != state.processes {
            state.processes = processes;
            place.write_state(&state)?;
        }
    }
}

fn state(control_plane: &ControlPlane) -> State {
    State {
        pid: process::id(),
        since: SystemClock.now(),
        server: control_plane.server_url().to_owned(),
        kubeconfig: control_plane.kubeconfig().to_owned(),
        kubectl: control_plane.programs().path(Program::Kubectl).map(Into::into),
        processes: processes(control_plane),
    }
}

fn processes(control_plane: &ControlPlane) -> Vec<Process> {
    let processes = control_plane.processes().into_iter();
    processes
        .map(|process| Process {
            program: process.program.to_string(),
            pid: process.pid,
            ended: process.ended.map(|status| status.to_string()),
            log: process.log,
        })
        .collect()
}

fn say(message: &Message) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(message)?)
        .and_then(|()| output.flush())
        .context("nobody listens")
}

/// What the starter says, line by line, until it is gone.
fn starter() -> UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if !line.is_ok_and(|line| sender.send(line).is_ok()) {
                return;
            }
        }
    });
    receiver
}

/// The signals that end the holder.
#[derive(Debug)]
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
