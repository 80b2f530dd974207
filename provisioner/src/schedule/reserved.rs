//! Reserved capacity: how many instances each reservation has left in a question, and which planned nodes hold one.
//!
//! A planned node holds one of every reservation that it may still draw on, since the launch chooses among them. While
//! pods are provisioned for, a node that could draw on one draws on one: a pod for which all of them are taken waits for the
//! next plan, when the catalogue knows what the launches left. What-if questions fall back to other offerings.

use super::{
    bits::Bits,
    solve::Solver,
    states::{State, States},
    template::Template,
};
use crate::{CapacityType, Requirement, karpenter::Operator, karpenter::labels};

/// The reservations of a world that are counted, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    ids: Vec<String>,
    /// By number: how many instances it has room for; the least of what its offerings say.
    capacity: Vec<u32>,
    /// By template: its cells that draw on one, and which.
    cells: Vec<Vec<(usize, usize)>>,
}

/// What is left of them in a question.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    left: Vec<u32>,
    /// Whether a node that could draw on a reservation must.
    is_strict: bool,
}

/// A node would have to draw on a reservation, and can on none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfReserved;

impl Reservations {
    pub(super) fn new(templates: &[Template]) -> Self {
        let mut all = Self::default();
        for template in templates {
            let counted = template.cells.iter().enumerate().filter_map(|(cell, way)| {
                let offering = &way.offering;
                let is_counted = offering.capacity_type == CapacityType::Reserved
                    && offering.reservation_capacity.is_some();
                Some((cell, offering.reservation_id.as_ref().filter(|_| is_counted)?))
            });
            let cells = counted.map(|(cell, id)| (cell, all.number(id))).collect();
            all.cells.push(cells);
            for offering in template.types.iter().flat_map(|it| &it.instance_type.offerings) {
                let known = all
                    .ids
                    .iter()
                    .position(|id| offering.reservation_id.as_ref() == Some(id));
                if let (Some(number), Some(capacity)) = (known, offering.reservation_capacity) {
                    all.capacity[number] = all.capacity[number].min(capacity);
                }
            }
        }
        all
    }

    fn number(&mut self, id: &str) -> usize {
        self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.capacity.push(u32::MAX);
            self.ids.len() - 1
        })
    }

    /// Everything left.
    pub(super) fn ledger(&self, is_strict: bool) -> Ledger {
        Ledger {
            left: self.capacity.clone(),
            is_strict,
        }
    }

    /// Of a template, in a state, for one of `options`: those that it may draw on.
    fn within(&self, templates: &[Template], state: &State, options: &Bits) -> Bits {
        let cells = self.cells[state.template].iter();
        let is_open = |(cell, _): &&(usize, usize)| {
            state.cells.has(*cell) && templates[state.template].cells[*cell].types.meets(options)
        };
        cells.filter(is_open).map(|(_, number)| *number).collect()
    }
}

impl Ledger {
    /// What a planned node that holds some of them holds when it may be one of `options` in `state`.
    ///
    /// # Errors
    /// If it must draw on one and can on none.
    pub(super) fn hold(
        &self,
        reservations: &Reservations,
        templates: &[Template],
        state: &State,
        options: &Bits,
        held: &Bits,
    ) -> Result<Bits, OutOfReserved> {
        if reservations.cells[state.template].is_empty() {
            return Ok(Bits::new());
        }
        let within = reservations.within(templates, state, options);
        let is_free = |number: &usize| held.has(*number) || self.left[*number] > 0;
        let holds: Bits = within.iter().filter(is_free).collect();
        if self.is_strict && holds.is_empty() && !(within.is_empty() && held.is_empty()) {
            return Err(OutOfReserved);
        }
        Ok(holds)
    }

    /// A node that held `before` now holds `after`.
    pub(super) fn exchange(&mut self, before: &Bits, after: &Bits) {
        for number in before.iter().filter(|number| !after.has(*number)) {
            self.left[number] += 1;
        }
        for number in after.iter().filter(|number| !before.has(*number)) {
            self.left[number] = self.left[number].saturating_sub(1);
        }
    }
}

impl Solver<'_> {
    /// Nodes that hold reservations draw on one of them; others on none.
    pub(super) fn settle_reserved(&mut self) {
        let Self {
            prepared,
            claims,
            states,
            ..
        } = self;
        let reservations = &prepared.reservations;
        if reservations.ids.is_empty() {
            return;
        }
        for claim in &mut claims.all {
            let within = reservations.within(&prepared.templates, states.get(claim.state), &claim.options);
            let names = |numbers: &Bits| -> Vec<&str> {
                numbers
                    .iter()
                    .map(|number| reservations.ids[number].as_str())
                    .collect()
            };
            let id = labels::CAPACITY_RESERVATION_ID;
            let settled = if claim.reserved.is_empty() {
                let others = names(&within).into_iter().map(str::to_owned);
                Requirement::new(id, Operator::NotIn, others)
                    .into_iter()
                    .collect()
            } else {
                let reserved = CapacityType::Reserved;
                vec![
                    Requirement::one_of(labels::CAPACITY_TYPE, [reserved.as_str()]),
                    Requirement::one_of(id, names(&claim.reserved)),
                ]
            };
            if !within.is_empty() {
                let mut requirements = states.get(claim.state).requirements.clone();
                settled
                    .into_iter()
                    .for_each(|requirement| requirements.add(requirement));
                let template = &prepared.templates[claim.template];
                claim.state = States::of(states, claim.template, template, requirements);
                claim.options.keep(&states.get(claim.state).types);
            }
        }
    }
}
