//! Ordered stores of objects, kept current by a watch.
