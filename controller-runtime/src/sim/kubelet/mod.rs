//! The kubelets of the embedded cluster.
