//! What a fleet costs: lower bounds on the price of any plan, and cheap fleets, by numbers alone.
//!
//! The engine reduces its question to a [`Problem`]: classes of equal pods, columns (an instance type at its cheapest
//! offering that is allowed) and rules on what may share a node. This is variable-sized vector bin packing. From it come
//! - [`bound`]: a lower bound on the price of every valid plan. The pattern formulation of Gilmore and Gomory ("A linear
//!   programming approach to the cutting-stock problem", Operations Research 9, 1961), solved by column generation;
//!   whatever multipliers it ends with are made exactly feasible for the dual (Farley, "A note on bounding a class of
//!   linear programming problems", Operations Research 38, 1990), so that weak duality holds however the arithmetic
//!   rounded: numerical trouble loosens the bound and never falsifies it.
//! - [`fleets`]: candidates for the engine to try, cheapest first.
//! - [`polish`]: a cheaper fleet of the same pods from any fleet.
//!
//! Pure, synchronous, deterministic; no clock: effort is counted in [`Budget`] units. Amounts are exact integers
//! wherever feasibility is decided; floating point stays inside the linear programs.

mod bound;
mod budget;
mod demand;
mod dive;
mod generation;
mod greedy;
mod knapsack;
mod master;
mod model;
mod packing;
mod polish;
mod problem;
mod realise;
mod strategies;
mod whole;
mod worth;

pub use bound::{Bound, bound};
pub use budget::Budget;
pub use polish::polish;
pub use problem::{Class, Column, ColumnSet, PatternNode, Problem, Rule, price_of};
pub use strategies::{Candidate, PATTERN_GENERATION, PRICE_PER_BOTTLENECK, fleets};

#[cfg(test)]
mod tests;
