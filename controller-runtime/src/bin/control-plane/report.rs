//! What a person is told of a control plane.

use std::fs;

use scaler_api::{Clock as _, SystemClock};

use super::place::{Place, Process, State};

/// Prints what runs to stderr, and to stdout what a shell can evaluate to use it.
pub(crate) fn print(place: &Place, state: &State) {
    for line in lines(state, SystemClock.now(), resident) {
        eprintln!("{line}");
    }
    eprintln!("logs: {}/*.log", place.folder().display());
    if let Some(kubectl) = &state.kubectl {
        eprintln!("kubectl: {}", kubectl.display());
    }
    println!("export KUBECONFIG={}", state.kubeconfig.display());
}

fn lines(state: &State, now: jiff::Timestamp, resident: impl Fn(u32) -> Option<u64>) -> Vec<String> {
    let age = now.duration_since(state.since).as_secs();
    let mut lines = vec![format!(
        "{} since {:.0} ({age} s), held by process {}",
        state.server, state.since, state.pid
    )];
    lines.extend(state.processes.iter().map(|process| line(process, &resident)));
    lines
}

fn line(process: &Process, resident: impl Fn(u32) -> Option<u64>) -> String {
    let Process {
        program, pid, ended, ..
    } = process;
    let does = match (ended, resident(*pid)) {
        (Some(how), _) => format!("ended: {how}"),
        (None, Some(megabytes)) => format!("runs, {megabytes} MB"),
        (None, None) => "runs".to_owned(),
    };
    format!("  {program:<24} {pid:>8}  {does}")
}

/// Megabytes of memory in use, where the system tells.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_report_says_what_runs_since_when_and_what_has_ended() {
        let process = |program: &str, pid, ended: Option<&str>| Process {
            program: program.to_owned(),
            pid,
            ended: ended.map(str::to_owned),
            log: "/data/log".into(),
        };
        let state = State {
            pid: 7,
            since: "2026-01-01T00:00:00Z".parse().expect("a time"),
            server: "https://127.0.0.1:6443".to_owned(),
            kubeconfig: "/data/kubeconfig".into(),
            kubectl: None,
            processes: vec![
                process("etcd", 8, None),
                process("kwok", 9, Some("exit status: 1")),
            ],
        };
        let now = "2026-01-01T00:01:40Z".parse().expect("a time");
        assert_eq!(
            lines(&state, now, |pid| (pid == 8).then_some(42)),
            [
                "https://127.0.0.1:6443 since 2026-01-01T00:00:00Z (100 s), held by process 7",
                "  etcd                            8  runs, 42 MB",
                "  kwok                            9  ended: exit status: 1",
            ]
        );
    }
}
