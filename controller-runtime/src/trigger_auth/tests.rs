//! keda.md §1.3 and §6 against the embedded API server, in virtual time, with a store in memory.
#![allow(clippy::needless_pass_by_value, reason = "objects are made in place")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use scaler_api::{
    Context, Error, Registry, Secret, SharedClock, TokioClock, keda,
    secret_store::{SecretRequest, SecretStore, StoredSecrets},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Settings;
use crate::{
    pod_autoscaler::{Config, PodAutoscaler},
    runtime::Runtime,
    scaled_object::testing::{Script, TestSource},
    sim::api::{ApiServer, Options},
};

/// A store in memory: the password, or out.
#[derive(Clone, Debug, Default)]
struct Store(Arc<Mutex<(Option<String>, u32)>>);

impl Store {
    fn set(&self, password: Option<&str>) {
        self.0.lock().unwrap().0 = password.map(str::to_owned);
    }

    fn asked(&self) -> u32 {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl SecretStore for Store {
    fn field(&self) -> &'static str {
        "hashiCorpVault"
    }

    async fn read(&self, request: &SecretRequest, _: &Context) -> Result<StoredSecrets, Error> {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        let Some(password) = &state.0 else {
            return Err(Error::unavailable("the store is sealed"));
        };
        let mut answer = StoredSecrets::default();
        for parameter in request.block.parameters() {
            if parameter == "gone" {
                answer
                    .missing
                    .insert("gone".into(), "there is no such key".into());
            } else {
                answer
                    .parameters
                    .insert(parameter.to_owned(), Secret::new(password));
            }
        }
        Ok(answer)
    }
}

struct World {
    server: ApiServer,
    clock: SharedClock,
    script: Arc<Script>,
    store: Store,
    settings: Settings,
    running: Vec<JoinHandle<()>>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
        let server = ApiServer::new(Options {
            clock: Arc::clone(&clock),
            seed: 1,
        });
        for definition in keda::crds() {
            server
                .apply_manifest(serde_json::to_value(definition).unwrap())
                .unwrap();
        }
        for namespace in ["keda", "shop"] {
            server
                .apply_manifest(
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
                )
                .unwrap();
        }
        let mut world = Self {
            server,
            clock,
            script: Script::new(),
            store: Store::default(),
            settings,
            running: Vec::new(),
        };
        world.deployment("web");
        world.start();
        world
    }

    fn start(&mut self) {
        let (runtime, events) = Runtime::new(self.server.client("default"), Arc::clone(&self.clock), "test");
        let context = Context::new()
            .with_clock(Arc::clone(&self.clock))
            .with(Arc::clone(&self.script));
        let mut registry = Registry::new();
        registry.register::<TestSource>();
        registry.secret_stores_mut().register(self.store.clone());
        let config = Config {
            authentication: self.settings.clone(),
            ..Config::default()
        };
        let autoscaler = PodAutoscaler::new(runtime, Arc::new(registry), context, config);
        self.running = vec![tokio::spawn(events), tokio::spawn(autoscaler.run())];
    }

    fn apply(&self, object: Value) {
        self.server.apply_manifest(object).unwrap();
    }

