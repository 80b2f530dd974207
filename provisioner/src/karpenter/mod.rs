//! Karpenter's custom resources.

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {}
/// A NodePool.
#[derive(Clone, Debug)]
pub struct NodePool {}
/// A NodeClaim.
#[derive(Clone, Debug)]
pub struct NodeClaim {}
