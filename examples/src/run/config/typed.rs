//! Settings as values to work with, and the rules between them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use controller_runtime::trigger_auth;
use metrics_adapter::Selector;
use scaler_api::metadata::{go, nearest};

use super::{Effective, Given, Held, Origin, foreign::FEATURE_GATES, value::Value};
use crate::{input::InputProblems, names};

/// Where nodes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Nodes that exist in the API only, kept alive by kwok.
    Kwok,
    /// Amazon EC2.
    Ec2,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Whether there is an election.
    pub enabled: bool,
    /// The Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How long a standby waits.
    pub lease_duration: Duration,
    /// How long a leader goes on that cannot renew.
    pub renew_deadline: Duration,
    /// How often it renews.
    pub retry_period: Duration,
}

/// Every setting as a value to work with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whether the KEDA half runs.
    pub pods: bool,
    /// Where nodes come from, if the Karpenter half runs.
    pub nodes: Option<Provider>,
    /// The namespaces that are watched; all of them where none is named.
    pub namespaces: Vec<String>,
    /// The kubeconfig, where one is named.
    pub kubeconfig: Option<PathBuf>,
    /// Its context.
    pub context: Option<String>,
    /// The namespace of this process.
    pub pod_namespace: String,
    /// The Service in front of it.
    pub service: String,
    /// Where the API server reaches a process outside the cluster.
    pub advertise_address: Option<Ipv4Addr>,
    /// How long an orderly end may take.
    pub shutdown_grace_period: Duration,
    /// The filter of the log.
    pub log_filter: String,
    /// Whether the log is JSON.
    pub log_json: bool,
    /// Where `/metrics` is served.
    pub metrics_address: Option<SocketAddr>,
    /// Where `/readyz` is served.
    pub health_address: Option<SocketAddr>,
    /// Where the metrics adapter is served.
    pub adapter_address: SocketAddr,
    /// Where the webhook is served, if it is.
    pub webhook_address: Option<SocketAddr>,
    /// Who writes.
    pub election: Election,
    /// Whether the certificate is made here.
    pub rotate_certificates: bool,
    /// The Secret of the certificate.
    pub certificate_secret: String,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Whether the authority is written into the APIService.
    pub patch_api_service: bool,
    /// Whether the authority is written into the webhook's configuration.
    pub patch_webhook: bool,
    /// How old a sample may be that answers an HPA.
    pub sample_max_age: Duration,
    /// How long a source may take.
    pub http_timeout: Duration,
    /// How many ScaledObjects are worked on at once.
    pub pods_concurrency: usize,
    /// How authentications are resolved.
    pub authentication: trigger_auth::Settings,
    /// Which objects are scaled, by their labels.
    pub selector: Selector,
    /// The cluster's name in CloudEvents.
    pub cluster_name: String,
    /// When a batch of pods ends.
    pub batch_idle: Duration,
    /// When it ends at the latest.
    pub batch_longest: Duration,
    /// Whether a spot node may be replaced by another.
    pub spot_to_spot: bool,
    /// Whether minValues may be relaxed.
    pub relax_min_values: bool,
    /// The instance types of kwok.
    pub instance_types_file: Option<PathBuf>,
}

/// Reads values that the table's types vouch for.
struct Reader<'a>(&'a Effective);

impl Reader<'_> {
    fn value(&self, path: &str) -> &Value {
        let held = self.0.get(path);
        debug_assert!(held.is_some(), "{path} stands in the table");
        held.map_or(&Value::Absent, |held| &held.value)
    }

    fn switch(&self, path: &str) -> bool {
        matches!(self.value(path), Value::Switch(true))
    }

    fn duration(&self, path: &str) -> Duration {
        match self.value(path) {
            Value::Duration(duration) => *duration,
            _ => Duration::ZERO,
        }
    }

    fn address(&self, path: &str) -> Option<SocketAddr> {
        match self.value(path) {
            Value::Address(address) => *address,
            _ => None,
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        match self.value(path) {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Value::List(items) => items.clone(),
            _ => Vec::new(),
        }
    }
}

