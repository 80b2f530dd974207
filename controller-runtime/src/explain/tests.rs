//! A whole story on the embedded cluster, asked why at every turn of it.

use std::{sync::Arc, time::Duration};

use scaler_api::{Context, Registry, SharedClock, TokioClock, keda};
use serde_json::{Value, json};

use super::*;
use crate::{
    hpa::explain::Direction,
    pod_autoscaler::{Config, PodAutoscaler},
    scaled_object::{
        decision::Rule,
        testing::{Script, TestSource},
    },
    sim::{
        api::boxed_backend,
        cluster::{Cluster, Options},
    },
};

struct World {
    cluster: Cluster,
    script: Arc<Script>,
    explainer: Explainer,
    /// The same without a look into the HPA controller.
    outside: Explainer,
}

impl World {
    fn new() -> Self {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
        let options = Options::new(Arc::clone(&clock), 1);
        let runs = options.hpa.runs.clone();
        let cluster = Cluster::new(options);
        let definitions = keda::crds()
            .into_iter()
            .map(|crd| serde_json::to_value(crd).unwrap());
        cluster.load(definitions.collect()).unwrap();
        let script = Script::new();
        let context = Context::new().with_clock(clock).with(Arc::clone(&script));
        let mut registry = Registry::new();
        registry.register::<TestSource>();
        let runtime = cluster.runtime().named("keda-operator");
        let pods = PodAutoscaler::new(runtime, Arc::new(registry), context, Config::default());
        let (explainer, outside) = (Explainer::default(), Explainer::default());
        explainer.set(pods.explained(Arc::new(move |key| runs.last(key))));
        outside.set(pods.explained(Arc::new(|_| None)));
        let adapter = metrics_adapter::MetricsAdapter::new(pods.external_metrics());
        cluster
            .api()
            .register_backend("keda", "adapter", boxed_backend(adapter));
        let node = json!({"cpu": "64", "memory": "64Gi", "pods": "110"});
        let objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "keda", "name": "adapter"},
                "spec": {"ports": [{"port": 443}]}}),
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
                "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
                    "versionPriority": 100, "service": {"namespace": "keda", "name": "adapter", "port": 443}}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
                "status": {"capacity": node, "allocatable": node}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "app"}]}}}}),
        ];
        cluster.load(objects).unwrap();
        tokio::spawn(cluster.run());
        tokio::spawn(pods.run());
        Self {
            cluster,
            script,
            explainer,
            outside,
        }
    }

    fn scaled_object(&self, spec: &Value) {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "orders", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"name": "web"}, "pollingInterval": 5, "cooldownPeriod": 60, "maxReplicaCount": 20,
                "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "5"}}],
            },
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.cluster.load(vec![object]).unwrap();
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn explain(&self) -> Explanation {
        self.explainer
            .explain("scaledobject", "default", "orders")
            .unwrap()
    }

    /// What was inferred is what was computed.
    fn compare(&self) {
        let inside = self.explain().autoscaler.unwrap();
        let outside = self.outside.explain("so", "default", "orders").unwrap();
        let outside = outside.autoscaler.unwrap();
        assert_eq!(
            (inside.origin, outside.origin),
            (Origin::Computed, Origin::Inferred)
        );
        assert_eq!(outside.differences, Vec::<String>::new());
        let (computed, inferred) = (inside.computation.unwrap(), outside.computation.unwrap());
        assert_eq!(computed.desired, inferred.desired);
        assert_eq!(computed.metrics, inferred.metrics);
        let held = |computation: &Computation| computation.stabilization.clone().and_then(|found| found.held);
        assert_eq!(held(&computed), held(&inferred));
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
#[allow(clippy::too_many_lines, reason = "a story")]
async fn every_turn_of_a_story_is_explained() {
    let world = World::new();
    world.scaled_object(&json!({
        "fallback": {"failureThreshold": 2, "replicas": 6},
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
            "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 120},
        }}},
    }));
    world.pass(7).await;
    let rest = world.explain();
    assert_eq!(rest.check.as_ref().unwrap().rule, Some(Rule::AtRest));
    has(
        &text(&rest),
        &[
            "Rule 2e: There is no work",
            "0. test: not active",
            "Never active so far",
        ],
    );

    // Woken; the HPA wants 10 and may add two a minute.
    world.script.set("orders", 50.0);
    world.pass(5).await;
    assert_eq!(world.explain().check.unwrap().rule, Some(Rule::Activate));
    world.pass(40).await;
    let limited = world.explain();
    let computation = limited.autoscaler.clone().unwrap().computation.unwrap();
    assert_eq!((computation.proposed, computation.desired), (Some(10), 3));
    has(
        &text(&limited),
        &[
            "0. test: ACTIVE",
            "s0-test-orders, value 50, target 5 per replica",
            "ScalingLimited True (ScaleUpLimit): it wants more, but its policies allow no faster growth",
            "limits: 10 is cut to 3 by the policies",
            "up 2 pods in 1 min: 2 pods of change in that time, allows 3, counts",
            "more is allowed 2026-01-01 00:01:",
        ],
    );
    world.compare();

    // Grown; then less work: the window holds it.
    world.pass(400).await;
    world.script.set("orders", 12.0);
    world.pass(40).await;
    let held = world.explain();
    let stabilization = held
        .autoscaler
        .clone()
        .unwrap()
        .computation
        .unwrap()
        .stabilization
        .unwrap();
    assert_eq!(
        (stabilization.asked, stabilization.replicas, stabilization.held),
        (3, 10, Some(Direction::Down))
    );
    has(
        &text(&held),
        &[
            "AbleToScale True (ScaleDownStabilized): it may scale, but holds a recent higher recommendation",
            "3 is held back at 10, the highest recommendation of the scaling down window of 2 min, until",
            "so 10 stay",
        ],
    );
    world.compare();

    // The source is down: borne twice, then the fallback.
    world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
    world.pass(8).await;
    let failing = world.explain();
    assert_eq!(failing.triggers[0].state, State::Failed);
    assert_eq!(failing.check.as_ref().unwrap().rule, Some(Rule::AwaitsFallback));
    has(
        &text(&failing),
        &["0. test: FAILED", "the fallback bears 2", "Fallback not in force"],
    );
    world.pass(30).await;
    let fallen = world.explain();
    assert_eq!(
        fallen.triggers[0].metrics[0].reported_instead.as_deref(),
        Some("30")
    );
    has(
        &text(&fallen),
        &[
            "0. test: FAILED, fallback in force",
            "the HPA is told 30 instead",
            "at least 3 failures in a row; more than the 2 that the fallback bears",
            "Fallback IN FORCE: after more than 2 failures in a row 6 replicas (behavior static), which comes to 6",
        ],
    );

    // Nothing more to do: the cooldown, then rest.
    world.script.set("orders", 0.0);
    world.pass(25).await;
    let cooling = world.explain();
    assert_eq!(cooling.check.as_ref().unwrap().rule, Some(Rule::CoolingDown));
    has(
        &text(&cooling),
        &[
            "Rule 3: There is no work, but the cooldown is not over",
            "The cooldown ends in ",
        ],
    );
    world.pass(60).await;
    let over = world.explain();
    assert_eq!(over.autoscaler.as_ref().unwrap().current, 0);
    let last: Vec<_> = over
        .decisions
        .iter()
        .map(|decision| decision.to.as_str())
        .collect();
    assert!(last.ends_with(&["0"]) || last.contains(&"0"), "{last:?}");
    has(
        &text(&over),
        &["ScalingActive False (ScalingDisabled)", "the target is at 0"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_formula_shows_its_inputs_and_its_result() {
    let world = World::new();
    world.script.set("a", 16.0);
    world.script.set("b", 2.0);
    let trigger =
        |name: &str| json!({"type": "test", "name": name, "metadata": {"queue": name, "target": "1"}});
    world.scaled_object(&json!({
        "triggers": [trigger("a"), trigger("b")],
        "advanced": {"scalingModifiers": {"formula": "a / b", "target": "2"}},
    }));
    world.pass(7).await;
    let explained = world.explain();
    let formula = explained.formula.clone().unwrap();
    assert_eq!(formula.result.as_deref(), Some("8"));
    has(
        &text(&explained),
        &[
            "Formula a / b: ACTIVE",
            "with a = 16, b = 2",
            "comes to 8, target 2 per replica, active above 0",
        ],
    );
    world.script.fail("b", scaler_api::ErrorKind::Unavailable);
    world.pass(5).await;
    has(
        &text(&world.explain()),
        &[
            "Formula a / b: FAILED",
            "b = nil",
            "comes to nothing: b: the queue's service",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_or_unknown_says_so() {
    let world = World::new();
    world.scaled_object(&json!({}));
    world.pass(2).await;
    let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "4"}}});
    let request = http::Request::patch("/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/orders")
        .header("content-type", "application/merge-patch+json")
        .body(serde_json::to_vec(&paused).unwrap())
        .unwrap();
    world
        .cluster
        .client("default")
        .request_text(request)
        .await
        .unwrap();
    world.pass(2).await;
    let explained = world.explain();
    assert_eq!(explained.settings.paused_replicas, Some(4));
    has(
        &text(&explained),
        &[
            "It does not run: it is paused by an annotation",
            "PAUSED by an annotation at 4 replicas",
        ],
    );
    let unknown = world.explainer.explain("so", "default", "order").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no ScaledObject default/order, did you mean default/orders?"
    );
}

#[tokio::test(start_paused = true)]
async fn an_explanation_survives_its_json() {
    let world = World::new();
    world.script.set("orders", 50.0);
    world.scaled_object(&json!({}));
    world.pass(60).await;
    let explained = world.explain();
    let json = serde_json::to_string(&explained).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explained);
    let documentation = include_str!("../../../docs/explain.md");
    let mut keys = Vec::new();
    collect_keys(&serde_json::to_value(&explained).unwrap(), &mut keys);
    assert!(keys.len() > 40);
    for key in keys {
        let named = [
            format!("`{key}`"),
            format!("`{key}[]`"),
            format!(".{key}`"),
            format!(".{key}[]`"),
        ];
        assert!(
            named.iter().any(|name| documentation.contains(name)),
            "docs/explain.md does not name {key}"
        );
    }
}

/// The fields of an explanation; those of conditions are Kubernetes' own.
fn collect_keys(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                keys.push(key.clone());
                if key != "conditions" {
                    collect_keys(value, keys);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}