    fn deployment(&self, name: &str) {
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "nginx"}]},
            }},
        }));
    }

    /// A ScaledObject on a Deployment of its own, fed by a queue of its own, with an authentication.
    fn scaled_object(&self, name: &str, authentication: Value) {
        self.deployment(name);
        self.apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"name": name}, "pollingInterval": 5,
                "triggers": [{
                    "type": "test", "metadata": {"queue": name, "target": "5"}, "authenticationRef": authentication,
                }],
            },
        }));
    }

    fn authentication(&self, name: &str, spec: Value) {
        self.apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }));
    }

    fn cluster_authentication(&self, name: &str, spec: Value) {
        self.apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
            "metadata": {"name": name}, "spec": spec,
        }));
    }

    fn secret(&self, namespace: &str, name: &str, value: &str) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"password": value},
        }));
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn get(&self, group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Value {
        let objects = self.server.objects(group, plural, namespace);
        let found = objects.iter().find(|object| object["metadata"]["name"] == name);
        found.map_or(Value::Null, |object| (**object).clone())
    }

    fn ready(&self, name: &str) -> (String, String) {
        let object = self.get("keda.sh", "scaledobjects", Some("default"), name);
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == "Ready");
        let text = |field: &str| {
            found.map_or(String::new(), |it| {
                it[field].as_str().unwrap_or_default().to_owned()
            })
        };
        (text("status"), text("message"))
    }

    /// Reasons of events about an object, each once, sorted.
    fn events(&self, name: &str) -> Vec<String> {
        let events = self.server.objects("", "events", Some("default"));
        let about = events
            .iter()
            .filter(|event| event["involvedObject"]["name"] == name);
        let reasons: std::collections::BTreeSet<_> = about
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect();
        reasons.into_iter().collect()
    }

    async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        self.server.client("default").request_text(request).await.unwrap();
    }
}

