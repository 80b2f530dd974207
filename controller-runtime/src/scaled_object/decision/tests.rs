//! keda.md §3.3, row by row.

use super::*;

const TARGET: &str = "apps/v1.Deployment default/web";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn trigger(state: TriggerState) -> TriggerView {
    TriggerView {
        name: "s0-queue".into(),
        state,
        detail: "value 8, target 5".into(),
    }
}

/// Created at 0, checked at 1000, cooldown 10 s, last active never.
fn seen(replicas: i32, bounds: Bounds, triggers: &[TriggerView]) -> Observation<'_> {
    Observation {
        now: at(1000),
        target: TARGET,
        replicas: Ok(replicas),
        bounds,
        cooldown: Cooldown {
            period: SignedDuration::from_secs(10),
            initial: SignedDuration::ZERO,
            created: at(0),
            last_active: None,
        },
        switches: Switches::default(),
        fallback_replicas: None,
        triggers,
        composite: None,
    }
}

fn failed() -> TriggerState {
    TriggerState::Failed("connection refused".into())
}

struct Row {
    name: &'static str,
    state: TriggerState,
    replicas: i32,
    min: i32,
    idle: Option<i32>,
    fallback: Option<i32>,
    step: Step,
    ready: &'static str,
    active: &'static str,
    is_active_now: bool,
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn every_row_of_section_3_3_decides_as_keda_does() {
    use Step::{Activate, Deactivate, RaiseToMinimum, Stay};
    use TriggerState::{Active, FallenBack, Inactive, Resource};
    let row = |name, state, (replicas, min, idle), fallback, step, ready, active, is_active_now| Row {
        name,
        state,
        replicas,
        min,
        idle,
        fallback,
        step,
        ready,
        active,
        is_active_now,
    };
    let (ok, on, off) = ("ScaledObjectReady", "ScalerActive", "ScalerNotActive");
    let rows = [
        row(
            "1a from zero to one",
            Active,
            (0, 0, None),
            None,
            Activate { to: 1 },
            ok,
            on,
            true,
        ),
        row(
            "1a from zero to min",
            Active,
            (0, 3, None),
            None,
            Activate { to: 3 },
            ok,
            on,
            true,
        ),
        row(
            "1a from idle to min",
            Active,
            (1, 3, Some(1)),
            None,
            Activate { to: 3 },
            ok,
            on,
            true,
        ),
        row(
            "1a from idle 0 with min 0",
            Active,
            (0, 0, Some(0)),
            None,
            Activate { to: 1 },
            ok,
            on,
            true,
        ),
        row(
            "1c without idle the HPA raises to min",
            Active,
            (1, 3, None),
            None,
            Stay,
            ok,
            on,
            true,
        ),
        row("1c at work", Active, (4, 1, None), None, Stay, ok, on, true),
        row(
            "1a fallback counts as active",
            FallenBack("x".into()),
            (0, 0, None),
            Some(2),
            Activate { to: 1 },
            ok,
            on,
            true,
        ),
        row(
            "3.2 nothing but cpu and memory is active",
            Resource,
            (0, 1, None),
            None,
            Activate { to: 1 },
            ok,
            on,
            true,
        ),
        row(
            "2a waits for the threshold",
            failed(),
            (2, 0, None),
            Some(2),
            Stay,
            ok,
            off,
            false,
        ),
        row(
            "2a does not fill up to min either",
            failed(),
            (0, 2, None),
            Some(2),
            Stay,
            ok,
            off,
            false,
        ),
        row(
            "2b no fallback",
            failed(),
            (2, 0, None),
            None,
            Stay,
            "TriggerError",
            off,
            false,
        ),
        row(
            "2 NB fallback to nothing may go to zero",
            failed(),
            (2, 0, None),
            Some(0),
            Deactivate { to: 0 },
            ok,
            off,
            false,
        ),
        row(
            "2c to zero",
            Inactive,
            (5, 0, None),
            None,
            Deactivate { to: 0 },
            ok,
            off,
            false,
        ),
        row(
            "2c to idle",
            Inactive,
            (5, 3, Some(1)),
            None,
            Deactivate { to: 1 },
            ok,
            off,
            false,
        ),
        row(
            "2c to idle 0 with min 0",
            Inactive,
            (5, 0, Some(0)),
            None,
            Deactivate { to: 0 },
            ok,
            off,
            false,
        ),
        row(
            "2d fills up to min",
            Inactive,
            (1, 3, None),
            None,
            RaiseToMinimum { to: 3 },
            ok,
            off,
            false,
        ),
        row(
            "2e at min the HPA decides",
            Inactive,
            (5, 3, None),
            None,
            Stay,
            ok,
            off,
            false,
        ),
        row(
            "2e at idle",
            Inactive,
            (1, 3, Some(1)),
            None,
            Stay,
            ok,
            off,
            false,
        ),
        row(
            "2e below idle",
            Inactive,
            (0, 3, Some(1)),
            None,
            Stay,
            ok,
            off,
            false,
        ),
        row("2e at zero", Inactive, (0, 0, None), None, Stay, ok, off, false),
    ];
    for row in rows {
        let triggers = [trigger(row.state)];
        let mut seen = seen(
            row.replicas,
            Bounds {
                min: row.min,
                idle: row.idle,
            },
            &triggers,
        );
        seen.fallback_replicas = row.fallback;
        let decision = decide(&seen);
        assert_eq!(decision.step, row.step, "{}", row.name);
        assert_eq!(decision.ready.reason.as_deref(), Some(row.ready), "{}", row.name);
        assert_eq!(
            decision.active.and_then(|active| active.reason).as_deref(),
            Some(row.active),
            "{}",
            row.name
        );
        assert_eq!(decision.is_active_now, row.is_active_now, "{}", row.name);
    }
}

#[test]
fn one_failing_trigger_of_two_makes_ready_unknown_and_does_not_refresh_the_activity_3_3_1b() {
    let triggers = [trigger(TriggerState::Active), trigger(failed())];
    let decision = decide(&seen(2, Bounds::default(), &triggers));
    assert_eq!(decision.ready.status, "Unknown");
    assert_eq!(decision.ready.reason.as_deref(), Some("PartialTriggerError"));
    assert!(!decision.is_active_now);
}

#[test]
fn resource_triggers_do_not_keep_others_awake_3_2() {
    let triggers = [trigger(TriggerState::Resource), trigger(TriggerState::Inactive)];
    assert_eq!(
        decide(&seen(2, Bounds::default(), &triggers)).step,
        Step::Deactivate { to: 0 }
    );
}

#[test]
fn replicas_that_cannot_be_read_stop_everything_3_3_0() {
    let triggers = [trigger(TriggerState::Active)];
    let mut seen = seen(0, Bounds::default(), &triggers);
    seen.replicas = Err("the server is down".into());
    let decision = decide(&seen);
    assert_eq!((decision.step, decision.active), (Step::Stay, None));
    assert_eq!(decision.ready.status, "False");
    assert_eq!(
        decision.ready.reason.as_deref(),
        Some("ErrorGettingCurrentReplicas")
    );
    assert!(decision.ready.message.unwrap().contains("the server is down"));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn section_3_3_annotations_stop_or_force_steps() {
    let on = [trigger(TriggerState::Active)];
    let off = [trigger(TriggerState::Inactive)];
    let cases = [
        (
            "paused, active",
            0,
            &on,
            Switches {
                paused: true,
                ..Switches::default()
            },
            Step::Stay,
        ),
        (
            "paused, inactive",
            2,
            &off,
            Switches {
                paused: true,
                ..Switches::default()
            },
            Step::Stay,
        ),
        (
            "out paused",
            0,
            &on,
            Switches {
                scale_out_paused: true,
                ..Switches::default()
            },
            Step::Stay,
        ),
        (
            "out paused, in",
            2,
            &off,
            Switches {
                scale_out_paused: true,
                ..Switches::default()
            },
            Step::Deactivate { to: 0 },
        ),
        (
            "in paused",
            2,
            &off,
            Switches {
                scale_in_paused: true,
                ..Switches::default()
            },
            Step::Stay,
        ),
        (
            "in paused, out",
            0,
            &on,
            Switches {
                scale_in_paused: true,
                ..Switches::default()
            },
            Step::Activate { to: 1 },
        ),
        (
            "forced",
            0,
            &off,
            Switches {
                force_activation: true,
                ..Switches::default()
            },
            Step::Activate { to: 1 },
        ),
        (
            "forced at work",
            2,
            &off,
            Switches {
                force_activation: true,
                ..Switches::default()
            },
            Step::Stay,
        ),
    ];
    for (name, replicas, triggers, switches, step) in cases {
        let mut seen = seen(replicas, Bounds::default(), triggers);
        seen.switches = switches;
        assert_eq!(decide(&seen).step, step, "{name}");
    }
}

#[test]
fn rest_comes_strictly_after_the_cooldown_3_3_3() {
    let triggers = [trigger(TriggerState::Inactive)];
    // (last active, initial cooldown, goes to rest)
    let cases = [
        (Some(985), 0, true),
        (Some(990), 0, false),
        (Some(995), 0, false),
        // The initial cooldown no longer matters once there was activity.
        (Some(985), 5000, true),
        (None, 0, true),
        (None, 999, true),
        (None, 1000, false),
        (None, 5000, false),
    ];
    for (last_active, initial, rests) in cases {
        let mut seen = seen(2, Bounds::default(), &triggers);
        seen.cooldown.last_active = last_active.map(at);
        seen.cooldown.initial = SignedDuration::from_secs(initial);
        let decision = decide(&seen);
        let reason = decision.active.clone().and_then(|active| active.reason).unwrap();
        let expected = if rests {
            (Step::Deactivate { to: 0 }, "ScalerNotActive")
        } else {
            (Step::Stay, "ScalerCooldown")
        };
        assert_eq!(
            (decision.step, reason.as_str()),
            expected,
            "{last_active:?} {initial}"
        );
    }
}

#[test]
fn section_3_3_events_and_reasons_say_what_happened_in_kedas_words() {
    let on = [trigger(TriggerState::Active)];
    let decision = decide(&seen(0, Bounds::default(), &on));
    let event = decision.event.unwrap();
    assert_eq!(event.reason, "KEDAScaleTargetActivated");
    assert_eq!(
        event.message,
        "Scaled apps/v1.Deployment default/web from 0 to 1, triggered by s0-queue"
    );
    assert_eq!(decision.reason, "s0-queue is active (value 8, target 5)");

    let off = [trigger(TriggerState::Inactive)];
    let mut seen_off = seen(3, Bounds::default(), &off);
    seen_off.cooldown.last_active = Some(at(980));
    let decision = decide(&seen_off);
    assert_eq!(
        decision.event.unwrap().message,
        "Deactivated apps/v1.Deployment default/web from 3 to 0"
    );
    assert_eq!(
        decision.reason,
        "s0-queue is not active (value 8, target 5); 20 s since the last activity, the cooldown of 10 s is over"
    );

    seen_off.switches.force_activation = true;
    seen_off.replicas = Ok(0);
    assert_eq!(
        decide(&seen_off).event.unwrap().message,
        "Scaled apps/v1.Deployment default/web from 0 to 1, caused by forced activation"
    );
}

#[test]
fn filling_up_to_the_minimum_is_silent_3_3_2d() {
    let triggers = [trigger(TriggerState::Inactive)];
    assert_eq!(
        decide(&seen(1, Bounds { min: 2, idle: None }, &triggers)).event,
        None
    );
}

#[test]
fn the_last_activity_counts_to_the_second_as_the_api_keeps_it() {
    let triggers = [trigger(TriggerState::Inactive)];
    let late = |seconds, millis| at(seconds) + SignedDuration::from_millis(millis);
    // (last active, now, goes to rest): a poll that is exactly the cooldown later may find either the earlier by jitter.
    let cases = [
        (late(990, 503), late(1000, 501), true),
        (late(990, 501), late(1000, 503), true),
        (late(990, 999), late(1000, 1), true),
        (late(990, 503), late(1000, 0), false),
        (late(990, 503), late(999, 999), false),
    ];
    for (last_active, now, rests) in cases {
        let mut seen = seen(2, Bounds::default(), &triggers);
        seen.cooldown.last_active = Some(last_active);
        seen.now = now;
        let rested = decide(&seen).step == Step::Deactivate { to: 0 };
        assert_eq!(rested, rests, "{last_active} {now}");
    }
}

#[test]
fn with_modifiers_the_formula_alone_decides_as_section_3_2_says() {
    let composite = |state| TriggerView {
        name: "composite-metric".into(),
        state,
        detail: "a + b = 8".into(),
    };
    let cases = [
        (TriggerState::Active, TriggerState::Inactive, false, "False"),
        (TriggerState::Inactive, TriggerState::Active, true, "True"),
        (failed(), failed(), false, "False"),
        (failed(), TriggerState::FallenBack("x".into()), true, "True"),
        (TriggerState::Resource, TriggerState::Inactive, true, "True"),
    ];
    for (state, made, expected, condition) in cases {
        let (triggers, composite) = ([trigger(state)], composite(made));
        let mut seen = seen(0, Bounds::default(), &triggers);
        seen.composite = Some(&composite);
        let decision = decide(&seen);
        assert_eq!(seen.is_active(), expected, "{triggers:?} {composite:?}");
        assert_eq!(
            decision.active.unwrap().status,
            condition,
            "{triggers:?} {composite:?}"
        );
        assert!(
            decision.reason.contains("composite-metric"),
            "{}",
            decision.reason
        );
    }
}

#[test]
fn every_step_has_the_event_for_its_failure_3_3_1a_3() {
    let (on, off) = ([trigger(TriggerState::Active)], [trigger(TriggerState::Inactive)]);
    let activation = "KEDAScaleTargetActivationFailed";
    let cases = [
        (0, 0, &on, Step::Activate { to: 1 }, activation),
        (1, 2, &off, Step::RaiseToMinimum { to: 2 }, activation),
        (
            2,
            0,
            &off,
            Step::Deactivate { to: 0 },
            "KEDAScaleTargetDeactivationFailed",
        ),
    ];
    for (replicas, min, triggers, step, reason) in cases {
        let decision = decide(&seen(replicas, Bounds { min, idle: None }, triggers));
        assert_eq!((decision.step, decision.failure_reason), (step, reason));
    }
}

#[test]
fn conditions_have_the_words_of_section_1_1() {
    let condition = |state: TriggerState, forced: bool, replicas: i32| {
        let triggers = [trigger(state)];
        let mut seen = seen(replicas, Bounds::default(), &triggers);
        seen.switches.force_activation = forced;
        seen.cooldown.last_active = Some(at(995));
        let decision = decide(&seen);
        [decision.ready, decision.active.unwrap()]
            .map(|said| format!("{} {} {}", said.type_, said.status, said.reason.unwrap()))
    };
    let ready = "Ready True ScaledObjectReady";
    let cases = [
        (
            TriggerState::Active,
            false,
            0,
            [ready, "Active True ScalerActive"],
        ),
        (
            TriggerState::Inactive,
            true,
            0,
            [ready, "Active True ScalerActive"],
        ),
        (
            TriggerState::Inactive,
            false,
            0,
            [ready, "Active False ScalerNotActive"],
        ),
        (
            TriggerState::Inactive,
            false,
            2,
            [ready, "Active False ScalerCooldown"],
        ),
        (
            failed(),
            false,
            2,
            ["Ready False TriggerError", "Active False ScalerNotActive"],
        ),
        (
            failed(),
            true,
            2,
            ["Ready Unknown PartialTriggerError", "Active True ScalerActive"],
        ),
    ];
    for (state, forced, replicas, expected) in cases {
        let name = format!("{state:?}, forced: {forced}, at {replicas}");
        assert_eq!(condition(state, forced, replicas), expected, "{name}");
    }
    let ready = super::ready();
    assert_eq!(
        ready.message.as_deref(),
        Some("ScaledObject is defined correctly and is ready for scaling")
    );
    let (forced, by_triggers) = (condition_active(true), condition_active(false));
    assert_ne!(
        forced.message, by_triggers.message,
        "§1.1 the message differs when forced"
    );
}