/// Fills in what depends on other settings, checks the rules between them, and gives the values.
pub(super) fn settle(
    effective: &mut Effective,
    given: &Given,
    problems: &mut InputProblems,
    notes: &mut Vec<String>,
) -> Settings {
    fill_in(effective, given);
    let read = Reader(effective);
    let (pods, nodes) = halves(&read, problems);
    let spot_to_spot = feature_gates(effective, problems, notes);
    let listens = |path| read.address(path).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let settings = Settings {
        pods,
        nodes,
        namespaces: read.list("namespaces"),
        kubeconfig: read.text("kubeconfig").map(PathBuf::from),
        context: read.text("context"),
        pod_namespace: read.text("podNamespace").unwrap_or_default(),
        service: read.text("service").unwrap_or_default(),
        advertise_address: match read.value("advertiseAddress") {
            Value::Ip(address) => Some(*address),
            _ => None,
        },
        shutdown_grace_period: read.duration("shutdownGracePeriod"),
        log_filter: read.text("logs.level").unwrap_or_default(),
        log_json: read.text("logs.format").as_deref() == Some("json"),
        metrics_address: read.address("metrics.bindAddress"),
        health_address: read.address("health.bindAddress"),
        adapter_address: listens("adapter.bindAddress"),
        webhook_address: read
            .switch("webhook.enabled")
            .then(|| listens("webhook.bindAddress")),
        election: Election {
            enabled: read.switch("leaderElection.enabled"),
            name: read.text("leaderElection.name").unwrap_or_default(),
            namespace: read.text("leaderElection.namespace").unwrap_or_default(),
            lease_duration: read.duration("leaderElection.leaseDuration"),
            renew_deadline: read.duration("leaderElection.renewDeadline"),
            retry_period: read.duration("leaderElection.retryPeriod"),
        },
        rotate_certificates: read.switch("certificates.rotate"),
        certificate_secret: read.text("certificates.secretName").unwrap_or_default(),
        cluster_domain: read.text("certificates.clusterDomain").unwrap_or_default(),
        patch_api_service: read.switch("certificates.patchApiService"),
        patch_webhook: read.switch("certificates.patchWebhook"),
        sample_max_age: read.duration("pods.sampleMaxAge"),
        http_timeout: read.duration("pods.httpTimeout"),
        pods_concurrency: match read.value("pods.concurrency") {
            Value::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
            _ => 1,
        },
        authentication: trigger_auth::Settings {
            cluster_object_namespace: read.text("pods.clusterObjectNamespace").unwrap_or_default(),
            restrict_secret_access: read.switch("pods.restrictSecretAccess"),
            file_root: read.text("pods.authenticationFiles").map(PathBuf::from),
            token_lifetime: read.duration("pods.boundTokenLifetime"),
            ..trigger_auth::Settings::default()
        },
        selector: selector(&read, problems),
        cluster_name: read.text("pods.clusterName").unwrap_or_default(),
        batch_idle: read.duration("nodes.batchIdleDuration"),
        batch_longest: read.duration("nodes.batchMaxDuration"),
        spot_to_spot,
        relax_min_values: read.text("nodes.minValuesPolicy").as_deref() == Some("BestEffort"),
        instance_types_file: read.text("nodes.instanceTypesFile").map(PathBuf::from),
    };
    check_order(effective, problems);
    check_addresses(effective, &settings, problems);
    settings
}

fn selector(read: &Reader<'_>, problems: &mut InputProblems) -> Selector {
    let text = read.text("pods.labelSelector").unwrap_or_default();
    Selector::parse(&text).unwrap_or_else(|error| {
        problems.file(
            "pods.labelSelector",
            format!("{text:?} is no label selector: {error}"),
        );
        Selector::default()
    })
}

/// Defaults that depend on other settings or on where the process runs.
fn fill_in(effective: &mut Effective, given: &Given) {
    let mut fill = |path: &'static str, value: String, origin: Origin| {
        if let Some(held) = effective.0.get_mut(path)
            && held.value == Value::Absent
        {
            *held = Held {
                value: Value::Text(value),
                origin,
            };
        }
    };
    match &given.pod_namespace {
        Some(found) => fill("podNamespace", found.clone(), Origin::Found("service account")),
        None => fill("podNamespace", names::NAMESPACE.to_owned(), Origin::Default),
    }
    let read = Reader(effective);
    let namespace = read.text("podNamespace").unwrap_or_default();
    let lease = match read.text("only").as_deref() {
        Some("pods") => names::LEASE_PODS,
        Some(_) => names::LEASE_NODES,
        None => names::LEASE,
    };
    let mut fill = |path: &'static str, value: &str| {
        if let Some(held) = effective.0.get_mut(path)
            && held.value == Value::Absent
        {
            held.value = Value::Text(value.to_owned());
        }
    };
    fill("leaderElection.name", lease);
    fill("leaderElection.namespace", &namespace);
    fill("pods.clusterObjectNamespace", &namespace);
}

