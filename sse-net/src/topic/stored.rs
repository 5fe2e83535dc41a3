//! Waiting until an event has been stored.

use std::error::Error;
use std::pin::Pin;
use std::{fmt, io};

use sse_core::LogId;

use super::published::Published;
use crate::sync::Arc;

/// The ID of a stored event, or the reason why it is not known to be stored.
pub(crate) type Outcome = Result<LogId, StoreError>;

/// A wait of [`Published::stored`].
pub(crate) type Storing<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl Published {
    /// Waits until the event, or the end of the topic, has been stored, and resolves to its ID.
    ///
    /// With a journal, it is then as safe as the [`SyncPolicy`](crate::SyncPolicy) says: with
    /// [`SyncPolicy::Never`](crate::SyncPolicy::Never) it has been written, else also synced. So
    /// with an interval, the default, this takes up to that time; [`Hub::sync`](crate::Hub::sync)
    /// syncs at once. With an engine, the engine has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal has failed, the engine has refused the event or cannot be
    /// reached, or if there is neither.
    pub async fn stored(&self) -> Result<LogId, StoreError> {
        match &self.storage {
            Some(storage) => storage.stored(self).await,
            None => Err(StoreError::new(NoStorage, false)),
        }
    }
}

/// The error of an event that is not known to be stored.
///
/// Its [source](Error::source) is the error of the journal or the engine.
#[derive(Debug, Clone)]
pub struct StoreError {
    source: Arc<dyn Error + Send + Sync>,
    may_be_stored: bool,
}

impl StoreError {
    pub(crate) fn new(source: impl Error + Send + Sync + 'static, may_be_stored: bool) -> Self {
        Self {
            source: Arc::new(source),
            may_be_stored,
        }
    }

    /// Returns `true` if the event may have been stored, or may still be.
    ///
    /// Publishing it again may then store it twice.
    #[must_use]
    pub const fn may_be_stored(&self) -> bool {
        self.may_be_stored
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// There is neither a journal nor an engine.
#[derive(Debug)]
struct NoStorage;

impl fmt::Display for NoStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "there is no journal and no engine; open the hub or the topic with a journal, or \
             connect the hub to an engine",
        )
    }
}

impl Error for NoStorage {}
