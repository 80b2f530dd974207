//! keda.md §1.4: what happens is told to those who subscribe to it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};

use super::{World, autoscaler};
use crate::{
    cloud_events::{Config, Sink},
    runtime::Runtime,
};

const OBJECTS: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects";

/// Receivers by URI: what they got, and what they answer.
#[derive(Debug, Default)]
struct Receivers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No answer at all where there is none.
    answer: Option<StatusCode>,
    /// Time passes before it.
    hangs: bool,
    attempts: usize,
    taken: Vec<(String, String, Value)>,
    ids: Vec<String>,
    keys: Vec<String>,
}

#[async_trait]
impl Sink for Receivers {
    async fn post(&self, request: http::Request<Vec<u8>>) -> Result<StatusCode, String> {
        let hangs = {
            let mut state = self.state.lock().unwrap();
            state.attempts += 1;
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.state.lock().unwrap();
        let answer = state.answer.ok_or("connection refused")?;
        if answer.is_success() {
            let header = |name: &str| {
                let value = request.headers().get(name);
                value.map(|value| value.to_str().unwrap().to_owned())
            };
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            let (type_, id) = match body.get(0) {
                Some(event) => (
                    event["type"].as_str().unwrap().to_owned(),
                    event["id"].to_string(),
                ),
                None => (header("ce-type").unwrap(), header("ce-id").unwrap()),
            };
            state.taken.push((request.uri().to_string(), type_, body));
            state.ids.push(id);
            state.keys.extend(header("aeg-sas-key"));
        }
        Ok(answer)
    }
}

impl Receivers {
    fn answering(answer: Option<StatusCode>) -> Arc<Self> {
        let receivers = Arc::new(Self::default());
        receivers.answer(answer);
        receivers
    }

    fn answer(&self, answer: Option<StatusCode>) {
        self.state.lock().unwrap().answer = answer;
    }

    fn hang(&self, hangs: bool) {
        self.state.lock().unwrap().hangs = hangs;
    }

    /// What a receiver got, by type.
    fn taken(&self, uri: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_receiver = state.taken.iter().filter(|(to, ..)| to.starts_with(uri));
        of_receiver.map(|(_, type_, _)| type_.clone()).collect()
    }

    fn attempts(&self) -> usize {
        self.state.lock().unwrap().attempts
    }
}

impl World {
    /// With receivers.
    fn telling(receivers: &Arc<Receivers>) -> Self {
        let mut world = Self::idle();
        let (runtime, events) =
            Runtime::new(world.server.client("default"), Arc::clone(&world.clock), "test");
        (world.decisions, world.pods) = (runtime.decisions.clone(), runtime.pods.clone());
        let sink = Arc::clone(receivers) as Arc<dyn Sink>;
        let autoscaler = autoscaler(runtime, &world.script).with_cloud_events(Config::default(), sink);
        world.metrics = autoscaler.external_metrics();
        world.running = vec![tokio::spawn(events), tokio::spawn(autoscaler.run())];
        world
    }