fn vault(parameters: &[&str]) -> Value {
    let secrets = parameters
        .iter()
        .map(|parameter| json!({"parameter": parameter, "path": "p", "key": "k"}));
    json!({"hashiCorpVault": {
        "address": "https://vault", "authentication": "token", "secrets": secrets.collect::<Vec<_>>(),
    }})
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_rotated_in_a_store_is_used_without_an_error_and_asked_for_once_for_all() {
    let world = World::new(Settings::default());
    world.store.set(Some("one"));
    world.authentication("vault", vault(&["password"]));
    for index in 0..20 {
        world.scaled_object(&format!("web-{index}"), json!({"name": "vault"}));
        world.script.set(&format!("web-{index}"), 3.0);
    }
    world.pass(10).await;
    assert_eq!(world.ready("web-7").0, "True");
    assert_eq!(world.script.password("web-7"), "one");
    assert_eq!(world.store.asked(), 1, "one question for equal blocks");
    world.store.set(Some("two"));
    world.pass(130).await;
    assert_eq!(world.script.password("web-7"), "two");
    assert_eq!(world.script.connections("web-7"), 2);
    assert_eq!(world.ready("web-7").0, "True");
    assert_eq!(world.store.asked(), 2);
    world
        .delete("/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects")
        .await;
    world.pass(300).await;
    let asked = world.store.asked();
    world.pass(600).await;
    assert_eq!(world.store.asked(), asked, "what nobody uses is not asked for");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_is_no_empty_secret_and_concerns_nobody_else() {
    let world = World::new(Settings::default());
    world.authentication("vault", vault(&["password"]));
    world.secret("default", "s", "mine");
    let mine = json!({"secretTargetRef": [{"parameter": "password", "name": "s", "key": "password"}]});
    world.authentication("mine", mine);
    world.scaled_object("stored", json!({"name": "vault"}));
    world.scaled_object("other", json!({"name": "mine"}));
    for queue in ["stored", "other"] {
        world.script.set(queue, 3.0);
    }
    world.pass(60).await;
    assert_eq!(world.script.connections("stored"), 0, "not with an empty secret");
    let (ready, message) = world.ready("stored");
    assert_ne!(ready, "True");
    assert!(message.contains("the store is sealed"), "{message}");
    assert_eq!(world.ready("other").0, "True");
    assert_eq!(world.script.password("other"), "mine");
    world.store.set(Some("one"));
    world.pass(60).await;
    assert_eq!(world.ready("stored").0, "True");
    assert_eq!(world.script.password("stored"), "one");
    world.store.set(None);
    world.pass(600).await;
    assert_eq!(world.ready("stored").0, "True", "it goes on with what it had");
    assert_eq!(world.script.password("stored"), "one");
    assert!(world.script.samples("stored") > 100);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_fails_the_trigger_that_needs_it_and_the_others_of_its_object_run() {
    let world = World::new(Settings::default());
    world.authentication("vault", vault(&["password"]));
    world.deployment("both");
    let trigger = |queue: &str| json!({"type": "test", "metadata": {"queue": queue, "target": "5"}});
    let mut stored = trigger("stored");
    stored["authenticationRef"] = json!({"name": "vault"});
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "both", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"name": "both"}, "pollingInterval": 5, "cooldownPeriod": 10,
            "triggers": [stored, trigger("open")],
        },
    }));
    let replicas = || world.get("apps", "deployments", Some("default"), "both")["spec"]["replicas"].clone();
    world.script.set("stored", 3.0);
    world.script.set("open", 3.0);
    world.pass(30).await;
    assert_eq!(world.script.connections("stored"), 0, "not with an empty secret");
    assert!(world.script.samples("open") > 1, "the other trigger runs");
    assert_eq!(
        world.ready("both").0,
        "Unknown",
        "as with any other source that fails"
    );
    let hpa = world.get(
        "autoscaling",
        "horizontalpodautoscalers",
        Some("default"),
        "keda-hpa-both",
    );
    let metrics = hpa["spec"]["metrics"].as_array().map(Vec::len);
    assert_eq!(metrics, Some(2), "the HPA does not scale down by one of two");
    assert!(world.events("both").contains(&"KEDAScalerFailed".to_owned()));
    world.script.set("open", 0.0);
    world.pass(60).await;
    assert_eq!(replicas(), 1, "an outage is no reason to scale to zero");
    world.store.set(Some("one"));
    world.pass(60).await;
    assert_eq!(world.script.password("stored"), "one");
    world.script.set("stored", 0.0);
    world.pass(60).await;
    assert_eq!(replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_used_within_seconds_without_an_error_first() {
    let world = World::new(Settings::default());
    let from =
        |name: &str| json!({"secretTargetRef": [{"parameter": "password", "name": name, "key": "password"}]});
    world.secret("default", "s", "one");
    world.secret("keda", "c", "cluster one");
    world.authentication("mine", from("s"));
    world.cluster_authentication("all", from("c"));
    world.scaled_object("web-a", json!({"name": "mine"}));
    world.scaled_object(
        "web-b",
        json!({"name": "all", "kind": "ClusterTriggerAuthentication"}),
    );
    world.script.set("web-a", 3.0);
    world.script.set("web-b", 3.0);
    world.pass(10).await;
    assert_eq!(world.script.password("web-b"), "cluster one");
    world.secret("default", "s", "two");
    world.secret("keda", "c", "cluster two");
    world.pass(6).await;
    assert_eq!(world.script.password("web-a"), "two");
    assert_eq!(world.script.password("web-b"), "cluster two");
    assert!(!world.events("web-a").contains(&"KEDAScalerFailed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn later_sources_win_and_a_file_leaves_no_place_for_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), r#"{"password": "from file"}"#).unwrap();
    let world = World::new(Settings {
        file_root: Some(folder.path().to_owned()),
        ..Settings::default()
    });
    world.store.set(Some("from vault"));
    world.secret("default", "s", "from secret");
    world.secret("keda", "s", "from secret");
    world.apply(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "default"},
    }));
    let secret = json!([{"parameter": "password", "name": "s", "key": "password"}]);
    let mut spec = vault(&["password"]);
    spec["secretTargetRef"] = secret.clone();
    world.authentication("stored", spec.clone());
    spec["boundServiceAccountToken"] = json!([{"parameter": "password", "serviceAccountName": "reader"}]);
    world.authentication("bound", spec.clone());
    world.cluster_authentication("file", json!({"filePath": "a.json", "secretTargetRef": secret}));
    world.authentication("file", json!({"filePath": "a.json"}));
    world.cluster_authentication("outside", json!({"filePath": "../a.json"}));
    let cluster = |name: &str| json!({"name": name, "kind": "ClusterTriggerAuthentication"});
    for (name, reference) in [
        ("web-stored", json!({"name": "stored"})),
        ("web-bound", json!({"name": "bound"})),
        ("web-file", cluster("file")),
        ("web-namespaced", json!({"name": "file"})),
        ("web-outside", cluster("outside")),
    ] {
        world.scaled_object(name, reference);
        world.script.set(name, 3.0);
    }
    world.pass(10).await;
    assert_eq!(world.script.password("web-stored"), "from vault");
    assert_eq!(world.script.password("web-file"), "from file");
    let token = world.script.password("web-bound");
    assert!(!token.is_empty() && !token.starts_with("from"), "{token}");
    for (name, problem) in [
        (
            "web-namespaced",
            "spec.filePath is for ClusterTriggerAuthentications alone",
        ),
        ("web-outside", "leads upwards"),
    ] {
        let (ready, message) = world.ready(name);
        assert_eq!(ready, "False");
        assert!(message.contains(problem), "{message}");
    }
    std::fs::write(folder.path().join("a.json"), r#"{"password": "from new file"}"#).unwrap();
    world.pass(15).await;
    assert_eq!(world.script.password("web-file"), "from new file");
    world.pass(49 * 60).await;
    assert_ne!(
        world.script.password("web-bound"),
        token,
        "renewed before it expires"
    );
    assert_eq!(world.ready("web-bound").0, "True");
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_another_namespaces_secret() {
    let restricted = Settings {
        restrict_secret_access: true,
        ..Settings::default()
    };
    let world = World::new(restricted);
    let from =
        |name: &str| json!({"secretTargetRef": [{"parameter": "password", "name": name, "key": "password"}]});
    world.secret("default", "s", "of default");
    world.secret("keda", "s", "of keda");
    world.authentication("mine", from("s"));
    world.cluster_authentication("all", from("s"));
    world.scaled_object("web-a", json!({"name": "mine"}));
    world.scaled_object(
        "web-b",
        json!({"name": "all", "kind": "ClusterTriggerAuthentication"}),
    );
    for queue in ["web-a", "web-b"] {
        world.script.set(queue, 3.0);
    }
    world.pass(10).await;
    assert_eq!(
        world.script.password("web-a"),
        "",
        "neither its own nor that of the other namespace"
    );
    assert_eq!(world.script.password("web-b"), "of keda");

    let world = World::new(Settings::default());
    world.secret("shop", "s", "of shop");
    world.authentication("mine", from("s"));
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "theirs", "namespace": "shop"}, "spec": from("s"),
    }));
    world.scaled_object("web-a", json!({"name": "mine"}));
    world.scaled_object("web-b", json!({"name": "theirs"}));
    world.pass(10).await;
    assert_eq!(world.script.password("web-a"), "");
    assert_eq!(world.script.password("web-b"), "");
}

