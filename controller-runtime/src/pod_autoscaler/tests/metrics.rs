//! keda.md §8: what `/metrics` says of ScaledObjects and ScaledJobs.

use prometheus_client::{encoding::text, registry::Registry};
use scaler_api::ErrorKind;
use serde_json::{Value, json};

use super::World;

const OBJECTS: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects";

impl World {
    pub(super) fn page(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.pods.clone()));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        page
    }

    /// The lines about an object, without their value if that is a time.
    fn series(&self, name: &str) -> Vec<String> {
        let page = self.page();
        let about = page
            .lines()
            .filter(|line| line.contains(&format!("=\"{name}\"")) && !line.starts_with('#'));
        about.map(str::to_owned).collect()
    }

    pub(super) fn fed_by(&self, name: &str, queue: &str, more: &Value) {
        let mut trigger = json!({"type": "test", "metadata": {"queue": queue, "target": "5"}});
        for (key, value) in more.as_object().unwrap() {
            trigger[key] = value.clone();
        }
        self.deployment(name, 0);
        self.scaled_object(
            name,
            &json!({"scaleTargetRef": {"name": name}, "triggers": [trigger]}),
        );
    }
}

#[track_caller]
fn assert_lines(said: &[String], expected: &[&str]) {
    assert_eq!(said, expected, "in\n{}", said.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_working_object_has_values_and_a_failing_one_has_errors() {
    let world = World::new();
    world.script.set("orders", 7.5);
    world.script.fail("broken", ErrorKind::Unavailable);
    world.fed_by("works", "orders", &json!({}));
    world.fed_by("fails", "broken", &json!({"name": "payments"}));
    world.pass(12).await;

    let of = "namespace=\"default\",metric=\"s0-test-orders\",scaledObject=\"works\",scaler=\"testScaler\",triggerIndex=\"0\",type=\"scaledobject\"";
    assert_lines(
        &world.series("works"),
        &[
            &format!("keda_scaler_metrics_value{{{of}}} 7.5"),
            &format!("keda_scaler_metrics_latency_seconds{{{of}}} 0.0"),
            &format!("keda_scaler_active{{{of}}} 1.0"),
            &format!("keda_scaler_detail_errors_total{{{of}}} 0"),
            "keda_scaled_object_errors_total{namespace=\"default\",scaledObject=\"works\"} 0",
            "keda_scaled_object_paused{namespace=\"default\",scaledObject=\"works\"} 0.0",
            "keda_internal_scale_loop_latency_seconds{namespace=\"default\",type=\"scaledobject\",resource=\"works\"} 0.0",
        ],
    );
    // A name takes the place of the scaler's; checks at 0, 5 and 10 s.
    let of = "namespace=\"default\",metric=\"s0-test-broken\",scaledObject=\"fails\",scaler=\"payments\",triggerIndex=\"0\",type=\"scaledobject\"";
    let said = world.series("fails");
    for line in [
        format!("keda_scaler_active{{{of}}} 0.0"),
        format!("keda_scaler_detail_errors_total{{{of}}} 3"),
        "keda_scaled_object_errors_total{namespace=\"default\",scaledObject=\"fails\"} 3".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} is missing in\n{}", said.join("\n"));
    }
    assert!(
        !said
            .iter()
            .any(|line| line.starts_with("keda_scaler_metrics_value")),
        "it never had a value"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_refused_or_gone_has_no_numbers_of_triggers() {
    let world = World::new();
    world.script.set("orders", 1.0);
    world.fed_by("web", "orders", &json!({}));
    world.pass(6).await;
    assert_eq!(world.series("web").len(), 7);

    let pause = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    world.patch(&format!("{OBJECTS}/web"), &pause).await;
    world.pass(6).await;
    let (errors, paused) = (
        "keda_scaled_object_errors_total{namespace=\"default\",scaledObject=\"web\"}",
        "keda_scaled_object_paused{namespace=\"default\",scaledObject=\"web\"}",
    );
    assert_lines(
        &world.series("web"),
        &[&format!("{errors} 0"), &format!("{paused} 1.0")],
    );

    let broken = json!({
        "metadata": {"annotations": {"autoscaling.keda.sh/paused": null}},
        "spec": {"triggers": [{"type": "test", "metadata": {"queue": "orders"}}]},
    });
    world.patch(&format!("{OBJECTS}/web"), &broken).await;
    world.pass(1).await;
    let said = world.series("web");
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[1], format!("{paused} 0.0"));
    assert_ne!(said[0], format!("{errors} 0"), "a refusal is an error");

    world.delete(&format!("{OBJECTS}/web")).await;
    world.pass(1).await;
    assert_lines(&world.series("web"), &[]);
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_goes_takes_its_series_along_and_others_keep_theirs() {
    let world = World::new();
    world.script.set("orders", 1.0);
    world.script.fail("broken", ErrorKind::Unavailable);
    let trigger = |queue: &str| json!({"type": "test", "metadata": {"queue": queue, "target": "5"}});
    world.deployment("web", 0);
    world.scaled_object(
        "web",
        &json!({"triggers": [trigger("broken"), trigger("orders")]}),
    );
    world.pass(12).await;
    let errors = |said: &[String]| -> Vec<String> {
        let errors = said.iter().filter(|line| line.starts_with("keda_scaler_detail"));
        errors
            .map(|line| {
                format!(
                    "{} {}",
                    line.split('"').nth(3).unwrap(),
                    line.rsplit(' ').next().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(
        errors(&world.series("web")),
        ["s0-test-broken 3", "s1-test-orders 0"]
    );
    let fewer = json!({"spec": {"triggers": [trigger("broken")]}});
    world.patch(&format!("{OBJECTS}/web"), &fewer).await;
    world.pass(1).await;
    assert_eq!(errors(&world.series("web")), ["s0-test-broken 4"]);
}

#[tokio::test(start_paused = true)]
async fn the_hpa_s_queries_count_by_the_samples_that_they_take() {
    let world = World::new();
    world.script.set("orders", 1.0);
    world.fed_by("web", "orders", &json!({}));
    world.pass(1).await;
    world.script.fail("orders", ErrorKind::Unavailable);
    // Young enough: nobody asks the source.
    world.metric("web", "s0-test-orders").await.unwrap();
    let errors = |world: &World| {
        let said = world.series("web");
        let line = said
            .iter()
            .find(|line| line.starts_with("keda_scaled_object_errors"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(errors(&world), "0");
    world.pass(5).await;
    assert_eq!(errors(&world), "1", "the check at 5 s");
    world.metric("web", "s0-test-orders").await.unwrap_err();
    assert_eq!(errors(&world), "1", "it was told what the check had found");
}

#[tokio::test(start_paused = true)]
async fn scaled_jobs_and_what_is_registered_are_counted() {
    let world = World::new();
    world.script.set("orders", 2.0);
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
        "metadata": {"name": "batch", "namespace": "default"},
        "spec": {
            "pollingInterval": 5,
            "jobTargetRef": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "worker"}],
            }}},
            "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "1"}}],
        },
    }));
    world.fed_by("web", "orders", &json!({}));
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
        "metadata": {"name": "credentials"}, "spec": {},
    }));
    world.pass(6).await;
    let of = "namespace=\"default\",metric=\"s0-test-orders\",scaledObject=\"batch\",scaler=\"testScaler\",triggerIndex=\"0\",type=\"scaledjob\"";
    assert_lines(
        &world.series("batch"),
        &[
            &format!("keda_scaler_metrics_value{{{of}}} 2.0"),
            &format!("keda_scaler_metrics_latency_seconds{{{of}}} 0.0"),
            &format!("keda_scaler_active{{{of}}} 1.0"),
            &format!("keda_scaler_detail_errors_total{{{of}}} 0"),
            "keda_scaled_job_errors_total{namespace=\"default\",scaledJob=\"batch\"} 0",
            "keda_internal_scale_loop_latency_seconds{namespace=\"default\",type=\"scaledjob\",resource=\"batch\"} 0.0",
        ],
    );
    let page = world.page();
    for line in [
        "# TYPE keda_trigger_registered_total gauge",
        "keda_trigger_registered_total{type=\"test\"} 2.0",
        "keda_resource_registered_total{type=\"cluster_trigger_authentication\",namespace=\"default\"} 1.0",
        "keda_resource_registered_total{type=\"scaled_job\",namespace=\"default\"} 1.0",
        "keda_resource_registered_total{type=\"scaled_object\",namespace=\"default\"} 1.0",
        "# TYPE keda_scaler_detail_errors counter",
    ] {
        assert!(
            page.lines().any(|said| said == line),
            "{line} is missing in\n{page}"
        );
    }
    assert!(page.contains("keda_build_info{version=\""), "{page}");
    world
        .delete("/apis/keda.sh/v1alpha1/namespaces/default/scaledjobs/batch")
        .await;
    world.pass(1).await;
    assert_lines(&world.series("batch"), &[]);
}
