//! kubectl against the embedded cluster, over HTTP. Skipped, with a line that says so, where there is no kubectl.
#![cfg(feature = "sim")]

use std::{
    io::{BufRead as _, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use controller_runtime::sim::{
    api::{ApiServer, Options},
    serve::{Pacer, kubeconfig, listen},
};
use scaler_api::TokioClock;
use serde_json::json;

/// Runs kubectl with a kubeconfig of its own.
struct Kubectl {
    config: PathBuf,
}

impl Kubectl {
    fn new(address: SocketAddr) -> Self {
        let name = format!("kubeconfig-{}-{}", std::process::id(), address.port());
        let config = std::env::temp_dir().join(name);
        std::fs::write(&config, kubeconfig(address)).expect("the temporary directory is writable");
        Self { config }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", &self.config)
            .env("HOME", std::env::temp_dir());
        command.args(arguments.split_whitespace());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Clients before 1.25 use versions that a server of 1.35 has no more.
    fn speaks_policy_v1(&self) -> bool {
        let version = self.run("version --client -o json", "");
        let version: serde_json::Value = serde_json::from_str(&version).expect("a version as JSON");
        let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
        minor
            .trim_end_matches('+')
            .parse::<u32>()
            .is_ok_and(|minor| minor >= 25)
    }

    /// What kubectl prints; a failure's too.
    fn run(&self, arguments: &str, input: &str) -> String {
        let mut child = self.command(arguments).spawn().expect("kubectl starts");
        let written = child
            .stdin
            .take()
            .expect("its input is piped")
            .write_all(input.as_bytes());
        let output = child.wait_with_output().expect("kubectl ends");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        println!("$ kubectl {arguments}\n{out}{err}");
        written.expect("kubectl reads its input");
        format!("{out}{err}")
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        std::fs::remove_file(&self.config).ok();
    }
}

/// Runs `script` on a thread of its own against a served cluster that `prepare` has filled.
fn with_cluster(prepare: impl FnOnce(&ApiServer), script: impl FnOnce(&Kubectl) + Send + 'static) {
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        println!("skipped: there is no kubectl here");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let start = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        let server = ApiServer::new(Options {
            clock: Arc::new(TokioClock::starting_at(start)),
            seed: 1,
        });
        prepare(&server);
        tokio::spawn(server.clone().collect_garbage());
        let (gateway, address) = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let pacer = Pacer::new(server, 10.0).with_gateway(gateway);
        let (done, finished) = tokio::sync::oneshot::channel();
        let script = std::thread::spawn(move || {
            // Tells the simulation to end even if the script panics.
            let _done: tokio::sync::oneshot::Sender<()> = done;
            script(&Kubectl::new(address));
        });
        tokio::select! {
            biased;
            _ = finished => {}
            () = pacer.pace() => {}
        }
        script.join().expect("the script holds");
    });
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: 'nginx:1', resources: {requests: {cpu: 250m, memory: 64Mi}}}
";

fn fill(server: &ApiServer) {
    for object in [
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "node-1"},
            "status": {
                "capacity": {"cpu": "2", "memory": "8Gi", "pods": "29"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                "nodeInfo": {"kubeletVersion": "v1.35.0"},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "lonely", "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
        }),
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "maxReplicas": 9,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "s0-queue"}, "target": {"type": "AverageValue", "averageValue": "5"},
                }}],
            },
        }),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "queues.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Queue", "plural": "queues", "shortNames": ["q"]},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {"depth": {"type": "integer", "minimum": 0}}},
                    }}},
                    "additionalPrinterColumns": [{"name": "Depth", "type": "integer", "jsonPath": ".spec.depth"}],
                }],
            },
        }),
    ] {
        server.apply_manifest(object).expect("a valid manifest");
    }
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// From this step on a client of 1.25 or later is needed.
const FIRST_RECENT: &str = "create poddisruptionbudget p --selector=app=web --min-available=1";

