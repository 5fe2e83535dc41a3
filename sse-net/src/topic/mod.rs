//! Topics: a log behind a lock, and a way to wake its subscribers.

mod choice;
mod clock;
mod handle;
mod held;
mod hub;
mod joint;
mod keyed;
mod log;
mod membership;
mod position;
mod publish;
mod published;
mod reader;
mod sending;
mod several;
mod source;
mod state;
mod stored;
mod subscribe;
mod subscription;
mod switching;
mod waiters;
mod watched;

pub(crate) use choice::Choice;
pub use choice::FollowError;
pub(crate) use clock::now;
#[cfg(test)]
pub(crate) use clock::simulated;
pub use handle::Topic;
pub(crate) use hub::HubShared;
#[cfg(feature = "redis")]
pub(crate) use hub::followed::Followed;
pub use hub::{Hub, TooManyTopics};
pub(crate) use hub::{HubCore, RestoredTopic, StoredNames, random_epoch};
pub use keyed::KeyedTopicError;
pub(crate) use log::{SafeId, Since};
pub(crate) use membership::Membership;
pub(crate) use position::Joining;
pub use published::{PublishError, Published};
pub(crate) use reader::Reader;
pub(crate) use several::{Obstacle, ReaderPlace, Several, next_batch};
#[cfg(feature = "redis")]
pub(crate) use source::{Asking, Engine, Kind, Outgoing};
pub(crate) use source::{FoundRun, Lease, NewEvents, Retained, RunStart, Source, Storage};
pub(crate) use state::{End, Shared};
#[cfg(feature = "redis")]
pub(crate) use stored::Outcome;
pub use stored::StoreError;
pub(crate) use stored::Storing;
pub use subscription::Subscription;
pub(crate) use switching::{Member, Piece, View};
pub use switching::{StreamToken, StreamTopics};

pub use crate::config::Start;

#[cfg(test)]
mod tests;
