//! `horizontal_test.go`: whole runs, with conditions, events and statuses.

use jiff::{SignedDuration, Timestamp};

use super::{
    minutes_ago, now, test_config,
    world::{World, active, conditions, cpu_usage, events, message, pods_metric, rates, world},
};
use crate::{
    hpa::{
        Config, Input, LabelSelector, Reading, Scale, State, Targets,
        behavior::{Recommendation, ScaleEvent},
        pods::{ConditionStatus, PodSample, PodUsage, ReadyCondition},
        spec::{Behavior, ExternalMetric, Metric, MetricIdentifier, Policy, ScalingRules, Target},
        status::{ConditionType, MetricValueStatus},
    },
    store::ObjectKey,
};

#[test]
fn cpu_scales_whole_runs_as_in_kubernetes() {
    let within = "!ScalingLimited=DesiredWithinRange";
    let steep = || rates(Policy::percent(700, 60));
    let surge = Scale {
        spec_replicas: 4,
        status_replicas: 5,
        selector: "name=test-pod".into(),
    };
    for (name, mut world, replicas, able, limited) in [
        (
            "TestUpscaleCap",
            world(1, 100, 3).cpu(10, &[100, 200, 300], &[100; 3]).up(steep()),
            24,
            "SucceededRescale",
            "ScalingLimited=ScaleUpLimit",
        ),
        (
            "TestUpscaleCapGreaterThanMaxReplicas",
            world(1, 20, 3).cpu(10, &[100, 200, 300], &[100; 3]).up(steep()),
            20,
            "SucceededRescale",
            "ScalingLimited=TooManyReplicas",
        ),
        (
            "TestMoreReplicasThanSpecNoScale",
            World {
                scale: surge,
                ..world(1, 8, 4)
            }
            .cpu(50, &[500; 5], &[1000; 5]),
            4,
            "ReadyForNewScale",
            within,
        ),
        (
            "TestMinReplicas",
            world(2, 5, 3).cpu(90, &[10, 95, 10], &[900, 1000, 1100]),
            2,
            "SucceededRescale",
            "ScalingLimited=TooFewReplicas",
        ),
        (
            "TestMinReplicasDesiredZero",
            world(2, 5, 3).cpu(90, &[0; 3], &[900, 1000, 1100]),
            2,
            "SucceededRescale",
            "ScalingLimited=TooFewReplicas",
        ),
        (
            "TestZeroMinReplicasDesiredZero",
            world(0, 5, 3).cpu(90, &[0; 3], &[900, 1000, 1100]),
            0,
            "SucceededRescale",
            within,
        ),
        (
            "TestMaxReplicas",
            world(2, 5, 3).cpu(90, &[8000, 9500, 1000], &[900, 1000, 1100]),
            5,
            "SucceededRescale",
            "ScalingLimited=TooManyReplicas",
        ),
        (
            "TestMissingReports",
            world(1, 5, 4).cpu(50, &[200], &[200]),
            2,
            "SucceededRescale",
            within,
        ),
        (
            "TestEventNotCreated",
            world(1, 5, 2).cpu(50, &[200; 2], &[400; 2]),
            2,
            "ReadyForNewScale",
            within,
        ),
    ] {
        let outcome = world.run();
        assert_eq!(outcome.desired_replicas(), replicas, "{name}");
        assert_eq!(conditions(&outcome), active(able, limited), "{name}");
        assert_eq!(outcome.error, None, "{name}");
    }
}

#[test]
fn totals_scale_whole_runs_to_and_from_zero_as_in_kubernetes() {
    let (value, average) = (Target::value, Target::average_value);
    for (name, mut world, replicas) in [
        (
            "TestScaleDownToZeroCMObject",
            world(0, 6, 5).object(value(20000), 0),
            0,
        ),
        (
            "TestScaleDownToZeroCMExternal",
            world(0, 6, 5).external(value(14400), 0),
            0,
        ),
        (
            "TestScaleUpFromZeroCMObject",
            world(0, 6, 0).object(value(15000), 20000),
            2,
        ),
        (
            "TestScaleUpFromZeroIgnoresToleranceCMObject",
            world(0, 6, 0).object(value(1000), 1000),
            1,
        ),
        (
            "TestScaleUpPerPodCMObject",
            world(2, 6, 3).object(average(10000), 40000),
            4,
        ),
        (
            "TestScaleUpCMExternal",
            world(2, 6, 3).external(value(6666), 8600),
            4,
        ),
        (
            "TestScaleUpPerPodCMExternal",
            world(2, 6, 3).external(average(2222), 8600),
            4,
        ),
        (
            "TestScaleDownCMExternal",
            world(2, 6, 5).external(value(14400), 8600),
            3,
        ),
        (
            "TestScaleDownPerPodCMExternal",
            world(2, 6, 5).external(average(3000), 8600),
            3,
        ),
        (
            "TestToleranceCMExternal",
            world(2, 6, 4).external(value(8666), 8600),
            4,
        ),
        (
            "TestTolerancePerPodCMExternal",
            world(2, 6, 4).external(average(2200), 8600),
            4,
        ),
    ] {
        assert_eq!(world.run().desired_replicas(), replicas, "{name}");
    }
}

