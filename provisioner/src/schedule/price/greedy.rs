//! Best price per bottleneck resource: the fast way to a fleet.

use super::{Budget, demand::Demand, dive::Purchase, model::Model};

/// How many of the columns that look best are filled to see.
const TRIED: usize = 6;

/// Costs this close are equal, and the larger node is preferred.
const ALIKE: f64 = 1.0005;

/// Nodes for all pods that are left.
///
/// Every time the column that covers most for its price. The demand is taken in its proportions, so that the resource
/// that runs out first on a column is the one that counts for it, and a pod is worth what it would cost alone.
pub(super) fn greedy(model: &Model, left: &mut [u32], budget: &mut Budget) -> Vec<Purchase> {
    let worth = &model.alone;
    let mut order = by_size(model, left);
    let mut bought = Vec::new();
    while !order.is_empty() {
        let mut best: Option<(f64, Purchase)> = None;
        for (column, share) in promising(model, &order, left, worth, budget) {
            let content = filled(model, column, share, &order, left, budget);
            let value: f64 = content
                .iter()
                .map(|(group, number)| worth[*group] * f64::from(*number))
                .sum();
            let cost = model.prices[column].max(f64::MIN_POSITIVE) / value;
            let better = |(least, other): &(f64, Purchase)| {
                let alike = cost <= least * ALIKE && *least <= cost * ALIKE;
                if alike {
                    model.prices[column] > model.prices[other.column]
                } else {
                    cost < *least
                }
            };
            if value > 0.0 && best.as_ref().is_none_or(better) {
                let purchase = Purchase {
                    column,
                    content,
                    copies: 1,
                };
                best = Some((cost, purchase));
            }
        }
        let Some((_, mut purchase)) = best else { break };
        let copies = purchase
            .content
            .iter()
            .map(|(group, number)| left[*group] / number)
            .min();
        purchase.copies = copies.unwrap_or(1).max(1);
        for (group, number) in &purchase.content {
            left[*group] -= number * purchase.copies;
        }
        bought.push(purchase);
        order.retain(|group| left[*group] > 0);
    }
    bought
}

/// Groups with pods left, greatest first by the largest share of what a node may offer.
pub(super) fn by_size(model: &Model, left: &[u32]) -> Vec<usize> {
    let share = |group: usize| model.requests(group).iter().copied().fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..left.len()).filter(|group| left[*group] > 0).collect();
    order.sort_by(|&a, &b| share(b).total_cmp(&share(a)).then(a.cmp(&b)));
    order
}

/// The few columns that look best with all resources taken in proportion to the demand, and the share of it that one
/// node covers.
fn promising(
    model: &Model,
    order: &[usize],
    left: &[u32],
    worth: &[f64],
    budget: &mut Budget,
) -> Vec<(usize, f64)> {
    let mut scored = Vec::with_capacity(model.columns.len());
    let mut demand = Demand::default();
    let mut counts = vec![0.0; left.len()];
    order
        .iter()
        .for_each(|&group| counts[group] = f64::from(left[group]));
    for column in 0..model.columns.len() {
        demand.of(model, column, worth, &counts, budget);
        if demand.value > 0.0 {
            let share = demand.share(model.capacity(column));
            scored.push((model.prices[column] / (share * demand.value), column, share));
        }
    }
    budget.spend(model.columns.len() * (model.rows + 6));
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.truncate(TRIED);
    scored
        .into_iter()
        .map(|(_, column, share)| (column, share))
        .collect()
}

/// A node with its share of every group, then whatever fits.
fn filled(
    model: &Model,
    column: usize,
    share: f64,
    order: &[usize],
    left: &[u32],
    budget: &mut Budget,
) -> Vec<(usize, u32)> {
    let mut room = model.exact_capacity(column).to_vec();
    let mut content: Vec<(usize, u32)> = Vec::with_capacity(order.len());
    let fits = model.fits(column);
    let add = |room: &mut [i64], group: usize, most: u32| {
        let number = super::whole::most_in(room, model.exact_requests(group), i64::from(most));
        for (room, request) in room.iter_mut().zip(model.exact_requests(group)) {
            *room -= request * i64::from(number);
        }
        number
    };
    for &group in order.iter().filter(|group| fits[**group]) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count"
        )]
        let wanted = (f64::from(left[group]) * share).floor() as u32;
        content.push((group, add(&mut room, group, wanted)));
    }
    for (group, number) in &mut content {
        *number += add(&mut room, *group, left[*group] - *number);
    }
    budget.spend(order.len() * (model.rows + 2) * 4);
    content.retain(|(_, number)| *number > 0);
    content.sort_unstable();
    content
}
