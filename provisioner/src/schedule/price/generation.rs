//! Column generation: the master problem asks, the knapsacks answer with patterns that pay, until none does.

use super::{
    Budget,
    knapsack::{Knapsack, rounding},
    master::{Master, Pattern},
    model::Model,
    whole::WholeKnapsack,
};

/// How many patterns are added before the master is asked again.
const PATTERNS_A_ROUND: usize = 6;

/// How many columns are searched in vain for whole patterns in a round.
const VAIN_SEARCHES: usize = 24;

/// What patterns are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Parts of pods: what bounds are made of.
    Fractional,
    /// Whole pods: what nodes are made of.
    Whole,
}

/// A master problem with the means to find the patterns that it lacks.
#[derive(Debug)]
pub(super) struct Generation<'a> {
    pub model: &'a Model,
    pub master: Master,
    content: Content,
    knapsack: WholeKnapsack,
    /// columns x rows: the multipliers that bounded each column best so far.
    weights: Vec<f64>,
    /// At most this is what a node of each column can hold at the values last asked about.
    worth: Vec<f64>,
    order: Vec<usize>,
    /// The best lower bound so far.
    pub lower_bound: f64,
    /// Whether no pattern is missing.
    pub converged: bool,
}

impl<'a> Generation<'a> {
    /// Of a model in which every group has an endless column that costs something.
    pub(super) fn new(model: &'a Model, content: Content) -> Self {
        Self {
            master: Master::new(model),
            content,
            knapsack: WholeKnapsack::default(),
            weights: vec![0.0; model.columns.len() * model.rows],
            worth: vec![0.0; model.columns.len()],
            order: Vec::new(),
            lower_bound: 0.0,
            converged: false,
            model,
        }
    }

    /// Runs until no pattern that is found pays by more than `tolerance` of its price, or the budget is spent.
    pub(super) fn run(&mut self, tolerance: f64, budget: &mut Budget) {
        while !budget.is_spent() {
            self.master.optimise(budget);
            let values: Vec<f64> = self.master.values.iter().map(|value| value.max(0.0)).collect();
            let found = self.price(&values, tolerance, budget);
            self.lower_bound = self.lower_bound.max(self.bound_at(&values));
            if found.is_empty() {
                self.converged = !budget.is_spent();
                break;
            }
            found.into_iter().for_each(|pattern| self.master.add(pattern));
        }
    }

    /// Patterns that pay at these values.
    fn price(&mut self, values: &[f64], tolerance: f64, budget: &mut Budget) -> Vec<Pattern> {
        let groups = &values[..self.model.groups.len()];
        self.estimate(groups, budget);
        let mut found = Vec::new();
        let mut vain = 0;
        for position in 0..self.order.len() {
            let column = self.order[position];
            let price = self.asked_price(column, values);
            let least = tolerance * price.max(self.model.least_price);
            if self.worth[column] - price <= least {
                continue;
            }
            let worth = match self.content {
                Content::Fractional => self.knapsack.relaxed.solve(self.model, column, groups, budget),
                Content::Whole => self.knapsack.solve(self.model, column, groups, budget),
            };
            self.improve(column, groups, budget);
            if worth - price > least {
                found.push(Pattern::new(self.model, column, self.content()));
            } else if self.content == Content::Whole {
                vain += 1;
            }
            if found.len() >= PATTERNS_A_ROUND || vain >= VAIN_SEARCHES || budget.is_spent() {
                break;
            }
        }
        found
    }

    /// What the knapsack holds.
    fn content(&self) -> Vec<(usize, f64)> {
        match self.content {
            Content::Fractional => {
                let amounts = self.knapsack.relaxed.amounts.iter().copied().enumerate();
                amounts.filter(|(_, amount)| *amount > 1e-9).collect()
            }
            Content::Whole => {
                let amounts = self
                    .knapsack
                    .amounts
                    .iter()
                    .map(|amount| f64::from(*amount))
                    .enumerate();
                amounts.filter(|(_, amount)| *amount > 0.0).collect()
            }
        }
    }

    /// What a content must be worth to pay: the price, and for columns with few copies what one of those is worth.
    fn asked_price(&self, column: usize, values: &[f64]) -> f64 {
        let scarce = self.model.limit_row(column).map_or(0.0, |row| values[row]);
        self.model.prices[column] + scarce
    }

    /// Bounds what a node of each column can be worth by multipliers that are known, and orders columns by it.
    fn estimate(&mut self, groups: &[f64], budget: &mut Budget) {
        let columns = self.model.columns.len();
        for column in 0..columns {
            let own = self.weights_of(column);
            self.worth[column] = Knapsack::worth_at_most(self.model, column, groups, own, budget);
            if column > 0 {
                // A neighbour's often do as well or better, scaled prices being alike.
                let neighbour = self.weights_of(column - 1);
                let worth = Knapsack::worth_at_most(self.model, column, groups, neighbour, budget);
                if worth < self.worth[column] {
                    self.worth[column] = worth;
                    self.weights.copy_within(
                        (column - 1) * self.model.rows..column * self.model.rows,
                        column * self.model.rows,
                    );
                }
            }
        }
        let ratio =
            |column: usize| self.worth[column] / self.model.prices[column].max(self.model.least_price);
        self.order = (0..columns).collect();
        self.order
            .sort_by(|&a, &b| ratio(b).total_cmp(&ratio(a)).then(b.cmp(&a)));
    }

    /// Takes the multipliers of the knapsack just solved, if they bound better.
    fn improve(&mut self, column: usize, groups: &[f64], budget: &mut Budget) {
        let worth =
            Knapsack::worth_at_most(self.model, column, groups, &self.knapsack.relaxed.weights, budget);
        if worth <= self.worth[column] {
            self.worth[column] = worth;
            let rows = self.model.rows;
            self.weights[column * rows..(column + 1) * rows].copy_from_slice(&self.knapsack.relaxed.weights);
        }
    }

    fn weights_of(&self, column: usize) -> &[f64] {
        &self.weights[column * self.model.rows..(column + 1) * self.model.rows]
    }

    /// The bound that these values prove: scaled until no content of any node is worth more than its price, they are
    /// feasible for the dual (Farley 1990). Columns with few copies are taken at what they can save at most instead.
    fn bound_at(&self, values: &[f64]) -> f64 {
        let model = self.model;
        let mut factor = 1.0_f64;
        for column in 0..model.columns.len() {
            if model.copies[column].is_infinite() && self.worth[column] > model.prices[column] {
                factor = factor.min(model.prices[column] / self.worth[column]);
            }
        }
        let groups = model.groups.iter().zip(values);
        let whole: f64 = groups.map(|(group, value)| f64::from(group.count) * value).sum();
        let saving = |&column: &usize| {
            model.copies[column]
                * (factor * self.worth[column] * (1.0 + 1e-12) - model.prices[column]).max(0.0)
        };
        let saved: f64 = model.limited.iter().map(saving).sum();
        let slack = (whole + saved) * rounding(values.len());
        (factor * whole - saved - slack).max(0.0)
    }
}
