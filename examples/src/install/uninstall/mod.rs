//! `autoscaler uninstall`: everything that was installed goes again; workloads and nodes stay as they are.
//!
//! The order is what makes it safe. First nobody asks the process any more (APIService, webhook), then the process ends,
//! then what it held back is let go (finalizers, owners), and only then its objects, their kinds and its rights go:
//!
//! - HPAs of ScaledObjects go with them, and targets keep the replicas that they have: no original count comes back.
//! - Jobs of ScaledJobs lose their owner and run on.
//! - Nodes lose their owner, their finalizer and the taints that nobody would take away any more, and keep their pods.
//!
//! Each step finds out what there still is, so that it can be done again after it was interrupted.

mod kinds;
mod nodes;
mod resources;
mod rights;
mod session;

use std::{io::IsTerminal as _, time::Duration};

use anyhow::bail;
use clap::Args;
use kube::Client;

pub use self::session::Session;
use super::connect::Target;
use crate::names;

/// What goes.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// The namespace in which it was installed.
    #[arg(long, short, default_value = names::NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    options: Options,
    /// Ask nothing.
    #[arg(long)]
    yes: bool,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// What goes besides, and what stays.
#[derive(Clone, Copy, Debug, Args)]
#[group(id = "what-goes-besides")]
pub struct Options {
    /// Drain and remove the nodes that were bought, too.
    #[arg(long)]
    pub drain_nodes: bool,
    /// Leave KEDA's and Karpenter's definitions, and every object of them, as they are: somebody else takes over.
    #[arg(long)]
    pub keep_resources: bool,
    /// The application of the walk-through goes, too.
    #[arg(long)]
    pub with_sample: bool,
    /// How many seconds a step may wait for what goes.
    #[arg(long = "timeout", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            drain_nodes: false,
            keep_resources: false,
            with_sample: false,
            timeout: Duration::from_secs(300),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "expected a number of seconds".to_owned())
}

impl Arguments {
    /// Asks, and does it.
    ///
    /// # Errors
    /// Where the cluster cannot be reached, nobody agrees, or a step fails.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let client = self.target.connect().await?;
            if !self.yes && !self.dry_run {
                self.ask(&client).await?;
            }
            let session = Session::new(client, &self.namespace, self.dry_run, Box::new(crate::view::say));
            uninstall(&session, self.options).await
        })
    }

    async fn ask(&self, client: &Client) -> anyhow::Result<()> {
        let version = client.apiserver_version().await?;
        let goes = if self.options.keep_resources {
            ""
        } else {
            ", every ScaledObject and every NodePool"
        };
        if !std::io::stdin().is_terminal() {
            bail!("standard input is no terminal, expected --yes or --dry-run");
        }
        crate::view::say(&format!(
            "The autoscaler in namespace {}{goes} will be removed from the cluster (Kubernetes {}). Type yes to go on:",
            self.namespace, version.git_version
        ));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() != "yes" {
            bail!("nothing was removed");
        }
        Ok(())
    }
}

/// Takes everything away again.
///
/// # Errors
/// Where a step fails or takes too long; what was done stays done.
pub async fn uninstall(session: &Session, options: Options) -> anyhow::Result<()> {
    if options.drain_nodes {
        nodes::drain(session, options.timeout).await?;
    }
    rights::unregister(session).await?;
    rights::stop(session, options.timeout).await?;
    if !options.keep_resources {
        resources::release(session).await?;
        nodes::release(session).await?;
        resources::delete(session, options.timeout).await?;
    }
    if options.with_sample {
        rights::sample(session).await?;
    }
    rights::revoke(session).await
}
