//! What the API does not hold: who is expected where, and which machines are about to go.

use jiff::Timestamp;

use super::{ClusterState, Member};

impl ClusterState {
    /// Forgets all of this, which another leader may have seen otherwise.
    pub fn forget(&mut self) {
        self.nominations.clear();
        if !self.marked.is_empty() {
            self.marked.clear();
            self.touch();
        }
    }

    /// Pods are expected on a machine (named by its claim, or by its node if it has none): it must not go before.
    pub fn nominate(&mut self, name: &str, until: Timestamp) {
        self.nominations.insert(name.to_owned(), until);
    }

    /// Whether pods are expected on a machine.
    #[must_use]
    pub fn is_nominated(&self, name: &str, now: Timestamp) -> bool {
        self.nominations.get(name).is_some_and(|until| now < *until)
    }

    /// When the next of the nominations that hold at `now` ends.
    #[must_use]
    pub fn nominations_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.nominations
            .values()
            .copied()
            .filter(|until| now < *until)
            .min()
    }

    /// A pod has come to a claim's node, ended there or gone.
    pub fn note_pod_event(&mut self, claim: &str, now: Timestamp) {
        self.pod_events.insert(claim.to_owned(), now);
    }

    /// When a pod last came, ended or went, if that was seen.
    #[must_use]
    pub fn pod_event(&self, claim: &str) -> Option<Timestamp> {
        self.pod_events.get(claim).copied()
    }

    /// A machine is about to go: nothing is planned onto it, and its pods are planned elsewhere.
    pub fn mark(&mut self, claim: &str) {
        if self.marked.insert(claim.to_owned()) {
            self.touch();
        }
    }

    /// A machine stays after all.
    pub fn unmark(&mut self, claim: &str) {
        if self.marked.remove(claim) {
            self.touch();
        }
    }

    /// Whether a machine is about to go.
    #[must_use]
    pub fn is_marked(&self, claim: &str) -> bool {
        self.marked.contains(claim)
    }

    /// Whether a machine is going or about to.
    #[must_use]
    pub fn is_leaving(&self, member: &Member) -> bool {
        member.is_deleting() || member.claim_name().is_some_and(|name| self.marked.contains(name))
    }
}