/// Arguments, input, and what the output must contain.
const STEPS: &[(&str, &str, &[&str])] = &[
    ("version", "", &["v1.35.0"]),
    ("get nodes", "", &["node-1", "Ready", "<none>", "v1.35.0"]),
    ("apply -f -", DEPLOYMENT, &["deployment.apps/web created"]),
    ("apply -f -", DEPLOYMENT, &["deployment.apps/web unchanged"]),
    (
        "set image deploy/web main=nginx:2",
        "",
        &["deployment.apps/web image updated"],
    ),
    (
        "get hpa,deploy,pods,q -A",
        "",
        &[
            "Deployment/web",
            "<unknown>/5 (avg)",
            "deployment.apps/web",
            "0/2",
            "pod/lonely",
            "Pending",
        ],
    ),
    (
        "scale deploy web --replicas=5",
        "",
        &["deployment.apps/web scaled"],
    ),
    ("get deploy web -o wide", "", &["0/5", "nginx:2", "app=web"]),
    ("label pod lonely a=b", "", &["pod/lonely labeled"]),
    ("annotate pod lonely a=b", "", &["pod/lonely annotated"]),
    (
        "describe pod lonely",
        "",
        &["lonely", "a=b", "QoS Class:", "BestEffort"],
    ),
    (
        "describe deploy web",
        "",
        &["StrategyType:", "RollingUpdate", "25% max unavailable"],
    ),
    (
        "describe hpa web",
        "",
        &["s0-queue", "Min replicas:", "Max replicas:"],
    ),
    (
        "describe node node-1",
        "",
        &["Capacity:", "cpu:", "29", "KubeletReady"],
    ),
    ("delete pod lonely", "", &["pod \"lonely\" deleted"]),
    ("get pod lonely", "", &["pods \"lonely\" not found"]),
    (
        "api-resources --api-group=apps",
        "",
        &["deployments", "deploy", "StatefulSet"],
    ),
    ("auth can-i create pods", "", &["yes"]),
    ("create namespace n", "", &["namespace/n created"]),
    ("delete namespace n", "", &["namespace \"n\" deleted"]),
    (
        "rollout status deploy web --timeout=2s",
        "",
        &["Waiting for deployment"],
    ),
    ("get events -A", "", &["No resources found"]),
    ("get --raw /readyz", "", &["ok"]),
    (
        "create configmap c --from-literal=a=b",
        "",
        &["configmap/c created"],
    ),
    (
        "create secret generic s --from-literal=a=b",
        "",
        &["secret/s created"],
    ),
    (
        "create deployment d --image=nginx --replicas=3",
        "",
        &["deployment.apps/d created"],
    ),
    ("get deployment d -o wide", "", &["0/3", "nginx", "app=d"]),
    ("create job j --image=nginx", "", &["job.batch/j created"]),
    (FIRST_RECENT, "", &["poddisruptionbudget.policy/p created"]),
    (
        "get pdb,jobs,secrets,cm",
        "",
        &["N/A", "0/1", "Opaque", "configmap/c"],
    ),
    (
        "drain node-1 --ignore-daemonsets",
        "",
        &["node/node-1 cordoned", "node/node-1 drained"],
    ),
    ("get nodes", "", &["Ready,SchedulingDisabled"]),
    ("uncordon node-1", "", &["node/node-1 uncordoned"]),
    ("taint nodes node-1 a=b:NoSchedule", "", &["node/node-1 tainted"]),
    (
        "set image deploy/d nginx=nginx:2",
        "",
        &["deployment.apps/d image updated"],
    ),
    (
        "patch deploy d -p {\"spec\":{\"replicas\":7}}",
        "",
        &["deployment.apps/d patched"],
    ),
    ("apply --server-side -f -", DEPLOYMENT, &["conflict"]),
    (
        "apply --server-side --force-conflicts -f -",
        DEPLOYMENT,
        &["deployment.apps/web serverside-applied"],
    ),
    ("replace -f -", DEPLOYMENT, &["deployment.apps/web replaced"]),
    (
        "delete crd queues.example.com",
        "",
        &["\"queues.example.com\" deleted"],
    ),
];

