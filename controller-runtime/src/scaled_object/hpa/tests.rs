//! keda.md §2.

use scaler_api::Quantity;

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "reads better in the tests")]
fn object(spec: Value) -> ScaledObject {
    let mut value = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": "aws-sqs-queue-scaledobject", "namespace": "default", "uid": "u1",
            "labels": {"scaledobject.keda.sh/name": "aws-sqs-queue-scaledobject"},
        },
        "spec": {"scaleTargetRef": {"name": "web"}, "triggers": []},
    });
    for (key, given) in spec.as_object().unwrap() {
        value["spec"][key] = given.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn external(name: &str, target: i64) -> NamedMetric {
    let spec = MetricSpec::External {
        name: name.trim_start_matches("s0-").into(),
        target: MetricTarget::AverageValue(Quantity::from_units(target)),
    };
    NamedMetric {
        name: name.into(),
        spec,
    }
}

fn resource(target: MetricTarget) -> NamedMetric {
    NamedMetric {
        name: "cpu".into(),
        spec: MetricSpec::Resource {
            name: "cpu".into(),
            target,
        },
    }
}

const WEB: TargetReference<'_> = TargetReference {
    api_version: "apps/v1",
    kind: "Deployment",
    name: "web",
};

fn made(object: &ScaledObject, metrics: &[NamedMetric]) -> Autoscaler {
    desired(object, WEB, metrics, "2.20.2").unwrap()
}

#[test]
fn section_2_the_tutorials_hpa_is_kedas_field_by_field() {
    let object = object(json!({"minReplicaCount": 0, "maxReplicaCount": 3, "idleReplicaCount": 0}));
    let hpa = made(&object, &[external("s0-aws-sqs-my-sqs-keda", 5)]);
    assert_eq!(
        serde_json::to_value(&hpa.metadata).unwrap(),
        json!({
            "name": "keda-hpa-aws-sqs-queue-scaledobject",
            "namespace": "default",
            "labels": {
                "app.kubernetes.io/managed-by": "keda-operator",
                "app.kubernetes.io/name": "keda-hpa-aws-sqs-queue-scaledobject",
                "app.kubernetes.io/part-of": "aws-sqs-queue-scaledobject",
                "app.kubernetes.io/version": "2.20.2",
                "scaledobject.keda.sh/name": "aws-sqs-queue-scaledobject",
            },
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "aws-sqs-queue-scaledobject",
                "uid": "u1", "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
    assert_eq!(
        hpa.spec,
        json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{
                "type": "External",
                "external": {
                    "metric": {
                        "name": "s0-aws-sqs-my-sqs-keda",
                        "selector": {"matchLabels": {"scaledobject.keda.sh/name": "aws-sqs-queue-scaledobject"}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            }],
        })
    );
}

#[test]
fn section_2_bounds_default_to_one_and_a_hundred() {
    let hpa = made(&object(json!({})), &[external("s0-x", 5)]);
    assert_eq!(
        (&hpa.spec["minReplicas"], &hpa.spec["maxReplicas"]),
        (&json!(1), &json!(100))
    );
    let hpa = made(&object(json!({"minReplicaCount": 4})), &[external("s0-x", 5)]);
    assert_eq!(hpa.spec["minReplicas"], json!(4));
}

#[test]
fn section_2_metrics_stand_in_the_order_of_their_types() {
    let container = NamedMetric {
        name: "memory".into(),
        spec: MetricSpec::ContainerResource {
            name: "memory".into(),
            container: "app".into(),
            target: MetricTarget::AverageValue("500Mi".parse().unwrap()),
        },
    };
    let metrics = [
        resource(MetricTarget::Utilization(50)),
        external("s1-b", 5),
        external("s2-a", 5),
        container,
    ];
    let hpa = made(&object(json!({})), &metrics);
    let types: Vec<_> = hpa.spec["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| &metric["type"])
        .collect();
    assert_eq!(types, ["ContainerResource", "External", "External", "Resource"]);
    assert_eq!(hpa.spec["metrics"][1]["external"]["metric"]["name"], "s1-b");
    assert_eq!(
        hpa.spec["metrics"][0]["containerResource"],
        json!({"name": "memory", "container": "app", "target": {"type": "AverageValue", "averageValue": "500Mi"}})
    );
    assert_eq!(
        hpa.spec["metrics"][3]["resource"],
        json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}})
    );
}

#[test]
fn section_2_equal_names_and_no_metrics_are_refused() {
    let object = object(json!({}));
    let twice = desired(&object, WEB, &[external("s0-x", 5), external("s0-X", 5)], "v").unwrap_err();
    assert_eq!(
        twice.to_string(),
        "metricName s0-X defined multiple times in ScaledObject"
    );
    assert_eq!(desired(&object, WEB, &[], "v").unwrap_err(), InvalidMetrics::None);
}

#[test]
fn section_2_labels_of_the_object_win_and_excluded_ones_stay_behind() {
    let mut object = object(json!({}));
    object.labels_mut().extend([
        ("team".to_owned(), "blue".to_owned()),
        ("secret".to_owned(), "x".to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), "shop".to_owned()),
    ]);
    object.annotations_mut().insert(
        keda::HPA_EXCLUDED_LABELS_ANNOTATION.into(),
        "secret, other".into(),
    );
    let hpa = made(&object, &[external("s0-x", 5)]);
    assert_eq!(hpa.labels().get("team").map(String::as_str), Some("blue"));
    assert_eq!(
        hpa.labels().get("app.kubernetes.io/part-of").map(String::as_str),
        Some("shop")
    );
    assert!(!hpa.labels().contains_key("secret"));
    assert_eq!(hpa.annotations(), object.annotations());
}

