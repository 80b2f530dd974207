//! A lower bound on the price of any valid plan.

use super::{
    Budget, Problem,
    generation::{Content, Generation},
    model::Model,
};

/// What is known of the cheapest plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    /// No fleet that holds all pods but the unplaceable costs less, per hour.
    pub lower_bound: f64,
    /// Whether it is as good as this method gets, rather than where the budget ended: then it is not below the linear
    /// relaxation over classes and columns.
    pub converged: bool,
    /// Classes with pods that fit no column, by index.
    pub unplaceable: Vec<usize>,
}

/// Bounds the price of every fleet that holds all pods of `problem` and obeys its rules.
///
/// It is the optimum of the linear program over *proper* patterns: what a node holds is a fractional content within its
/// capacity, and of no class more than there is. That is not below the program with `y[class, column]` pods and
/// `x[column]` nodes, and where few pods are left for a node it is above it.
#[must_use]
pub fn bound(problem: &Problem, budget: &mut Budget) -> Bound {
    let model = Model::new(problem);
    let counts: Vec<u32> = (0..model.groups.len())
        .map(|group| {
            let costs = model.has_endless(group) && !model.is_free(group);
            if costs { model.groups[group].count } else { 0 }
        })
        .collect();
    let (costly, _) = model.restricted(&counts, f64::INFINITY);
    if costly.groups.is_empty() {
        return Bound {
            converged: true,
            unplaceable: model.unplaceable,
            ..Bound::default()
        };
    }
    let mut generation = Generation::new(&costly, Content::Fractional);
    generation.run(1e-9, budget);
    Bound {
        lower_bound: generation.lower_bound,
        converged: generation.converged,
        unplaceable: model.unplaceable,
    }
}