#[tokio::test(start_paused = true)]
async fn a_scaler_that_is_who_its_workload_is_has_the_role_of_the_workloads_service_account() {
    let world = World::new(Settings::default());
    let workload = json!({"podIdentity": {"provider": "aws", "identityOwner": "workload"}});
    world.authentication("workload", workload);
    let own = json!({"podIdentity": {"provider": "aws", "roleArn": "arn:aws:iam::1:role/own"}});
    world.authentication("own", own);
    world.authentication("old", json!({"podIdentity": {"provider": "aws-eks"}}));
    for (name, role) in [
        ("default", "arn:aws:iam::1:role/default"),
        ("runner", "arn:aws:iam::1:role/runner"),
    ] {
        world.apply(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {
                "name": name, "namespace": "default", "annotations": {"eks.amazonaws.com/role-arn": role},
            },
        }));
    }
    for name in ["workload", "own", "old"] {
        world.scaled_object(name, json!({"name": name}));
    }
    world.pass(2).await;
    let roles = ["workload", "own", "old"].map(|queue| world.script.role(queue));
    let expected = ["default", "own", "default"].map(|role| Some(format!("arn:aws:iam::1:role/{role}")));
    assert_eq!(
        roles, expected,
        "keda.md section 6: the workload's, the named one, the workload's"
    );
    for (account, role) in [
        ("runner", Some("arn:aws:iam::1:role/runner".to_owned())),
        ("nobody", None),
    ] {
        let patch = json!({"spec": {"template": {"spec": {"serviceAccountName": account}}}});
        let request = http::Request::patch("/apis/apps/v1/namespaces/default/deployments/workload")
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        world
            .server
            .client("default")
            .request_text(request)
            .await
            .unwrap();
        world.pass(6).await;
        assert_eq!(world.script.role("workload"), role, "{account}");
    }
    // A role that is given, changed or taken away is in use at once.
    for role in [
        Some("arn:aws:iam::1:role/new"),
        Some("arn:aws:iam::1:role/newer"),
        None,
    ] {
        let annotations = role.map(|role| json!({"eks.amazonaws.com/role-arn": role}));
        world.apply(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {
                "name": "nobody", "namespace": "default", "annotations": annotations.unwrap_or(json!({})),
            },
        }));
        world.pass(6).await;
        assert_eq!(world.script.role("workload").as_deref(), role);
    }
}

