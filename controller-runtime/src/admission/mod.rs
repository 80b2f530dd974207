//! Checks of KEDA's objects before they are used: the webhook's rules as pure functions.
