//! The command line of every program.

use std::{collections::BTreeMap, path::Path};

use super::{Options, Program};

/// What a program's command line says beyond the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Holds certificates, keys and kubeconfigs; every program runs in it.
    pub(super) folder: &'a Path,
    /// The program's own port on loopback.
    pub(super) port: u16,
}

/// The arguments of a program that runs.
pub(super) fn arguments(program: Program, place: Place<'_>, options: &Options) -> Vec<String> {
    let mut flags = match program {
        Program::Etcd => etcd(),
        Program::ApiServer => api_server(place),
        Program::ControllerManager => controller_manager(place, options),
        Program::Scheduler => scheduler(place),
        Program::Kwok => kwok(place),
        Program::Kubectl => Flags::default(),
    }
    .arguments();
    flags.extend(options.arguments.get(&program).into_iter().flatten().cloned());
    flags
}

/// etcd listens on a socket in its folder: no port to race for, and closed to the machine's other users.
pub(super) const ETCD_SOCKET: &str = "etcd:1";
const ETCD_URL: &str = "unix://etcd:1";
/// It has no peers, but wants to be reachable by them.
const ETCD_PEER_URL: &str = "unix://peer:1";

/// Whom service-account tokens name as their issuer, and for whom they are by default.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The front proxy's name in its certificate.
pub(super) const FRONT_PROXY: &str = "front-proxy-client";

fn etcd() -> Flags {
    Flags::default()
        .set("name", "default")
        .set("data-dir", "etcd")
        .set("listen-client-urls", ETCD_URL)
        .set("advertise-client-urls", ETCD_URL)
        .set("listen-peer-urls", ETCD_PEER_URL)
        .set("initial-advertise-peer-urls", ETCD_PEER_URL)
        .set("initial-cluster", format!("default={ETCD_PEER_URL}"))
        // The data do not outlive the process.
        .set("unsafe-no-fsync", "true")
        .set("log-level", "warn")
}

fn api_server(place: Place<'_>) -> Flags {
    let file = |name: &str| path(place.folder, name);
    Flags::default()
        .set("etcd-servers", ETCD_URL)
        .set("bind-address", "127.0.0.1")
        .set("advertise-address", "127.0.0.1")
        .set("secure-port", place.port.to_string())
        .set("tls-cert-file", file("server.crt"))
        .set("tls-private-key-file", file("server.key"))
        .set("client-ca-file", file("ca.crt"))
        .set("authorization-mode", "RBAC")
        .set("allow-privileged", "true")
        .set("service-cluster-ip-range", "10.0.0.0/24")
        // An endpoint on loopback would be refused.
        .set("endpoint-reconciler-type", "none")
        .set("service-account-issuer", ISSUER)
        .set("service-account-key-file", file("service-account.pub"))
        .set("service-account-signing-key-file", file("service-account.key"))
        .set("proxy-client-cert-file", file("front-proxy-client.crt"))
        .set("proxy-client-key-file", file("front-proxy-client.key"))
        .set("requestheader-client-ca-file", file("front-proxy-ca.crt"))
        .set("requestheader-allowed-names", FRONT_PROXY)
        .set("requestheader-username-headers", "X-Remote-User")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
}

fn controller_manager(place: Place<'_>, options: &Options) -> Flags {
    let file = |name: &str| path(place.folder, name);
    let flags = behind_the_api_server(place, "controller-manager.kubeconfig")
        .set("service-account-private-key-file", file("service-account.key"))
        .set("root-ca-file", file("ca.crt"))
        .set(
            "use-service-account-credentials",
            options.service_account_credentials.to_string(),
        )
        .set(
            "horizontal-pod-autoscaler-sync-period",
            format!("{}ms", options.hpa_sync_period.as_millis()),
        )
        .set("kube-api-qps", "500")
        .set("kube-api-burst", "1000");
    if options.controllers.is_empty() {
        flags
    } else {
        flags.set("controllers", options.controllers.join(","))
    }
}

fn scheduler(place: Place<'_>) -> Flags {
    behind_the_api_server(place, "scheduler.kubeconfig")
        .set("kube-api-qps", "500")
        .set("kube-api-burst", "1000")
}

