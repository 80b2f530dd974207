//! The node half's view of the cluster: nodes, claims, pods and what they use, as one synchronous index.
