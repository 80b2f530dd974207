//! The master problem: how many nodes of each pattern cover all pods most cheaply.
//!
//! Minimise `sum price·z` over `sum content·z >= count`, `z >= 0`: the linear program of Gilmore and Gomory, by the
//! revised simplex method with an explicit inverse of the basis.

use super::{Budget, model::Model};

/// What is put on one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    /// Of this column of the model.
    pub column: usize,
    pub price: f64,
    /// What gains are measured by: the price, or where that is zero the least that is not.
    pub scale: f64,
    /// Row and amount, ascending; whole numbers where the pattern is to be used. Past the groups is the row of a column
    /// with few copies, of which it takes one.
    pub content: Vec<(usize, f64)>,
}

impl Pattern {
    pub(super) fn new(model: &Model, column: usize, mut content: Vec<(usize, f64)>) -> Self {
        if let Some(row) = model.limit_row(column) {
            content.push((row, -1.0));
        }
        Self {
            column,
            price: model.prices[column],
            scale: model.prices[column].max(model.least_price),
            content,
        }
    }

    /// What its content is worth at `values`.
    pub(super) fn worth(&self, values: &[f64]) -> f64 {
        self.content
            .iter()
            .map(|(group, amount)| values[*group] * amount)
            .sum()
    }
}

/// What holds a row of the basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basic {
    Pattern(usize),
    /// More than is needed of a row.
    Surplus(usize),
}

/// With so many rows it is quicker to go over all of them than over those that a pattern has.
const FEW_ROWS: usize = 64;
/// Sums that are added up side by side.
const LANES: usize = 4;

/// A linear program over the patterns known so far.
#[derive(Clone, Debug)]
pub(super) struct Master {
    rows: usize,
    demand: Vec<f64>,
    pub patterns: Vec<Pattern>,
    /// patterns x rows: the contents once more, where the rows are few.
    dense: Vec<f64>,
    in_basis: Vec<bool>,
    basis: Vec<Basic>,
    /// Whether the surplus of a row is in the basis.
    surplus: Vec<bool>,
    inverse: Vec<f64>,
    levels: Vec<f64>,
    /// Multipliers of the rows: what one more pod of a group costs.
    pub values: Vec<f64>,
    direction: Vec<f64>,
    since_refactoring: usize,
}

impl Master {
    /// Begins with every group alone on the nodes that are cheapest for it.
    pub(super) fn new(model: &Model) -> Self {
        let counts = model.groups.iter().map(|group| f64::from(group.count));
        let limits = model.limited.iter().map(|column| -model.copies[*column]);
        let alone = (0..model.groups.len()).map(|group| alone(model, group)).collect();
        Self::starting(counts.chain(limits).collect(), alone)
    }

    /// What a unit of each row of the knapsacks is worth if the demand for it is one heap, pods being of no size.
    pub(super) fn heaps(model: &Model, demand: &[f64], budget: &mut Budget) -> Vec<f64> {
        let endless = |column: &usize| model.copies[*column].is_infinite() && model.prices[*column] > 0.0;
        let rows: Vec<usize> = (0..model.rows).filter(|row| demand[*row] > 0.0).collect();
        let each = |column: usize, row: usize| model.prices[column] / model.capacity(column)[row].max(1e-300);
        let best = |row: usize| {
            let columns = (0..model.columns.len()).filter(endless);
            columns.min_by(|&a, &b| each(a, row).total_cmp(&each(b, row)))
        };
        let pattern = |column: usize, content: Vec<(usize, f64)>| Pattern {
            column,
            price: model.prices[column],
            scale: model.prices[column],
            content,
        };
        let alone: Option<Vec<Pattern>> = rows
            .iter()
            .enumerate()
            .map(|(index, &row)| {
                let column = best(row)?;
                let amount = model.capacity(column)[row];
                (amount > 0.0).then(|| pattern(column, vec![(index, amount)]))
            })
            .collect();
        let mut prices = vec![0.0; model.rows];
        let Some(alone) = alone else { return prices };
        let mut master = Self::starting(rows.iter().map(|&row| demand[row]).collect(), alone);
        for column in (0..model.columns.len()).filter(endless) {
            let content = rows
                .iter()
                .enumerate()
                .map(|(index, &row)| (index, model.capacity(column)[row]));
            master.add(pattern(column, content.collect()));
        }
        master.optimise(budget);
        for (&row, value) in rows.iter().zip(&master.values) {
            prices[row] = value.max(0.0);
        }
        prices
    }

    /// A program whose first rows each have a pattern of their own; of the others there is no more than is allowed.
    fn starting(demand: Vec<f64>, alone: Vec<Pattern>) -> Self {
        let rows = demand.len();
        let groups = alone.len();
        let mut master = Self {
            rows,
            demand,
            in_basis: vec![true; groups],
            basis: (0..groups)
                .map(Basic::Pattern)
                .chain((groups..rows).map(Basic::Surplus))
                .collect(),
            surplus: (0..rows).map(|row| row >= groups).collect(),
            inverse: vec![0.0; rows * rows],
            levels: vec![0.0; rows],
            values: vec![0.0; rows],
            direction: vec![0.0; rows],
            since_refactoring: 0,
            dense: Vec::new(),
            patterns: Vec::with_capacity(2 * rows),
        };
        alone.into_iter().for_each(|pattern| master.know(pattern));
        for row in 0..rows {
            let pattern = master.patterns.get(row);
            let amount = pattern.map_or(-1.0, |pattern| pattern.content[0].1);
            master.inverse[row * rows + row] = 1.0 / amount;
            master.levels[row] = master.demand[row] / amount;
            master.values[row] = pattern.map_or(0.0, |pattern| pattern.price / amount);
        }
        master
    }

