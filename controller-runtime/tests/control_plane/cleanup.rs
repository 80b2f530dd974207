//! Nothing of a control plane stays.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use controller_runtime::envtest::{ControlPlane, Error, Options, Program, programs_or_skip, start_or_skip};
use tokio::time::{Instant, sleep};

use crate::support::is_running;

/// What tells the test process below that it is the owner that will be killed.
const OWNER: &str = "CONTROL_PLANE_OWNER";

#[tokio::test]
async fn a_control_plane_ends_with_its_value() {
    let Some(control_plane) = start_or_skip(Options::default()).await else {
        return;
    };
    let folder = control_plane.folder().to_owned();
    let processes = control_plane.processes();
    let running: Vec<Program> = processes.iter().map(|process| process.program).collect();
    assert_eq!(running, Program::DAEMONS);
    assert!(
        processes
            .iter()
            .all(|process| is_running(process.pid) && process.log.is_file())
    );
    drop(control_plane);
    let left: Vec<_> = processes
        .iter()
        .filter(|process| is_running(process.pid))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn two_control_planes_do_not_disturb_each_other() {
    let (Some(one), Some(two)) = futures::join!(
        start_or_skip(Options::default()),
        start_or_skip(Options::default())
    ) else {
        return;
    };
    assert_ne!(one.server_url(), two.server_url());
    assert_ne!(one.ca_pem(), two.ca_pem());
    one.stop().await;
    assert!(
        two.processes()
            .iter()
            .all(|process| process.ended.is_none() && is_running(process.pid))
    );
    let version = two
        .client("default")
        .apiserver_version()
        .await
        .expect("it still answers");
    assert!(version.git_version.starts_with('v'));
    two.stop().await;
}

#[tokio::test]
async fn a_program_that_refuses_its_flags_is_quoted_and_nothing_stays() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut options = Options {
        folder: Some(parent.path().join("data")),
        ..Options::default()
    };
    options
        .arguments
        .insert(Program::ApiServer, vec!["--no-such-flag".to_owned()]);
    if programs_or_skip(&options).is_none() {
        return;
    }
    let error = ControlPlane::start(options)
        .await
        .expect_err("the flag is unknown");
    assert!(
        matches!(&error, Error::Exited { program: Program::ApiServer, log, .. } if log.contains("unknown flag: --no-such-flag")),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(parent.path()).expect("readable").count(), 0);
}

/// Not a test of its own: the process that [`a_killed_owner_takes_everything_along`] kills.
#[tokio::test]
async fn owner() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let control_plane = ControlPlane::start(Options::default()).await.expect("it starts");
    for process in control_plane.processes() {
        println!("\nprocess {}", process.pid);
    }
    println!("\nfolder {}", control_plane.folder().display());
    sleep(Duration::from_secs(600)).await;
}

#[tokio::test]
async fn a_killed_owner_takes_everything_along() {
    if programs_or_skip(&Options::default()).is_none() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "cleanup::owner", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut pids: Vec<u32> = Vec::new();
    let mut folder = None;
    for line in BufReader::new(owner.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        if let Some(pid) = line.strip_prefix("process ") {
            pids.push(pid.parse().expect("a process id"));
        }
        if let Some(path) = line.strip_prefix("folder ") {
            folder = Some(PathBuf::from(path));
            break;
        }
    }
    let folder = folder.expect("the owner has a control plane");
    assert_eq!(pids.len(), 5);
    assert!(pids.iter().all(|&pid| is_running(pid)));
    owner.kill().expect("SIGKILL");
    owner.wait().expect("it ends");
    let killed = Instant::now();
    while pids.iter().any(|&pid| is_running(pid)) || folder.exists() {
        let left: Vec<_> = pids.iter().filter(|&&pid| is_running(pid)).collect();
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "{left:?} run, {} is left",
            folder.display()
        );
        sleep(Duration::from_millis(50)).await;
    }
    println!("everything was gone after {} ms", killed.elapsed().as_millis());
}
