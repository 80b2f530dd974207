//! The processes of a control plane, and the folder that they use.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Error, ProcessInfo, Program,
    group::{Group, wait},
    health::tail,
};

/// The longest path that a socket can have is 104 bytes on some systems.
const LONGEST_FOLDER: usize = 90;

/// The processes, and the folder that they use.
#[derive(Debug)]
pub(super) struct Running {
    children: Mutex<BTreeMap<Program, Child>>,
    pub(super) folder: PathBuf,
    // Dropped last: until then, it cleans up if this process is killed.
    group: Group,
}

impl Running {
    pub(super) fn new(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = match folder {
            Some(folder) => own_folder(folder)?,
            None => tempfile::Builder::new()
                .prefix("control-plane-")
                .tempdir()
                .map_err(Error::io("no folder can be made in the temporary directory"))?
                .keep(),
        };
        let group = Group::new(&folder)?;
        let running = Self {
            children: Mutex::default(),
            folder,
            group,
        };
        if running.folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(Error::Folder {
                folder: running.folder.clone(),
                reason: "its path has more than 90 bytes, which is too long for etcd's socket",
            });
        }
        Ok(running)
    }

    pub(super) fn log(&self, program: Program) -> PathBuf {
        self.folder.join(format!("{program}.log"))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<Program, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spawn(&self, program: Program, path: &Path, arguments: &[String]) -> Result<(), Error> {
        let log = self.log(program);
        let open = || {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&log)
        };
        let failed = || Error::io(format!("{} cannot be written", log.display()));
        let mut command = Command::new(path);
        command
            .args(arguments)
            .current_dir(&self.folder)
            // The programs take options from variables too; a test has the same result for everybody.
            .env_clear()
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(open().map_err(failed())?)
            .stderr(open().map_err(failed())?);
        let child = self
            .group
            .spawn(&mut command)
            .map_err(Error::io(format!("{} cannot be started", path.display())))?;
        self.children().insert(program, child);
        Ok(())
    }

    /// How a program ended, if it has.
    pub(super) fn ended(&self, program: Program) -> Option<ExitStatus> {
        self.children().get_mut(&program)?.try_wait().ok().flatten()
    }

    /// Fails if a program has ended, be it one that was ready before.
    pub(super) fn all_run(&self) -> Result<(), Error> {
        let ended = |process: ProcessInfo| Some((process.program, process.ended?, process.log));
        match self.processes().into_iter().find_map(ended) {
            None => Ok(()),
            Some((program, status, log)) => Err(Error::Exited {
                program,
                status,
                log: tail(&log),
            }),
        }
    }

    pub(super) fn processes(&self) -> Vec<ProcessInfo> {
        self.children()
            .iter_mut()
            .map(|(&program, child)| ProcessInfo {
                program,
                pid: child.id(),
                ended: child.try_wait().ok().flatten(),
                log: self.log(program),
            })
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
        for child in self.children().values_mut() {
            wait(child);
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the control plane's folder stays");
        }
    }
}

/// Makes the folder that somebody chose; whatever is in it would be removed at the end, so it must be empty.
fn own_folder(folder: &Path) -> Result<PathBuf, Error> {
    let failed = || Error::io(format!("{} cannot be made", folder.display()));
    let folder = std::path::absolute(folder).map_err(failed())?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed())?;
    if fs::read_dir(&folder).map_err(failed())?.next().is_some() {
        return Err(Error::Folder {
            folder,
            reason: "it is not empty",
        });
    }
    Ok(folder)
}

#[cfg(test)]
mod checks {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("precious"), "").expect("a file");
        let error = Running::new(Some(folder.path()))
            .expect_err("it is not empty")
            .to_string();
        assert!(error.ends_with("cannot be used: it is not empty"), "{error}");
        assert!(folder.path().join("precious").exists());
    }

    #[test]
    fn a_folder_is_its_owners_alone_and_goes_with_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let running = Running::new(Some(&parent.path().join("new"))).expect("it is empty");
        let folder = running.folder.clone();
        let mode = fs::metadata(&folder).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(running);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_is_refused_and_removed() {
        let parent = tempfile::tempdir().expect("a folder");
        let deep = parent.path().join("x".repeat(100));
        let error = Running::new(Some(&deep)).expect_err("too long").to_string();
        assert!(error.contains("more than 90 bytes"), "{error}");
        assert!(!deep.exists());
    }
}
