//! Topics: a log behind a lock, and a way to wake its subscribers.

mod clock;
mod handle;
mod hub;
mod joint;
mod keyed;
mod log;
mod position;
mod progress;
mod publish;
mod reader;
mod several;
mod state;
mod subscription;
mod waiters;

pub(crate) use clock::now;
pub use handle::Topic;
pub use hub::{Hub, TooManyTopics};
pub use keyed::KeyedTopicError;
pub(crate) use log::Since;
pub use position::Start;
pub(crate) use progress::{Progress, Storage, Wait};
pub use publish::{PublishError, Published};
pub(crate) use reader::Reader;
pub use several::FollowError;
pub(crate) use state::{Shared, State};
pub use subscription::Subscription;
pub(crate) use waiters::Wakers;

#[cfg(test)]
mod tests;
