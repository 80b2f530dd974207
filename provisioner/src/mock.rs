//! A `mockall` mock of [`Provisioner`], for unit tests of code that calls one.
//!
//! ```
//! use provisioner::{ProviderId, Provisioner, Termination, karpenter::KwokNodeClass, mock::MockProvisioner};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), provisioner::Error> {
//! let mut cloud = MockProvisioner::<KwokNodeClass>::new();
//! cloud.expect_terminate().returning(|_| Ok(Termination::Gone));
//! assert_eq!(cloud.terminate(&ProviderId("kwok://a".into())).await?, Termination::Gone);
//! # Ok(()) }
//! ```
#![allow(
    missing_docs,
    missing_debug_implementations,
    reason = "mockall writes the items"
)]
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "mockall writes the code"
)]

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Catalog, ClassStatus, DriftReason, Error, Instance, LaunchRequest, NodeClass, ProviderId, Provisioner,
    Termination, karpenter::NodePool,
};

mockall::mock! {
    pub Provisioner<C: NodeClass> {}

    #[async_trait]
    impl<C: NodeClass> Provisioner for Provisioner<C> {
        type Class = C;
        async fn resolve(&self, class: &C) -> Result<ClassStatus, Error>;
        async fn catalog(&self, pool: &NodePool, class: &C) -> Result<Arc<Catalog>, Error>;
        async fn launch<'a, 'b, 'c>(&'a self, request: &'b LaunchRequest<'c, C>) -> Result<Instance, Error>;
        async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error>;
        async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error>;
        async fn list(&self) -> Result<Vec<Instance>, Error>;
        async fn drift(&self, instance: &Instance, class: &C) -> Result<Option<DriftReason>, Error>;
    }
}

impl<C: NodeClass> std::fmt::Debug for MockProvisioner<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockProvisioner")
    }
}
