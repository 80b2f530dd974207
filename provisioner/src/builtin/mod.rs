//! Catalogues that come with the crate, for plans without a cloud.

mod ec2;
mod table;

pub use ec2::{SPOT_PRICE, ec2, ec2_regions};
