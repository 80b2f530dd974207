//! Hash maps of a question. Their keys are short and their lives are, so they are hashed fast, and the same in every run.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
};

use foldhash::fast::FixedState;

/// A map that nobody goes through in its own order.
pub(super) type Map<K, V> = HashMap<K, V, FixedState>;

/// What the maps hash with.
pub(super) fn hasher() -> impl Hasher {
    FixedState::default().build_hasher()
}
