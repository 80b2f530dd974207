//! kubectl, unmodified, against the served embedded cluster.

#![cfg(feature = "sim")]

#[path = "support/browser.rs"]
#[allow(dead_code, reason = "only the look for programs is used here")]
mod browser;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The binary while it serves; it ends when this is dropped.
struct Served {
    process: Child,
    kubeconfig: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
            .args(arguments)
            .args(["--serve", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let kubeconfig = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("export KUBECONFIG=").map(str::to_owned))
            .expect("it says where the kubeconfig is");
        // What follows is read away, so that the binary never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, kubeconfig }
    }

    fn try_kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", std::env::temp_dir())
            .output()
            .expect("kubectl starts")
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks until the answer is as wanted.
    fn eventually(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let answer = self.kubectl(arguments);
            if wanted(&answer) {
                return answer;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "kubectl {arguments:?} still says\n{answer}"
            );
            #[allow(
                clippy::disallowed_methods,
                reason = "another process is waited for, in real time"
            )]
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn assert_header(table: &str, columns: &[&str]) {
    let found = table
        .lines()
        .any(|line| columns.iter().all(|column| line.contains(column)));
    assert!(found, "no line with {columns:?} in\n{table}");
}

#[test]
fn kubectl_shows_the_columns_one_knows_and_changes_the_cluster() {
    if !browser::available("kubectl") {
        return;
    }
    let served = Served::start(&["demo", "sqs-consumer", "--speed", "10"]);

    let all = served.eventually(&["get", "so,hpa,pods,nodes,nodepools,nodeclaims", "-A"], |all| {
        all.contains("keda-hpa-aws-sqs-queue-scaledobject") && all.contains("nodeclaim.karpenter.sh/default-")
    });
    assert_header(
        &all,
        &[
            "SCALETARGETKIND",
            "SCALETARGETNAME",
            "MIN",
            "MAX",
            "READY",
            "ACTIVE",
            "FALLBACK",
            "PAUSED",
            "TRIGGERS",
            "AGE",
        ],
    );
    assert_header(
        &all,
        &["REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"],
    );
    assert_header(&all, &["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_header(&all, &["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    assert_header(&all, &["NODECLASS", "NODES", "READY", "AGE"]);
    assert_header(&all, &["TYPE", "CAPACITY", "ZONE", "NODE", "READY", "AGE"]);

    let described = served.kubectl(&["describe", "so", "aws-sqs-queue-scaledobject", "-n", "keda-test"]);
    assert!(
        described.contains("aws-sqs-queue") && described.contains("Events:"),
        "{described}"
    );
    let described = served.kubectl(&["describe", "hpa", "-n", "keda-test"]);
    // Clients before 1.23 describe HPAs by autoscaling/v1, which keeps external metrics in annotations.
    let shown = described.contains("\"s0-aws-sqs-keda-demo-queue-fifo\" (target average value)");
    let annotated = described.contains("autoscaling.alpha.kubernetes.io/metrics");
    assert!(shown || annotated, "{described}");
    let nodes = served.kubectl(&["get", "nodes", "-o", "name"]);
    let described = served.kubectl(&["describe", nodes.lines().next().unwrap()]);
    assert!(
        described.contains("Allocatable:") && described.contains("Non-terminated Pods:"),
        "{described}"
    );

    // A watch shows what was there and then what changes.
    let watched = Command::new("timeout")
        .args(["5", "kubectl", "get", "pods", "-n", "keda-test", "-w"])
        .env("KUBECONFIG", &served.kubeconfig)
        .output()
        .unwrap();
    let watched = String::from_utf8_lossy(&watched.stdout).into_owned();
    assert!(
        watched.contains("sqs-app-") && watched.lines().count() > 2,
        "{watched}"
    );

    served.kubectl(&[
        "scale",
        "deployment",
        "coredns",
        "-n",
        "kube-system",
        "--replicas=1",
    ]);
    served.eventually(&["get", "deployment", "coredns", "-n", "kube-system"], |table| {
        table.contains("1/1")
    });

    let pods = served.kubectl(&["get", "pods", "-n", "keda", "-o", "name"]);
    let pod = pods.lines().next().unwrap().to_owned();
    served.kubectl(&["delete", &pod, "-n", "keda", "--wait=true"]);
    assert!(!served.try_kubectl(&["get", &pod, "-n", "keda"]).status.success());
    served.eventually(&["get", "pods", "-n", "keda", "-o", "name"], |now| {
        now.lines().count() == 3 && !now.contains(&pod)
    });
}
