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
mod watch;

pub(crate) use clock::now;
pub use handle::Topic;
pub(crate) use hub::HubShared;
pub use hub::{Hub, TooManyTopics};
pub use keyed::KeyedTopicError;
pub(crate) use log::Since;
pub(crate) use position::Joining;
pub use position::Start;
pub(crate) use progress::{Progress, Storage, Wait};
pub use publish::{PublishError, Published};
pub(crate) use reader::Reader;
pub use several::FollowError;
pub(crate) use several::{Choice, Missed, ReaderPlace, Several, next_batch};
pub(crate) use state::{Shared, State};
pub use subscription::Subscription;
pub(crate) use waiters::Wakers;
pub(crate) use watch::Watch;

#[cfg(test)]
mod tests;
