//! Programs that the checks and tests use, installed where they are missing.
//!
//! What is built or downloaded stays in the user's cache directory, outside the checkout.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::{cargo, run};

const CARGO_DENY: &str = "0.20.2";
const HELM: &str = "v3.21.4";

/// A program that some tests drive.
#[derive(Debug)]
pub(crate) struct Tool {
    /// What it is for.
    pub(crate) purpose: &'static str,
    /// Names under which it may be found.
    pub(crate) programs: &'static [&'static str],
    /// The Debian packages that carry it.
    pub(crate) packages: &'static [&'static str],
}

/// Everything that the tests drive.
pub(crate) const TOOLS: [Tool; 5] = [
    Tool {
        purpose: "a key of a service account",
        programs: &["openssl"],
        packages: &["openssl"],
    },
    Tool {
        purpose: "the embedded cluster served to kubectl",
        programs: &["kubectl"],
        packages: &["kubernetes-client"],
    },
    Tool {
        purpose: "the report in a real browser",
        programs: &["chromedriver"],
        packages: &["chromium", "chromium-driver"],
    },
    Tool {
        purpose: "an SQS server",
        programs: &["java"],
        packages: &["default-jre-headless"],
    },
    Tool {
        purpose: "the SQS server's jars",
        programs: &["mvn"],
        packages: &["maven"],
    },
];

impl Tool {
    /// Finds the program, or installs it where that is possible.
    pub(crate) fn ensure(&self) -> Result<(), String> {
        if self.find().is_some() {
            return Ok(());
        }
        let name = self.programs.join(" or ");
        if !installable() {
            return Err(format!(
                "{name} is not installed, and only root on Debian can install it here ({})",
                self.packages.join(" ")
            ));
        }
        eprintln!("installing {} for {}", self.packages.join(" "), self.purpose);
        let installed = run(apt().arg("update")).and_then(|()| {
            run(apt()
                .args(["install", "--yes", "--no-install-recommends"])
                .args(self.packages))
        });
        match installed {
            Ok(()) if self.find().is_some() => Ok(()),
            Ok(()) => Err(format!(
                "{} was installed but brought no {name}",
                self.packages.join(" ")
            )),
            Err(error) => Err(format!("{name} cannot be installed: {error:#}")),
        }
    }

    fn find(&self) -> Option<PathBuf> {
        self.programs.iter().find_map(|program| on_path(program))
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn installable() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && on_path("apt-get").is_some()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where what was built for the checks is kept.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("autoscaler-sdk"))
}

/// `cargo-deny`, built on first use.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    if let Some(found) = on_path("cargo-deny") {
        return Ok(found);
    }
    let root = cache()?.join("tools");
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        eprintln!("building cargo-deny {CARGO_DENY} (once, some minutes)");
        run(cargo()
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(&root)
            .arg(format!("cargo-deny@{CARGO_DENY}")))?;
    }
    Ok(program)
}

/// `helm`, built on first use from Go's module proxy; the tests of the chart look for it in the cache directory.
pub(crate) fn helm() -> anyhow::Result<PathBuf> {
    const PACKAGE: &str = "helm.sh/helm/v3";
    let folder = cache()?.join("tools").join(format!("helm-{HELM}"));
    let program = folder.join("helm");
    if program.is_file() {
        return Ok(program);
    }
    let go = on_path("go").context("helm is not there, and only Go can build it here")?;
    eprintln!("building helm {HELM} (once, some minutes)");
    let mut flags = format!("-s -w -X {PACKAGE}/internal/version.version={HELM}");
    // The version of Kubernetes that it renders for where nobody names one.
    for place in ["chartutil", "lint/rules"] {
        flags += &format!(
            " -X {PACKAGE}/pkg/{place}.k8sVersionMajor=1 -X {PACKAGE}/pkg/{place}.k8sVersionMinor=35"
        );
    }
    run(Command::new(go)
        .args(["install", "-trimpath", "-ldflags", &flags])
        .arg(format!("{PACKAGE}/cmd/helm@{HELM}"))
        .current_dir(std::env::temp_dir())
        .env("GOBIN", &folder)
        .env("CGO_ENABLED", "0"))?;
    Ok(program)
}