#[test]
fn outside_its_bounds_a_target_is_moved_without_looking_at_metrics() {
    for (name, mut world, replicas, expected, event) in [
        (
            "TestZeroReplicas",
            world(3, 5, 0),
            0,
            "AbleToScale=SucceededGetScale !ScalingActive=ScalingDisabled",
            None,
        ),
        (
            "TestTooFewReplicas",
            world(3, 5, 2),
            3,
            "AbleToScale=SucceededRescale",
            Some(
                "Normal SuccessfulRescale New size: 3; reason: Current number of replicas below Spec.MinReplicas",
            ),
        ),
        (
            "TestTooManyReplicas",
            world(3, 5, 10),
            5,
            "AbleToScale=SucceededRescale",
            Some(
                "Normal SuccessfulRescale New size: 5; reason: Current number of replicas above Spec.MaxReplicas",
            ),
        ),
    ] {
        assert!(!Input::needs_metrics(&world.spec, &world.scale), "{name}");
        world.readings = vec![Reading::Failed("nobody should look".into())];
        let outcome = world.run();
        assert_eq!(
            (outcome.desired_replicas(), conditions(&outcome).as_str()),
            (replicas, expected),
            "{name}"
        );
        assert_eq!(
            events(&outcome),
            Vec::from_iter(event.map(str::to_owned)),
            "{name}"
        );
        assert_eq!(outcome.status.current_metrics, None, "{name}");
        assert_eq!(
            outcome.status.last_scale_time.is_some(),
            event.is_some(),
            "{name}"
        );
    }
}

#[test]
fn a_run_reports_what_it_did_in_the_words_of_kubernetes() {
    let selector = LabelSelector::of("scaledobject.keda.sh/name", "aws-sqs-queue-scaledobject");
    let metric = MetricIdentifier {
        name: "s0-aws-sqs-my-sqs-keda".into(),
        selector: Some(selector),
    };
    let external = Metric::External(ExternalMetric {
        metric,
        target: Target::average_value(5000),
    });
    let mut world = world(1, 3, 1).metric(external, Reading::External(vec![8000]));
    let outcome = world.run();
    let name = "external metric s0-aws-sqs-my-sqs-keda(&LabelSelector{MatchLabels:map[string]string\
                {scaledobject.keda.sh/name: aws-sqs-queue-scaledobject,},MatchExpressions:\
                []LabelSelectorRequirement{},})";
    assert_eq!(
        events(&outcome),
        [format!(
            "Normal SuccessfulRescale New size: 2; reason: {name} above target"
        )]
    );
    assert_eq!(
        message(&outcome, ConditionType::ScalingActive),
        format!("the HPA was able to successfully calculate a replica count from {name}")
    );
    assert_eq!(
        message(&outcome, ConditionType::AbleToScale),
        "the HPA controller was able to update the target scale to 2"
    );
    assert_eq!(
        message(&outcome, ConditionType::ScalingLimited),
        "the desired count is within the acceptable range"
    );
    assert_eq!(outcome.status.last_scale_time, Some(now()));
    assert_eq!(
        (outcome.status.current_replicas, outcome.status.desired_replicas),
        (1, 2)
    );
    let metrics = outcome.status.current_metrics.unwrap();
    assert_eq!(
        metrics[0].external.as_ref().unwrap().current,
        MetricValueStatus::average_value(8000)
    );

    world.readings = vec![Reading::External(vec![0])];
    world.scale = Scale {
        spec_replicas: 3,
        status_replicas: 3,
        ..world.scale
    };
    world.state.recommendations = Some(Vec::new());
    let outcome = world.run();
    assert_eq!(
        events(&outcome),
        ["Normal SuccessfulRescale New size: 1; reason: All metrics below target"]
    );
    assert_eq!(
        conditions(&outcome),
        active("SucceededRescale", "ScalingLimited=TooFewReplicas")
    );
}

