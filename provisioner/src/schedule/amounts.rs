//! Amounts of resources as arrays: every name has an index, every amount is exact.

use std::collections::BTreeMap;

use crate::ResourceList;

/// Amounts by index, in billionths of a unit, as quantities hold them: nothing is rounded. What lies beyond the end
/// is zero.
pub(super) type Amounts = Box<[i128]>;

/// The resources of a world, numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    indexes: BTreeMap<String, usize>,
}

impl Resources {
    /// Numbers the names of a list.
    pub(super) fn note(&mut self, list: &ResourceList) {
        for name in list.0.keys() {
            let next = self.indexes.len();
            if !self.indexes.contains_key(name) {
                self.indexes.insert(name.clone(), next);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.indexes.len()
    }

    /// The amounts of a list; names without a number are left out.
    pub(super) fn amounts(&self, list: &ResourceList) -> Amounts {
        let mut amounts = vec![0; self.len()].into_boxed_slice();
        for (name, amount) in &list.0 {
            if let Some(&index) = self.indexes.get(name) {
                amounts[index] = amount.nanos();
            }
        }
        amounts
    }

    /// Whether the list asks for something that nothing in the world has.
    pub(super) fn is_unknown(&self, list: &ResourceList) -> bool {
        list.0
            .iter()
            .any(|(name, amount)| !self.indexes.contains_key(name) && !amount.is_zero())
    }
}

/// Whether all of `asked` can be had from `left`; nothing can be had where something is overdrawn.
pub(super) fn fits(asked: &[i128], left: &[i128]) -> bool {
    asked
        .iter()
        .zip(left)
        .all(|(asked, left)| asked <= left && *left >= 0)
}

/// Adds `more`.
pub(super) fn add(sum: &mut [i128], more: &[i128]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// Takes `less` away.
pub(super) fn subtract(from: &mut [i128], less: &[i128]) {
    for (from, less) in from.iter_mut().zip(less) {
        *from = from.saturating_sub(*less);
    }
}