    /// What the fractional fleet costs.
    pub(super) fn objective(&self) -> f64 {
        self.used()
            .map(|(pattern, level)| self.patterns[pattern].price * level)
            .sum()
    }

    /// Adds a pattern to choose from.
    pub(super) fn add(&mut self, pattern: Pattern) {
        self.know(pattern);
        self.in_basis.push(false);
    }

    fn know(&mut self, pattern: Pattern) {
        if self.rows <= FEW_ROWS {
            let from = self.dense.len();
            self.dense.resize(from + self.rows, 0.0);
            for (row, amount) in &pattern.content {
                self.dense[from + row] = *amount;
            }
        }
        self.patterns.push(pattern);
    }

    /// The contents of a pattern weighed with something by row.
    fn weighed(&self, pattern: usize, weights: &[f64]) -> f64 {
        if self.rows > FEW_ROWS {
            return self.patterns[pattern].worth(weights);
        }
        let content = &self.dense[pattern * self.rows..(pattern + 1) * self.rows];
        let (contents, rest) = content.as_chunks::<LANES>();
        let (lanes, rest_weights) = weights.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (content, weights) in contents.iter().zip(lanes) {
            for (sum, (amount, weight)) in sums.iter_mut().zip(content.iter().zip(weights)) {
                *sum += amount * weight;
            }
        }
        let rest: f64 = rest
            .iter()
            .zip(rest_weights)
            .map(|(amount, weight)| amount * weight)
            .sum();
        sums.iter().sum::<f64>() + rest
    }

    /// The patterns in use and how many nodes of each.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.basis
            .iter()
            .zip(&self.levels)
            .filter_map(|(basic, level)| match basic {
                Basic::Pattern(pattern) if *level > 0.0 => Some((*pattern, *level)),
                _ => None,
            })
    }

    /// Finds the cheapest mix of the patterns, or as far as the budget goes.
    pub(super) fn optimise(&mut self, budget: &mut Budget) {
        let most = 200 + 20 * self.rows;
        for _ in 0..most {
            if budget.is_spent() {
                break;
            }
            let Some(entering) = self.entering(budget) else {
                break;
            };
            if !self.pivot(entering, budget) {
                break;
            }
        }
    }

    fn entering(&self, budget: &mut Budget) -> Option<Basic> {
        let mut best = None;
        let mut most = 1e-9;
        let mut work = self.rows;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if self.in_basis[index] {
                continue;
            }
            work += pattern.content.len() + 4;
            let gain = (self.weighed(index, &self.values) - pattern.price) / pattern.scale;
            if gain > most {
                most = gain;
                best = Some(Basic::Pattern(index));
            }
        }
        let worth: f64 = self.values.iter().fold(0.0, |most, value| value.abs().max(most));
        for (group, value) in self.values.iter().enumerate() {
            let gain = -value / worth;
            if !self.surplus[group] && gain > most {
                most = gain;
                best = Some(Basic::Surplus(group));
            }
        }
        budget.spend(work);
        best
    }

    fn pivot(&mut self, entering: Basic, budget: &mut Budget) -> bool {
        let rows = self.rows;
        let gain = self.direct(entering);
        let Some(leaving) = self.leaving() else {
            return false;
        };
        let step = (self.levels[leaving] / self.direction[leaving]).max(0.0);
        for (level, direction) in self.levels.iter_mut().zip(&self.direction) {
            *level = (*level - step * direction).max(0.0);
        }
        self.levels[leaving] = step;
        self.mark(self.basis[leaving], false);
        self.mark(entering, true);
        self.basis[leaving] = entering;
        let pivot = self.direction[leaving];
        let (before, rest) = self.inverse.split_at_mut(leaving * rows);
        let (row, after) = rest.split_at_mut(rows);
        row.iter_mut().for_each(|cell| *cell /= pivot);
        let others = before.chunks_exact_mut(rows).chain(after.chunks_exact_mut(rows));
        let directions = self.direction[..leaving]
            .iter()
            .chain(&self.direction[leaving + 1..]);
        for (other, direction) in others.zip(directions) {
            if *direction != 0.0 {
                other
                    .iter_mut()
                    .zip(row.iter())
                    .for_each(|(cell, by)| *cell -= direction * by);
            }
        }
        for (value, by) in self.values.iter_mut().zip(row.iter()) {
            *value += gain * by;
        }
        budget.spend(rows * rows + 4 * rows);
        self.since_refactoring += 1;
        if self.since_refactoring >= 120 {
            self.refactor(budget);
        }
        true
    }

    /// Fills in the direction of what enters and gives its reduced cost.
    fn direct(&mut self, entering: Basic) -> f64 {
        let rows = self.rows;
        match entering {
            Basic::Pattern(index) => {
                for row in 0..rows {
                    self.direction[row] = self.weighed(index, &self.inverse[row * rows..(row + 1) * rows]);
                }
                self.patterns[index].price - self.weighed(index, &self.values)
            }
            Basic::Surplus(group) => {
                for (row, direction) in self.direction.iter_mut().enumerate() {
                    *direction = -self.inverse[row * rows + group];
                }
                self.values[group]
            }
        }
    }

    /// The row that runs out first; among equals the one with the greatest pivot.
    fn leaving(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (row, direction) in self.direction.iter().enumerate() {
            if *direction <= 1e-9 {
                continue;
            }
            let ratio = self.levels[row] / direction;
            let better = match best {
                None => true,
                Some((other, least)) => {
                    ratio < least - 1e-12 || (ratio <= least + 1e-12 && *direction > self.direction[other])
                }
            };
            if better {
                best = Some((row, ratio));
            }
        }
        best.map(|(row, _)| row)
    }

    fn mark(&mut self, basic: Basic, inside: bool) {
        match basic {
            Basic::Pattern(index) => self.in_basis[index] = inside,
            Basic::Surplus(group) => self.surplus[group] = inside,
        }
    }

    /// Works the inverse out anew, so that rounding does not pile up.
    fn refactor(&mut self, budget: &mut Budget) {
        let rows = self.rows;
        self.since_refactoring = 0;
        budget.spend(rows * rows * rows);
        let mut matrix = vec![0.0; rows * rows];
        for (column, basic) in self.basis.iter().enumerate() {
            match basic {
                Basic::Pattern(index) => {
                    for (group, amount) in &self.patterns[*index].content {
                        matrix[group * rows + column] = *amount;
                    }
                }
                Basic::Surplus(group) => matrix[group * rows + column] = -1.0,
            }
        }
        let Some(inverse) = invert(matrix, rows) else {
            return;
        };
        self.inverse = inverse;
        self.values.fill(0.0);
        for row in 0..rows {
            let inverse = &self.inverse[row * rows..(row + 1) * rows];
            let level: f64 = inverse.iter().zip(&self.demand).map(|(i, d)| i * d).sum();
            self.levels[row] = level.max(0.0);
            if let Basic::Pattern(index) = self.basis[row] {
                let price = self.patterns[index].price;
                self.values
                    .iter_mut()
                    .zip(inverse)
                    .for_each(|(value, by)| *value += price * by);
            }
        }
    }
}

