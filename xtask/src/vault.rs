//! A Vault server, built from Vault's Go module into the user's cache directory.
//!
//! Vault's own program carries every plugin and storage there is. This one is its core with what the tests use (KV, PKI,
//! login by Kubernetes), everything in memory, which builds in a fraction of the time. The version is one under
//! the MPL.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{run, tools};

const VERSION: &str = "1.13.1";
const MODULE: &str = include_str!("vault/go.mod.txt");
const PROGRAM: &str = include_str!("vault/main.go.txt");

/// The program, built on first use.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let folder = tools::cache()?.join("vault").join(VERSION);
    let program = folder.join("vault");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("building a Vault server {VERSION} (once, some minutes)");
    let source = folder.join("src");
    fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    for (name, text) in [("go.mod", MODULE), ("main.go", PROGRAM)] {
        let file = source.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    // It gets its name only when it is complete.
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    let built = run(Command::new("go")
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg("."));
    built?;
    fs::rename(&unfinished, &program).with_context(|| format!("cannot make {}", program.display()))?;
    Ok(program)
}
