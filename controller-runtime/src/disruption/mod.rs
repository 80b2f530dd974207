//! Takes machines away that are not needed, that drifted, or whose pods fit on something cheaper.
//!
//! A scan looks at the cluster every few seconds if anything in it has changed, asks [`decide`](provisioner::disrupt::decide) what to do, waits to
//! see whether it stays right, and hands the command to the orchestration, which carries it out beside the next scans.

mod orchestration;
mod scan;

use futures::{StreamExt as _, stream::FuturesUnordered};
use provisioner::{Provisioner, disrupt::Command};
use tokio::{sync::mpsc, time::sleep};

use crate::node_autoscaler::Context;
use scan::Scan;

/// Looks and acts until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    futures::join!(look(&cx, sender), act(&cx, receiver));
}

async fn look<P: Provisioner>(cx: &Context<P>, commands: mpsc::UnboundedSender<Command>) {
    let mut scan = Scan::default();
    loop {
        sleep(cx.config.disruption_poll).await;
        // After a command has begun the next one is looked for at once.
        while let Some(command) = scan.next(cx).await {
            // Before the next look, which must not find them again.
            cx.cluster.with(|state| {
                command
                    .candidates
                    .iter()
                    .for_each(|candidate| state.mark(&candidate.claim))
            });
            if commands.send(command).is_err() {
                return;
            }
        }
    }
}

async fn act<P: Provisioner>(cx: &Context<P>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = running.next(), if !running.is_empty() => {}
            command = commands.recv() => match command {
                Some(command) => running.push(orchestration::carry_out(cx, command)),
                None => break,
            },
        }
    }
    while running.next().await.is_some() {}
}
