//! The embedded cluster over HTTP, for kubectl.