/// What the controller manager and the scheduler have in common.
fn behind_the_api_server(place: Place<'_>, kubeconfig: &str) -> Flags {
    let file = |name: &str| path(place.folder, name);
    Flags::default()
        .set("kubeconfig", file(kubeconfig))
        .set("authentication-kubeconfig", file(kubeconfig))
        .set("authorization-kubeconfig", file(kubeconfig))
        .set("authentication-skip-lookup", "true")
        .set(
            "authorization-always-allow-paths",
            "/healthz,/readyz,/livez,/metrics",
        )
        .set("leader-elect", "false")
        .set("bind-address", "127.0.0.1")
        .set("secure-port", place.port.to_string())
        .set("tls-cert-file", file("server.crt"))
        .set("tls-private-key-file", file("server.key"))
}

fn kwok(place: Place<'_>) -> Flags {
    let file = |name: &str| path(place.folder, name);
    Flags::default()
        .set("kubeconfig", file("kubeconfig"))
        // Without it, whatever the user's own configuration of kwok says.
        .set("config", file("kwok.yaml"))
        .set("manage-all-nodes", "false")
        .set("manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake")
        .set("node-lease-duration-seconds", "40")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

/// Flags by name; the order of command lines is that of the names.
#[derive(Debug, Default)]
struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name, value.into());
        self
    }

    fn arguments(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect()
    }
}

#[cfg(test)]
mod checks {
    use std::time::Duration;

    use super::*;

    fn of(program: Program, options: &Options) -> Vec<String> {
        let place = Place {
            folder: Path::new("/data"),
            port: 4711,
        };
        arguments(program, place, options)
    }

    #[track_caller]
    fn has(arguments: &[String], flag: &str) {
        assert!(
            arguments.iter().any(|argument| argument == flag),
            "{flag} is not in {arguments:#?}"
        );
    }

    #[test]
    fn the_api_server_authenticates_authorises_and_aggregates() {
        let arguments = of(Program::ApiServer, &Options::default());
        has(&arguments, "--authorization-mode=RBAC");
        has(&arguments, "--client-ca-file=/data/ca.crt");
        has(
            &arguments,
            "--requestheader-client-ca-file=/data/front-proxy-ca.crt",
        );
        has(&arguments, "--requestheader-allowed-names=front-proxy-client");
        has(&arguments, "--secure-port=4711");
        for absent in [
            "--enable-aggregator-routing",
            "--disable-admission-plugins",
            "--anonymous-auth",
        ] {
            assert!(
                !arguments.iter().any(|argument| argument.starts_with(absent)),
                "{absent}"
            );
        }
    }

    #[test]
    fn options_reach_the_controller_manager() {
        let mut options = Options {
            hpa_sync_period: Duration::from_millis(1500),
            controllers: vec!["*".to_owned(), "-job-controller".to_owned()],
            service_account_credentials: false,
            ..Options::default()
        };
        options
            .arguments
            .insert(Program::ControllerManager, vec!["--v=4".to_owned()]);
        let arguments = of(Program::ControllerManager, &options);
        has(&arguments, "--horizontal-pod-autoscaler-sync-period=1500ms");
        has(&arguments, "--controllers=*,-job-controller");
        has(&arguments, "--use-service-account-credentials=false");
        assert_eq!(arguments.last().map(String::as_str), Some("--v=4"));
    }

    #[test]
    fn every_controller_has_its_own_account_unless_told_otherwise() {
        let arguments = of(Program::ControllerManager, &Options::default());
        has(&arguments, "--use-service-account-credentials=true");
        has(&arguments, "--horizontal-pod-autoscaler-sync-period=2000ms");
        assert!(
            !arguments
                .iter()
                .any(|argument| argument.starts_with("--controllers="))
        );
    }

    #[test]
    fn kwok_takes_only_nodes_that_say_they_are_fake() {
        let arguments = of(Program::Kwok, &Options::default());
        has(&arguments, "--manage-all-nodes=false");
        has(
            &arguments,
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        );
    }
}
