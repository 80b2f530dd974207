//! KEDA's and Karpenter's YAML, on the embedded cluster and on a real control plane: what theirs take is taken as it
//! was written, and what theirs refuse is refused with the field's name.

#![cfg(feature = "sim")]
#![allow(
    clippy::panic,
    clippy::large_futures,
    reason = "what the tests share fails them, and is polled once"
)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use controller_runtime::{envtest, sim};
use examples::install::crds;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use scaler_api::{SharedClock, TokioClock};
use serde::Deserialize;
use serde_json::Value;

/// An object that is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    case: String,
    /// What the answer says.
    refused: String,
    /// `rule` where a CEL rule refuses it, which the embedded cluster does not evaluate.
    by: Option<String>,
    object: Value,
    /// The change that is refused; the object itself is taken then.
    update: Option<Value>,
}

fn files(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                walk(&path, into);
            } else {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/corpus");
    walk(&corpus.join("keda").join(folder), &mut found);
    walk(&corpus.join("karpenter").join(folder), &mut found);
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the corpus can be read")
}

fn valid() -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for path in files("valid") {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&read(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        objects.extend(documents.into_iter().map(|object| (name.clone(), object)));
    }
    objects
}

fn refusals() -> Vec<(String, Refusal)> {
    let mut found = Vec::new();
    for path in files("invalid") {
        let cases: Vec<Refusal> = serde_saphyr::from_str(&read(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        found.extend(
            cases
                .into_iter()
                .map(|case| (format!("{name}: {}", case.case), case)),
        );
    }
    found
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// The API of an object's kind; kinds are in the regular plural here.
fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let api_version = text(object, "/apiVersion").expect("an object says its API");
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = text(object, "/kind").expect("an object says its kind");
    let plural = match kind {
        "EC2NodeClass" | "KWOKNodeClass" => format!("{}es", kind.to_lowercase()),
        _ => format!("{}s", kind.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
    match text(object, "/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn typed(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).expect("every object is an object")
}

/// Whether everything of `part` is in `whole`, but for other spellings of numbers and quantities.
fn lost(path: &str, part: &Value, whole: &Value) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match whole.get(name) {
                Some(found) => lost(&path, value, found),
                None => Some(path),
            }
        }),
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => part
            .iter()
            .zip(whole)
            .enumerate()
            .find_map(|(index, (part, whole))| lost(&format!("{path}[{index}]"), part, whole)),
        _ => {
            let word = |value: &Value| value.to_string().trim_matches('"').to_owned();
            let (part, whole) = (word(part), word(whole));
            (part != whole && !is_same_amount(&part, &whole)).then(|| path.to_owned())
        }
    }
}

/// Whether both are the same quantity or the same duration.
fn is_same_amount(one: &str, other: &str) -> bool {
    let quantity = |text: &str| text.parse::<scaler_api::Quantity>().ok();
    let duration = |text: &str| text.parse::<provisioner::karpenter::NillableDuration>().ok();
    quantity(one).is_some_and(|one| quantity(other) == Some(one))
        || duration(one).is_some_and(|one| duration(other) == Some(one))
}

/// Installs the definitions and waits until objects of them can be asked for.
async fn install(client: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crds::definitions(None, None).expect("definitions can be written down") {
        let name = text(&definition, "/metadata/name")
            .expect("a definition has a name")
            .to_owned();
        let params = PatchParams::apply("corpus");
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for _ in 0..100 {
            let status = api
                .get(&name)
                .await
                .expect("it is there")
                .status
                .unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            if conditions
                .iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

async fn takes_the_valid(client: &Client) {
    let mut wrong = Vec::new();
    for (file, object) in valid() {
        match api(client, &object).create(&dry_run(), &typed(&object)).await {
            Ok(taken) => {
                let taken = serde_json::to_value(&taken).expect("an object can be written down");
                if let Some(path) = lost("", &object, &taken) {
                    wrong.push(format!("{file}: {path} is lost or changed in {object}"));
                }
            }
            Err(error) => wrong.push(format!("{file}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Refuses what is to be refused; without rules only what the schema refuses.
async fn refuses_the_invalid(client: &Client, rules: bool) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, case) in refusals() {
        if case.by.is_some() && !rules {
            continue;
        }
        count += 1;
        let api = api(client, &case.object);
        let answer = match &case.update {
            None => api.create(&dry_run(), &typed(&case.object)).await,
            Some(update) => {
                let object = api
                    .create(&PostParams::default(), &typed(&case.object))
                    .await
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut changed = typed(update);
                changed.metadata.resource_version = object.metadata.resource_version;
                let own = object.metadata.name.expect("it has a name");
                let answer = api.replace(&own, &dry_run(), &changed).await;
                api.delete(&own, &kube::api::DeleteParams::default())
                    .await
                    .expect("it can be deleted");
                answer
            }
        };
        match answer {
            Ok(_) => wrong.push(format!("{name}: taken")),
            Err(kube::Error::Api(status)) if status.message.contains(&case.refused) => {}
            Err(error) => wrong.push(format!("{name}: expected {:?}, got {error}", case.refused)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    count
}

#[tokio::test]
async fn a_real_control_plane_takes_what_theirs_take_and_refuses_what_theirs_refuse() {
    // Every test process is its own user of the TLS provider.
    rustls::crypto::ring::default_provider().install_default().ok();
    let options = envtest::Options {
        kwok: false,
        ..envtest::Options::default()
    };
    let Some(control_plane) = envtest::start_or_skip(options).await else {
        return;
    };
    let client = control_plane.client("default");
    install(&client).await;
    takes_the_valid(&client).await;
    let count = refuses_the_invalid(&client, true).await;
    assert!(count >= 120, "{count} refusals");
    control_plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_embedded_cluster_takes_what_theirs_take_and_refuses_what_the_schema_refuses() {
    let start = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
    let cluster = sim::cluster::Cluster::new(sim::cluster::Options::new(clock, 1));
    let client = cluster.client("default");
    install(&client).await;
    takes_the_valid(&client).await;
    let count = refuses_the_invalid(&client, false).await;
    assert!(count >= 60, "{count} refusals");
}

#[test]
fn the_types_read_every_object_and_write_it_back() {
    fn same<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> Option<String> {
        match serde_json::from_value::<T>(object.clone()) {
            Ok(read) => lost(
                "",
                object,
                &serde_json::to_value(read).expect("it can be written down"),
            ),
            Err(error) => Some(error.to_string()),
        }
    }
    let mut wrong: Vec<String> = Vec::new();
    for (file, object) in valid() {
        let problem = match text(&object, "/kind").unwrap_or_default() {
            "ScaledObject" => same::<scaler_api::keda::ScaledObject>(&object),
            "ScaledJob" => same::<scaler_api::keda::ScaledJob>(&object),
            "TriggerAuthentication" => same::<scaler_api::keda::TriggerAuthentication>(&object),
            "ClusterTriggerAuthentication" => same::<scaler_api::keda::ClusterTriggerAuthentication>(&object),
            "NodePool" => same::<provisioner::karpenter::NodePool>(&object),
            "NodeClaim" => same::<provisioner::karpenter::NodeClaim>(&object),
            "NodeOverlay" => same::<provisioner::karpenter::NodeOverlay>(&object),
            "EC2NodeClass" => same::<provisioner::karpenter::Ec2NodeClass>(&object),
            "KWOKNodeClass" => same::<provisioner::karpenter::KwokNodeClass>(&object),
            _ => None,
        };
        wrong.extend(problem.map(|problem| format!("{file}: {problem}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
