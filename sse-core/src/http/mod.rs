//! HTTP/1.1 messages as bytes in memory: heads, bodies, responses, and the upgrade of a
//! request to a stream.

mod accept;
mod body;
mod date;
mod head;
mod host;
mod list;
mod response;
mod response_head;
mod upgrade;

pub use accept::MEDIA_TYPE;
pub use body::{BodyError, BodyLimits, BodyReader, Framing};
#[cfg(feature = "client")]
pub(crate) use head::is_authority;
pub use head::{Head, HeadReader};
pub use response::{Headers, Rejection, Reply, Response};
#[cfg(feature = "client")]
pub(crate) use response::{check_header_name, check_header_value};
pub use response_head::{ResponseHead, ResponseHeadError, ResponseHeadReader};
#[cfg(feature = "client")]
pub(crate) use upgrade::check_method;
pub use upgrade::{Request, RequestBody, UpgradeError, Upgrader};
