//! The Helm chart: it is made from what `autoscaler manifests` prints, and renders the same.

#![cfg(feature = "sim")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use examples::install::{Half, Provider, Values, crds, manifests::manifests, values, yaml};
use serde_json::{Value, json};

const NAMESPACE: &str = "scaling";
/// Writes what is generated instead of comparing it.
const UPDATE: &str = "UPDATE_CHART";

/// Values files that together change everything that can be chosen.
const CASES: &[(&str, &str)] = &[
    ("defaults", ""),
    ("both halves", "provider: kwok"),
    ("the pod half", "only: pods"),
    ("the node half", "{only: nodes, provider: kwok}"),
    ("nodes from EC2", "{only: nodes, provider: ec2}"),
    (
        "some namespaces",
        "{provider: kwok, watchNamespaces: [shop, billing]}",
    ),
    (
        "the process",
        r#"
image: {repository: registry.example:5000/autoscaler, tag: "1.10", pullPolicy: Always, pullSecrets: [{name: registry}]}
replicas: 3
settings: {log-level: "debug", batch-idle-duration: 2s, feature-gates: "SpotToSpotConsolidation=true,NodeRepair=false"}
env:
- {name: AWS_REGION, value: eu-west-1}
- {name: NUMBER, value: "1"}
serviceAccount: {create: false, name: mine, annotations: {a: b}}
podDisruptionBudget: {enabled: false}
resources: {limits: {cpu: 1, memory: 2Gi}}
"#,
    ),
    (
        "the pods",
        r#"
provider: kwok
image: {tag: ignored, digest: "sha256:0123"}
podDisruptionBudget: {maxUnavailable: 2}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/x", number: "1"}}
pod:
  annotations: {example.com/a: "true"}
  labels: {team: scaling, app.kubernetes.io/component: other}
  priorityClassName: ""
  nodeSelector: {kubernetes.io/os: linux}
  tolerations: []
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone}]}}
  spread: false
  terminationGracePeriodSeconds: 60
resources: null
"#,
    ),
    (
        "certificates of cert-manager",
        "{certificates: {source: cert-manager}, watchNamespaces: [shop]}",
    ),
    (
        "certificates of somebody else",
        "certificates: {source: cert-manager, issuerRef: {group: cert-manager.io, kind: ClusterIssuer, name: cluster}}",
    ),
    ("certificates in a Secret", "certificates: {source: secret}"),
    ("no webhook", "webhook: {enabled: false}"),
    (
        "a strict webhook",
        "webhook: {failurePolicy: Fail, timeoutSeconds: 5}",
    ),
    ("no definitions", "crds: {install: false}"),
    ("definitions that go", "crds: {keep: false}"),
    ("no roles", "rbac: {create: false}"),
    (
        "few roles",
        r#"
provider: kwok
rbac:
  aggregate: false
  scaleAnyKind: false
  scaleTargets: [{group: argoproj.io, resources: [rollouts, experiments]}, {group: "", resources: [replicationcontrollers]}]
"#,
    ),
    (
        "further kinds beside every kind",
        "rbac: {scaleTargets: [{group: argoproj.io, resources: [rollouts]}]}",
    ),
    (
        "the sample on kwok",
        "{provider: kwok, sample: {enabled: true, queueURL: 'https://sqs.example/1/queue.fifo', region: eu-west-1}}",
    ),
    (
        "the sample on EC2",
        r#"
provider: ec2
sample:
  enabled: true
  namespace: demo
  image: registry.example/reader:1
  queueURL: http://127.0.0.1:9324/000000000000/queue
  endpoint: http://127.0.0.1:9324
  region: elasticmq
  table: other
  roleArn: arn:aws:iam::1:role/reader
  queueLength: "5"
  maxReplicas: 20
  clusterName: demo
  instanceTypes: [m5.xlarge, m5.2xlarge]
  cpuLimit: "100"
"#,
    ),
    (
        "the sample with a role",
        "{only: nodes, provider: ec2, sample: {enabled: true, queueURL: q, region: r, nodeRole: NodeRole}}",
    ),
    (
        "the sample without nodes",
        "{only: pods, sample: {enabled: true, queueURL: q, region: r}}",
    ),
];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/autoscaler")
}

/// Compares a generated file with what it shall be, or writes it.
fn generated(path: &Path, content: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, content).expect("the checkout can be written to");
    }
    assert!(
        fs::read_to_string(path).unwrap_or_default() == content,
        "{} is out of date: run the test with {UPDATE}=1",
        path.display()
    );
}

