//! HTTP/1.1 messages as bytes in memory: heads, responses, the framing of bodies, and the
//! upgrade of a request to a stream.

mod accept;
mod body;
mod body_error;
mod date;
mod framing;
mod head;
mod host;
mod list;
mod response;
mod response_head;
mod upgrade;

pub use accept::MEDIA_TYPE;
pub use body::{BodyLimits, BodyReader};
pub use body_error::BodyError;
pub use framing::Framing;
pub use head::{Head, HeadReader};
pub use response::{Rejection, Reply, Response};
pub use response_head::{ResponseHead, ResponseHeadError, ResponseHeadReader};
pub use upgrade::{Request, UpgradeError, Upgrader};
