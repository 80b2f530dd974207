use std::time::Duration;

use super::*;

/// What was said, in few words.
#[derive(Default)]
struct Said(Given);

impl Said {
    fn flag(mut self, name: &str, value: &str) -> Self {
        self.0.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.0.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(mut self, text: &str) -> Self {
        self.0.file = Some(("run.yaml".to_owned(), text.to_owned()));
        self
    }

    fn load(&self) -> Configuration {
        load(&self.0).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(&self) -> Vec<String> {
        load(&self.0)
            .unwrap_err()
            .0
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// The pod half alone, which needs nothing else.
fn pods() -> Said {
    Said::default().flag("only", "pods")
}

fn held(configuration: &Configuration, path: &str) -> String {
    let held = configuration.effective.get(path).unwrap();
    format!("{} # {}", held.value, held.origin)
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let path = "leaderElection.retryPeriod";
    let said = pods();
    assert_eq!(held(&said.load(), path), "2s # default");
    let said = said.file("leaderElection: {retryPeriod: 3s}");
    assert_eq!(held(&said.load(), path), "3s # file run.yaml");
    let said = said.env("KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD", "4s");
    assert_eq!(
        held(&said.load(), path),
        "4s # environment KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD"
    );
    let said = said.env("AUTOSCALER_LEADER_ELECTION_RETRY_PERIOD", "5s");
    assert_eq!(
        held(&said.load(), path),
        "5s # environment AUTOSCALER_LEADER_ELECTION_RETRY_PERIOD"
    );
    let said = said.flag("leader-election-retry-period", "6s");
    assert_eq!(
        held(&said.load(), path),
        "6s # flag --leader-election-retry-period"
    );
    assert_eq!(said.load().settings.election.retry_period, Duration::from_secs(6));
}

#[test]
fn names_of_the_peers_mean_what_they_mean_there() {
    for (said, path, expected) in [
        (
            pods().env("WATCH_NAMESPACE", "shop, billing"),
            "namespaces",
            "[shop, billing] # environment WATCH_NAMESPACE",
        ),
        (
            pods().env("WATCH_NAMESPACE", "").file("namespaces: [shop]"),
            "namespaces",
            "[] # environment WATCH_NAMESPACE",
        ),
        (
            pods().env("KEDA_HTTP_DEFAULT_TIMEOUT", "4500"),
            "pods.httpTimeout",
            "4s500ms # environment KEDA_HTTP_DEFAULT_TIMEOUT",
        ),
        (
            pods().env("WATCH_LABEL_SELECTOR", "shard in (a,b)"),
            "pods.labelSelector",
            "\"shard in (a,b)\" # environment WATCH_LABEL_SELECTOR",
        ),
        (
            pods().env("METRICS_PORT", "9000"),
            "metrics.bindAddress",
            "\"0.0.0.0:9000\" # environment METRICS_PORT",
        ),
        (
            pods().env("DISABLE_LEADER_ELECTION", "true"),
            "leaderElection.enabled",
            "false # environment DISABLE_LEADER_ELECTION",
        ),
        (
            pods().flag("secure-port", "6444"),
            "adapter.bindAddress",
            "\"0.0.0.0:6444\" # flag --secure-port",
        ),
        (
            pods().flag("metrics-bind-address", "0"),
            "metrics.bindAddress",
            "\"0\" # flag --metrics-bind-address",
        ),
        (
            pods()
                .env("BATCH_IDLE_DURATION", "2s")
                .env("BATCH_MAX_DURATION", "1m0s"),
            "nodes.batchMaxDuration",
            "1m # environment BATCH_MAX_DURATION",
        ),
        (
            pods().env("POD_NAMESPACE", "keda"),
            "pods.clusterObjectNamespace",
            "keda # default",
        ),
        (
            pods().flag("zap-log-level", "2"),
            "logs.level",
            "trace # flag --zap-log-level",
        ),
        (
            pods().env("LEADER_ELECTION_NAME", "karpenter-leader-election"),
            "leaderElection.name",
            "karpenter-leader-election # environment LEADER_ELECTION_NAME",
        ),
        (pods(), "leaderElection.name", "autoscaler-pods # default"),
        (pods(), "podNamespace", "autoscaler # default"),
    ] {
        assert_eq!(held(&said.load(), path), expected);
    }
}

#[test]
fn what_means_nothing_here_is_accepted_and_said() {
    let said = pods()
        .env("KUBE_CLIENT_QPS", "200")
        .env("MEMORY_LIMIT", "-1")
        .flag("cert-dir", "/certs")
        .flag("disable-compression", "true")
        .env(
            "FEATURE_GATES",
            "NodeRepair=true,SpotToSpotConsolidation=true,NodeOverlay=false",
        )
        .env("AUTOSCALER_LOG_LEVL", "debug")
        .env("AUTOSCALER_PORT", "tcp://10.0.0.1:443")
        .env("METRICS_PORT", "tcp://10.0.0.2:80");
    let loaded = said.load();
    assert!(loaded.settings.spot_to_spot);
    assert_eq!(held(&loaded, "metrics.bindAddress"), "\"0.0.0.0:8080\" # default");
    assert_eq!(
        loaded.notes,
        [
            "environment METRICS_PORT: \"tcp://10.0.0.2:80\" is the link to a Service and no setting, so it is left out",
            "--cert-dir of KEDA (\"/certs\") changes nothing here: certificates are read from the Secret, see --cert-secret-name",
            "environment KUBE_CLIENT_QPS of Karpenter (\"200\") changes nothing here: requests are not held back on this side: the API server's priority and fairness rules decide",
            "environment AUTOSCALER_LOG_LEVL is no setting, did you mean AUTOSCALER_LOG_LEVEL?",
            "feature gate NodeRepair of Karpenter changes nothing here: not there yet",
        ]
    );
}

#[test]
fn every_problem_is_reported_at_once_with_place_value_and_what_was_expected() {
    let said = Said::default()
        .flag("metrics-bind-address", "8080")
        .env("KEDA_HTTP_DEFAULT_TIMEOUT", "3s")
        .env("FEATURE_GATES", "NodeRepair")
        .file("leaderElecton: {name: x}\nleaderElection: {leaseDuration: 5s, enabled: maybe}\nretryPeriod: 1s\nwebhook: yes please\nnamespaces: {a: b}\n");
    assert_eq!(
        said.problems(),
        [
            "run.yaml: leaderElecton: is no setting, did you mean leaderElection?",
            "run.yaml: retryPeriod: is no setting, did you mean leaderElection.retryPeriod?",
            "run.yaml: webhook: \"yes please\" cannot be read, expected a map of settings",
            "run.yaml: namespaces: {\"a\":\"b\"} cannot be read, expected a comma-separated list",
            "--metrics-bind-address: \"8080\" cannot be read, expected an address and a port such as 127.0.0.1:8080 or :8080, or 0 for none",
            "run.yaml: leaderElection.enabled: \"maybe\" cannot be read, expected true or false",
            "environment KEDA_HTTP_DEFAULT_TIMEOUT: \"3s\" cannot be read, expected a number of milliseconds from 1",
            "provider: is missing: the node half has to know where nodes come from, expected --provider kwok or ec2; --only pods or --provider none runs without it",
            "environment FEATURE_GATES: \"NodeRepair\" cannot be read, expected Name=true or Name=false",
            "run.yaml: leaderElection.leaseDuration: is 5s and leaderElection.renewDeadline is 10s, expected more than that",
        ]
    );
}

#[test]
fn a_selector_is_read_before_anything_is_watched_by_it() {
    let settings = pods().env("WATCH_LABEL_SELECTOR", "shard=a").load().settings;
    let labels = |shard: &str| std::collections::BTreeMap::from([("shard".to_owned(), shard.to_owned())]);
    assert!(settings.selector.matches(&labels("a")));
    assert!(!settings.selector.matches(&labels("b")));
    assert!(pods().load().settings.selector.is_empty());
    let problems = pods().env("WATCH_LABEL_SELECTOR", "shard in a").problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("pods.labelSelector: \"shard in a\" is no label selector: "),
        "{problems:?}"
    );
}

#[test]
fn the_halves_that_run_follow_from_only_and_provider() {
    for (only, provider, expected) in [
        ("pods", "", Ok((true, None))),
        ("pods", "kwok", Ok((true, None))),
        ("", "none", Ok((true, None))),
        ("", "kwok", Ok((true, Some(Provider::Kwok)))),
        ("nodes", "kwok", Ok((false, Some(Provider::Kwok)))),
        ("nodes", "none", Err("leaves nothing to run")),
        ("", "", Err("--only pods")),
        ("nodes", "", Err("is missing")),
        ("", "ec2", Err("feature ec2")),
        ("", "gce", Err("one of kwok, ec2, none")),
    ] {
        let said = Said::default().flag("only", only).flag("provider", provider);
        match (load(&said.0), expected) {
            (Ok(loaded), Ok(expected)) => {
                assert_eq!(
                    (loaded.settings.pods, loaded.settings.nodes),
                    expected,
                    "{only} {provider}"
                );
            }
            (Err(problems), Err(part)) => assert!(problems.to_string().contains(part), "{problems}"),
            (found, expected) => panic!("{only} {provider}: {found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn two_listeners_cannot_have_one_port() {
    let said = pods()
        .flag("metrics-bind-address", "127.0.0.1:9000")
        .env("HEALTH_PROBE_PORT", "9000");
    assert_eq!(
        said.problems(),
        [
            "environment HEALTH_PROBE_PORT: 0.0.0.0:9000 is taken by metrics.bindAddress already, expected another port"
        ]
    );
    pods()
        .flag("metrics-bind-address", "127.0.0.1:0")
        .flag("health-probe-bind-address", "127.0.0.1:0")
        .load();
}

#[test]
fn a_file_that_is_no_map_is_refused() {
    assert_eq!(
        pods().file("- only").problems(),
        ["run.yaml: is [\"only\"], expected a map of settings"]
    );
    let broken = pods().file("a: [").problems();
    assert!(broken[0].starts_with("run.yaml: is not YAML: "), "{broken:?}");
    pods().file("").load();
    pods().file("webhook:\nlogs: {level: \"\"}\n").load();
}

#[test]
fn what_is_printed_gives_the_same_again() {
    let said = Said::default()
        .flag("provider", "none")
        .flag("context", "it's: \"odd\"")
        .env("WATCH_NAMESPACE", "a,b")
        .env("FEATURE_GATES", "SpotToSpotConsolidation=true")
        .flag("metrics-bind-address", "0")
        .file("advertiseAddress: 127.0.0.1\nlogs: {format: JSON}\nkubeconfig: /tmp/a b\n");
    let first = said.load();
    let text = print(&first.effective);
    let again = Said::default().file(&text).load();
    assert_eq!(again.settings, first.settings, "{text}");
    for setting in settings() {
        let value = |loaded: &Configuration| loaded.effective.get(setting.path).unwrap().value.clone();
        assert_eq!(value(&again), value(&first), "{}", setting.path);
    }
}

#[test]
fn print_config_shows_every_setting_with_its_origin() {
    let said = pods()
        .env("WATCH_NAMESPACE", "shop")
        .file("leaderElection: {leaseDuration: 30s}");
    let mut said = said;
    said.0.pod_namespace = Some("keda".to_owned());
    let text = print(&said.load().effective);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text, include_str!("golden.yaml").replace("VERSION", version));
}