#[test]
fn the_definitions_in_the_chart_are_those_of_the_types() {
    let folder = chart().join("files/crds");
    let mut expected = BTreeSet::new();
    for definition in crds::definitions(None, None).unwrap() {
        let name = format!("{}.yaml", definition["metadata"]["name"].as_str().unwrap());
        generated(&folder.join(&name), &yaml::documents(&[definition]));
        expected.insert(name);
    }
    let there = fs::read_dir(&folder).unwrap();
    let there: BTreeSet<_> = there
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, expected);
}

#[test]
fn the_schema_of_the_values_is_that_of_the_type() {
    let mut schema = schemars::schema_for!(Values).to_value();
    // Helm's own, where the chart is a part of another.
    schema["properties"]["global"] = json!({ "type": "object" });
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    generated(&chart().join("values.schema.json"), &text);
}

#[test]
fn the_values_of_the_chart_are_the_defaults() {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let written: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(written, serde_json::to_value(Values::default()).unwrap());
}

#[test]
fn the_chart_is_of_this_version() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// Every leaf of a value with its path.
fn leaves(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() && path != ".resources" => {
            for (name, value) in fields {
                leaves(&format!("{path}.{name}"), value, into);
            }
        }
        _ => _ = into.insert(path.to_owned(), value.clone()),
    }
}

fn case(text: &str) -> Values {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("values.yaml");
    fs::write(&path, text).expect("a file");
    values::read(&[path]).expect("values")
}

#[test]
fn everything_that_can_be_chosen_is_chosen_once() {
    let leaves_of = |values: &Values| {
        let mut found = BTreeMap::new();
        leaves("", &serde_json::to_value(values).unwrap(), &mut found);
        found
    };
    let defaults = leaves_of(&Values::default());
    let mut untouched: BTreeSet<_> = defaults.keys().cloned().collect();
    for (_, text) in CASES {
        let chosen = leaves_of(&case(text));
        untouched.retain(|path| chosen.get(path) == defaults.get(path));
    }
    assert!(untouched.is_empty(), "no case chooses {untouched:?}");
}

/// Helm, unless it is missing and may be.
fn helm() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let tools = cache
        .map(|cache| cache.join("autoscaler-sdk/tools"))
        .and_then(|tools| fs::read_dir(tools).ok());
    let built = tools
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("helm-v3."))
        });
    let mut built: Vec<_> = built.map(|entry| entry.path().join("helm")).collect();
    built.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = built
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path).map(|folder| folder.join("helm")));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("AUTOSCALER_TESTS_REQUIRE_TOOLS").is_none(),
            "helm is required, but it is not there: cargo xtask test builds it"
        );
        eprintln!("skipped: helm is not there");
    }
    found
}

fn run(helm: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(helm).args(arguments).output().expect("helm starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

fn template(helm: &Path, text: &str) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.yaml");
    fs::write(&file, text).expect("a file");
    let (chart, file) = (chart(), file.display().to_string());
    let arguments = [
        "template",
        "release",
        &chart.display().to_string(),
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.35.0",
        "--api-versions",
        "keda.sh/v1alpha1",
        "--values",
        &file,
    ];
    let rendered = run(helm, &arguments)?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).map_err(|error| error.to_string())?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// Objects by what names them, without what is Helm's, and without the namespace, which Helm makes itself.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let own = |object: &Value| object["kind"] == "Namespace" && object["metadata"]["name"] == NAMESPACE;
    let objects = objects.into_iter().filter(|object| !own(object));
    let keyed = objects.map(|mut object| {
        let metadata = object["metadata"]
            .as_object_mut()
            .expect("every object has metadata");
        for (field, names) in [
            ("labels", &["app.kubernetes.io/managed-by", "helm.sh/chart"][..]),
            ("annotations", &["helm.sh/resource-policy"]),
        ] {
            let entries = metadata.get_mut(field).and_then(Value::as_object_mut);
            let Some(entries) = entries else { continue };
            names.iter().for_each(|name| _ = entries.remove(*name));
            if entries.is_empty() {
                metadata.remove(field);
            }
        }
        // Also on the pods of the Deployment.
        if let Some(labels) = object
            .pointer_mut("/spec/template/metadata/labels")
            .and_then(Value::as_object_mut)
        {
            labels.remove("app.kubernetes.io/managed-by");
            labels.remove("helm.sh/chart");
        }
        let metadata = &object["metadata"];
        (
            format!(
                "{} {} {}",
                object["kind"], metadata["namespace"], metadata["name"]
            ),
            object,
        )
    });
    let mut found = BTreeMap::new();
    for (key, object) in keyed {
        assert!(found.insert(key.clone(), object).is_none(), "{key} twice");
    }
    found
}

