//! moto, a server that answers as AWS does, from PyPI into the user's cache directory.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{run, tools};

/// What is installed.
pub(crate) const VERSION: &str = "5.2.5";
/// Services that need more packages than the server itself are left out.
const EXTRAS: &str = "server,secretsmanager";

/// The program `moto_server`, installed on first use.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let folder = tools::cache()?.join("moto").join(VERSION);
    let (program, complete) = (folder.join("bin/moto_server"), folder.join("complete"));
    if complete.is_file() {
        return Ok(program);
    }
    eprintln!("installing moto {VERSION} (once)");
    // An environment of Python cannot be moved, so one that is not complete is made anew in its place.
    fs::remove_dir_all(&folder).ok();
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("moto[{EXTRAS}]=={VERSION}")))?;
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(program)
}
