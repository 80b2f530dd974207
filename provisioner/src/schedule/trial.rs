//! Whether a planned node takes one more pod, and what it may still be then.

use std::collections::BTreeSet;

use super::{
    HostPort, MinValuesPolicy, Prepared,
    asks::Asks,
    bits::Bits,
    claims::{Added, Claim},
    classes::Step,
    reserved::{Ledger, OutOfReserved},
    states::{Blocked, StateId, States},
    topology::Topology,
    wishes::Wishes,
};

/// Why a planned node does not take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It never will take one of its shape.
    Forever,
    Now,
    /// It would have to draw on a reservation, and can on none.
    Reserved,
}

/// What it takes to see whether a planned node takes a pod.
pub(super) struct Trial<'t, 'a> {
    pub prepared: &'a Prepared,
    pub topology: &'t Topology<'a>,
    pub asks: &'t Asks<'a>,
    pub states: &'t mut States,
    pub policy: MinValuesPolicy,
    pub ledger: &'t Ledger,
}

impl Trial<'_, '_> {
    /// Whether and how it takes one.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn add(
        &mut self,
        claim: &Claim,
        step: &Step,
        amounts: &[i128],
        ports: &BTreeSet<HostPort>,
        wishes: &[(usize, Wishes)],
    ) -> Result<Added, Refused> {
        let ask = &self.asks.all[step.ask];
        let conflicts = |port: &HostPort| claim.host_ports.iter().any(|taken| taken.conflicts(port));
        if !ask.templates.has(claim.template) || (!ports.is_empty() && ports.iter().any(conflicts)) {
            return Err(Refused::Forever);
        }
        let template = &self.prepared.templates[claim.template];
        let mut fitting = claim.options.clone();
        template.keep_fitting(&claim.requests_with(amounts), &mut fitting);
        template.drop_port_conflicts(ports, &mut fitting);
        if fitting.is_empty() {
            return Err(Refused::Forever);
        }
        // An alternative that the groups rule out now may come back, so that only all of them can refuse for ever.
        let mut refused = if wishes.len() == ask.alternatives.len() {
            Refused::Forever
        } else {
            Refused::Now
        };
        for (number, wishes) in wishes {
            match self.add_alternative(claim, *number, &fitting, wishes) {
                Ok(added) => return Ok(added),
                Err(Refused::Forever) => {}
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    fn add_alternative(
        &mut self,
        claim: &Claim,
        number: usize,
        fitting: &Bits,
        wishes: &Wishes,
    ) -> Result<Added, Refused> {
        let templates = &self.prepared.templates;
        let asked = self
            .states
            .ask(claim.state, templates, number, &self.asks.alternatives[number]);
        let mut state = asked.map_err(|blocked| match blocked {
            Blocked::Forever => Refused::Forever,
            Blocked::Undefined => Refused::Now,
        })?;
        let mut options = fitting.both(&self.states.get(state).types);
        if options.is_empty() {
            return Err(Refused::Forever);
        }
        for wish in &wishes.keys {
            let key = &self.topology.keys[wish.key];
            let domains = self.states.domains(state, templates, wish.key, key, &options);
            let chosen = wish.choose(domains, self.topology);
            if chosen.is_empty() {
                return Err(Refused::Now);
            }
            state = self.states.narrow(state, templates, wish.key, key, chosen);
            options.keep(&self.states.get(state).types);
        }
        if options.is_empty() {
            return Err(Refused::Now);
        }
        let min_values_relaxed = self.states.get(state).has_min_values && self.misses_values(state, &options);
        if min_values_relaxed && (self.policy == MinValuesPolicy::Strict || !claim.pods.is_empty()) {
            return Err(Refused::Now);
        }
        let held = self.ledger.hold(
            &self.prepared.reservations,
            templates,
            self.states.get(state),
            &options,
            &claim.reserved,
        );
        Ok(Added {
            reserved: held.map_err(|OutOfReserved| Refused::Reserved)?,
            state,
            options,
            min_values_relaxed,
        })
    }

    fn misses_values(&mut self, state: StateId, options: &Bits) -> bool {
        !super::finish::missing_values(self.prepared, self.topology, self.states, state, options).is_empty()
    }
}
