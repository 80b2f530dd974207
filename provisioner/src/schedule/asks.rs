//! What pods ask of labels and taints, each combination once.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Toleration;

use super::{
    PodFacts, Prepared,
    bits::Bits,
    keys::Key,
    map::Map,
    relax::{self, Relaxation},
};
use crate::{Requirements, taints};

/// What a pod asks of a node.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub tolerations: Vec<Toleration>,
    /// Numbers of the alternatives that its volumes leave, at least one.
    pub alternatives: std::ops::Range<usize>,
    /// Templates whose taints it tolerates.
    pub templates: Bits,
    /// Ranks of the nodes whose taints it tolerates; `None` for all.
    pub tolerated: Option<Bits>,
}

/// One combination of a pod's and its volumes' requirements.
#[derive(Clone, Debug)]
pub(super) struct Alternative {
    /// The pod's, the heaviest remaining preference included.
    pub wanted: Requirements,
    /// The volumes'.
    pub volumes: Requirements,
    /// Both, without preferences: they bound the domains that count for a spread.
    pub strict: Requirements,
    /// Ranks of the nodes whose labels satisfy both.
    pub welcoming: Arc<Bits>,
    /// By key: the domains that `strict` allows.
    permitted: Vec<Option<Bits>>,
}

/// All of a question.
#[derive(Clone, Debug)]
pub(super) struct Asks<'a> {
    prepared: &'a Prepared,
    pub all: Vec<Ask>,
    pub alternatives: Vec<Alternative>,
    ids: Map<(Requirements, Requirements, Vec<Requirements>), Vec<usize>>,
}

impl<'a> Asks<'a> {
    pub(super) fn new(prepared: &'a Prepared) -> Self {
        Self {
            prepared,
            all: Vec::new(),
            alternatives: Vec::new(),
            ids: Map::default(),
        }
    }

    /// What a pod asks for when some of its wishes are given up.
    pub(super) fn of(&mut self, pod: &PodFacts, relaxation: Relaxation) -> usize {
        let relax::Ask {
            requirements,
            strict,
            tolerations,
            volumes,
        } = relax::Ask::of(pod, relaxation);
        let same = self.ids.entry((requirements, strict, volumes));
        let (requirements, strict, volumes) = same.key().clone();
        let same = same.or_default();
        if let Some(&ask) = same.iter().find(|&&ask| self.all[ask].tolerations == tolerations) {
            return ask;
        }
        let next = self.all.len();
        same.push(next);
        let first = self.alternatives.len();
        for volumes in volumes {
            self.alternatives.push(Alternative {
                welcoming: self.prepared.welcoming(&requirements.intersection(&volumes)),
                strict: strict.intersection(&volumes),
                wanted: requirements.clone(),
                volumes,
                permitted: Vec::new(),
            });
        }
        let tolerates =
            |all: &[k8s_openapi::api::core::v1::Taint]| taints::tolerates_all(&tolerations, all).is_ok();
        let templates = self.prepared.templates.iter().enumerate();
        let templates = templates
            .filter(|(_, template)| tolerates(&self.prepared.world.pools[template.pool].taints))
            .map(|(index, _)| index)
            .collect();
        let mut tolerated = Bits::new();
        let mut all_tolerated = true;
        for (taints, nodes) in &self.prepared.tainted {
            if tolerates(taints) {
                tolerated.join(nodes);
            } else {
                all_tolerated = false;
            }
        }
        self.all.push(Ask {
            alternatives: first..self.alternatives.len(),
            templates,
            tolerated: (!all_tolerated).then_some(tolerated),
            tolerations,
        });
        next
    }
}

impl Alternative {
    /// The domains of a key that its strict requirements allow.
    pub(super) fn permitted(&mut self, index: usize, key: &Key) -> &Bits {
        if self.permitted.len() <= index {
            self.permitted.resize(index + 1, None);
        }
        let strict = &self.strict;
        self.permitted[index].get_or_insert_with(|| key.allowed(strict))
    }
}