#[tokio::test(start_paused = true)]
async fn an_authentication_says_who_uses_it_and_goes_when_it_is_deleted() {
    let world = World::new(Settings::default());
    world.authentication("mine", json!({}));
    world.cluster_authentication("all", json!({}));
    world.scaled_object("web-b", json!({"name": "mine"}));
    world.scaled_object("web-a", json!({"name": "mine"}));
    world.scaled_object(
        "web-c",
        json!({"name": "all", "kind": "ClusterTriggerAuthentication"}),
    );
    world.pass(5).await;
    let mine = || world.get("keda.sh", "triggerauthentications", Some("default"), "mine");
    assert_eq!(mine()["status"]["scaledobjects"], "web-a,web-b");
    assert_eq!(mine()["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    let all = world.get("keda.sh", "clustertriggerauthentications", None, "all");
    assert_eq!(all["status"]["scaledobjects"], "web-c");
    assert_eq!(all["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    let version = mine()["metadata"]["resourceVersion"].clone();
    world.pass(600).await;
    assert_eq!(
        mine()["metadata"]["resourceVersion"],
        version,
        "at rest nothing is written"
    );
    world
        .delete("/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/web-b")
        .await;
    world.authentication("mine", json!({"env": []}));
    world.pass(5).await;
    assert_eq!(mine()["status"]["scaledobjects"], "web-a");
    world
        .delete("/apis/keda.sh/v1alpha1/namespaces/default/triggerauthentications/mine")
        .await;
    world
        .delete("/apis/keda.sh/v1alpha1/clustertriggerauthentications/all")
        .await;
    world.pass(5).await;
    assert_eq!(mine(), Value::Null);
    assert_eq!(
        world.get("keda.sh", "clustertriggerauthentications", None, "all"),
        Value::Null
    );
    let reasons = |prefix: &str| {
        ["Added", "Deleted", "Updated"]
            .map(|event| format!("{prefix}{event}"))
            .to_vec()
    };
    assert_eq!(world.events("mine"), reasons("TriggerAuthentication"));
    let expected = [
        "ClusterTriggerAuthenticationAdded",
        "ClusterTriggerAuthenticationDeleted",
    ];
    assert_eq!(world.events("all"), expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_store_does_not_have_is_named_and_a_store_that_is_not_built_in_is_refused() {
    let world = World::new(Settings::default());
    world.store.set(Some("one"));
    world.authentication("vault", vault(&["password", "gone"]));
    let gcp = json!({"gcpSecretManager": {"secrets": [{"parameter": "password", "id": "x"}]}});
    world.authentication("gcp", gcp);
    world.scaled_object("web-a", json!({"name": "vault"}));
    world.scaled_object("web-b", json!({"name": "gcp"}));
    world.script.set("web-a", 3.0);
    world.pass(10).await;
    assert_eq!(world.ready("web-a").0, "True");
    assert!(
        world.events("web-a").contains(&"KEDAScalerFailed".to_owned()),
        "the missing key is named"
    );
    let (ready, message) = world.ready("web-b");
    assert_eq!(ready, "False");
    assert!(message.contains("this build has no such store"), "{message}");
}
