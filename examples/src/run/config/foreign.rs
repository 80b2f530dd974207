//! Settings of KEDA and Karpenter that are accepted and change nothing here, each with the reason.
//!
//! A manifest that was written for KEDA or Karpenter starts this program as it stands; what it asks for in vain is
//! logged once.

use super::setting::Owner;

/// A setting without a meaning here.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Its environment variable, if it has one.
    pub environment: Option<&'static str>,
    /// Its flag without dashes, if it has one.
    pub flag: Option<&'static str>,
    /// Whose it is.
    pub owner: Owner,
    /// Whether the flag is a switch, which stands without a value.
    pub switch: bool,
    /// A value at which nothing is asked for in vain.
    pub harmless: &'static str,
    /// Why it changes nothing.
    pub why: &'static str,
}

impl Foreign {
    /// Its names as a user writes them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let flag = self.flag.map(|flag| format!("--{flag}"));
        self.environment
            .map(str::to_owned)
            .into_iter()
            .chain(flag)
            .collect()
    }
}

const fn keda(flag: &'static str, why: &'static str) -> Foreign {
    Foreign {
        environment: None,
        flag: Some(flag),
        owner: Owner::Keda,
        switch: false,
        harmless: "",
        why,
    }
}

const fn keda_switch(flag: &'static str, harmless: &'static str, why: &'static str) -> Foreign {
    Foreign {
        switch: true,
        harmless,
        ..keda(flag, why)
    }
}

const fn keda_env(name: &'static str, harmless: &'static str, why: &'static str) -> Foreign {
    Foreign {
        environment: Some(name),
        flag: None,
        harmless,
        ..keda("", why)
    }
}

const fn karpenter(environment: &'static str, flag: &'static str, why: &'static str) -> Foreign {
    Foreign {
        environment: Some(environment),
        flag: Some(flag),
        owner: Owner::Karpenter,
        switch: false,
        harmless: "",
        why,
    }
}

const fn karpenter_switch(
    environment: &'static str,
    flag: &'static str,
    harmless: &'static str,
    why: &'static str,
) -> Foreign {
    Foreign {
        switch: true,
        harmless,
        ..karpenter(environment, flag, why)
    }
}

const NO_THROTTLE: &str =
    "requests are not held back on this side: the API server's priority and fairness rules decide";
const ONE_PROCESS: &str =
    "controllers, adapter and webhook are one process and need no connection of their own";
const LOGS: &str = "logs go to standard error";
const EC2: &str = "belongs to the provider ec2, which this build does not have";
const TLS: &str = "TLS is 1.2 or 1.3 with rustls' own cipher suites";
const NOT_YET: &str = "not there yet";
const NO_PROXY: &str = "sources are asked directly, without a proxy";

const KEDA: &[Foreign] = &[
    keda("kube-api-qps", NO_THROTTLE),
    keda("kube-api-burst", NO_THROTTLE),
    keda_switch(
        "disable-compression",
        "true",
        "answers are never asked for compressed",
    ),
    keda_switch(
        "enable-prometheus-metrics",
        "true",
        "metrics are always served; --metrics-bind-address=0 turns them off",
    ),
    keda_switch(
        "enable-opentelemetry-metrics",
        "false",
        "metrics are served for Prometheus only",
    ),
    keda_switch(
        "enable-high-cardinality-metrics-labels",
        "false",
        "there are no such labels",
    ),
    keda("metrics-service-bind-address", ONE_PROCESS),
    keda("metrics-service-address", ONE_PROCESS),
    keda("metrics-service-grpc-authority", ONE_PROCESS),
    keda("profiling-bind-address", "there is no profiler in the process"),
    keda(
        "cert-dir",
        "certificates are read from the Secret, see --cert-secret-name",
    ),
    keda(
        "ca-dir",
        "certificate authorities of sources come from their TriggerAuthentication or the system",
    ),
    keda(
        "client-ca-file",
        "client authorities come from ConfigMap kube-system/extension-apiserver-authentication",
    ),
    keda(
        "tls-cert-file",
        "certificates are read from the Secret, see --cert-secret-name",
    ),
    keda(
        "tls-private-key-file",
        "certificates are read from the Secret, see --cert-secret-name",
    ),
    keda("operator-service-name", ONE_PROCESS),
    keda(
        "webhooks-service-name",
        "adapter and webhook stand behind one Service, see --service",
    ),
    keda("http-max-idle-conns", "idle connections are closed by age"),
    keda(
        "http-max-idle-conns-per-host",
        "idle connections are closed by age",
    ),
    keda(
        "http-idle-conn-timeout",
        "idle connections are closed after 90 seconds",
    ),
    keda_switch(
        "cache-miss-to-direct-client",
        "false",
        "the webhook answers from caches that are filled before it is ready",
    ),
    keda_switch("zap-devel", "false", LOGS),
    keda("zap-stacktrace-level", "errors carry their causes and no stack"),
    keda("zap-time-encoding", "times are RFC 3339"),
    keda_switch("logtostderr", "true", LOGS),
    keda("stderrthreshold", LOGS),
    keda("v", "see --log-level"),
    keda_env(
        "WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH",
        "",
        "every process answers for every object, so it reads every authentication; see --label-selector",
    ),
    keda_env(
        "KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES",
        "",
        "a turn takes no processor while it waits for its sources, so many more run at once; see --pods-concurrency",
    ),
    keda_env(
        "KEDA_SCALEDJOB_CTRL_MAX_RECONCILES",
        "",
        "a turn takes no processor while it waits for its sources, so many more run at once; see --pods-concurrency",
    ),
    keda_env(
        "KEDA_CHECK_UNEXPECTED_SCALERS_PARAMS",
        "",
        "unknown keys of a trigger are always said in an event",
    ),
    keda_env(
        "KEDA_HTTP_DISABLE_KEEP_ALIVE",
        "false",
        "connections to sources are kept",
    ),
    keda_env("KEDA_HTTP_MIN_TLS_VERSION", "TLS12", TLS),
    keda_env("KEDA_HTTP_TLS_CIPHER_LIST", "", TLS),
    keda_env("KEDA_SERVICE_MIN_TLS_VERSION", "TLS12", TLS),
    keda_env("KEDA_SERVICE_TLS_CIPHER_LIST", "", TLS),
    keda_env("RAW_METRICS_GRPC_PROTOCOL", "", NOT_YET),
    keda_env("RAW_METRICS_MODE", "", NOT_YET),
    keda_env("OPERATOR_NAME", "", "no event or metric carries it"),
    keda_env("HTTP_PROXY", "", NO_PROXY),
    keda_env("HTTPS_PROXY", "", NO_PROXY),
];

