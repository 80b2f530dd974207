//! KEDA's custom resources.
