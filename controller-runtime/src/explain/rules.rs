//! The rules of the decision, in words.

use crate::scaled_object::decision::Rule;

/// A rule in one sentence: what matched, and what follows.
#[must_use]
pub(super) fn in_words(rule: Rule) -> &'static str {
    match rule {
        Rule::Unreadable => "The target's replicas cannot be read, so nothing is done.",
        Rule::Paused => "The object is paused, so nothing is done.",
        Rule::Activate => {
            "There is work and the target was at rest, so it was woken; from here on the HPA scales it."
        }
        Rule::ActivationPaused => {
            "There is work and the target is at rest, but scaling out is paused by an annotation, so it stays at rest."
        }
        Rule::PartlyFailing => {
            "There is work and the target is awake, so the HPA scales it; but a trigger fails, so this does not count as \
             activity for the cooldown."
        }
        Rule::Active => "There is work and the target is awake, so the HPA scales it.",
        Rule::AwaitsFallback => {
            "No trigger that answers has work, and one fails whose failures are not past the fallback's threshold, so \
             nothing is done until they are."
        }
        Rule::Failing => {
            "No trigger that answers has work, and one fails without a fallback, so nothing is done: an outage is not \
             the same as no work."
        }
        Rule::RestPaused => {
            "There is no work, but scaling in is paused by an annotation, so the target is not put to rest."
        }
        Rule::CoolingDown => {
            "There is no work, but the cooldown is not over, so the target is not put to rest yet."
        }
        Rule::Deactivate => "There is no work and the cooldown is over, so the target was put to rest.",
        Rule::RaiseToMinimum => {
            "There is no work and there were fewer replicas than minReplicaCount, so they were filled up."
        }
        Rule::AtRest => {
            "There is no work, and the target is where it rests or is left to the HPA, so nothing is done."
        }
    }
}

/// The rule's place in the order in which rules are tried: 0 before all, 1 with work, 2 without, 3 going to rest.
#[must_use]
pub(super) fn number(rule: Rule) -> &'static str {
    match rule {
        Rule::Unreadable | Rule::Paused => "0",
        Rule::Activate | Rule::ActivationPaused => "1a",
        Rule::PartlyFailing => "1b",
        Rule::Active => "1c",
        Rule::AwaitsFallback => "2a",
        Rule::Failing => "2b",
        Rule::RaiseToMinimum => "2d",
        Rule::AtRest => "2e",
        Rule::RestPaused | Rule::CoolingDown | Rule::Deactivate => "3",
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §3.3: which row decides, and how it is said.
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::scaled_object::decision::{
        Bounds, Cooldown, Observation, Switches, TriggerState, TriggerView, decide,
    };

    fn rule(state: &TriggerState, change: impl FnOnce(&mut Observation<'_>)) -> Rule {
        let at = |second| Timestamp::from_second(second).unwrap();
        let working = TriggerView {
            name: "s1-other".to_owned(),
            state: TriggerState::Active,
            detail: String::new(),
        };
        let mut triggers = vec![TriggerView {
            name: "s0-queue".to_owned(),
            state: state.clone(),
            detail: String::new(),
        }];
        // Beside one that fails, one that works.
        if *state == TriggerState::Failed("beside one that works".to_owned()) {
            triggers.push(working);
        }
        let mut seen = Observation {
            now: at(1000),
            target: "apps/v1.Deployment default/web",
            replicas: Ok(2),
            bounds: Bounds::default(),
            cooldown: Cooldown {
                period: SignedDuration::from_secs(10),
                initial: SignedDuration::ZERO,
                created: at(0),
                last_active: None,
            },
            switches: Switches::default(),
            fallback_replicas: None,
            triggers: &triggers,
            composite: None,
        };
        change(&mut seen);
        decide(&seen).rule
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn every_row_has_its_rule_and_its_number() {
        use TriggerState::{Active, Failed, FallenBack, Inactive};
        let down = || Failed("down".to_owned());
        let beside = || Failed("beside one that works".to_owned());
        let recently = |seen: &mut Observation<'_>| seen.cooldown.last_active = Some(seen.now);
        let rows = [
            (
                "0",
                Rule::Unreadable,
                rule(&Active, |seen| seen.replicas = Err("gone".to_owned())),
            ),
            (
                "0",
                Rule::Paused,
                rule(&Active, |seen| seen.switches.paused = true),
            ),
            ("1a", Rule::Activate, rule(&Active, |seen| seen.replicas = Ok(0))),
            (
                "1a",
                Rule::Activate,
                rule(&FallenBack(String::new()), |seen| seen.replicas = Ok(0)),
            ),
            (
                "1a",
                Rule::Activate,
                rule(&Inactive, |seen| {
                    seen.replicas = Ok(0);
                    seen.switches.force_activation = true;
                }),
            ),
            (
                "1a",
                Rule::Activate,
                rule(&Active, |seen| {
                    seen.replicas = Ok(1);
                    seen.bounds = Bounds {
                        min: 3,
                        idle: Some(1),
                    };
                }),
            ),
            (
                "1a",
                Rule::ActivationPaused,
                rule(&Active, |seen| {
                    seen.replicas = Ok(0);
                    seen.switches.scale_out_paused = true;
                }),
            ),
            ("1b", Rule::PartlyFailing, rule(&beside(), |_| {})),
            ("1c", Rule::Active, rule(&Active, |_| {})),
            (
                "2a",
                Rule::AwaitsFallback,
                rule(&down(), |seen| seen.fallback_replicas = Some(3)),
            ),
            ("2b", Rule::Failing, rule(&down(), |_| {})),
            // A fallback to nothing keeps nobody awake.
            (
                "3",
                Rule::Deactivate,
                rule(&down(), |seen| seen.fallback_replicas = Some(0)),
            ),
            ("3", Rule::CoolingDown, rule(&Inactive, recently)),
            (
                "3",
                Rule::CoolingDown,
                rule(&Inactive, |seen| {
                    seen.cooldown.initial = SignedDuration::from_secs(2000);
                }),
            ),
            (
                "3",
                Rule::RestPaused,
                rule(&Inactive, |seen| seen.switches.scale_in_paused = true),
            ),
            ("3", Rule::Deactivate, rule(&Inactive, |_| {})),
            (
                "2d",
                Rule::RaiseToMinimum,
                rule(&Inactive, |seen| seen.bounds.min = 3),
            ),
            ("2e", Rule::AtRest, rule(&Inactive, |seen| seen.bounds.min = 2)),
            ("2e", Rule::AtRest, rule(&Inactive, |seen| seen.replicas = Ok(0))),
        ];
        for (index, (expected_number, expected, found)) in rows.into_iter().enumerate() {
            assert_eq!((found, number(found)), (expected, expected_number), "row {index}");
            assert!(in_words(found).ends_with('.'));
        }
    }
}
