//! Wrappers that add one behaviour to any scaler.
