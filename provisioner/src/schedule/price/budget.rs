//! How much work a question may take.

/// Work that may be spent, in units of about a nanosecond of arithmetic on a machine of 2025. Counted, not timed, so
/// that an answer does not depend on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// This many units.
    #[must_use]
    pub const fn units(units: u64) -> Self {
        Self { left: units }
    }

    /// 20 ms and 10 µs a pod.
    #[must_use]
    pub const fn auto(pods: u64) -> Self {
        Self::units(20_000_000 + pods.saturating_mul(10_000))
    }

    /// Without an end.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::units(u64::MAX)
    }

    /// What is left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Whether it is used up.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Uses some of it.
    pub(super) fn spend(&mut self, units: usize) {
        self.left = self.left.saturating_sub(units as u64);
    }

    /// Takes a part of what is left for one task; [`Budget::give_back`] returns what it did not need.
    pub(super) fn share(&mut self, part: u64) -> Self {
        let share = self.left / part.max(1);
        self.left -= share;
        Self::units(share)
    }

    /// See [`Budget::share`].
    pub(super) fn give_back(&mut self, rest: Self) {
        self.left = self.left.saturating_add(rest.left);
    }
}
