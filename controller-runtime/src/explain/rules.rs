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
