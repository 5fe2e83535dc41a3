//! Opening a hub or a topic with a journal, and waiting for the journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{any, thread};

use sse_core::{Log, LogId};

use super::disk::{FileError, failed};
use super::jobs::Helper;
use super::link::{Link, Status};
use super::notice::{JournalError, JournalState};
use super::segments::Segments;
use super::writer::{Next, Writer};
use super::writer_waker::Urgency;
use super::{Journal, WhileFailing, restore};
use crate::config::{HubConfig, TopicConfig};
use crate::topic::{
    Hub, HubCore, Published, SafeId, Shared, Source, Storage, StoreError, Storing, Topic, now,
};

impl Hub {
    /// Opens a hub that stores its events in a [`Journal`], and restores those in it.
    ///
    /// It restores as much as the topics' retention allows. Clients that reconnect after a
    /// restart resume after their last event ID. A hub costs two threads, however many topics it
    /// has. Opening reads all segments, and waits for up to a second if the journal is in use.
    ///
    /// Dropping the last handle of the hub and its topics does not wait for the disk: the threads
    /// write and sync the rest and end. At the end of a program, call [`sync`](Self::sync) first.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if the journal is open already, in this process or another, if its format
    /// is that of another release, or if files cannot be opened, read or written. Damage is not an
    /// error: it is [reported](Journal::on_notice) and skipped.
    pub fn open(config: impl Into<HubConfig>, journal: &Journal) -> Result<Self, JournalError> {
        let (hub, threads) = Self::open_idle(config, journal)?;
        start(threads, &journal.dir)?;
        Ok(hub)
    }

    /// Opens a hub whose journal has no threads yet.
    pub(super) fn open_idle(
        config: impl Into<HubConfig>,
        journal: &Journal,
    ) -> Result<(Self, Threads), JournalError> {
        let (segments, contents) = restore::open(journal, None)?;
        let (epochs, ids) = (contents.epochs(now()), [contents.synced, contents.last]);
        let topics = contents.topics.into_iter();
        let safe = Arc::new(SafeId::default());
        safe.set(contents.synced);
        let hub = HubCore::restore(config.into(), epochs, contents.floor, safe, topics);
        let hub = Arc::new(hub);
        let source = Source::Hub(Arc::clone(&hub));
        let (handle, threads) = Handle::open(source, segments, ids)?;
        Ok((Self::with_storage(hub, handle), threads))
    }

    /// Waits until all published events are on disk, with every [`SyncPolicy`](crate::SyncPolicy).
    ///
    /// # Errors
    ///
    /// [`JournalError`] if the journal has failed, or if there is none.
    pub async fn sync(&self) -> Result<(), JournalError> {
        Handle::of(self.storage())?.sync().await
    }

    /// Returns the state of the hub's journal; `None` if it has no journal.
    #[must_use]
    pub fn journal_state(&self) -> Option<JournalState> {
        Handle::of(self.storage()).ok().map(Handle::state)
    }
}

impl Topic {
    /// Opens a topic that stands alone and stores its events in a [`Journal`].
    ///
    /// Like [`Hub::open`], but it reads only the newest segments, if they have all events that the
    /// topic retains. Then damage in other segments is not reported.
    ///
    /// # Errors
    ///
    /// As [`Hub::open`], and if the journal is that of a hub.
    pub fn open(config: impl Into<TopicConfig>, journal: &Journal) -> Result<Self, JournalError> {
        let (config, now) = (config.into(), now());
        let retention = Some((config.retention, now.unix));
        let (segments, mut contents) = restore::open(journal, retention)?;
        if contents.is_of_hub {
            return Err(JournalError::OfHub(journal.dir.clone()));
        }
        let (epochs, ids) = (contents.epochs(now), [contents.synced, contents.last]);
        let restored = contents.topics.remove("").unwrap_or_default();
        let evicted = restored.evicted.max(contents.floor);
        let log = Log::with_epochs(config.retention, epochs, evicted);
        let shared = Shared::new(config, restored.into_log(log));
        let source = Source::Topic(Arc::clone(&shared));
        let (handle, threads) = Handle::open(source, segments, ids)?;
        start(threads, &journal.dir)?;
        Ok(Self::with_storage(shared, handle))
    }