#[test]
fn targets_know_whose_pods_are_shared() {
    let mut targets = Targets::default();
    let key = |name: &str| ObjectKey::new("shop", name);
    targets.insert(key("web"), "name=test-pod");
    targets.insert(key("cheese"), "cheddar=cheese");
    targets.insert(key("everything"), "");
    targets.insert(ObjectKey::new("elsewhere", "web"), "name=test-pod");
    let labels = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let plain = labels(&[("name", "test-pod")]);
    let both = labels(&[("name", "test-pod"), ("cheddar", "cheese")]);
    assert_eq!(targets.controllers("shop", [&plain]), [key("web")]);
    assert_eq!(
        targets.controllers("shop", [&plain, &both]),
        [key("cheese"), key("web")]
    );
    assert_eq!(targets.controllers("shop", []), []);
    targets.remove(&key("cheese"));
    assert_eq!(targets.controllers("shop", [&both]), [key("web")]);
}

#[test]
fn the_largest_proposal_wins_and_gives_the_reason() {
    let sample = |value| PodSample {
        value,
        timestamp: Timestamp::UNIX_EPOCH,
        window: SignedDuration::from_mins(1),
    };
    let levels = [20000, 10000, 30000];
    let samples = levels
        .iter()
        .enumerate()
        .map(|(index, level)| (format!("test-pod-{index}"), sample(*level)));
    let pods_reading = Reading::Pods(samples.collect());
    // TestNoBackoffUpscaleCM, then TestNoBackoffUpscaleCMNoBackoffCpu.
    let mut custom = world(1, 5, 3).metric(pods_metric(15000), pods_reading.clone());
    let outcome = custom.run();
    assert_eq!(
        events(&outcome),
        ["Normal SuccessfulRescale New size: 4; reason: pods metric qps above target"]
    );
    let mut with_cpu = world(1, 5, 3)
        .cpu(10, &levels, &[1000; 3])
        .metric(pods_metric(15000), pods_reading);
    let outcome = with_cpu.run();
    assert_eq!(
        conditions(&outcome),
        active("SucceededRescale", "ScalingLimited=TooManyReplicas")
    );
    assert_eq!(
        events(&outcome),
        [
            "Normal SuccessfulRescale New size: 5; reason: cpu resource utilization (percentage of request) above target"
        ]
    );
}

#[test]
fn recent_recommendations_hold_the_replicas_up() {
    let shrinking = || world(1, 5, 4).cpu(100, &[50; 3], &[100; 3]);
    let recommendation = |replicas, minutes| Recommendation {
        replicas,
        time: minutes_ago(minutes),
    };
    let stabilized = active("ScaleDownStabilized", "!ScalingLimited=DesiredWithinRange");
    // TestStabilizeDownscale.
    let mut world = shrinking();
    world.state.recommendations = Some(vec![recommendation(10, 10), recommendation(4, 1)]);
    let outcome = world.run();
    assert_eq!(
        (outcome.desired_replicas(), conditions(&outcome)),
        (4, stabilized.clone())
    );
    // TestScaleDownStabilizeInitialSize: without a memory the current number counts as recommended just now.
    let mut world = shrinking();
    world.state = State::default();
    let outcome = world.run();
    assert_eq!(
        (outcome.desired_replicas(), conditions(&outcome)),
        (4, stabilized)
    );
    // TestScaleDownWithScalingRules: an empty memory holds nothing.
    let mut world = world_with_slow_up();
    assert_eq!(world.run().desired_replicas(), 3);
}

fn world_with_slow_up() -> World {
    let rules = ScalingRules {
        stabilization_window_seconds: Some(30),
        ..rates(Policy::percent(100, 15))
    };
    world(2, 6, 5)
        .cpu(50, &[100, 300, 500, 250, 250], &[1000; 5])
        .up(rules)
}

#[test]
fn a_higher_recommendation_within_the_window_scales_up_again_without_a_reason() {
    let mut world = world(1, 9, 3).external(Target::average_value(1000), 3000);
    world.state.recommendations = Some(vec![Recommendation {
        replicas: 5,
        time: minutes_ago(1),
    }]);
    assert_eq!(
        events(&world.run()),
        ["Normal SuccessfulRescale New size: 5; reason: "]
    );
}