#[test]
fn kubectl_shows_and_changes_the_cluster() {
    with_cluster(fill, |kubectl| {
        let recent = kubectl.speaks_policy_v1();
        for (arguments, input, expected) in STEPS.iter().take_while(|step| recent || step.0 != FIRST_RECENT) {
            assert_has(&kubectl.run(arguments, input), expected);
        }
    });
}

#[test]
fn invalid_custom_resources_are_explained() {
    with_cluster(fill, |kubectl| {
        let queue = "apiVersion: example.com/v1\nkind: Queue\nmetadata: {name: a}\nspec: {depth: -1}\n";
        assert_has(
            &kubectl.run("apply -f -", queue),
            &[
                "The Queue \"a\" is invalid: spec.depth: Invalid value: -1: spec.depth in body should be greater than or \
               equal to 0",
            ],
        );
        kubectl.run("apply -f -", &queue.replace("-1", "7"));
        assert_has(&kubectl.run("get q", ""), &["NAME", "DEPTH", "a", "7"]);
    });
}

#[test]
fn kubectl_watches_as_virtual_time_passes() {
    with_cluster(fill, |kubectl| {
        let mut watching = kubectl.command("get pods -w").spawn().unwrap();
        // Ten virtual seconds pass in one real one.
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            let _ = kubectl.run("get pod lonely", "");
        }
        assert!(
            !kubectl
                .run("get pod lonely --no-headers", "")
                .trim_end()
                .ends_with(" 1s")
        );
        kubectl.run("label pod lonely seen=yes", "");
        kubectl.run("delete pod lonely", "");
        kubectl.run("run later --image=nginx:1", "");
        let (send, seen) = std::sync::mpsc::channel();
        let output = watching.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut lines = Vec::new();
        // The watch tells of the last one when it comes to it.
        while let Ok(line) = seen.recv_timeout(Duration::from_secs(30)) {
            let is_last = line.starts_with("later");
            lines.push(line);
            if is_last {
                break;
            }
        }
        watching.kill().unwrap();
        watching.wait().unwrap();
        let seen = lines.join("\n");
        println!("{seen}");
        assert_has(&seen, &["NAME", "lonely", "Pending", "later"]);
    });
}

#[test]
fn kubectl_applies_what_is_in_an_old_form() {
    let install = |server: &ApiServer| {
        for definition in scaler_api::keda::crds() {
            let definition = serde_json::to_value(definition).expect("a definition is JSON");
            server.apply_manifest(definition).expect("it is valid");
        }
    };
    with_cluster(install, |kubectl| {
        let object = |most: &str| OLD_SCALED_OBJECT.replace("MOST", most);
        let said = kubectl.run("apply -f -", &object("4"));
        assert!(
            said.contains("Warning: keda.k8s.io/v1alpha1 ScaledObject is an old form"),
            "{said}"
        );
        assert!(said.contains("scaledobject.keda.sh/web created"), "{said}");
        kubectl.run("apply -f -", &object("5"));
        let shown = kubectl.run(
            "get scaledobjects web -o jsonpath={.apiVersion},{.spec.maxReplicaCount}",
            "",
        );
        assert_eq!(shown, "keda.sh/v1alpha1,5");
        let said = kubectl.run("apply --server-side --force-conflicts -f -", &object("6"));
        assert!(said.contains("serverside-applied"), "{said}");
        let said = kubectl.run("create -f -", &object("7"));
        assert!(said.contains("already exists"), "{said}");
        let shown = kubectl.run(
            "get scaledobjects.keda.sh web -o jsonpath={.spec.maxReplicaCount}",
            "",
        );
        assert_eq!(shown, "6");
    });
}

const OLD_SCALED_OBJECT: &str = "
apiVersion: keda.k8s.io/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {deploymentName: web}
  maxReplicaCount: MOST
  triggers:
  - type: cron
    metadata: {timezone: UTC, start: 0 6 * * *, end: 0 20 * * *, desiredReplicas: '2'}
";
