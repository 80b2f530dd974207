//! The pricing problem in whole pods: patterns that can be used as they are.
//!
//! The relaxation rounded down and filled up, then, where a node holds few pods, depth first search with the
//! Lagrangian of the relaxation as bound (Horowitz and Sahni 1974; Kellerer, Pferschy and Pisinger, "Knapsack
//! Problems", 2004, section 9).

use super::{Budget, knapsack::Knapsack, model::Model};

/// Most steps of one search.
const MOST_STEPS: usize = 600;

/// With more pods than this on a node rounding loses next to nothing and a search finds nothing.
const FEW_PODS: f64 = 24.0;

/// Room for finding whole patterns.
#[derive(Clone, Debug, Default)]
pub(super) struct WholeKnapsack {
    pub relaxed: Knapsack,
    /// How many of each group, after [`WholeKnapsack::solve`].
    pub amounts: Vec<u32>,
    room: Vec<i64>,
    order: Vec<usize>,
    /// From each place in the order on: what the groups can still add beyond what the room is worth.
    beyond: Vec<f64>,
    chosen: Vec<u32>,
    steps: usize,
    best: f64,
}

impl WholeKnapsack {
    /// A content in whole pods for a node of `column` that is worth much; its worth is returned.
    pub(super) fn solve(&mut self, model: &Model, column: usize, values: &[f64], budget: &mut Budget) -> f64 {
        self.relaxed.solve(model, column, values, budget);
        self.round(model, column, values);
        budget.spend(values.len() * model.rows + 20);
        let pods: f64 = self.relaxed.amounts.iter().sum();
        if pods <= FEW_PODS {
            self.search(model, column, values, budget);
        }
        self.best
    }

    /// Rounds the relaxation down and fills up with what is most worth for its size.
    fn round(&mut self, model: &Model, column: usize, values: &[f64]) {
        self.room.clear();
        self.room.extend_from_slice(model.exact_capacity(column));
        self.amounts.clear();
        self.amounts.resize(values.len(), 0);
        self.best = 0.0;
        for group in 0..values.len() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between zero and the group's count"
            )]
            let whole = (self.relaxed.amounts[group] + 1e-7).floor() as u32;
            if whole > 0 {
                let amount = whole.min(self.fitting(model, group));
                self.add(model, group, amount, values);
            }
        }
        let weights = &self.relaxed.weights;
        let density = |group: usize| {
            let cost: f64 = model
                .requests(group)
                .iter()
                .zip(weights)
                .map(|(r, w)| r * w)
                .sum();
            values[group] / (cost + 1e-300)
        };
        let fits = model.fits(column);
        self.order.clear();
        self.order
            .extend((0..values.len()).filter(|&group| fits[group] && values[group] > 0.0));
        let mut keyed: Vec<(f64, f64, usize)> = self
            .order
            .iter()
            .map(|&group| (density(group), values[group], group))
            .collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        for (place, (_, _, group)) in keyed.into_iter().enumerate() {
            self.order[place] = group;
            let amount = self.fitting(model, group);
            self.add(model, group, amount, values);
        }
    }

    fn add(&mut self, model: &Model, group: usize, amount: u32, values: &[f64]) {
        if amount == 0 {
            return;
        }
        for (room, request) in self.room.iter_mut().zip(model.exact_requests(group)) {
            *room -= request * i64::from(amount);
        }
        self.amounts[group] += amount;
        self.best += values[group] * f64::from(amount);
    }

    /// How many more of a group the room takes.
    fn fitting(&self, model: &Model, group: usize) -> u32 {
        let left = i64::from(model.groups[group].count - self.amounts[group]);
        most_in(&self.room, model.exact_requests(group), left)
    }

    fn search(&mut self, model: &Model, column: usize, values: &[f64], budget: &mut Budget) {
        let weights = self.relaxed.weights.clone();
        let margin = |group: usize| {
            let cost: f64 = model
                .requests(group)
                .iter()
                .zip(&weights)
                .map(|(r, w)| r * w)
                .sum();
            values[group] - cost
        };
        let mut keyed: Vec<(f64, usize)> = self.order.iter().map(|&group| (margin(group), group)).collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.order = keyed.iter().map(|(_, group)| *group).collect();
        self.beyond.clear();
        self.beyond.resize(keyed.len() + 1, 0.0);
        for (place, (margin, group)) in keyed.iter().enumerate().rev() {
            let most = f64::from(model.most_of(column, *group));
            self.beyond[place] = self.beyond[place + 1] + most * margin.max(0.0);
        }
        self.chosen.clear();
        self.chosen.resize(values.len(), 0);
        self.room.clear();
        self.room.extend_from_slice(model.exact_capacity(column));
        self.steps = 0;
        let room: f64 = model
            .capacity(column)
            .iter()
            .zip(&weights)
            .map(|(c, w)| c * w)
            .sum();
        self.descend(model, values, &weights, 0, 0.0, room);
        budget.spend(self.steps * (4 * model.rows + 4) + values.len() * model.rows);
    }

    /// Tries how many of the group at `place` go well with what is chosen; `worth` is the worth of that, `room` what the
    /// multipliers say the rest of the node is worth.
    fn descend(
        &mut self,
        model: &Model,
        values: &[f64],
        weights: &[f64],
        place: usize,
        worth: f64,
        room: f64,
    ) {
        if worth > self.best * (1.0 + 1e-9) {
            self.best = worth;
            self.amounts.clone_from(&self.chosen);
        }
        for next in place..self.order.len() {
            self.steps += 1;
            if self.steps > MOST_STEPS || worth + room + self.beyond[next] <= self.best * (1.0 + 1e-7) {
                return;
            }
            let group = self.order[next];
            let requests = model.exact_requests(group);
            let most = most_in(&self.room, requests, i64::from(model.groups[group].count));
            let cost: f64 = model
                .requests(group)
                .iter()
                .zip(weights)
                .map(|(r, w)| r * w)
                .sum();
            for amount in (1..=most).rev() {
                let many = i64::from(amount);
                for (room, request) in self.room.iter_mut().zip(requests) {
                    *room -= request * many;
                }
                self.chosen[group] = amount;
                let pods = f64::from(amount);
                self.descend(
                    model,
                    values,
                    weights,
                    next + 1,
                    worth + values[group] * pods,
                    room - cost * pods,
                );
                self.chosen[group] = 0;
                for (room, request) in self.room.iter_mut().zip(requests) {
                    *room += request * many;
                }
                if self.steps > MOST_STEPS {
                    return;
                }
            }
        }
    }
}

/// How many pods fit a room, `most` at most.
pub(super) fn most_in(room: &[i64], requests: &[i64], most: i64) -> u32 {
    let mut fitting = most;
    for (room, request) in room.iter().zip(requests) {
        if *request > *room {
            return 0;
        }
        if *request > 0 && request.saturating_mul(fitting) > *room {
            fitting = room / request;
        }
    }
    u32::try_from(fitting.max(0)).unwrap_or(0)
}
