//! Diving: solve the linear program over whole patterns, buy what it uses at least once, ask again for the rest.
//!
//! A sequential heuristic after Gilmore and Gomory; the patterns of the residual problem hold no more pods than are
//! left, so that its nodes come out no larger than they need be.

use super::{
    Budget,
    generation::{Content, Generation},
    greedy::greedy,
    master::Pattern,
    model::Model,
};

/// More groups than this and the linear program takes longer than it saves.
pub(super) const MOST_GROUPS: usize = 600;

/// Nodes of a column of the model with so many pods of each group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Purchase {
    pub column: usize,
    pub content: Vec<(usize, u32)>,
    pub copies: u32,
}

/// The price of purchases.
pub(super) fn price_of(model: &Model, purchases: &[Purchase]) -> f64 {
    let price = |purchase: &Purchase| model.prices[purchase.column] * f64::from(purchase.copies);
    purchases.iter().map(price).sum()
}

/// Nodes for all pods of the model, of which there are `counts` by group. At every depth the greedy strategy completes
/// what is bought so far; the cheapest of these is the answer.
pub(super) fn dive(model: &Model, counts: &[u32], budget: &mut Budget) -> Vec<Purchase> {
    let mut left = counts.to_vec();
    let mut bought: Vec<Purchase> = Vec::new();
    let mut known: Vec<Pattern> = Vec::new();
    let mut best: Option<(f64, usize, Vec<Purchase>)> = None;
    loop {
        let completion = greedy(model, &mut left.clone(), budget);
        let ceiling = price_of(model, &completion);
        let total = price_of(model, &bought) + ceiling;
        if best.as_ref().is_none_or(|(least, _, _)| total < *least) {
            best = Some((total, bought.len(), completion));
        }
        if budget.is_spent() || left.iter().all(|count| *count == 0) {
            break;
        }
        let (residual, kept) = model.restricted(&left, ceiling * (1.0 + 1e-9));
        let mut generation = Generation::new(&residual, Content::Whole);
        for pattern in known.drain(..) {
            if let Some(pattern) = fitted(&residual, &kept, &left, &pattern) {
                generation.master.add(pattern);
            }
        }
        let mut share = budget.share(2);
        generation.run(1e-4, &mut share);
        budget.give_back(share);
        let purchases = take(&generation, &kept, &mut left);
        if purchases.is_empty() {
            break;
        }
        bought.extend(purchases);
        known = generation
            .master
            .patterns
            .into_iter()
            .map(|pattern| renamed(pattern, &kept))
            .collect();
    }
    let (_, depth, completion) = best.unwrap_or_default();
    bought.truncate(depth);
    bought.extend(completion);
    bought
}

/// A pattern of the residual problem in the names of the whole.
fn renamed(mut pattern: Pattern, kept: &[usize]) -> Pattern {
    pattern
        .content
        .iter_mut()
        .for_each(|(group, _)| *group = kept[*group]);
    pattern
}

/// A pattern for the residual problem, without what is no more needed; none if too little is left of it.
fn fitted(residual: &Model, kept: &[usize], left: &[u32], pattern: &Pattern) -> Option<Pattern> {
    if pattern.content.len() < 2 {
        return None;
    }
    let mut content = Vec::with_capacity(pattern.content.len());
    for (group, amount) in &pattern.content {
        if f64::from(left[*group]) < *amount {
            return None;
        }
        content.push((kept.binary_search(group).ok()?, *amount));
    }
    if pattern.column >= residual.columns.len() {
        return None;
    }
    Some(Pattern::new(residual, pattern.column, content))
}

/// Buys every pattern as often as the program uses it whole; if it uses none whole, the one that it uses most, once.
fn take(generation: &Generation<'_>, kept: &[usize], left: &mut [u32]) -> Vec<Purchase> {
    let patterns = &generation.master.patterns;
    let mut used: Vec<(usize, f64)> = generation.master.used().collect();
    used.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut bought = Vec::new();
    for (pattern, level) in &used {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the number of pods"
        )]
        let copies = (level + 1e-6).floor() as u32;
        bought.extend(buy(&patterns[*pattern], copies, kept, left));
    }
    if bought.is_empty()
        && let Some((pattern, _)) = used.first()
    {
        bought.extend(buy(&patterns[*pattern], 1, kept, left));
    }
    bought
}

/// As many copies as there are pods for.
fn buy(pattern: &Pattern, most: u32, kept: &[usize], left: &mut [u32]) -> Option<Purchase> {
    let mut copies = most;
    let mut content = Vec::with_capacity(pattern.content.len());
    for (group, amount) in &pattern.content {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole by construction"
        )]
        let amount = (*amount as u32).max(1);
        let group = kept[*group];
        content.push((group, amount));
        copies = copies.min(left[group] / amount);
    }
    if copies == 0 {
        // Less is left than one node takes: that node takes what is left.
        if most == 0 {
            return None;
        }
        copies = 1;
        content
            .iter_mut()
            .for_each(|(group, amount)| *amount = (*amount).min(left[*group]));
        content.retain(|(_, amount)| *amount > 0);
        if content.is_empty() {
            return None;
        }
    }
    for (group, amount) in &content {
        left[*group] -= amount * copies;
    }
    Some(Purchase {
        column: pattern.column,
        content,
        copies,
    })
}
