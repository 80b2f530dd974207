//! Mocks of [`Scaler`](crate::Scaler) and [`PushScaler`](crate::PushScaler) for unit tests of what uses them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use scaler_api::{Error, ErrorKind, Sample, Scaler, mock::MockScaler};
//!
//! let mut scaler = MockScaler::new();
//! scaler.expect_sample().times(1).returning(|| Ok(Sample::single("queue", 12.0, true)));
//! scaler.expect_sample().returning(|| Err(Error::unavailable("the queue is gone")));
//!
//! assert!(scaler.sample().await.is_ok());
//! assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
//! # }
//! ```
//!
//! A mock that pushes returns a [`MockPushScaler`]:
//!
//! ```
//! use futures::{StreamExt as _, stream};
//! use scaler_api::{Scaler, mock::{MockPushScaler, MockScaler}};
//!
//! let mut push = MockPushScaler::new();
//! push.expect_activations().returning(|| stream::iter([Ok(true)]).boxed());
//! let mut scaler = MockScaler::new();
//! scaler.expect_push().return_const(Some(Box::leak(Box::new(push)) as &_));
//!
//! assert!(scaler.push().is_some());
//! ```
#![allow(
    missing_docs,
    reason = "the macro's methods follow the methods that they expect"
)]

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Error, Sample};

mockall::mock! {
    /// A [`Scaler`](crate::Scaler) that does what a test expects.
    pub Scaler {}

    #[async_trait]
    impl crate::Scaler for Scaler {
        async fn sample(&self) -> Result<Sample, Error>;
        fn push(&self) -> Option<&'static dyn crate::PushScaler>;
    }
}

mockall::mock! {
    /// A [`PushScaler`](crate::PushScaler) that does what a test expects.
    pub PushScaler {}

    impl crate::PushScaler for PushScaler {
        fn activations(&self) -> BoxStream<'static, Result<bool, Error>>;
    }
}

impl fmt::Debug for MockScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockScaler").finish_non_exhaustive()
    }
}

impl fmt::Debug for MockPushScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockPushScaler").finish_non_exhaustive()
    }
}
