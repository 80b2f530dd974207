//! NodeClaim: launch, registration, initialisation, liveness, termination.
