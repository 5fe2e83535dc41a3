//! HTTP/1.1 messages as bytes in memory: the heads of responses, the framing of bodies, and
//! bodies.

mod body;
mod body_error;
mod framing;
mod list;
mod response_head;

pub use body::{BodyLimits, BodyReader};
pub use body_error::BodyError;
pub use framing::Framing;
pub use response_head::{ResponseHead, ResponseHeadError, ResponseHeadReader};
