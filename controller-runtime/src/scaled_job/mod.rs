//! ScaledJobs: from events to Jobs.
//!
//! A ScaledJob says which Jobs are made by which events. At every check the controller asks the triggers, counts the
//! Jobs that have not ended, makes what its [strategy] allows, and deletes those beyond the history. Only the leader
//! does; nobody else has anything to answer.
//!
//! What is decided is decided by pure functions on values ([`combine`], [`strategy`], [`decision`], [`cleanup`],
//! [`template`]). **Jobs that cannot be counted never count as zero**: then nothing is made.

mod check;
pub mod cleanup;
pub mod combine;
pub(crate) mod controller;
pub mod decision;
pub mod jobs;
mod ledger;
mod reconcile;
mod refusals;
mod state;
pub mod strategy;
pub mod template;
mod why;
mod work;
