//! What the measuring programs share.

#[path = "../../../examples/feed.rs"]
pub mod feed;
pub mod frame;
pub mod histogram;
pub mod load;
pub mod process;
