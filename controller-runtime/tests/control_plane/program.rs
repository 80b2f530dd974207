//! The program `control-plane`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use controller_runtime::envtest::{Options, programs_or_skip};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio::time::{Instant, sleep};

use crate::support::{client_of, is_running};

/// The program with a cache directory of its own, whose control planes end with the test.
struct World {
    cache: tempfile::TempDir,
}

impl World {
    fn new() -> Option<Self> {
        let programs = programs_or_skip(&Options::default())?;
        let cache = tempfile::tempdir().expect("a folder");
        let bin = cache.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        for program in programs.paths() {
            symlink(program, bin.join(program.file_name().expect("a name"))).expect("a link");
        }
        Some(Self { cache })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        command.arg(verb).env("XDG_CACHE_HOME", self.cache.path());
        if verb == "up" {
            command.arg("--bin-dir").arg(self.cache.path().join("bin"));
        }
        command
    }

    fn run(&self, verb: &str) -> (bool, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(verb).output().expect("it starts");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        println!("$ control-plane {verb}\n{text}");
        (status.success(), text)
    }

    fn folder(&self) -> PathBuf {
        self.cache
            .path()
            .join("autoscaler-sdk/control-plane/clusters/default")
    }

    fn state(&self) -> serde_json::Value {
        let text = fs::read(self.folder().join("state.json")).expect("it is up");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// The holder and what it holds.
    fn pids(&self) -> Vec<u32> {
        let state = self.state();
        let processes = state["processes"].as_array().expect("a list").iter();
        let all = processes.map(|process| &process["pid"]).chain([&state["pid"]]);
        all.map(|pid| {
            pid.as_u64()
                .and_then(|pid| pid.try_into().ok())
                .expect("a process id")
        })
        .collect()
    }

    async fn gone(&self, pids: &[u32]) {
        let started = Instant::now();
        while self.folder().exists() || pids.iter().any(|&pid| is_running(pid)) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "something of {pids:?} is left"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.command("down").output().ok();
    }
}

#[tokio::test]
async fn up_stays_until_down() {
    let Some(world) = World::new() else { return };
    assert!(!world.run("status").0, "nothing is up yet");
    assert!(world.run("down").0, "nothing to do");

    let (up, text) = world.run("up");
    assert!(up, "{text}");
    let kubeconfig = world.folder().join("kubeconfig");
    assert!(
        text.starts_with(&format!("export KUBECONFIG={}\n", kubeconfig.display())),
        "{text}"
    );
    let pids = world.pids();
    assert_eq!(pids.len(), 6);
    assert!(pids.iter().all(|&pid| is_running(pid)));
    let namespaces: Api<Namespace> = Api::all(client_of(&kubeconfig).await);
    namespaces.get("default").await.expect("the kubeconfig works");

    let (again, text) = world.run("up");
    assert!(again && text.contains("already up"), "{text}");
    assert_eq!(world.pids(), pids);
    let (status, text) = world.run("status");
    assert!(
        status && text.contains("kube-apiserver") && text.contains("runs, "),
        "{text}"
    );

    assert!(world.run("down").0);
    assert!(pids.iter().all(|&pid| !is_running(pid)));
    assert!(!world.folder().exists());
}

#[tokio::test]
async fn up_that_is_killed_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let mut up = world.command("up").spawn().expect("it starts");
    let started = Instant::now();
    while !world.folder().join("kube-apiserver.log").exists() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the API server is never started"
        );
        sleep(Duration::from_millis(10)).await;
    }
    up.kill().expect("SIGKILL");
    up.wait().expect("it ends");
    world.gone(&[]).await;
    assert!(!world.run("status").0);
}

#[tokio::test]
async fn a_killed_holder_takes_everything_along() {
    let Some(world) = World::new() else { return };
    assert!(world.run("up").0);
    let pids = world.pids();
    let holder = i32::try_from(*pids.last().expect("the holder")).ok();
    let holder = holder
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).expect("it runs");
    world.gone(&pids).await;
    assert!(!world.run("status").0);
}

#[tokio::test]
async fn status_tells_what_has_ended() {
    let Some(world) = World::new() else { return };
    assert!(world.run("up").0);
    let state = world.state();
    let kwok = &state["processes"][4];
    assert_eq!(kwok["program"], "kwok");
    let pid = kwok["pid"]
        .as_i64()
        .and_then(|pid| pid.try_into().ok())
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process id"), rustix::process::Signal::TERM)
        .expect("it runs");
    let started = Instant::now();
    while !world.run("status").1.contains("ended: ") {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody notices");
        sleep(Duration::from_millis(500)).await;
    }
}
