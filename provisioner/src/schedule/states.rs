//! What planned nodes may still be, as numbers: every set of requirements that comes up is worked out once.

use super::{asks::Alternative, bits::Bits, keys::Key, map::Map, template::Template};
use crate::{AllowUndefined, Requirement, Requirements, requirements::Incompatible};

/// The number of a [`State`].
pub(super) type StateId = usize;

/// A set of requirements that a planned node of some template may have.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub template: usize,
    pub requirements: Requirements,
    /// Types that meet them and are sold where they allow it.
    pub types: Bits,
    /// Where they allow to buy.
    pub cells: Bits,
    /// Whether some of them want several values to stay open.
    pub has_min_values: bool,
    /// By key: the domains that they allow, and those that they name.
    views: Vec<Option<View>>,
}

#[derive(Clone, Debug)]
struct View {
    allowed: Bits,
    named: Bits,
}

/// All states of a question, and the ways between them.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    all: Vec<State>,
    ids: Map<(usize, Requirements), StateId>,
    asked: Map<(StateId, usize), Result<StateId, Blocked>>,
    narrowed: Map<(StateId, usize, Bits), StateId>,
}

/// Why a pod's requirements cannot be added to a node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// No value is left, and none will ever be.
    Forever,
    /// Nobody defines the label so far.
    Undefined,
}

impl States {
    pub(super) fn get(&self, id: StateId) -> &State {
        &self.all[id]
    }

    /// The state of these requirements.
    pub(super) fn of(&mut self, index: usize, template: &Template, requirements: Requirements) -> StateId {
        if let Some(&id) = self.ids.get(&(index, requirements.clone())) {
            return id;
        }
        let cells = template.allowed_cells(&requirements);
        let mut types = template.meeting(&requirements);
        types.keep(&template.sold_in(&cells));
        let has_min_values = requirements.iter().any(|r| r.min_values.is_some());
        let id = self.all.len();
        self.ids.insert((index, requirements.clone()), id);
        self.all.push(State {
            template: index,
            has_min_values,
            requirements,
            types,
            cells,
            views: Vec::new(),
        });
        id
    }

    /// With what a pod asks for; `number` is the alternative's own.
    pub(super) fn ask(
        &mut self,
        from: StateId,
        templates: &[Template],
        number: usize,
        asked: &Alternative,
    ) -> Result<StateId, Blocked> {
        if let Some(known) = self.asked.get(&(from, number)) {
            return *known;
        }
        let state = &self.all[from];
        // What other pods ask of a label declares nothing.
        let declared = templates[state.template]
            .requirements
            .compatible(&asked.wanted, AllowUndefined::WellKnown);
        let added = match declared {
            Err(undefined @ Incompatible::Undefined { .. }) => Err(undefined),
            _ => asked.added_to(&state.requirements),
        };
        let found = match added {
            Ok(requirements) => {
                let index = state.template;
                Ok(self.of(index, &templates[index], requirements))
            }
            Err(Incompatible::Undefined { .. }) => Err(Blocked::Undefined),
            Err(Incompatible::Disjoint { .. }) => Err(Blocked::Forever),
        };
        self.asked.insert((from, number), found);
        found
    }

    /// With one label left to some of its domains.
    pub(super) fn narrow(
        &mut self,
        from: StateId,
        templates: &[Template],
        key_index: usize,
        key: &Key,
        domains: Bits,
    ) -> StateId {
        let step = (from, key_index, domains.trimmed());
        if let Some(&known) = self.narrowed.get(&step) {
            return known;
        }
        let state = &self.all[from];
        let mut requirements = state.requirements.clone();
        let names = step.2.iter().map(|domain| key.name(domain));
        requirements.add(Requirement::one_of(key.key(), names));
        let index = state.template;
        let found = self.of(index, &templates[index], requirements);
        self.narrowed.insert(step, found);
        found
    }

    /// The domains that a node of this state can end up in if it becomes one of `options`.
    pub(super) fn domains(
        &mut self,
        id: StateId,
        templates: &[Template],
        key_index: usize,
        key: &Key,
        options: &Bits,
    ) -> Bits {
        let state = &mut self.all[id];
        if state.views.len() <= key_index {
            state.views.resize(key_index + 1, None);
        }
        let requirements = &state.requirements;
        let view = state.views[key_index].get_or_insert_with(|| {
            let allowed = key.allowed(requirements);
            let is_finite = requirements.get(key.key()).is_some_and(|r| r.finite().is_some());
            View {
                named: if is_finite { allowed.clone() } else { Bits::new() },
                allowed,
            }
        });
        let template = &templates[state.template];
        let mut domains = key.of_types(state.template, &template.cells, &state.cells, options);
        if domains.is_empty() {
            return view.named.clone();
        }
        domains.keep(&view.allowed);
        domains
    }
}

impl Alternative {
    /// A planned node's requirements with these.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) fn added_to(&self, requirements: &Requirements) -> Result<Requirements, Incompatible> {
        requirements.compatible(&self.wanted, AllowUndefined::WellKnown)?;
        let mut both = requirements.intersection(&self.wanted);
        if !self.volumes.is_empty() {
            both.compatible(&self.volumes, AllowUndefined::WellKnown)?;
            both.extend(&self.volumes);
        }
        Ok(both)
    }
}
