//! `autoscaler run`: both halves, or one, on a real cluster.

mod args;
mod certificates;
mod cloud_events;
mod cluster;
pub mod config;
mod election;
mod ending;
mod halves;
mod listeners;
mod logging;
mod process;
mod registration;
mod serving;

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use scaler_api::Registry;

pub use self::args::RunArgs;
use self::config::{Configuration, Given};
use crate::input::InputProblems;

/// Where Kubernetes puts the namespace of a pod with a service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Does what the command line says; `registry` has the trigger types that there are.
///
/// # Errors
/// [`InputProblems`] if the configuration is wrong; whatever ended the process otherwise.
pub fn run(args: RunArgs, registry: Arc<Registry>) -> anyhow::Result<()> {
    let print = args.print_config;
    let configuration = configure(args)?;
    if print {
        crate::view::say(config::print(&configuration.effective).trim_end());
        return Ok(());
    }
    logging::start(&configuration.settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the process's runtime cannot be built")?;
    let result = runtime.block_on(process::run(configuration, registry));
    // What still waits for an answer of somebody else is not waited for.
    runtime.shutdown_background();
    result
}

/// Reads flags, environment and file.
fn configure(args: RunArgs) -> Result<Configuration, InputProblems> {
    let mut problems = InputProblems::default();
    let file = args.config.as_ref().and_then(|path| {
        let name = path.display().to_string();
        std::fs::read_to_string(path)
            .map_err(|error| problems.file(&name, format!("cannot be read: {error}")))
            .ok()
            .map(|text| (name, text))
    });
    let given = Given {
        flags: args.flags,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        file,
        pod_namespace: std::fs::read_to_string(Path::new(NAMESPACE_FILE))
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
    };
    match config::load(&given) {
        Ok(configuration) => problems.or(configuration),
        Err(mut more) => {
            problems.0.append(&mut more.0);
            Err(problems)
        }
    }
}