const KARPENTER: &[Foreign] = &[
    karpenter("KUBE_CLIENT_QPS", "kube-client-qps", NO_THROTTLE),
    karpenter("KUBE_CLIENT_BURST", "kube-client-burst", NO_THROTTLE),
    karpenter_switch(
        "ENABLE_PROFILING",
        "enable-profiling",
        "false",
        "there is no profiler in the process",
    ),
    karpenter_switch(
        "DISABLE_CONTROLLER_WARMUP",
        "disable-controller-warmup",
        "false",
        "standbys always keep their caches filled",
    ),
    karpenter_switch(
        "DISABLE_CLUSTER_STATE_OBSERVABILITY",
        "disable-cluster-state-observability",
        "false",
        "there is no series for each node that would have to be turned off",
    ),
    Foreign {
        harmless: "-1",
        ..karpenter(
            "MEMORY_LIMIT",
            "memory-limit",
            "there is no garbage collector to be told",
        )
    },
    karpenter(
        "CPU_REQUESTS",
        "cpu-requests",
        "concurrency does not depend on it",
    ),
    karpenter("LOG_OUTPUT_PATHS", "log-output-paths", LOGS),
    Foreign {
        harmless: "stderr",
        ..karpenter("LOG_ERROR_OUTPUT_PATHS", "log-error-output-paths", LOGS)
    },
    Foreign {
        harmless: "Respect",
        ..karpenter(
            "PREFERENCE_POLICY",
            "preference-policy",
            "preferences are respected where they can be, and relaxed where not",
        )
    },
    karpenter_switch(
        "IGNORE_DRA_REQUESTS",
        "ignore-dra-requests",
        "true",
        "resource claims are not looked at",
    ),
    karpenter("SCHEDULER_CONFIG", "scheduler-config", NOT_YET),
    karpenter("KARPENTER_SERVICE", "karpenter-service", "see --service"),
    karpenter("CLUSTER_NAME", "cluster-name", EC2),
    karpenter("CLUSTER_ENDPOINT", "cluster-endpoint", EC2),
    karpenter("CLUSTER_CA_BUNDLE", "cluster-ca-bundle", EC2),
    karpenter_switch("ISOLATED_VPC", "isolated-vpc", "false", EC2),
    karpenter_switch("EKS_CONTROL_PLANE", "eks-control-plane", "false", EC2),
    karpenter("VM_MEMORY_OVERHEAD_PERCENT", "vm-memory-overhead-percent", EC2),
    karpenter("INTERRUPTION_QUEUE", "interruption-queue", EC2),
    karpenter("RESERVED_ENIS", "reserved-enis", EC2),
    karpenter_switch("DISABLE_DRY_RUN", "disable-dry-run", "false", EC2),
    karpenter_switch("ENABLE_ZONAL_SHIFT", "enable-zonal-shift", "false", EC2),
    karpenter("AMI_REFRESH_INTERVAL", "ami-refresh-interval", EC2),
    karpenter("SUBNET_REFRESH_INTERVAL", "subnet-refresh-interval", EC2),
    karpenter("AWS_FEATURE_GATES", "aws-feature-gates", EC2),
];

/// Every setting without a meaning here.
pub fn foreign() -> impl Iterator<Item = &'static Foreign> {
    KEDA.iter().chain(KARPENTER)
}

/// Karpenter's feature gates: those with a meaning here, and why the others have none.
pub const FEATURE_GATES: &[(&str, Option<&str>)] = &[
    ("SpotToSpotConsolidation", None),
    ("ReservedCapacity", None),
    ("NodeRepair", Some(NOT_YET)),
    ("NodeOverlay", Some(NOT_YET)),
    ("StaticCapacity", Some(NOT_YET)),
    ("CapacityBuffer", Some(NOT_YET)),
];
