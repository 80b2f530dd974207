mod bounds;
mod candidates;

use super::{
    Budget, Candidate, Class, Column, ColumnSet, PatternNode, Problem, Rule, bound, fleets, polish, price_of,
};

/// A class that every column suits.
fn class(count: u32, requests: &[i64]) -> Class {
    Class {
        count,
        requests: requests.to_vec(),
        fits: ColumnSet::all(64),
    }
}

fn column(price: f64, allocatable: &[i64]) -> Column {
    Column {
        allocatable: allocatable.to_vec(),
        price,
        copies: None,
    }
}

fn problem(classes: Vec<Class>, columns: Vec<Column>) -> Problem {
    Problem {
        classes,
        columns,
        rules: Vec::new(),
    }
}
