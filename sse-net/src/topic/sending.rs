//! Publishing through an engine, which assigns the IDs.

use std::slice;

use sse_core::{Encoded, Event, LogId};

use super::handle::Topic;
use super::published::{PublishError, Published};
use super::source::{Engine, Kind, Outgoing, RunStart, Storage};
use super::stored::StoreError;
use crate::sync::Arc;

impl Topic {
    /// Publishes an event under a key, so that publishing it again stores it once.
    ///
    /// For a hub with an engine, which remembers the key for a time: see `Engine::key_expiry`. All
    /// topics of the hub share the keys. A publisher whose [`Published::stored`] returns an error
    /// publishes the event again under the same key; it then resolves to the ID of the event that
    /// was stored first. The engine itself repeats it, too, when the connection breaks.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), [`PublishError::InvalidKey`] if the key is not one line of
    /// at most 1,024 bytes, and [`PublishError::NoEngine`].
    pub fn publish_once(&self, key: &str, event: &Event<'_>) -> Result<Published, PublishError> {
        let engine = self.engine().ok_or(PublishError::NoEngine)?;
        check_key(key)?;
        let typed = self.typed(slice::from_ref(event));
        let events = typed.as_deref().unwrap_or(slice::from_ref(event));
        self.send(engine, Kind::Events, events, Some(key.into()))
    }

    /// Starts the run of this topic in the engine. If this node has it, this resolves to the token
    /// of its lease, without which the engine refuses events of this node from then on.
    pub(crate) async fn start_run(&self, start: RunStart) -> Result<Option<LogId>, StoreError> {
        let started = self.ask_for_run(start).await;
        if let Some(hub) = self.hub() {
            hub.read_again(&self.shared);
            if started.is_ok() {
                hub.ready(slice::from_ref(self), None).await;
            }
        }
        started
    }

    async fn ask_for_run(&self, start: RunStart) -> Result<Option<LogId>, StoreError> {
        let Some((_, engine)) = self.engine() else {
            return Ok(None);
        };
        let outgoing = Outgoing {
            topic: Arc::clone(&self.shared),
            kind: Kind::Start(start),
            frames: Vec::new(),
            key: None,
            fence: None,
        };
        let outcome = engine.publish(outgoing);
        let mut outcome = outcome.map_err(|error| StoreError::new(error, false))?;
        let closed = || StoreError::new(PublishError::NoEngine, true);
        let stored = outcome.wait_for(Option::is_some).await;
        let stored = stored.map_err(|_| closed())?.clone();
        let token = stored.ok_or_else(closed)??;
        if token == LogId::default() {
            return Ok(None);
        }
        self.lock().rare.get_or_insert_default().fence = Some(token);
        Ok(Some(token))
    }

    /// Ends a run whose lease with this token has run out.
    pub(crate) fn end_lost(
        &self,
        token: LogId,
        event: Option<&Event<'_>>,
    ) -> Result<(), PublishError> {
        let engine = self.engine().ok_or(PublishError::NoEngine)?;
        let events = event.map_or(&[][..], slice::from_ref);
        self.send(engine, Kind::EndLost(token), events, None)?;
        Ok(())
    }

    /// Returns the engine of the topic's hub, with the storage that it is.
    #[inline]
    pub(super) fn engine(&self) -> Option<(&Arc<dyn Storage>, &dyn Engine)> {
        let storage = self.storage()?;
        Some((storage, storage.engine()?))
    }

    /// Hands events to an engine, which assigns their IDs.
    pub(super) fn send(
        &self,
        (storage, engine): (&Arc<dyn Storage>, &dyn Engine),
        kind: Kind,
        events: &[Event<'_>],
        key: Option<Box<str>>,
    ) -> Result<Published, PublishError> {
        if self.is_finished() {
            return Err(PublishError::Finished);
        }
        match (&kind, self.shared.is_keyed()) {
            (Kind::Events, true) => return Err(PublishError::Keyed),
            (Kind::Value(_) | Kind::Removal(_), false) => return Err(PublishError::NotKeyed),
            _ => {}
        }
        if events.iter().any(|event| event.event_id().is_some()) {
            return Err(PublishError::OwnId);
        }
        let max = match kind {
            Kind::Removal(_) => usize::MAX, // A key that has a value can be removed.
            _ => self.shared.config.max_event,
        };
        let frames = events.iter().map(|event| {
            let encoded = Encoded::new(event);
            match encoded.max_len() {
                len if len > max => Err(PublishError::TooLarge { len, max }),
                _ => Ok(encoded.into_frame()),
            }
        });
        let outgoing = Outgoing {
            topic: Arc::clone(&self.shared),
            kind,
            frames: frames.collect::<Result<_, _>>()?,
            key,
            fence: self.fence(),
        };
        Ok(Published {
            id: None,
            before: LogId::default(),
            last: LogId::default(),
            topic: self.address(),
            storage: Some(Arc::clone(storage)),
            outcome: Some(engine.publish(outgoing)?),
        })
    }

    fn fence(&self) -> Option<LogId> {
        self.shared.lock_packed().rare.as_ref()?.fence
    }
}

/// Returns an error unless a key is one line of at most [`MAX_KEY`] bytes.
#[inline]
pub(super) fn check_key(key: &str) -> Result<(), PublishError> {
    if key.len() > MAX_KEY || key.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(PublishError::InvalidKey);
    }
    Ok(())
}

/// The longest key in bytes, as that of an event ID.
const MAX_KEY: usize = 1024;
