//! Column generation: the master problem asks, the knapsacks answer with patterns that pay, until none does.

use super::{
    Budget,
    demand::Demand,
    knapsack::rounding,
    master::{Master, Pattern},
    model::Model,
    whole::WholeKnapsack,
    worth::Worth,
};

/// How many patterns are added before the master is asked again.
const PATTERNS_A_ROUND: usize = 6;

/// How many columns are searched in vain for whole patterns in a round.
const VAIN_SEARCHES: usize = 24;

/// How much of the values that gave the best bound is in those that are asked.
const CENTRE: f64 = 0.8;

/// How many patterns there are to begin with.
const SEEDS: usize = 8;

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
    sums: Worth,
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
            sums: Worth::default(),
            weights: vec![0.0; model.columns.len() * model.rows],
            worth: vec![0.0; model.columns.len()],
            order: Vec::new(),
            lower_bound: 0.0,
            converged: false,
            model,
        }
    }

    /// Runs until no pattern that is found pays by more than `tolerance` of its price, the bound meets the objective, or
    /// the budget is spent.
    ///
    /// Patterns are sought at values between those of the master and the ones that gave the best bound (Wentges,
    /// "Weighted Dantzig-Wolfe decomposition", 1997); where that finds none that pays, closer to the master's (Pessoa,
    /// Sadykov, Uchoa and Vanderbeck 2018).
    pub(super) fn run(&mut self, tolerance: f64, budget: &mut Budget) {
        let mut centre = self.aggregate(budget);
        self.estimate(&centre, budget);
        if self.content == Content::Fractional {
            self.seed(&centre, budget);
        }
        self.lower_bound = self.bound_at(&centre);
        let mut vain = 0;
        while !budget.is_spent() {
            self.master.optimise(budget);
            let values: Vec<f64> = self.master.values.iter().map(|value| value.max(0.0)).collect();
            if self.master.objective() <= self.lower_bound * (1.0 + tolerance.min(1e-8)) {
                self.converged = true;
                break;
            }
            let weight = (1.0 - (1.0 - CENTRE) * f64::from(vain + 1)).max(0.0);
            let between = |(centre, value): (&f64, &f64)| weight * centre + (1.0 - weight) * value;
            let asked: Vec<f64> = centre.iter().zip(&values).map(between).collect();
            let found = self.price(&asked, &values, tolerance, budget);
            let bound = self.bound_at(&asked);
            if bound > self.lower_bound {
                self.lower_bound = bound;
                centre = asked;
            }
            if found.is_empty() {
                if weight <= 0.0 {
                    self.converged = !budget.is_spent();
                    break;
                }
                vain += 1;
            } else {
                vain = 0;
                found.into_iter().for_each(|pattern| self.master.add(pattern));
            }
        }
    }

    /// Values to begin with: those of the program in which all pods are one heap of each resource, a pod being worth what
    /// it takes of them.
    fn aggregate(&mut self, budget: &mut Budget) -> Vec<f64> {
        let model = self.model;
        let mut demand = vec![0.0; model.rows];
        for (index, group) in model.groups.iter().enumerate() {
            for (demand, request) in demand.iter_mut().zip(model.requests(index)) {
                *demand += request * f64::from(group.count);
            }
        }
        let prices = Master::heaps(model, &demand, budget);
        // At these multipliers the values are proven as they stand.
        self.weights = prices.repeat(model.columns.len());
        let mut values = vec![0.0; model.groups.len() + model.limited.len()];
        for (index, value) in values.iter_mut().take(model.groups.len()).enumerate() {
            *value = model
                .requests(index)
                .iter()
                .zip(&prices)
                .map(|(request, price)| request * price)
                .sum();
        }
        values
    }

    /// Adds patterns with all groups in the proportions of the demand, for the columns on which they are worth most: where
    /// one resource decides, one of them is the answer.
    fn seed(&mut self, values: &[f64], budget: &mut Budget) {
        let model = self.model;
        let mut seeds: Vec<(f64, usize, f64)> = Vec::with_capacity(model.columns.len());
        let mut demand = Demand::default();
        for column in 0..model.columns.len() {
            demand.of(model, column, values, &model.counts, budget);
            let share = demand.share(model.capacity(column));
            seeds.push((
                share * demand.value / model.prices[column].max(model.least_price),
                column,
                share,
            ));
        }
        seeds.sort_by(|a, b| b.0.total_cmp(&a.0));
        seeds.truncate(SEEDS);
        for (_, column, share) in seeds {
            let fits = model.fits(column);
            let fitting = (0..model.groups.len()).filter(|group| fits[*group]);
            let content = fitting.map(|group| (group, share * model.counts[group]));
            let content = content.filter(|(_, amount)| *amount > 0.0).collect();
            self.master.add(Pattern::new(model, column, content));
        }
    }

    /// Patterns that pay at `values`, sought at those that are `asked`.
    fn price(&mut self, asked: &[f64], values: &[f64], tolerance: f64, budget: &mut Budget) -> Vec<Pattern> {
        let groups = &asked[..self.model.groups.len()];
        self.estimate(groups, budget);
        let mut found = Vec::new();
        let mut vain = 0;
        for position in 0..self.order.len() {
            let column = self.order[position];
            let price = self.asked_price(column, asked);
            let least = tolerance * price.max(self.model.least_price);
            if self.worth[column] - price <= least {
                continue;
            }
            match self.content {
                Content::Fractional => self.knapsack.relaxed.solve(self.model, column, groups, budget),
                Content::Whole => self.knapsack.solve(self.model, column, groups, budget),
            };
            self.improve(column, groups, budget);
            let pattern = Pattern::new(self.model, column, self.content());
            if pattern.worth(values) - pattern.price > tolerance * pattern.scale {
                found.push(pattern);
            } else {
                vain += 1;
            }
            let hopeless = self.content == Content::Whole && vain >= VAIN_SEARCHES;
            if found.len() >= PATTERNS_A_ROUND || hopeless || budget.is_spent() {
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
        let model = self.model;
        let (columns, rows) = (model.columns.len(), model.rows);
        let groups = &groups[..model.groups.len()];
        self.sums.forget();
        for column in 0..columns {
            let (before, own) = self.weights.split_at(column * rows);
            let own = &own[..rows];
            // A neighbour's often do as well or better, scaled prices being alike.
            let neighbour = before.len().checked_sub(rows).map(|at| &before[at..]);
            let better = neighbour
                .filter(|neighbour| *neighbour != own)
                .map(|neighbour| self.sums.at_most(model, column, groups, neighbour, budget));
            let worth = self.sums.at_most(model, column, groups, own, budget);
            self.worth[column] = worth;
            if let Some(better) = better.filter(|better| *better < worth) {
                self.worth[column] = better;
                self.weights
                    .copy_within((column - 1) * rows..column * rows, column * rows);
            }
        }
        let ratio = |column: usize| self.worth[column] / model.prices[column].max(model.least_price);
        self.order = (0..columns).collect();
        self.order
            .sort_by(|&a, &b| ratio(b).total_cmp(&ratio(a)).then(b.cmp(&a)));
    }

    /// Takes the multipliers of the knapsack just solved, if they bound better.
    fn improve(&mut self, column: usize, groups: &[f64], budget: &mut Budget) {
        let weights = &self.knapsack.relaxed.weights;
        let worth = self.sums.at_most(self.model, column, groups, weights, budget);
        if worth <= self.worth[column] {
            self.worth[column] = worth;
            let rows = self.model.rows;
            self.weights[column * rows..(column + 1) * rows].copy_from_slice(&self.knapsack.relaxed.weights);
        }
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
