//! The suite that every scaler passes.
