//! KEDA and Karpenter in one process, and the embedded cluster to try them on.

fn main() {}