#[test]
fn section_2_pausing_one_direction_disables_its_policy_and_leaves_the_rest() {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    let config = json!({"advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}});
    let cases = [
        (json!({}), None, None),
        (
            json!({}),
            Some(keda::PAUSED_SCALE_IN_ANNOTATION),
            Some(json!({"scaleDown": {"selectPolicy": "Disabled"}})),
        ),
        (
            json!({}),
            Some(keda::PAUSED_SCALE_OUT_ANNOTATION),
            Some(json!({"scaleUp": {"selectPolicy": "Disabled"}})),
        ),
        (config.clone(), None, Some(behavior)),
        (
            config,
            Some(keda::PAUSED_SCALE_IN_ANNOTATION),
            Some(json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 60}})),
        ),
    ];
    for (spec, annotation, expected) in cases {
        let mut object = object(spec);
        if let Some(annotation) = annotation {
            object
                .annotations_mut()
                .insert(annotation.to_owned(), "true".to_owned());
        }
        assert_eq!(
            made(&object, &[external("s0-x", 5)]).spec.get("behavior"),
            expected.as_ref(),
            "{annotation:?}"
        );
    }
}

#[test]
fn section_2_drift_is_what_is_missing_not_what_was_added() {
    let mut object = object(json!({"advanced": {"horizontalPodAutoscalerConfig": {
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    }}}));
    object.annotations_mut().insert("team".into(), "blue".into());
    let wanted = made(
        &object,
        &[external("s0-x", 5), resource(MetricTarget::Utilization(50))],
    );
    let drift = |change: &dyn Fn(&mut Autoscaler)| {
        let mut current = wanted.clone();
        change(&mut current);
        needs_update(&current, &wanted)
    };
    assert!(!drift(&|_| {}));
    assert!(!drift(
        &|hpa| _ = hpa.labels_mut().insert("added".into(), "x".into())
    ));
    assert!(!drift(
        &|hpa| _ = hpa.annotations_mut().insert("added".into(), "x".into())
    ));
    assert!(!drift(&|hpa| hpa.spec["added"] = json!(1)));
    // Another release made it: that alone is no reason to write on every HPA of a cluster.
    assert!(!drift(&|hpa| {
        let version = "app.kubernetes.io/version".to_owned();
        _ = hpa.labels_mut().insert(version, "2.17.0".into());
    }));
    assert!(!drift(&|hpa| {
        // As the API server stores it.
        hpa.spec["behavior"] = json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]},
            "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]},
        });
    }));
    assert!(drift(&|hpa| hpa.spec["maxReplicas"] = json!(7)));
    assert!(drift(
        &|hpa| _ = hpa.labels_mut().remove("app.kubernetes.io/managed-by")
    ));
    assert!(drift(&|hpa| _ = hpa.annotations_mut().remove("team")));
    assert!(drift(&|hpa| hpa.metadata.owner_references = None));
    assert!(drift(
        &|hpa| hpa.spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = json!(5)
    ));
    assert!(drift(
        &|hpa| _ = hpa.spec.as_object_mut().unwrap().remove("behavior")
    ));
    assert!(drift(&|hpa| hpa.spec["metrics"]
        .as_array_mut()
        .unwrap()
        .truncate(1)));
    assert!(drift(&|hpa| {
        let copy = hpa.spec["metrics"][0].clone();
        hpa.spec["metrics"].as_array_mut().unwrap().push(copy);
    }));
}

#[test]
fn section_2_a_pause_that_is_over_is_drift() {
    let mut paused = object(json!({}));
    paused
        .annotations_mut()
        .insert(keda::PAUSED_SCALE_IN_ANNOTATION.into(), "true".into());
    let current = made(&paused, &[external("s0-x", 5)]);
    let wanted = made(&object(json!({})), &[external("s0-x", 5)]);
    assert!(needs_update(&current, &wanted));
}

#[test]
fn section_2_a_long_name_is_cut_in_the_label() {
    let mut object = object(json!({}));
    object.metadata.name = Some("x".repeat(63));
    let hpa = made(&object, &[external("s0-x", 5)]);
    assert_eq!(hpa.labels()["app.kubernetes.io/name"].len(), 63);
}
