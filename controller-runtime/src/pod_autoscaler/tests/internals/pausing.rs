//! keda.md §1.1, §9: the variants of a pause, and which of them wins.

use super::*;

/// Three replicas at work, of at most five.
async fn at_work() -> Stage {
    let stage = Stage::new();
    stage.deployment("web", 0);
    stage.apply_object(&json!({}));
    assert_eq!(stage.with_orders(15.0).await, 3);
    stage
}

struct Case {
    annotations: &'static [(&'static str, &'static str)],
    /// With much work, and then with none.
    replicas: [i64; 2],
    paused: &'static str,
    has_hpa: bool,
}

const fn case(
    annotations: &'static [(&'static str, &'static str)],
    replicas: [i64; 2],
    paused: &'static str,
    has_hpa: bool,
) -> Case {
    Case {
        annotations,
        replicas,
        paused,
        has_hpa,
    }
}

const RUNS: [i64; 2] = [5, 0];
const YES: &str = "True ScaledObjectPaused";
const NO: &str = "False ";

#[tokio::test(start_paused = true)]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn section_9_pause_variants_and_their_precedence() {
    let cases = [
        case(&[], RUNS, NO, true),
        case(&[("paused", "true")], [3, 3], YES, false),
        case(&[("paused", "1")], [3, 3], YES, false),
        case(&[("paused", "")], [3, 3], YES, false),
        case(&[("paused", "when I say so")], [3, 3], YES, false),
        case(&[("paused", "false")], RUNS, NO, true),
        case(&[("paused", "0")], RUNS, NO, true),
        case(&[("paused-replicas", "1")], [1, 1], YES, false),
        case(&[("paused-replicas", "0")], [0, 0], YES, false),
        case(&[("paused-replicas", "9")], [9, 9], YES, false),
        // Its presence pauses, whatever the switch says; what it says counts.
        case(
            &[("paused", "false"), ("paused-replicas", "2")],
            [2, 2],
            YES,
            false,
        ),
        case(
            &[("paused", "true"), ("paused-replicas", "2")],
            [2, 2],
            YES,
            false,
        ),
        case(&[("paused-replicas", "many")], [3, 3], YES, false),
        case(&[("paused-replicas", "")], [3, 3], YES, false),
        case(&[("paused-scale-in", "true")], [5, 5], NO, true),
        case(&[("paused-scale-in", "")], [5, 5], NO, true),
        case(&[("paused-scale-in", "maybe")], [5, 5], NO, true),
        case(&[("paused-scale-in", "false")], RUNS, NO, true),
        case(&[("paused-scale-out", "true")], [3, 0], NO, true),
        case(&[("paused-scale-out", "")], [3, 0], NO, true),
        case(&[("paused-scale-out", "false")], RUNS, NO, true),
        case(
            &[("paused-scale-in", "true"), ("paused-scale-out", "true")],
            [3, 3],
            NO,
            true,
        ),
        // A pause as a whole wins.
        case(
            &[("paused", "true"), ("force-activation", "true")],
            [3, 3],
            YES,
            false,
        ),
        case(
            &[("paused-replicas", "0"), ("force-activation", "true")],
            [0, 0],
            YES,
            false,
        ),
        case(
            &[("paused-replicas", "1"), ("paused-scale-in", "true")],
            [1, 1],
            YES,
            false,
        ),
    ];
    // Each has an object and a Deployment of its own; all are fed by the same queue.
    let stage = Stage::new();
    let name = |index: usize| format!("case-{index}");
    let replicas = || (0..cases.len()).map(|index| stage.replicas(&name(index)));
    for index in 0..cases.len() {
        stage.deployment(&name(index), 0);
        stage.scale(&name(index), &json!({"scaleTargetRef": {"name": name(index)}}));
    }
    let with_orders = async |orders: f64| {
        stage.script.set("orders", orders);
        stage.pass(A_WHILE).await;
    };
    let annotate = async |index: usize, annotation: &str, value: Value| {
        let path = OBJECT.replace("/so", &format!("/{}", name(index)));
        let annotations = json!({format!("autoscaling.keda.sh/{annotation}"): value});
        stage
            .patch(&path, &json!({"metadata": {"annotations": annotations}}))
            .await;
    };
    with_orders(15.0).await;
    assert!(replicas().all(|replicas| replicas == 3));
    for (index, case) in cases.iter().enumerate() {
        for (annotation, value) in case.annotations {
            annotate(index, annotation, json!(value)).await;
        }
    }
    with_orders(50.0).await;
    let busy: Vec<_> = replicas().collect();
    with_orders(0.0).await;
    for (index, case) in cases.iter().enumerate() {
        let (object, said) = (name(index), format!("{:?}", case.annotations));
        let found = [busy[index], stage.replicas(&object)];
        assert_eq!(found, case.replicas, "{said}");
        let hpa = stage.hpa(&format!("keda-hpa-{object}"));
        assert_eq!(hpa.is_some(), case.has_hpa, "{said}");
        assert_eq!(stage.condition(&object, "Paused"), case.paused, "{said}");
        for (annotation, _) in case.annotations {
            annotate(index, annotation, Value::Null).await;
        }
    }
    with_orders(50.0).await;
    for (index, case) in cases.iter().enumerate() {
        assert_eq!(stage.replicas(&name(index)), 5, "after {:?}", case.annotations);
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_a_target_at_zero_is_not_woken_while_scaling_out_is_paused() {
    for annotation in ["paused", "paused-scale-out"] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        stage.apply_object(&json!({}));
        stage.annotate(annotation, "true").await;
        assert_eq!(stage.with_orders(50.0).await, 0, "{annotation}");
        stage.annotate(annotation, "false").await;
        assert_eq!(stage.with_orders(50.0).await, 5, "{annotation}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_another_number_of_paused_replicas_is_followed() {
    let stage = at_work().await;
    for replicas in ["1", "4", "0", "2"] {
        stage.annotate("paused-replicas", replicas).await;
        stage.pass(5).await;
        assert_eq!(stage.replicas("web").to_string(), replicas);
        assert_eq!(stage.status("so")["pausedReplicaCount"].to_string(), replicas);
    }
}

#[tokio::test(start_paused = true)]
async fn section_1_1_paused_replicas_that_are_no_number_are_said() {
    let stage = at_work().await;
    stage.annotate("paused-replicas", "many").await;
    stage.pass(5).await;
    assert_eq!(stage.condition("so", "Ready"), "False ScaledObjectCheckFailed");
    let message = stage.message("so", "Ready");
    assert!(message.contains("\"many\""), "{message}");
    stage.annotate("paused-replicas", "2").await;
    stage.pass(5).await;
    assert_eq!(stage.replicas("web"), 2);
}

#[tokio::test(start_paused = true)]
async fn section_2_paused_directions_are_disabled_in_the_hpa_and_given_back() {
    let stage = at_work().await;
    let rules =
        |direction: &str| stage.hpa(HPA).unwrap()["spec"]["behavior"][direction]["selectPolicy"].clone();
    for (annotation, direction, other) in [
        ("paused-scale-in", "scaleDown", "scaleUp"),
        ("paused-scale-out", "scaleUp", "scaleDown"),
    ] {
        stage.annotate(annotation, "true").await;
        stage.pass(5).await;
        assert_eq!(
            (rules(direction), rules(other)),
            (json!("Disabled"), json!("Max")),
            "{annotation}"
        );
        let hpa = stage.hpa(HPA).unwrap();
        assert_eq!(
            hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
            10
        );
        stage.annotate(annotation, Value::Null).await;
        stage.pass(5).await;
        assert_eq!(rules(direction), json!("Max"), "{annotation}");
    }
}
