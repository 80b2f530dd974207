//! keda.md §8, `WATCH_LABEL_SELECTOR`: several leaders, each of which scales the objects with its labels.

use super::*;

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/blue";

/// One of several KEDA halves.
struct Shard {
    metrics: Arc<dyn ExternalMetrics>,
    decisions: DecisionLog,
    running: Vec<JoinHandle<()>>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

fn shard(world: &World, selector: &str) -> Shard {
    let (runtime, events) = Runtime::new(world.server.client("default"), Arc::clone(&world.clock), "test");
    let decisions = runtime.decisions.clone();
    let config = Config {
        selector: Selector::parse(selector).unwrap(),
        ..Config::default()
    };
    let autoscaler = configured(runtime, &world.script, config);
    Shard {
        metrics: autoscaler.external_metrics(),
        decisions,
        running: vec![tokio::spawn(events), tokio::spawn(autoscaler.run())],
    }
}

impl Shard {
    async fn ask(&self, object: &str) -> String {
        let request = MetricRequest {
            namespace: "default".into(),
            metric: "s0-test-orders".into(),
            selector: Selector::parse(&format!("scaledobject.keda.sh/name={object}")).unwrap(),
        };
        match self.metrics.get(&request).await {
            Ok(values) => values[0].value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// The objects that it decided about.
    fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self
            .decisions
            .recent()
            .into_iter()
            .map(|decision| decision.object)
            .collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }
}

fn labelled(world: &World, kind: &str, colour: &str, spec: &Value) {
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": kind,
        "metadata": {"name": colour, "namespace": "default", "labels": {"shard": colour}},
        "spec": spec,
    }));
}

fn scaled_object(world: &World, colour: &str) {
    world.deployment(colour, 0);
    let trigger = json!({"type": "test", "metadata": {"queue": "orders", "target": "5"}});
    labelled(
        world,
        "ScaledObject",
        colour,
        &json!({"scaleTargetRef": {"name": colour}, "pollingInterval": 5, "cooldownPeriod": 10, "triggers": [trigger]}),
    );
}

#[tokio::test(start_paused = true)]
async fn section_8_each_shard_scales_its_own_objects_and_answers_for_all() {
    let world = World::idle();
    let (blue, green) = (shard(&world, "shard=blue"), shard(&world, "shard in (green)"));
    for colour in ["blue", "green", "red"] {
        scaled_object(&world, colour);
    }
    world.script.set("orders", 8.0);
    world.pass(10).await;
    assert_eq!((world.replicas("blue"), world.replicas("green")), (1, 1));
    // Nobody asked for red ones.
    assert_eq!((world.replicas("red"), world.hpa("keda-hpa-red")), (0, None));
    assert_eq!(blue.subjects(), ["ScaledObject/default/blue"]);
    assert_eq!(green.subjects(), ["ScaledObject/default/green"]);
    for shard in [&blue, &green] {
        for object in ["blue", "green"] {
            assert_eq!(shard.ask(object).await, "8", "{object}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_8_an_object_whose_label_changes_is_handed_over_and_back_with_its_cooldown() {
    let world = World::idle();
    let (_blue, green) = (shard(&world, "shard=blue"), shard(&world, "shard=green"));
    scaled_object(&world, "blue");
    world.script.set("orders", 8.0);
    world.pass(20).await;
    assert_eq!(green.subjects(), [""; 0]);
    let relabel = async |colour: &str| {
        world
            .patch(OBJECT, &json!({"metadata": {"labels": {"shard": colour}}}))
            .await;
    };
    relabel("green").await;
    world.script.set("orders", 0.0);
    world.pass(5).await;
    assert_eq!(world.replicas("blue"), 1, "the cooldown is not over");
    world.pass(15).await;
    assert_eq!(world.replicas("blue"), 0);
    assert_eq!(green.subjects(), ["ScaledObject/default/blue"]);
    relabel("blue").await;
    world.script.set("orders", 8.0);
    world.pass(10).await;
    assert_eq!(world.replicas("blue"), 1);
    assert_eq!(world.condition("blue", "Active"), "True ScalerActive");
}

#[tokio::test(start_paused = true)]
async fn section_8_each_shard_makes_the_jobs_of_its_own_scaled_jobs() {
    let world = World::idle();
    let shards = [shard(&world, "shard=blue"), shard(&world, "shard=green")];
    let container = json!({"name": "work", "image": "busybox"});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let trigger = json!({"type": "test", "metadata": {"queue": "orders", "target": "1"}});
    for colour in ["blue", "green"] {
        let spec =
            json!({"jobTargetRef": {"template": template}, "pollingInterval": 5, "triggers": [trigger]});
        labelled(&world, "ScaledJob", colour, &spec);
    }
    world.script.set("orders", 2.0);
    world.pass(20).await;
    assert_eq!(world.server.objects("batch", "jobs", Some("default")).len(), 4);
    let subjects: Vec<_> = shards.iter().flat_map(Shard::subjects).collect();
    assert_eq!(subjects, ["ScaledJob/default/blue", "ScaledJob/default/green"]);
}
