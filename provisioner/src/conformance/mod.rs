//! The suite that every provisioner passes.
