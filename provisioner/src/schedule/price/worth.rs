//! What a node can be worth at most, by the Lagrangian of its knapsack at any multipliers.

use super::{Budget, knapsack::rounding, model::Model};

/// Sums that are added up side by side.
const LANES: usize = 4;

/// Bounds the worth of nodes at one set of values. Columns beside each other mostly fit the same groups at the same
/// multipliers, so that the sum over groups is worked out once for many of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Worth {
    /// The column whose groups the sums are over, if there are any, and the multipliers.
    alike: Option<usize>,
    weights: Vec<f64>,
    worth: f64,
    magnitude: f64,
    /// What a pod of each group costs at the multipliers, and how many there are of those that fit.
    costs: Vec<f64>,
    counts: Vec<f64>,
}

impl Worth {
    /// The values are others from now on.
    pub(super) fn forget(&mut self) {
        self.alike = None;
    }

    /// An upper bound on the worth of any content of a node of `column` at `weights`, safe against rounding. Until
    /// [`forget`](Self::forget), `values` must stay the same.
    pub(super) fn at_most(
        &mut self,
        model: &Model,
        column: usize,
        values: &[f64],
        weights: &[f64],
        budget: &mut Budget,
    ) -> f64 {
        let alike = model.alike[column];
        if self.alike != Some(alike) || self.weights != weights {
            self.add_up(model, column, values, weights);
            self.alike = Some(alike);
            self.weights.clear();
            self.weights.extend_from_slice(weights);
            budget.spend(values.len() * (model.rows + 2) / 2);
        }
        budget.spend(model.rows + 4);
        let room: f64 = model
            .capacity(column)
            .iter()
            .zip(weights)
            .map(|(c, w)| c * w)
            .sum();
        let worth = room + self.worth;
        worth + (room + self.magnitude) * rounding(values.len() + model.rows)
    }

    /// Sums up what the groups are worth beyond their cost. In lanes, which the compiler makes one instruction of.
    fn add_up(&mut self, model: &Model, column: usize, values: &[f64], weights: &[f64]) {
        let groups = values.len();
        self.costs.clear();
        self.costs.resize(groups, 0.0);
        for (row, weight) in weights.iter().enumerate() {
            if *weight != 0.0 {
                let requests = &model.row_requests[row * groups..(row + 1) * groups];
                for (cost, request) in self.costs.iter_mut().zip(requests) {
                    *cost += request * weight;
                }
            }
        }
        self.counts.clear();
        let counted = model.fits(column).iter().zip(&model.counts);
        self.counts
            .extend(counted.map(|(fits, count)| if *fits { *count } else { 0.0 }));
        let mut worth = [0.0; LANES];
        let mut magnitude = [0.0; LANES];
        let (values, rest) = values.as_chunks::<LANES>();
        let (costs, rest_costs) = self.costs.as_chunks::<LANES>();
        let (counts, rest_counts) = self.counts.as_chunks::<LANES>();
        // The margin is kept as close to the exact difference as doubles allow.
        let margin = |value: f64, cost: f64, count: f64| count * (value - cost).max(0.0);
        let in_question = |value: f64, cost: f64, count: f64| {
            if value * (1.0 + 1e-9) >= cost {
                count * value
            } else {
                0.0
            }
        };
        for ((values, costs), counts) in values.iter().zip(costs).zip(counts) {
            for lane in 0..LANES {
                worth[lane] += margin(values[lane], costs[lane], counts[lane]);
                magnitude[lane] += in_question(values[lane], costs[lane], counts[lane]);
            }
        }
        for ((value, cost), count) in rest.iter().zip(rest_costs).zip(rest_counts) {
            worth[0] += margin(*value, *cost, *count);
            magnitude[0] += in_question(*value, *cost, *count);
        }
        self.worth = worth.iter().sum();
        self.magnitude = magnitude.iter().sum();
    }
}
