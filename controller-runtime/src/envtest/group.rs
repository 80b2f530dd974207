//! Processes that cannot outlive their owner.
//!
//! All programs are in one process group. Its first member, the anchor, does nothing but give it an id that stays
//! taken. A second process, the keeper, is outside of the group and reads a pipe whose other end only the owner holds.
//! When the owner is gone without a word (SIGKILL, an abort), the pipe ends, and the keeper kills the group and removes
//! the folder. Joining the group is part of starting a program, and a group that is gone cannot be joined, so there is
//! no moment in which a program can slip away.

use std::{
    ffi::OsStr,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Error;

/// Waits for the end of its input, which is the owner's end.
const ANCHOR: &str = "trap '' HUP INT TERM; read -r line";

/// Learns the group's id from its first line; then waits for `done`, or for the owner's end.
///
/// It kills until nobody is left, because whoever was being started just then joins the group a moment later. Dead ones
/// count until their parent has asked for them, and not every machine's process 1 does, hence the limit.
const KEEPER: &str = r#"
trap '' HUP INT TERM
group=
while read -r word; do
  case $word in
    done) exit 0 ;;
    *) group=$word ;;
  esac
done
tries=0
while [ -n "$group" ] && [ "$tries" -lt 60 ] && kill -s KILL -- "-$group" 2>/dev/null; do
  tries=$((tries + 1))
  sleep 0.05 2>/dev/null || sleep 1
done
rm -rf -- "$1"
"#;

/// A process group that ends with this value, or with this process.
#[derive(Debug)]
pub(super) struct Group {
    id: Pid,
    anchor: Child,
    keeper: Child,
    to_keeper: Option<ChildStdin>,
}

impl Group {
    /// An empty group. If this process dies, `folder` is removed with it.
    pub(super) fn new(folder: &Path) -> Result<Self, Error> {
        let mut keeper = shell(KEEPER, Some(folder.as_os_str()))?;
        let mut to_keeper = keeper.stdin.take();
        let anchor = shell(ANCHOR, None)?;
        let id = Pid::from_child(&anchor);
        if let Some(pipe) = &mut to_keeper {
            writeln!(pipe, "{id}").map_err(Error::io("the keeper of the process group does not listen"))?;
        }
        Ok(Self {
            id,
            anchor,
            keeper,
            to_keeper,
        })
    }

    /// Starts a process in the group.
    pub(super) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        command.process_group(self.id.as_raw_nonzero().get()).spawn()
    }

    /// Kills every process of the group. The owner has to wait for those that it started.
    pub(super) fn kill(&self) {
        if let Err(error) = kill_process_group(self.id, Signal::KILL) {
            tracing::debug!(%error, group = %self.id, "the process group is gone already");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        wait(&mut self.anchor);
        // From here on the id may be somebody else's, so the keeper must not use it.
        if let Some(mut pipe) = self.to_keeper.take()
            && let Err(error) = writeln!(pipe, "done")
        {
            tracing::debug!(%error, "the keeper is gone already");
        }
        wait(&mut self.keeper);
    }
}

/// Waits for a process that has been killed.
pub(super) fn wait(child: &mut Child) {
    if let Err(error) = child.wait() {
        tracing::warn!(%error, pid = child.id(), "a process cannot be waited for");
    }
}

/// A shell in a process group of its own, so that what a terminal sends does not reach it.
fn shell(script: &str, argument: Option<&OsStr>) -> Result<Child, Error> {
    Command::new("/bin/sh")
        .args(["-c", script, "control-plane-keeper"])
        .args(argument)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("/bin/sh cannot be started"))
}

#[cfg(test)]
mod checks {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn a_group_ends_with_its_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = Group::new(folder.path()).expect("a group");
        let mut child = group.spawn(&mut sleeper()).expect("sleep");
        drop(group);
        let status = child.wait().expect("it ends");
        assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
        assert!(folder.path().exists(), "the folder is the owner's to remove");
    }

    #[test]
    fn when_the_pipe_ends_without_a_word_the_keeper_cleans_up() {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let mut group = Group::new(&folder).expect("a group");
        let mut children: Vec<_> = (0..3)
            .map(|_| group.spawn(&mut sleeper()).expect("sleep"))
            .collect();
        group.to_keeper = None;
        for child in &mut children {
            let status = child.wait().expect("it ends");
            assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
        }
        wait(&mut group.anchor);
        wait(&mut group.keeper);
        assert!(!folder.exists());
    }

    #[test]
    fn the_anchor_ends_with_its_owner_even_if_the_keeper_never_heard_of_it() {
        let mut anchor = shell(ANCHOR, None).expect("a shell");
        drop(anchor.stdin.take());
        anchor.wait().expect("it ends");
    }

    #[test]
    fn nobody_joins_a_group_that_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut group = Group::new(folder.path()).expect("a group");
        group.kill();
        wait(&mut group.anchor);
        let error = group.spawn(&mut sleeper()).expect_err("the group is gone");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    }
}
