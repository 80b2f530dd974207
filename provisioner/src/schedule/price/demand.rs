//! All pods that a node may have as one heap, in the proportions in which they are.

use super::{Budget, model::Model};

/// What the groups that fit a column ask for in all. Columns beside each other mostly fit the same groups, so that it is
/// added up once for many of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    alike: Option<usize>,
    /// By row.
    pub amounts: Vec<f64>,
    /// What they are worth.
    pub value: f64,
}

impl Demand {
    /// That of the groups that fit `column`, of which there are `counts`, at what a pod of each is worth. Counts and
    /// worths must stay the same.
    pub(super) fn of(
        &mut self,
        model: &Model,
        column: usize,
        worth: &[f64],
        counts: &[f64],
        budget: &mut Budget,
    ) {
        if self.alike == Some(model.alike[column]) {
            return;
        }
        self.alike = Some(model.alike[column]);
        self.amounts.clear();
        self.amounts.resize(model.rows, 0.0);
        self.value = 0.0;
        let fits = model.fits(column);
        let groups = counts.iter().enumerate();
        for (group, count) in groups.filter(|(group, count)| **count > 0.0 && fits[*group]) {
            self.value += count * worth[group];
            for (amount, request) in self.amounts.iter_mut().zip(model.requests(group)) {
                *amount += count * request;
            }
        }
        budget.spend(counts.len() * (model.rows + 2));
    }

    /// The share of it that a node covers.
    pub(super) fn share(&self, capacity: &[f64]) -> f64 {
        let shares = self
            .amounts
            .iter()
            .zip(capacity)
            .filter(|(amount, _)| **amount > 0.0);
        shares
            .map(|(amount, capacity)| capacity / amount)
            .fold(1.0, f64::min)
    }
}