    fn source(&self, name: &str, spec: &Value) {
        self.apply(json!({
            "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }));
    }

    fn active(&self, name: &str) -> String {
        let source = self
            .object("eventing.keda.sh", "cloudeventsources", name)
            .unwrap();
        let condition = &source["status"]["conditions"][0];
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", text("status"), text("reason"), text("message"))
    }

    async fn pause_and_go_on(&self) {
        for value in [json!("true"), json!(null)] {
            let patch = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": value}}});
            self.patch(&format!("{OBJECTS}/web"), &patch).await;
            self.pass(1).await;
        }
    }
}

fn to(uri: &str) -> Value {
    json!({"destination": {"http": {"uri": uri}}})
}

const SENDS: &str = "True CloudEventSourceActive: Is configured to send events to the configured destination";
const UNSENT: &str = "False CloudEventSourceFailed: Failed to send events to the configured destination";

#[tokio::test(start_paused = true)]
async fn what_happens_is_told_as_far_as_it_is_subscribed_to() {
    let receivers = Receivers::answering(Some(StatusCode::ACCEPTED));
    let world = World::telling(&receivers);
    world.source("all", &to("http://all/"));
    let mut some = to("http://some/");
    some["eventSubscription"] = json!({"includedEventTypes": ["keda.scaledobject.paused.v1"]});
    world.source("some", &some);
    let mut but = to("http://but/");
    but["eventSubscription"] = json!({"excludedEventTypes": ["keda.scaledobject.paused.v1"]});
    but["clusterName"] = json!("west");
    world.apply(json!({
        "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "ClusterCloudEventSource",
        "metadata": {"name": "but"}, "spec": but,
    }));
    world.pass(1).await;
    assert_eq!(world.active("all"), SENDS);
    world.fed_by("web", "orders", &json!({}));
    world.pass(2).await;
    world.pause_and_go_on().await;
    world.delete(&format!("{OBJECTS}/web")).await;
    world.pass(1).await;

    let all = [
        "keda.scaledobject.ready.v1",
        "keda.scaledobject.paused.v1",
        "keda.scaledobject.unpaused.v1",
        "keda.scaledobject.removed.v1",
    ];
    assert_eq!(receivers.taken("http://all/"), all);
    assert_eq!(receivers.taken("http://some/"), [all[1]]);
    assert_eq!(receivers.taken("http://but/"), [all[0], all[2], all[3]]);
    let page = world.page();
    for line in [
        "keda_cloudeventsource_events_emitted_total{namespace=\"default\",cloudeventsource=\"all\",eventsink=\"http\",state=\"emitted\"} 4",
        "keda_cloudeventsource_events_queued{namespace=\"default\"} 0.0",
        "keda_resource_registered_total{type=\"cloudevent_source\",namespace=\"default\"} 2.0",
        "keda_resource_registered_total{type=\"cluster_cloudevent_source\",namespace=\"default\"} 1.0",
    ] {
        assert!(
            page.lines().any(|said| said == line),
            "{line} is missing in\n{page}"
        );
    }
    assert_eq!(
        world.events("all"),
        [format!(
            "Normal {}",
            SENDS.strip_prefix("True ").unwrap().replacen(':', "", 1)
        )]
    );
    world
        .delete("/apis/eventing.keda.sh/v1alpha1/namespaces/default/cloudeventsources/all")
        .await;
    world.pass(1).await;
    assert!(!world.page().contains("cloudeventsource=\"all\""), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_was_away_gets_everything_once_and_scaling_did_not_wait() {
    let receivers = Receivers::answering(None);
    let world = World::telling(&receivers);
    world.source("away", &to("http://away/"));
    world.pass(1).await;
    world.script.set("orders", 1.0);
    world.fed_by("web", "orders", &json!({}));
    world.pass(1).await;
    assert_eq!(world.replicas("web"), 1, "scaled although nobody listens");
    world.pause_and_go_on().await;
    receivers.hang(true);
    world.pass(90).await;
    assert_eq!(world.active("away"), UNSENT);
    assert!(
        world
            .page()
            .contains("keda_cloudeventsource_events_queued{namespace=\"default\"} 3.0")
    );
    receivers.hang(false);
    world.pass(60).await;
    assert!(
        receivers.attempts() < 20,
        "it is not stormed: {}",
        receivers.attempts()
    );
    receivers.answer(Some(StatusCode::OK));
    world.pass(31).await;
    assert_eq!(
        receivers.taken("http://away/"),
        [
            "keda.scaledobject.ready.v1",
            "keda.scaledobject.paused.v1",
            "keda.scaledobject.unpaused.v1"
        ]
    );
    let mut ids = receivers.state.lock().unwrap().ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(world.active("away"), SENDS);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_is_sent_six_times_and_the_next_one_follows() {
    let receivers = Receivers::answering(Some(StatusCode::BAD_REQUEST));
    let world = World::telling(&receivers);
    world.source("strict", &to("http://strict/"));
    world.pass(1).await;
    world.fed_by("web", "orders", &json!({}));
    world.pass(40).await;
    assert_eq!(receivers.attempts(), 6);
    assert_eq!(world.active("strict"), UNSENT);
    receivers.answer(Some(StatusCode::OK));
    world.pause_and_go_on().await;
    assert_eq!(
        receivers.taken("http://strict/"),
        ["keda.scaledobject.paused.v1", "keda.scaledobject.unpaused.v1"]
    );
    assert_eq!(world.active("strict"), SENDS);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_work_says_why_and_works_when_it_can() {
    let receivers = Receivers::answering(Some(StatusCode::OK));
    let world = World::telling(&receivers);
    world.source("nowhere", &json!({"destination": {}}));
    world.source("file", &to("file:///dev/null"));
    let topic = json!({
        "destination": {"azureEventGridTopic": {"endpoint": "https://topic.westeurope-1.eventgrid.azure.net/api/events"}},
        "authenticationRef": {"name": "azure"},
    });
    world.source("topic", &topic);
    world.pass(1).await;
    let failed = "False CloudEventSourceFailed: ";
    assert_eq!(
        world.active("nowhere"),
        format!("{failed}spec.destination names neither http nor azureEventGridTopic, expected one")
    );
    assert!(world.active("file").contains("\"file:///dev/null\" is no URI"));
    assert!(
        world.active("topic").starts_with(&format!(
            "{failed}TriggerAuthentication \"azure\" gives no accessKey"
        )),
        "{}",
        world.active("topic")
    );
    world.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "azure", "namespace": "default"},
        "stringData": {"key": "s3cret"},
    }));
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "azure", "namespace": "default"},
        "spec": {"secretTargetRef": [{"parameter": "accessKey", "name": "azure", "key": "key"}]},
    }));
    world.pass(31).await;
    assert_eq!(world.active("topic"), SENDS);
    world.fed_by("web", "orders", &json!({}));
    world.pass(2).await;
    let uri = "https://topic.westeurope-1.eventgrid.azure.net/api/events?api-version=2018-01-01";
    let expected = [
        "keda.authentication.triggerauthentication.created.v1",
        "keda.scaledobject.ready.v1",
    ];
    assert_eq!(receivers.taken(uri), expected);
    assert_eq!(receivers.state.lock().unwrap().keys, ["s3cret", "s3cret"]);
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_of_the_one_who_was_here_before_is_taken_off() {
    let receivers = Receivers::answering(Some(StatusCode::OK));
    let world = World::telling(&receivers);
    world.apply(json!({
        "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource",
        "metadata": {"name": "old", "namespace": "default", "finalizers": ["finalizer.keda.sh"]},
        "spec": to("http://old/"),
    }));
    world.pass(1).await;
    world
        .delete("/apis/eventing.keda.sh/v1alpha1/namespaces/default/cloudeventsources/old")
        .await;
    world.pass(1).await;
    assert!(
        world
            .object("eventing.keda.sh", "cloudeventsources", "old")
            .is_none()
    );
}