#[test]
fn tolerances_of_the_behavior_count_unless_switched_off() {
    let odd = &[900, 1000, 1100];
    let up = || ScalingRules {
        tolerance: Some(0.01),
        ..ScalingRules::default_up()
    };
    let down = Behavior {
        scale_down: ScalingRules {
            tolerance: Some(0.9),
            ..ScalingRules::default_down()
        },
        ..Behavior::default()
    };
    let base = || world(1, 5, 3).cpu(100, &[1010, 1030, 1020], odd);
    let mut idle = world(1, 5, 3).cpu(100, &[300; 3], &[1000; 3]);
    idle.spec.behavior = Some(down);
    let off = Config {
        configurable_tolerance: false,
        ..test_config()
    };
    for (name, mut world, replicas) in [
        ("1 % up", base().up(up()), 4),
        ("90 % down", idle, 3),
        ("the default", base(), 3),
        (
            "gate off",
            World {
                config: off,
                ..base().up(up())
            },
            3,
        ),
    ] {
        assert_eq!(world.run().desired_replicas(), replicas, "{name}");
    }
}

#[test]
fn nothing_changes_in_a_status_when_nothing_happens() {
    let mut world = world(1, 5, 2).external(Target::average_value(5000), 10000);
    world.status = world.run().status;
    let before = world.status.clone();
    let outcome = world.unwritten();
    assert_eq!(
        (outcome.rescale, outcome.events, outcome.status),
        (None, Vec::new(), before)
    );
}

/// `TestMultipleHPAs`: a thousand autoscalers, each with its own memory, taking turns.
#[test]
fn a_thousand_autoscalers_do_not_disturb_each_other() {
    let rules = |pods: i32, percent: i32| ScalingRules {
        policies: vec![Policy::pods(pods, 60), Policy::percent(percent, 60)],
        ..ScalingRules::default_up()
    };
    let make = |index: usize| {
        let level = 100 + i64::try_from(index).unwrap() % 900;
        let mut world = world(1, 10, 1).cpu(10, &[level], &[1000]).up(rules(3, 1));
        world.state.scale_up_events = [8, 12, 9, 11]
            .into_iter()
            .zip(1..)
            .map(|(change, minute)| ScaleEvent::new(change, minutes_ago(minute)))
            .collect();
        world
    };
    let alone: Vec<_> = (0..1000).map(|index| make(index).run()).collect();
    let mut together: Vec<_> = (0..1000).map(make).collect();
    let first: Vec<_> = together.iter_mut().map(World::run).collect();
    assert_eq!(first, alone);
    // 10 % to 14 % of a target of 10 % ask for 1 or 2; from 40 % on for more than the three pods that a minute allows.
    assert_eq!(first[0].desired_replicas(), 1);
    assert_eq!(first[20].desired_replicas(), 2);
    assert_eq!(first[400].desired_replicas(), 4);
    // A second run in the same minute: what was added counts in the memory of those that grew, and of nobody else.
    for (index, world) in together.iter_mut().enumerate() {
        let grown = first[index].desired_replicas() - 1;
        let counted = crate::hpa::behavior::change_within(60, &world.state.scale_up_events, now());
        assert_eq!(counted, grown, "{index}");
    }
}

#[test]
fn pods_within_their_cpu_initialisation_do_not_count_with_production_values() {
    let mut world = world(1, 9, 2).cpu(50, &[500, 1000], &[1000; 2]);
    world.config = Config::default();
    for (index, minutes) in [(0, 60), (1, 4)] {
        world.pods[index].start_time = Some(minutes_ago(minutes));
        let ready = ReadyCondition {
            status: ConditionStatus::True,
            last_transition: minutes_ago(minutes),
        };
        world.pods[index].ready = Some(ready);
    }
    let early = PodUsage {
        timestamp: minutes_ago(4),
        ..super::usage(1, &[500, 500], now())
    };
    world.readings = vec![Reading::Resource(vec![
        super::usage(0, &[250, 250], now()),
        early,
    ])];
    assert_eq!(
        world.run().desired_replicas(),
        2,
        "a sample of its start-up says nothing"
    );
    world.readings = vec![cpu_usage(&[500, 1000])];
    assert_eq!(
        world.run().desired_replicas(),
        3,
        "a whole window after it became ready it does"
    );
}
