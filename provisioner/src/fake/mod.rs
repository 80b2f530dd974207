//! An in-process cloud.
