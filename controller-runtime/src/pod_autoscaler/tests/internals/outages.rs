//! 1,000 objects at once whose sources are down, hang or say nonsense, or whose secret is rotated, beside others whose
//! sources work.

use std::collections::BTreeMap;

use scaler_api::ErrorKind;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::sim::api::Change;

const AFFLICTED: usize = 1000;
const OTHERS: usize = 50;
const MINUTE: u64 = 60;

/// The objects at work, and every change of the cluster from then on.
struct Fleet {
    stage: Stage,
    changes: UnboundedReceiver<Change>,
    samples: Vec<u32>,
}

fn afflicted(number: usize) -> String {
    format!("afflicted-{number:04}")
}

fn other(number: usize) -> String {
    format!("other-{number:02}")
}

/// A tenth has two replicas, another tenth two and a fallback to as many, and the rest is at rest.
fn replicas(number: usize) -> i64 {
    if number.is_multiple_of(5) { 2 } else { 0 }
}

fn fallback(number: usize) -> Value {
    match number.is_multiple_of(10) {
        true => json!({"failureThreshold": 3, "replicas": 2}),
        false => Value::Null,
    }
}

impl Fleet {
    async fn at_work() -> Self {
        let stage = Stage::new();
        let room = json!({"cpu": "4000", "memory": "4000Gi", "pods": "4000"});
        stage.apply(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "large"},
            "status": {"capacity": room, "allocatable": room}}),
        );
        stage.secret("old");
        stage.script.accept(&["old"]);
        stage.apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "auth", "namespace": "default"},
            "spec": {"secretTargetRef": [{"parameter": "password", "name": "words", "key": "password"}]},
        }));
        for number in 0..AFFLICTED {
            stage
                .script
                .set(&afflicted(number), 5.0 * replicas(number) as f64);
            stage.member(&afflicted(number), 15, &fallback(number));
        }
        for number in 0..OTHERS {
            stage.member(&other(number), 5, &Value::Null);
        }
        stage.pass(2 * MINUTE).await;
        let changes = stage.server.observe();
        let mut fleet = Self {
            stage,
            changes,
            samples: Vec::new(),
        };
        fleet.assert_undisturbed("at the start");
        fleet.samples = fleet.others();
        fleet
    }

    /// How often each of the others was polled.
    fn others(&self) -> Vec<u32> {
        (0..OTHERS)
            .map(|number| self.stage.script.samples(&other(number)))
            .collect()
    }

    /// What it does to every afflicted queue lasts a minute, and then they work again.
    async fn endure(&mut self, what: &str, afflict: impl Fn(&Script, &str)) {
        (0..AFFLICTED).for_each(|number| afflict(&self.stage.script, &afflicted(number)));
        self.pass_on_time(what).await;
        for number in 0..AFFLICTED {
            self.stage
                .script
                .set(&afflicted(number), 5.0 * replicas(number) as f64);
        }
        self.pass_on_time(&format!("after {what}")).await;
        let failing = (0..AFFLICTED).find(|number| {
            let status = self.stage.status(&afflicted(*number));
            status["health"]
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, health)| health["status"] == "Failing")
        });
        assert_eq!(failing, None, "still fails after {what}");
    }

    /// A minute in which the others are polled every 5 s, and nobody's replicas change.
    async fn pass_on_time(&mut self, what: &str) {
        self.stage.pass(MINUTE).await;
        let now = self.others();
        for (number, (before, after)) in self.samples.iter().zip(&now).enumerate() {
            assert_eq!(after - before, 12, "{} {what}", other(number));
        }
        self.samples = now;
        self.assert_undisturbed(what);
    }

    fn assert_undisturbed(&mut self, when: &str) {
        while let Ok(change) = self.changes.try_recv() {
            let before = change
                .previous
                .as_deref()
                .map(|before| &before["spec"]["replicas"]);
            let after = &change.object["spec"]["replicas"];
            assert!(
                change.resource != "deployments" || before == Some(after),
                "{} from {before:?} to {after} {when}",
                change.object["metadata"]["name"],
            );
        }
        let deployments = self.stage.server.objects("apps", "deployments", Some("default"));
        let found: BTreeMap<_, _> = deployments
            .iter()
            .map(|object| {
                (
                    object["metadata"]["name"].as_str().unwrap(),
                    object["spec"]["replicas"].as_i64().unwrap(),
                )
            })
            .collect();
        let names = (0..AFFLICTED).map(|number| (afflicted(number), replicas(number)));
        for (name, replicas) in names.chain((0..OTHERS).map(|number| (other(number), 0))) {
            assert_eq!(found[name.as_str()], replicas, "{name} {when}");
        }
    }
}

impl Stage {
    fn secret(&self, password: &str) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words", "namespace": "default"},
            "stringData": {"password": password},
        }));
    }

    /// A Deployment and the ScaledObject of its name, fed by the queue of its name.
    fn member(&self, name: &str, polling_interval: u64, fallback: &Value) {
        self.deployment(name, 0);
        let spec = json!({
            "scaleTargetRef": {"name": name}, "pollingInterval": polling_interval, "fallback": fallback,
            "triggers": [{
                "type": "test", "metadata": {"queue": name, "target": "5"}, "authenticationRef": {"name": "auth"},
            }],
        });
        self.scale(name, &spec);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_sources_that_fail_at_once_move_no_replicas_and_make_nobody_late() {
    let mut fleet = Fleet::at_work().await;
    fleet
        .endure("an outage", |script, queue| script.refuse(queue))
        .await;
    fleet.endure("silence", |script, queue| script.hang(queue)).await;
    fleet
        .endure("nonsense", |script, queue| script.fail(queue, ErrorKind::Invalid))
        .await;
    assert_eq!(fleet.stage.script.denied(), 0);

    fleet.stage.script.accept(&["old", "new"]);
    fleet.stage.secret("new");
    // For as long as this both are right.
    fleet.stage.pass(5).await;
    fleet.stage.script.accept(&["new"]);
    fleet.samples = fleet.others();
    fleet.pass_on_time("after the secret was rotated").await;
    assert_eq!(fleet.stage.script.denied(), 0, "samples with the old password");
}
