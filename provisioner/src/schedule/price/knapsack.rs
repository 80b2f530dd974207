//! The pricing problem: the most valuable content of one node.
//!
//! Maximise `u·y` over `requests·y <= capacity`, `0 <= y <= count`: a vector knapsack. Its linear relaxation has a row
//! for every resource only, so that the simplex method with bounded variables (Dantzig 1955) works on a basis of three
//! or four; its Lagrangian `capacity·w + sum count·max(0, u - requests·w)` bounds it from above for *any* `w >= 0`.

use super::{Budget, model::Model};

/// Rounding of one sum of `terms` products is less than this, relative to the sum of their magnitudes.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn rounding(terms: usize) -> f64 {
    (terms as f64 + 8.0) * 8.0 * f64::EPSILON
}

/// Room for solving knapsacks, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Knapsack {
    /// How much of each group, after [`Knapsack::solve`].
    pub amounts: Vec<f64>,
    /// The multipliers of the rows, after it.
    pub weights: Vec<f64>,
    rows: usize,
    /// What is in the basis: a group, or past the groups the slack of a row.
    basis: Vec<usize>,
    in_basis: Vec<bool>,
    inverse: Vec<f64>,
    levels: Vec<f64>,
    direction: Vec<f64>,
    at_most: Vec<bool>,
    items: Vec<usize>,
}

impl Knapsack {
    /// Solves the relaxation for a node of `column`; its worth is returned.
    pub(super) fn solve(&mut self, model: &Model, column: usize, values: &[f64], budget: &mut Budget) -> f64 {
        self.start(model, column, values);
        let most = 60 + 6 * (self.items.len() + self.rows);
        for _ in 0..most {
            budget.spend((self.items.len() + self.rows) * self.rows + 20);
            self.reprice(values);
            let Some((entering, from_upper)) = self.entering(model, values) else {
                break;
            };
            if !self.pivot(model, entering, from_upper) {
                break;
            }
        }
        self.finish(model, values)
    }

    fn start(&mut self, model: &Model, column: usize, values: &[f64]) {
        let (rows, groups) = (model.rows, model.groups.len());
        self.rows = rows;
        let fits = model.fits(column);
        self.items.clear();
        self.items
            .extend((0..groups).filter(|&group| fits[group] && values[group] > 0.0));
        self.at_most.clear();
        self.at_most.resize(groups, false);
        self.in_basis.clear();
        self.in_basis.resize(groups + rows, false);
        self.in_basis[groups..].fill(true);
        self.basis.clear();
        self.basis.extend(groups..groups + rows);
        self.inverse.clear();
        self.inverse.resize(rows * rows, 0.0);
        for row in 0..rows {
            self.inverse[row * rows + row] = 1.0;
        }
        self.levels.clear();
        self.levels.extend_from_slice(model.capacity(column));
        self.direction.resize(rows, 0.0);
        self.weights.resize(rows, 0.0);
    }

    /// The multipliers of the basis.
    fn reprice(&mut self, values: &[f64]) {
        self.weights.fill(0.0);
        for (row, &basic) in self.basis.iter().enumerate() {
            if let Some(value) = values.get(basic) {
                let inverse = &self.inverse[row * self.rows..(row + 1) * self.rows];
                for (weight, inverse) in self.weights.iter_mut().zip(inverse) {
                    *weight += value * inverse;
                }
            }
        }
    }

    /// What improves most for the share of a node that it takes, and whether it comes down from its upper bound.
    fn entering(&self, model: &Model, values: &[f64]) -> Option<(usize, bool)> {
        let mut best = None;
        let mut most = 0.0;
        for &group in &self.items {
            if self.in_basis[group] {
                continue;
            }
            let requests = model.requests(group);
            let mut gain = values[group];
            let mut size = 0.0;
            for (request, weight) in requests.iter().zip(&self.weights) {
                gain -= request * weight;
                size += request;
            }
            let upper = self.at_most[group];
            let gain = if upper { -gain } else { gain };
            if gain > values[group] * 1e-10 {
                let score = gain / (size + 1e-12);
                if score > most {
                    most = score;
                    best = Some((group, upper));
                }
            }
        }
        let groups = model.groups.len();
        for (row, weight) in self.weights.iter().enumerate() {
            if !self.in_basis[groups + row] && -weight > 1e-12 && -weight > most {
                most = -weight;
                best = Some((groups + row, false));
            }
        }
        best
    }

    /// Moves what enters as far as it goes; whether that was possible.
    fn pivot(&mut self, model: &Model, entering: usize, from_upper: bool) -> bool {
        let (rows, groups) = (self.rows, model.groups.len());
        let count = |basic: usize| {
            model
                .groups
                .get(basic)
                .map_or(f64::INFINITY, |group| f64::from(group.count))
        };
        for row in 0..rows {
            let inverse = &self.inverse[row * rows..(row + 1) * rows];
            self.direction[row] = if entering < groups {
                inverse
                    .iter()
                    .zip(model.requests(entering))
                    .map(|(i, r)| i * r)
                    .sum()
            } else {
                inverse[entering - groups]
            };
        }
        let sign = if from_upper { -1.0 } else { 1.0 };
        let mut step = count(entering);
        let mut leaving = None;
        for row in 0..rows {
            let rate = sign * self.direction[row];
            let (room, to_upper) = if rate > 1e-11 {
                (self.levels[row], false)
            } else if rate < -1e-11 {
                (count(self.basis[row]) - self.levels[row], true)
            } else {
                continue;
            };
            let limit = room.max(0.0) / rate.abs();
            if limit < step {
                step = limit;
                leaving = Some((row, to_upper));
            }
        }
        if !step.is_finite() {
            return false;
        }
        for row in 0..rows {
            self.levels[row] -= sign * step * self.direction[row];
        }
        let Some((row, to_upper)) = leaving else {
            self.at_most[entering] = !from_upper;
            return true;
        };
        let out = self.basis[row];
        self.in_basis[out] = false;
        if out < groups {
            self.at_most[out] = to_upper;
        }
        self.in_basis[entering] = true;
        self.basis[row] = entering;
        self.levels[row] = if from_upper { count(entering) - step } else { step };
        self.eliminate(row);
        true
    }

    fn eliminate(&mut self, row: usize) {
        let rows = self.rows;
        let pivot = self.direction[row];
        for column in 0..rows {
            self.inverse[row * rows + column] /= pivot;
        }
        for other in (0..rows).filter(|other| *other != row) {
            let factor = self.direction[other];
            if factor != 0.0 {
                for column in 0..rows {
                    self.inverse[other * rows + column] -= factor * self.inverse[row * rows + column];
                }
            }
        }
    }

    fn finish(&mut self, model: &Model, values: &[f64]) -> f64 {
        self.amounts.clear();
        self.amounts.resize(model.groups.len(), 0.0);
        for &group in &self.items {
            if self.at_most[group] && !self.in_basis[group] {
                self.amounts[group] = f64::from(model.groups[group].count);
            }
        }
        for (row, &basic) in self.basis.iter().enumerate() {
            if let Some(amount) = self.amounts.get_mut(basic) {
                *amount = self.levels[row].clamp(0.0, f64::from(model.groups[basic].count));
            }
        }
        self.weights
            .iter_mut()
            .for_each(|weight| *weight = weight.max(0.0));
        self.items
            .iter()
            .map(|&group| values[group] * self.amounts[group])
            .sum()
    }
}
