//! What a pod asks for at first, and what it gives up step by step.

use k8s_openapi::api::core::v1::Toleration;

use super::{PodFacts, VolumeNeeds};
use crate::{Requirements, taints};

/// How much of its wishes a pod has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Relaxation {
    /// Alternatives of the required node affinity, from the first; the last is never given up.
    pub terms: usize,
    /// Preferred pod affinity, from the heaviest.
    pub affinity: usize,
    /// Preferred pod anti-affinity, from the heaviest.
    pub anti_affinity: usize,
    /// Preferred node affinity, from the heaviest.
    pub preferences: usize,
    /// `ScheduleAnyway` spreads, from the first.
    pub spreads: usize,
    /// Whether `PreferNoSchedule` is tolerated.
    pub tolerates_preferred: bool,
}

impl Relaxation {
    /// Gives up one more thing, in Karpenter's order; after the taint the required alternatives are gone through again. `false` if nothing is left to give up.
    pub(super) fn step(&mut self, pod: &PodFacts, has_preferred_taint: bool) -> bool {
        let soft = pod.spreads.iter().filter(|spread| !spread.is_hard).count();
        if self.terms + 1 < pod.required_terms.len() {
            self.terms += 1;
        } else if self.affinity < pod.preferred_affinity.len() {
            self.affinity += 1;
        } else if self.anti_affinity < pod.preferred_anti_affinity.len() {
            self.anti_affinity += 1;
        } else if self.preferences < pod.preferred_terms.len() {
            self.preferences += 1;
        } else if self.spreads < soft {
            self.spreads += 1;
        } else if has_preferred_taint && !self.tolerates_preferred {
            self.tolerates_preferred = true;
            // Behind such a taint an alternative that was given up may do after all.
            self.terms = 0;
        } else {
            return false;
        }
        true
    }
}

/// What a pod asks for at one step.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Of labels, the heaviest remaining preference included.
    pub requirements: Requirements,
    /// Of labels, without preferences.
    pub strict: Requirements,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// What its volumes ask for: alternatives, at least one.
    pub volumes: Vec<Requirements>,
}

impl Ask {
    pub(super) fn of(pod: &PodFacts, relaxation: Relaxation) -> Self {
        let mut strict = pod.selector.clone();
        if let Some(term) = pod.required_terms.get(relaxation.terms) {
            strict.extend(term);
        }
        let mut requirements = strict.clone();
        if let Some(preferred) = pod.preferred_terms.get(relaxation.preferences) {
            requirements.extend(&preferred.value);
        }
        let mut tolerations = pod.tolerations.clone();
        if relaxation.tolerates_preferred {
            tolerations.push(taints::tolerates_preferred());
        }
        let volumes = match &pod.volumes {
            VolumeNeeds::Resolved(alternatives) => alternatives.clone(),
            VolumeNeeds::None | VolumeNeeds::Unresolved(_) => vec![Requirements::new()],
        };
        Self {
            requirements,
            strict,
            tolerations,
            volumes,
        }
    }
}

/// What a pod requires of labels, as alternatives; at least one.
pub(super) fn alternatives(pod: &PodFacts) -> Vec<Requirements> {
    if pod.required_terms.is_empty() {
        return vec![pod.selector.clone()];
    }
    pod.required_terms
        .iter()
        .map(|term| pod.selector.intersection(term))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Weighted, pinned};

    #[test]
    fn wishes_are_given_up_in_karpenters_order() {
        let preferred = |weight| Weighted {
            weight,
            value: pinned("zone", "a"),
        };
        let pod = PodFacts {
            required_terms: vec![pinned("arch", "arm64"), pinned("arch", "amd64")],
            preferred_terms: vec![preferred(10), preferred(1)],
            ..PodFacts::default()
        };
        let mut relaxation = Relaxation::default();
        let mut steps = Vec::new();
        while relaxation.step(&pod, true) {
            let ask = Ask::of(&pod, relaxation);
            let tolerates = relaxation.tolerates_preferred;
            steps.push(format!("{} {} {tolerates}", relaxation.terms, ask.requirements));
        }
        let expected = [
            "1 arch In [amd64], zone In [a] false",
            "1 arch In [amd64], zone In [a] false",
            "1 arch In [amd64] false",
            "0 arch In [arm64] true",
            "1 arch In [amd64] true",
        ];
        assert_eq!(steps, expected);
    }
}