/// Which halves run.
fn halves(read: &Reader<'_>, problems: &mut InputProblems) -> (bool, Option<Provider>) {
    let (only, provider) = (read.text("only"), read.text("provider"));
    let nodes_wanted = only.as_deref() != Some("pods");
    let nodes = match provider.as_deref() {
        Some("kwok") if !cfg!(feature = "kwok") => {
            problems.file("provider", "kwok comes with a build that has the feature kwok");
            None
        }
        Some("kwok") => Some(Provider::Kwok),
        Some("ec2") => {
            problems.file(
                "provider",
                "ec2 comes with a build that has the feature ec2, expected kwok or none",
            );
            Some(Provider::Ec2)
        }
        Some(_) if only.as_deref() == Some("nodes") => {
            problems.file(
                "provider",
                "is none with --only nodes, which leaves nothing to run, expected kwok or ec2",
            );
            None
        }
        Some(_) => None,
        None if nodes_wanted => {
            problems.file(
                "provider",
                "is missing: the node half has to know where nodes come from, expected --provider kwok or ec2; --only pods or --provider none runs without it",
            );
            None
        }
        None => None,
    };
    (only.as_deref() != Some("nodes"), nodes.filter(|_| nodes_wanted))
}

/// Where a setting was said, for a problem.
fn place(effective: &Effective, path: &str) -> String {
    match effective.get(path).map(|held| &held.origin) {
        Some(Origin::Flag(name)) => format!("--{name}"),
        Some(Origin::File(name)) => format!("{name}: {path}"),
        Some(origin @ Origin::Environment(_)) => origin.to_string(),
        _ => path.to_owned(),
    }
}

/// Whether spot may replace spot; gates that mean nothing here are noted.
fn feature_gates(effective: &Effective, problems: &mut InputProblems, notes: &mut Vec<String>) -> bool {
    let path = "nodes.featureGates";
    let place = place(effective, path);
    let mut spot_to_spot = false;
    for gate in Reader(effective).list(path) {
        let parsed = gate
            .split_once('=')
            .and_then(|(name, word)| Some((name.trim(), go::parse_bool(word.trim())?)));
        let Some((name, on)) = parsed else {
            problems.file(
                &place,
                format!("{gate:?} cannot be read, expected Name=true or Name=false"),
            );
            continue;
        };
        match FEATURE_GATES.iter().find(|(known, _)| *known == name) {
            Some((_, Some(why))) if on => notes.push(format!(
                "feature gate {name} of Karpenter changes nothing here: {why}"
            )),
            Some(("SpotToSpotConsolidation", _)) => spot_to_spot = on,
            Some(_) => {}
            None => {
                let known = FEATURE_GATES.iter().map(|(known, _)| *known);
                let hint =
                    nearest(name, known).map_or_else(String::new, |near| format!(", did you mean {near}?"));
                notes.push(format!("feature gate {name} is not known{hint}"));
            }
        }
    }
    spot_to_spot
}

/// Durations of which one must be longer than another.
fn check_order(effective: &Effective, problems: &mut InputProblems) {
    let read = Reader(effective);
    for (longer, shorter) in [
        ("leaderElection.leaseDuration", "leaderElection.renewDeadline"),
        ("leaderElection.renewDeadline", "leaderElection.retryPeriod"),
        ("nodes.batchMaxDuration", "nodes.batchIdleDuration"),
    ] {
        let (long, short) = (read.value(longer), read.value(shorter));
        let equal_is_fine = longer.starts_with("nodes");
        let fine = match (long, short) {
            (Value::Duration(long), Value::Duration(short)) => {
                long > short || (equal_is_fine && long == short)
            }
            _ => true,
        };
        if !fine {
            let at_least = if equal_is_fine {
                "at least that"
            } else {
                "more than that"
            };
            problems.file(
                &place(effective, longer),
                format!("is {long} and {shorter} is {short}, expected {at_least}"),
            );
        }
    }
}

/// Two listeners cannot have one port.
fn check_addresses(effective: &Effective, settings: &Settings, problems: &mut InputProblems) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (path, address) in [
        ("metrics.bindAddress", settings.metrics_address),
        ("health.bindAddress", settings.health_address),
        (
            "adapter.bindAddress",
            settings.pods.then_some(settings.adapter_address),
        ),
        (
            "webhook.bindAddress",
            settings.webhook_address.filter(|_| settings.pods),
        ),
    ] {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        let meets = |other: &SocketAddr| {
            other.port() == address.port()
                && (other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        match taken.iter().find(|(_, other)| meets(other)) {
            Some((other, _)) => problems.file(
                &place(effective, path),
                format!("{address} is taken by {other} already, expected another port"),
            ),
            None => taken.push((path, address)),
        }
    }
}
