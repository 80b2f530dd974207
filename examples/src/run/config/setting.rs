//! Every setting: its names, its default and what it means.

use super::value::{Kind, Reads};

/// Whose name an alias, or a setting without a meaning here, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// KEDA's operator, metrics adapter or webhooks.
    Keda,
    /// Karpenter.
    Karpenter,
    /// Something of Kubernetes.
    Kubernetes,
}

impl Owner {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keda => "KEDA",
            Self::Karpenter => "Karpenter",
            Self::Kubernetes => "Kubernetes",
        }
    }
}

/// How something is set from outside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A flag, without its dashes.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
}

/// Another name of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The name.
    pub name: Name,
    /// Whose it is.
    pub owner: Owner,
    /// How its value reads.
    pub reads: Reads,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its place in the file, with dots between the levels.
    pub path: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds where nothing is said, as in the file; empty for nothing.
    pub default: &'static str,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
    /// Its other names, the first of which wins.
    pub aliases: &'static [Alias],
}

impl Setting {
    /// Its own environment variable.
    ///
    /// ```
    /// let setting = examples::run::config::setting("leaderElection.leaseDuration").unwrap();
    /// assert_eq!(setting.environment(), "AUTOSCALER_LEADER_ELECTION_LEASE_DURATION");
    /// ```
    #[must_use]
    pub fn environment(&self) -> String {
        format!("AUTOSCALER_{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }
}

const fn alias(name: Name, owner: Owner, reads: Reads) -> Alias {
    Alias { name, owner, reads }
}

const fn keda_flag(name: &'static str) -> Alias {
    alias(Name::Flag(name), Owner::Keda, Reads::Same)
}

const fn keda_env(name: &'static str) -> Alias {
    alias(Name::Environment(name), Owner::Keda, Reads::Same)
}

const fn karpenter_env(name: &'static str) -> Alias {
    alias(Name::Environment(name), Owner::Karpenter, Reads::Same)
}

const fn karpenter_flag(name: &'static str) -> Alias {
    alias(Name::Flag(name), Owner::Karpenter, Reads::Same)
}

/// What the process is, and where.
const PROCESS: &[Setting] = &[
    Setting {
        path: "only",
        flag: "only",
        kind: Kind::Choice(&["pods", "nodes"]),
        default: "",
        doc: "Run one half: pods (events to pods, as KEDA does) or nodes (pods to nodes, as Karpenter does).",
        aliases: &[],
    },
    Setting {
        path: "provider",
        flag: "provider",
        kind: Kind::Choice(&["kwok", "ec2", "none"]),
        default: "",
        doc: "Where nodes come from; none runs no node half. Required unless only the pod half runs.",
        aliases: &[],
    },
    Setting {
        path: "namespaces",
        flag: "namespace",
        kind: Kind::List,
        default: "",
        doc: "The namespaces whose ScaledObjects are watched; all of them where none is named.",
        aliases: &[keda_env("WATCH_NAMESPACE")],
    },
    Setting {
        path: "kubeconfig",
        flag: "kubeconfig",
        kind: Kind::Path,
        default: "",
        doc: "The kubeconfig to use. Without one, that of KUBECONFIG or ~/.kube/config, else the service account of the pod.",
        aliases: &[keda_flag("lister-kubeconfig")],
    },
    Setting {
        path: "context",
        flag: "context",
        kind: Kind::Text,
        default: "",
        doc: "The context of the kubeconfig; its current one by default.",
        aliases: &[],
    },
    Setting {
        path: "podNamespace",
        flag: "pod-namespace",
        kind: Kind::Text,
        default: "",
        doc: "The namespace of this process: of its Service, its Secret and, by default, its Lease. By default that of the pod's service account, else `autoscaler`.",
        aliases: &[alias(
            Name::Environment("POD_NAMESPACE"),
            Owner::Kubernetes,
            Reads::Same,
        )],
    },
    Setting {
        path: "service",
        flag: "service",
        kind: Kind::Text,
        default: crate::names::NAME,
        doc: "The Service in front of this process; certificates are made for it, and the APIService names it.",
        aliases: &[keda_flag("metrics-server-service-name")],
    },
    Setting {
        path: "advertiseAddress",
        flag: "advertise-address",
        kind: Kind::Ip,
        default: "",
        doc: "For a process outside the cluster: the address at which the API server reaches it. The leader then registers itself (Service, APIService, webhook) and takes that back when it ends.",
        aliases: &[],
    },
    Setting {
        path: "shutdownGracePeriod",
        flag: "shutdown-grace-period",
        kind: Kind::Duration,
        default: "25s",
        doc: "How long an orderly end may take after SIGTERM, below the pod's terminationGracePeriodSeconds.",
        aliases: &[],
    },
    Setting {
        path: "logs.level",
        flag: "log-level",
        kind: Kind::LogFilter,
        default: "info",
        doc: "What is logged: error, warn, info, debug, trace or off, or a filter such as info,kube=debug.",
        aliases: &[
            karpenter_env("LOG_LEVEL"),
            alias(Name::Flag("zap-log-level"), Owner::Keda, Reads::ZapLevel),
        ],
    },
    Setting {
        path: "logs.format",
        flag: "log-format",
        kind: Kind::Choice(&["text", "json"]),
        default: "text",
        doc: "How it is logged, on standard error.",
        aliases: &[alias(Name::Flag("zap-encoder"), Owner::Keda, Reads::ZapEncoder)],
    },
];

/// What is listened on, and who writes.
const SERVING: &[Setting] = &[
    Setting {
        path: "metrics.bindAddress",
        flag: "metrics-bind-address",
        kind: Kind::OptionalAddress,
        default: "0.0.0.0:8080",
        doc: "Where /metrics and /decisions are served; 0 for nowhere. Port 0 takes a free one.",
        aliases: &[
            alias(Name::Environment("METRICS_PORT"), Owner::Karpenter, Reads::Port),
            alias(Name::Flag("metrics-port"), Owner::Karpenter, Reads::Port),
            alias(Name::Flag("port"), Owner::Keda, Reads::Port),
        ],
    },
    Setting {
        path: "health.bindAddress",
        flag: "health-probe-bind-address",
        kind: Kind::OptionalAddress,
        default: "0.0.0.0:8081",
        doc: "Where /healthz, /livez and /readyz are served; 0 for nowhere.",
        aliases: &[
            alias(
                Name::Environment("HEALTH_PROBE_PORT"),
                Owner::Karpenter,
                Reads::Port,
            ),
            alias(Name::Flag("health-probe-port"), Owner::Karpenter, Reads::Port),
        ],
    },
    Setting {
        path: "adapter.bindAddress",
        flag: "adapter-bind-address",
        kind: Kind::Address,
        default: "0.0.0.0:6443",
        doc: "Where the metrics adapter (external.metrics.k8s.io) is served over TLS.",
        aliases: &[alias(Name::Flag("secure-port"), Owner::Keda, Reads::Port)],
    },
    Setting {
        path: "webhook.enabled",
        flag: "webhook",
        kind: Kind::Switch,
        default: "true",
        doc: "Whether the admission webhook is served.",
        aliases: &[],
    },
    Setting {
        path: "webhook.bindAddress",
        flag: "webhook-bind-address",
        kind: Kind::Address,
        default: "0.0.0.0:9443",
        doc: "Where the admission webhook is served over TLS.",
        aliases: &[],
    },
    Setting {
        path: "leaderElection.enabled",
        flag: "leader-elect",
        kind: Kind::Switch,
        default: "true",
        doc: "Whether replicas elect one that writes; without it every replica writes, so there must be one only.",
        aliases: &[
            alias(
                Name::Environment("DISABLE_LEADER_ELECTION"),
                Owner::Karpenter,
                Reads::Inverted,
            ),
            alias(
                Name::Flag("disable-leader-election"),
                Owner::Karpenter,
                Reads::Inverted,
            ),
        ],
    },
    Setting {
        path: "leaderElection.name",
        flag: "leader-election-name",
        kind: Kind::Text,
        default: "",
        doc: "The Lease. By default `autoscaler`, or `autoscaler-pods` and `autoscaler-nodes` where one half runs.",
        aliases: &[
            karpenter_env("LEADER_ELECTION_NAME"),
            keda_flag("leader-election-id"),
        ],
    },
    Setting {
        path: "leaderElection.namespace",
        flag: "leader-election-namespace",
        kind: Kind::Text,
        default: "",
        doc: "The Lease's namespace; by default that of this process.",
        aliases: &[karpenter_env("LEADER_ELECTION_NAMESPACE")],
    },
    Setting {
        path: "leaderElection.leaseDuration",
        flag: "leader-election-lease-duration",
        kind: Kind::Duration,
        default: "15s",
        doc: "How long a standby waits for a leader that is not heard of.",
        aliases: &[keda_env("KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION")],
    },
    Setting {
        path: "leaderElection.renewDeadline",
        flag: "leader-election-renew-deadline",
        kind: Kind::Duration,
        default: "10s",
        doc: "How long a leader that cannot renew its Lease goes on.",
        aliases: &[keda_env("KEDA_OPERATOR_LEADER_ELECTION_RENEW_DEADLINE")],
    },
    Setting {
        path: "leaderElection.retryPeriod",
        flag: "leader-election-retry-period",
        kind: Kind::Duration,
        default: "2s",
        doc: "How often the Lease is renewed or asked for.",
        aliases: &[keda_env("KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD")],
    },
    Setting {
        path: "certificates.rotate",
        flag: "enable-cert-rotation",
        kind: Kind::Switch,
        default: "true",
        doc: "Whether the leader makes and rotates the certificate in the Secret. Without it somebody else does, such as cert-manager.",
        aliases: &[],
    },
    Setting {
        path: "certificates.secretName",
        flag: "cert-secret-name",
        kind: Kind::Text,
        default: crate::names::CERTIFICATE_SECRET,
        doc: "The Secret of the serving certificate (ca.crt, tls.crt, tls.key).",
        aliases: &[],
    },
    Setting {
        path: "certificates.clusterDomain",
        flag: "cluster-domain",
        kind: Kind::Text,
        default: "cluster.local",
        doc: "The domain of the cluster, for the names in the certificate.",
        aliases: &[keda_flag("k8s-cluster-domain")],
    },
    Setting {
        path: "certificates.patchApiService",
        flag: "enable-apiservice-patching",
        kind: Kind::Switch,
        default: "true",
        doc: "Whether the leader writes the certificate authority into the APIService.",
        aliases: &[],
    },
    Setting {
        path: "certificates.patchWebhook",
        flag: "enable-webhook-patching",
        kind: Kind::Switch,
        default: "true",
        doc: "Whether the leader writes the certificate authority into the ValidatingWebhookConfiguration.",
        aliases: &[],
    },
];

/// The two halves.
const HALVES: &[Setting] = &[
    Setting {
        path: "pods.sampleMaxAge",
        flag: "sample-max-age",
        kind: Kind::Duration,
        default: "5s",
        doc: "How old a sample may be that answers an HPA; an older one is taken anew, once for all who ask.",
        aliases: &[],
    },
    Setting {
        path: "pods.httpTimeout",
        flag: "http-timeout",
        kind: Kind::Duration,
        default: "3s",
        doc: "How long a source may take to answer where its trigger says nothing.",
        aliases: &[alias(
            Name::Environment("KEDA_HTTP_DEFAULT_TIMEOUT"),
            Owner::Keda,
            Reads::Milliseconds,
        )],
    },
    Setting {
        path: "pods.concurrency",
        flag: "pods-concurrency",
        kind: Kind::Count(1),
        default: "1024",
        doc: "How many ScaledObjects are worked on at once. A turn mostly waits for its sources.",
        aliases: &[],
    },
    Setting {
        path: "pods.clusterObjectNamespace",
        flag: "cluster-object-namespace",
        kind: Kind::Text,
        default: "",
        doc: "Where ClusterTriggerAuthentications find their Secrets and ConfigMaps; by default the namespace of this process.",
        aliases: &[keda_env("KEDA_CLUSTER_OBJECT_NAMESPACE")],
    },
    Setting {
        path: "pods.restrictSecretAccess",
        flag: "restrict-secret-access",
        kind: Kind::Switch,
        default: "false",
        doc: "Whether Secrets are read in the namespace of ClusterTriggerAuthentications alone.",
        aliases: &[keda_env("KEDA_RESTRICT_SECRET_ACCESS")],
    },
    Setting {
        path: "pods.authenticationFiles",
        flag: "authentication-files",
        kind: Kind::Path,
        default: "",
        doc: "The folder of the files that ClusterTriggerAuthentications may name; without one none may.",
        aliases: &[keda_flag("filepath-auth-root-path")],
    },
    Setting {
        path: "pods.boundTokenLifetime",
        flag: "bound-token-lifetime",
        kind: Kind::Duration,
        default: "1h",
        doc: "The lifetime of tokens of ServiceAccounts, between one hour and six.",
        aliases: &[keda_env("KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY")],
    },
    Setting {
        path: "pods.labelSelector",
        flag: "label-selector",
        kind: Kind::Text,
        default: "",
        doc: "The labels of the ScaledObjects and ScaledJobs that are scaled, such as shard=a; all of them by default. Others are answered for, and left to processes with another selector and a Lease of their own.",
        aliases: &[keda_env("WATCH_LABEL_SELECTOR")],
    },
    Setting {
        path: "pods.clusterName",
        flag: "k8s-cluster-name",
        kind: Kind::Text,
        default: "kubernetes-default",
        doc: "The cluster's name in the source and subject of CloudEvents, where a CloudEventSource names no other.",
        aliases: &[],
    },
    Setting {
        path: "nodes.batchIdleDuration",
        flag: "batch-idle-duration",
        kind: Kind::Duration,
        default: "1s",
        doc: "A batch of pending pods ends when no new one has come for this long.",
        aliases: &[karpenter_env("BATCH_IDLE_DURATION")],
    },
    Setting {
        path: "nodes.batchMaxDuration",
        flag: "batch-max-duration",
        kind: Kind::Duration,
        default: "10s",
        doc: "A batch ends at the latest this long after its first pod.",
        aliases: &[karpenter_env("BATCH_MAX_DURATION")],
    },
    Setting {
        path: "nodes.featureGates",
        flag: "feature-gates",
        kind: Kind::List,
        default: "",
        doc: "Karpenter's gates as Name=true or Name=false. SpotToSpotConsolidation has a meaning here; of the others it is logged why not.",
        aliases: &[karpenter_env("FEATURE_GATES")],
    },
    Setting {
        path: "nodes.minValuesPolicy",
        flag: "min-values-policy",
        kind: Kind::Choice(&["Strict", "BestEffort"]),
        default: "Strict",
        doc: "Whether minValues of a NodePool may be relaxed where nothing else fits.",
        aliases: &[karpenter_env("MIN_VALUES_POLICY")],
    },
    Setting {
        path: "nodes.instanceTypesFile",
        flag: "instance-types-file",
        kind: Kind::Path,
        default: "",
        doc: "The instance types of the provider kwok, in Karpenter's format; a built-in catalogue by default.",
        aliases: &[
            karpenter_env("INSTANCE_TYPES_FILE_PATH"),
            karpenter_flag("instance-types-file-path"),
        ],
    },
];

/// Every setting, in the order of the file.
pub fn settings() -> impl Iterator<Item = &'static Setting> + Clone {
    PROCESS.iter().chain(SERVING).chain(HALVES)
}

/// The setting at this place of the file.
#[must_use]
pub fn setting(path: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_settings() {
        let mut seen = BTreeSet::new();
        for setting in settings() {
            let mut names = vec![
                setting.path.to_owned(),
                format!("--{}", setting.flag),
                setting.environment(),
            ];
            names.extend(setting.aliases.iter().map(|alias| match alias.name {
                Name::Flag(name) => format!("--{name}"),
                Name::Environment(name) => name.to_owned(),
            }));
            for name in names {
                assert!(seen.insert(name.clone()), "{name} stands for two settings");
            }
        }
        for foreign in super::super::foreign::foreign() {
            for name in foreign.names() {
                assert!(seen.insert(name.clone()), "{name} both has a meaning and none");
            }
        }
    }

    #[test]
    fn every_default_can_be_read() {
        for setting in settings() {
            assert!(setting.kind.parse(setting.default).is_ok(), "{}", setting.path);
            assert!(setting.doc.ends_with('.'), "{}", setting.path);
        }
    }

    #[test]
    fn own_environment_variables_are_none_that_a_service_link_sets() {
        // A Service named autoscaler makes AUTOSCALER_PORT and the like appear in every pod of its namespace.
        for setting in settings() {
            let name = setting.environment();
            assert!(!name.starts_with("AUTOSCALER_PORT"), "{name}");
            assert!(!name.starts_with("AUTOSCALER_SERVICE_"), "{name}");
        }
    }
}
