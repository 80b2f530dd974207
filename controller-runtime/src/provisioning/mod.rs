//! Provisioning: pending pods to NodeClaims, by batches.
