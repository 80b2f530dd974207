//! Taints and tolerations.

use std::fmt;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::karpenter::labels;

/// Whether a toleration tolerates a taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let matches = |pattern: &Option<String>, value: &str| {
        pattern
            .as_deref()
            .is_none_or(|pattern| pattern.is_empty() || pattern == value)
    };
    if !matches(&toleration.effect, &taint.effect) || !matches(&toleration.key, &taint.key) {
        return false;
    }
    let key_given = toleration.key.as_deref().is_some_and(|key| !key.is_empty());
    let value = |of: &Option<String>| of.clone().unwrap_or_default();
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => key_given && value(&toleration.value) == value(&taint.value),
        Some(_) => false,
    }
}

/// The first taint that keeps a pod away and that none of its tolerations tolerates. `PreferNoSchedule` counts as
/// keeping away, as Karpenter has it until the pod's preferences are relaxed; see [`tolerates_preferred`].
///
/// # Errors
/// The taint.
pub fn tolerates_all(tolerations: &[Toleration], taints: &[Taint]) -> Result<(), NotTolerated> {
    match taints
        .iter()
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    {
        Some(taint) => Err(NotTolerated { taint: taint.clone() }),
        None => Ok(()),
    }
}

/// The toleration that a pod gets as its last relaxation.
#[must_use]
pub fn tolerates_preferred() -> Toleration {
    Toleration {
        operator: Some("Exists".into()),
        effect: Some("PreferNoSchedule".into()),
        ..Toleration::default()
    }
}

/// A taint that a pod does not tolerate.
#[derive(Clone, Debug, PartialEq)]
pub struct NotTolerated {
    /// The taint.
    pub taint: Taint,
}

impl fmt::Display for NotTolerated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did not tolerate taint (taint={})", display(&self.taint))
    }
}

impl std::error::Error for NotTolerated {}

/// `key=value:Effect`, or `key:Effect` without a value.
#[must_use]
pub fn display(taint: &Taint) -> String {
    match taint.value.as_deref() {
        Some(value) if !value.is_empty() => format!("{}={value}:{}", taint.key, taint.effect),
        _ => format!("{}:{}", taint.key, taint.effect),
    }
}

/// Whether two taints are the same but for value and time: key and effect identify a taint.
#[must_use]
pub fn same(one: &Taint, another: &Taint) -> bool {
    one.key == another.key && one.effect == another.effect
}

/// The taints of `base` and those of `more` that it does not have.
#[must_use]
pub fn merge(base: &[Taint], more: &[Taint]) -> Vec<Taint> {
    let mut merged = base.to_vec();
    for taint in more {
        if !merged.iter().any(|present| same(present, taint)) {
            merged.push(taint.clone());
        }
    }
    merged
}

/// Whether a taint is one that every node has for a while when it starts: pods need not tolerate it, the node is not
/// initialised while it has one.
#[must_use]
pub fn is_ephemeral(taint: &Taint) -> bool {
    match (taint.key.as_str(), taint.effect.as_str()) {
        ("node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable", "NoSchedule" | "NoExecute") => {
            true
        }
        ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule") => {
            taint.value.as_deref() == Some("true")
        }
        (labels::UNREGISTERED_TAINT, _) => true,
        (key, _) => key.starts_with("readiness.k8s.io/"),
    }
}

/// The taints that a planner must mind on a node that is not initialised yet: neither ephemeral nor startup ones.
#[must_use]
pub fn lasting(taints: &[Taint], startup: &[Taint]) -> Vec<Taint> {
    taints
        .iter()
        .filter(|taint| !is_ephemeral(taint) && !startup.iter().any(|start| same(start, taint)))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: given(key),
            operator: given(operator),
            value: given(value),
            effect: given(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_match_as_in_kubernetes() {
        let gpu = taint("gpu", "yes", "NoSchedule");
        let cases = [
            (toleration("gpu", "Equal", "yes", "NoSchedule"), true),
            (toleration("gpu", "", "yes", ""), true),
            (toleration("gpu", "Equal", "no", ""), false),
            (toleration("gpu", "Exists", "", ""), true),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "Equal", "yes", ""), false),
            (toleration("gpu", "Exists", "", "NoExecute"), false),
            (toleration("cpu", "Exists", "", ""), false),
        ];
        for (toleration, expected) in cases {
            assert_eq!(tolerates(&toleration, &gpu), expected, "{toleration:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_taint() {
        let refusal = tolerates_all(&[], &[taint("gpu", "yes", "NoSchedule")]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "did not tolerate taint (taint=gpu=yes:NoSchedule)"
        );
        let bare = Taint {
            key: "gpu".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        assert_eq!(display(&bare), "gpu:NoSchedule");
    }

    #[test]
    fn startup_and_ephemeral_taints_do_not_last() {
        let startup = [taint("agent", "", "NoExecute")];
        let taints = [
            labels::unregistered_taint(),
            taint("node.kubernetes.io/not-ready", "", "NoSchedule"),
            taint("agent", "other", "NoExecute"),
            taint("gpu", "yes", "NoSchedule"),
        ];
        assert_eq!(
            lasting(&taints, &startup),
            vec![taint("gpu", "yes", "NoSchedule")]
        );
    }

    #[test]
    fn merging_keeps_the_first_of_each_key_and_effect() {
        let merged = merge(
            &[taint("a", "1", "NoSchedule")],
            &[taint("a", "2", "NoSchedule"), taint("a", "2", "NoExecute")],
        );
        assert_eq!(
            merged,
            vec![taint("a", "1", "NoSchedule"), taint("a", "2", "NoExecute")]
        );
    }
}