/// A group alone on the nodes that are cheapest for it.
fn alone(model: &Model, group: usize) -> Pattern {
    let price = |column: usize| match model.copies[column] {
        copies if copies.is_infinite() => model.prices[column],
        _ => f64::INFINITY,
    };
    let alone = model.cheapest_alone(group, price);
    let column = alone.map_or(0, |(column, _)| column);
    let most = f64::from(model.most_of(column, group).max(1));
    Pattern::new(model, column, vec![(group, most)])
}

/// The inverse by elimination with row pivots; none if the matrix is singular.
fn invert(mut matrix: Vec<f64>, rows: usize) -> Option<Vec<f64>> {
    let mut inverse = vec![0.0; rows * rows];
    for row in 0..rows {
        inverse[row * rows + row] = 1.0;
    }
    for column in 0..rows {
        let magnitude = |row: &usize| matrix[row * rows + column].abs();
        let pivot_row = (column..rows).max_by(|a, b| magnitude(a).total_cmp(&magnitude(b)))?;
        let pivot = matrix[pivot_row * rows + column];
        if pivot.abs() < 1e-11 {
            return None;
        }
        for index in 0..rows {
            matrix.swap(pivot_row * rows + index, column * rows + index);
            inverse.swap(pivot_row * rows + index, column * rows + index);
        }
        for index in 0..rows {
            matrix[column * rows + index] /= pivot;
            inverse[column * rows + index] /= pivot;
        }
        pivot_out(&mut matrix, &mut inverse, column, rows);
    }
    Some(inverse)
}

/// Takes a multiple of the pivot's row from every other row.
fn pivot_out(matrix: &mut [f64], inverse: &mut [f64], pivot: usize, rows: usize) {
    let matrix_row = matrix[pivot * rows..(pivot + 1) * rows].to_vec();
    let inverse_row = inverse[pivot * rows..(pivot + 1) * rows].to_vec();
    let both = matrix.chunks_exact_mut(rows).zip(inverse.chunks_exact_mut(rows));
    for (_, (cells, inverses)) in both.enumerate().filter(|(row, _)| *row != pivot) {
        let factor = cells[pivot];
        if factor != 0.0 {
            cells
                .iter_mut()
                .zip(&matrix_row)
                .for_each(|(cell, by)| *cell -= factor * by);
            inverses
                .iter_mut()
                .zip(&inverse_row)
                .for_each(|(cell, by)| *cell -= factor * by);
        }
    }
}