    /// Waits until all published events are on disk, like [`Hub::sync`].
    ///
    /// # Errors
    ///
    /// [`JournalError`] if the journal has failed, or if there is none.
    pub async fn sync(&self) -> Result<(), JournalError> {
        Handle::of(self.storage())?.sync().await
    }

    /// Returns the state of the topic's or its hub's journal; `None` if it has no journal.
    #[must_use]
    pub fn journal_state(&self) -> Option<JournalState> {
        Handle::of(self.storage()).ok().map(Handle::state)
    }
}

/// What the handles of a hub or a topic have of their journal. Dropping it ends the threads.
struct Handle {
    link: Arc<Link>,
    source: Source,
    is_holding: bool,
}

/// The threads of a journal before they are started.
pub(super) type Threads = (Writer, Helper);

impl Handle {
    fn open(
        source: Source,
        segments: Segments,
        ids: [LogId; 2],
    ) -> Result<(Arc<Self>, Threads), JournalError> {
        let is_holding = segments.journal.while_failing == WhileFailing::Hold;
        let (writer, helper) = Writer::new(source.clone(), segments, ids, now())?;
        let handle = Self {
            link: Arc::clone(&helper.link),
            source,
            is_holding,
        };
        Ok((Arc::new(handle), (writer, helper)))
    }

    fn of(storage: Option<&Arc<dyn Storage>>) -> Result<&Self, JournalError> {
        let storage: Option<&dyn any::Any> = storage.map(|storage| &**storage as _);
        let handle = storage.and_then(<dyn any::Any>::downcast_ref);
        handle.ok_or(JournalError::NoJournal)
    }

    fn state(&self) -> JournalState {
        self.link.status.borrow().state.clone()
    }

    async fn sync(&self) -> Result<(), JournalError> {
        let until = self.source.last();
        self.link.request_sync(until);
        self.wait(|status| status.synced >= until).await
    }

    /// Waits for a status. Returns the error if the journal fails before.
    async fn wait(&self, is_done: impl Fn(&Status) -> bool) -> Result<(), JournalError> {
        let mut status = self.link.status.subscribe();
        self.link.waker.wake(Urgency::High);
        let changed = status.wait_for(|status| status.failure.is_some() || is_done(status));
        // This cannot fail, because the link owns the sender.
        let status = changed.await.map_err(|_| JournalError::NoJournal)?;
        match &status.failure {
            Some(error) if !is_done(&status) => Err(JournalError::Failed(error.clone())),
            _ => Ok(()),
        }
    }
}

impl Storage for Handle {
    fn wake(&self) {
        self.link.waker.wake(Urgency::Usual);
    }

    fn wake_for_subscriber(&self) {
        self.link.waker.wake(Urgency::High);
    }

    fn bounds_backlog(&self) -> bool {
        self.is_holding
    }

    fn stored<'a>(&'a self, published: &'a Published) -> Storing<'a> {
        Box::pin(async {
            let id = published.last;
            let waited = self.wait(|status| status.state.stored >= id).await;
            // The event may still be stored once the journal has recovered.
            waited.map_err(|error| StoreError::new(error, true))?;
            match self.link.status.borrow().missed.has(published) {
                true => Err(StoreError::new(JournalError::Missed, false)),
                false => Ok(id),
            }
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.note(|status| status.is_closing = true);
        self.link.waker.wake(Urgency::High);
    }
}

/// Starts the threads.
fn start((writer, helper): Threads, dir: &Path) -> Result<(), FileError> {
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work)
    };
    let link = Arc::clone(&helper.link);
    let spawned = spawn("sse-journal-sync", Box::new(move || helper.run()))
        .and_then(|_| spawn("sse-journal", Box::new(move || run(writer, &link))));
    spawned.map(drop).map_err(failed("start a thread for", dir))
}

/// The writer's thread.
fn run(mut writer: Writer, link: &Link) {
    let mut armed = None;
    loop {
        match writer.step(now()) {
            Next::Now => {}
            Next::End => return,
            // Another step, because a caller that came before the waker was armed woke nobody.
            Next::At(_, Some(least)) if armed != Some(least) => {
                link.waker.arm(least);
                armed = Some(least);
                continue;
            }
            Next::At(until, urgency) => {
                let time = until.saturating_sub(now().steady);
                if urgency.is_none() {
                    thread::sleep(time);
                } else if link.waker.wait(time) {
                    writer.linger_until = Duration::ZERO;
                }
            }
        }
        link.waker.disarm();
        armed = None;
    }
}