/// The first difference between what the chart renders and what is printed.
fn difference(path: &str, rendered: &Value, printed: &Value) -> Option<String> {
    match (rendered, printed) {
        (Value::Object(rendered), Value::Object(printed)) => {
            let names: BTreeSet<_> = rendered.keys().chain(printed.keys()).collect();
            let of = |fields: &serde_json::Map<String, Value>, name: &str| {
                fields.get(name).cloned().unwrap_or(json!("(missing)"))
            };
            names.into_iter().find_map(|name| {
                difference(&format!("{path}.{name}"), &of(rendered, name), &of(printed, name))
            })
        }
        (Value::Array(rendered), Value::Array(printed)) if rendered.len() == printed.len() => {
            let items = rendered.iter().zip(printed).enumerate();
            items.into_iter().find_map(|(index, (rendered, printed))| {
                difference(&format!("{path}[{index}]"), rendered, printed)
            })
        }
        _ => (rendered != printed)
            .then(|| format!("{path} is rendered as {rendered}, and printed as {printed}")),
    }
}

#[test]
fn the_chart_renders_what_manifests_prints() {
    let Some(helm) = helm() else { return };
    for (name, text) in CASES {
        let rendered = comparable(template(&helm, text).unwrap_or_else(|error| panic!("{name}: {error}")));
        let printed = comparable(manifests(&case(text), NAMESPACE).unwrap());
        let keys = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&rendered), keys(&printed), "{name}");
        for (key, object) in &printed {
            let difference = difference("", &rendered[key], object);
            assert!(
                difference.is_none(),
                "{name}: {key}: {}",
                difference.unwrap_or_default()
            );
        }
    }
}

/// What the commands of docs/install.md install.
#[test]
fn the_options_of_the_walk_through_are_one_file_of_values() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/values.yaml");
    let values = values::read(&[path]).unwrap();
    let kinds = |only: Option<Half>, sample: bool| {
        let mut values = values.clone();
        values.only = only;
        values.sample.enabled = sample;
        assert!(values.problems().is_empty(), "{:?}", values.problems());
        let objects = manifests(&values, NAMESPACE).unwrap();
        let kinds = objects
            .iter()
            .filter_map(|object| object["kind"].as_str().map(str::to_owned));
        kinds.collect::<BTreeSet<_>>()
    };
    let pods = kinds(Some(Half::Pods), true);
    assert!(pods.contains("ScaledObject") && pods.contains("APIService") && !pods.contains("NodePool"));
    let nodes = kinds(Some(Half::Nodes), true);
    assert!(nodes.contains("NodePool") && !nodes.contains("ScaledObject") && !nodes.contains("APIService"));
    let both = kinds(None, true);
    assert!(both.contains("ScaledObject") && both.contains("NodePool"));
    let without = kinds(None, false);
    assert!(without.contains("APIService") && !without.contains("ScaledObject"));
}

#[test]
fn the_chart_refuses_what_manifests_refuses() {
    let Some(helm) = helm() else { return };
    for (text, expected) in [
        ("{only: nodes}", "nothing would run"),
        ("image: {repository: ''}", "image.repository is empty"),
        ("sample: {enabled: true, region: x}", "sample.queueURL is empty"),
        ("sample: {enabled: true, queueURL: x}", "sample.region is empty"),
        ("replica: 3", "replica"),
        ("provider: gcp", "provider"),
        ("certificates: {source: none}", "source"),
    ] {
        let error = template(&helm, text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in [
        "{only: nodes}",
        "image: {repository: ''}",
        "sample: {enabled: true, region: x}",
    ] {
        assert!(!case(text).problems().is_empty(), "{text}");
    }
}

#[test]
fn the_chart_is_in_good_order() {
    let Some(helm) = helm() else { return };
    let chart = chart().display().to_string();
    let arguments = ["lint", "--strict", "--kube-version", "1.35.0", &chart];
    run(&helm, &arguments).unwrap_or_else(|error| panic!("{error}"));
}

/// What the Deployment starts is what `autoscaler run` takes.
#[test]
fn the_command_line_of_the_deployment_is_understood() {
    for (name, text) in CASES {
        let values = case(text);
        if values.provider == Provider::Ec2 {
            // Of a build with EC2.
            continue;
        }
        let objects = manifests(&values, NAMESPACE).unwrap();
        let deployment = objects
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "autoscaler");
        let arguments = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments: Vec<String> = serde_json::from_value(arguments.clone()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
            .args(&arguments)
            .arg("--print-config")
            .env_clear()
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {arguments:?}: {error}");
    }
}
