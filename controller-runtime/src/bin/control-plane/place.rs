//! Where a named control plane is, and who holds it.
//!
//! The holder has a lock on the folder for as long as it lives. So a process id that the folder's state names is the
//! holder's as long as the folder is locked, and nobody else's.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use controller_runtime::envtest::cache_folder;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

const STATE: &str = "state.json";

/// The folder of a named control plane.
#[derive(Debug)]
pub(crate) struct Place {
    name: String,
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        Self::within(&cache_folder()?.join("control-plane/clusters"), name)
    }

    fn within(clusters: &Path, name: &str) -> anyhow::Result<Self> {
        let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            bail!("--name {name:?}: expected letters, digits, '-' and '_'");
        }
        Ok(Self {
            name: name.to_owned(),
            folder: clusters.join(name),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, empty, and locks it; nothing if somebody else holds it.
    pub(crate) fn acquire(&self) -> anyhow::Result<Option<File>> {
        // What was killed is cleaned up by its keeper; only if that had no chance either (the machine went down) is
        // there something left.
        let mut patience = 50;
        loop {
            let Some(lock) = self.lock()? else { return Ok(None) };
            if fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_none()) {
                return Ok(Some(lock));
            }
            if patience == 0 {
                fs::remove_dir_all(&self.folder)
                    .with_context(|| format!("{} cannot be removed", self.folder.display()))?;
            }
            patience -= 1;
            drop(lock);
            thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn lock(&self) -> anyhow::Result<Option<File>> {
        let failed = || format!("{} cannot be locked", self.folder.display());
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.folder)
                .with_context(failed)?;
            let file = File::open(&self.folder).with_context(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
            }
            // Whoever held it before may have removed it in the meantime.
            let same = fs::metadata(&self.folder)
                .and_then(|there| Ok(there.ino() == file.metadata()?.ino()))
                .unwrap_or(false);
            if same {
                return Ok(Some(file));
            }
        }
    }

    /// Whether somebody holds the control plane.
    pub(crate) fn is_held(&self) -> anyhow::Result<bool> {
        let failed = || format!("{} cannot be read", self.folder.display());
        let file = match File::open(&self.folder) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(failed),
        };
        // Shared, so that two who ask at once do not see each other.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).with_context(failed),
        }
    }

    /// What the holder has written; nothing before the control plane is up.
    pub(crate) fn state(&self) -> Option<State> {
        let text = fs::read(self.folder.join(STATE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes what [`state`](Self::state) reads, at once.
    pub(crate) fn write_state(&self, state: &State) -> anyhow::Result<()> {
        let path = self.folder.join(STATE);
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, serde_json::to_vec(state)?)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// What a holder says of its control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The holder's process id.
    pub(crate) pid: u32,
    pub(crate) since: Timestamp,
    pub(crate) server: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) kubectl: Option<PathBuf>,
    pub(crate) processes: Vec<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) program: String,
    pub(crate) pid: u32,
    /// How it ended, if it has.
    pub(crate) ended: Option<String>,
    pub(crate) log: PathBuf,
}

impl State {
    /// Tells the holder to end.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the holder's process id")?, Signal::TERM)
            .with_context(|| format!("process {} cannot be told to end", self.pid))
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let root = Path::new("/clusters");
        for name in ["", "..", "a/b", "/etc", "a b"] {
            assert!(Place::within(root, name).is_err(), "{name:?}");
        }
        let place = Place::within(root, "team-1").expect("a name");
        assert_eq!(place.folder(), Path::new("/clusters/team-1"));
    }

    #[test]
    fn only_one_holds_a_control_plane() {
        let root = tempfile::tempdir().expect("a folder");
        let place = Place::within(root.path(), "one").expect("a name");
        assert!(!place.is_held().expect("readable"));
        let lock = place.acquire().expect("free").expect("free");
        assert!(place.is_held().expect("readable"));
        assert!(place.acquire().expect("no failure").is_none());
        fs::remove_dir(place.folder()).expect("empty");
        drop(lock);
        assert!(!place.is_held().expect("readable"));
        assert!(place.acquire().expect("free").is_some());
    }

    #[test]
    fn what_a_dead_machine_left_is_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let place = Place::within(root.path(), "old").expect("a name");
        fs::create_dir_all(place.folder()).expect("a folder");
        fs::write(place.folder().join("etcd.log"), "old").expect("a file");
        let lock = place.acquire().expect("free");
        assert!(lock.is_some());
        assert!(!place.folder().join("etcd.log").exists());
    }
}
