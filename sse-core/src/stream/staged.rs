//! Fields that are set before the event that carries them.

use std::borrow::Cow;
use std::time::Duration;

use crate::event::{Event, EventId, EventType, encode};

/// The fields that the next event carries.
///
/// The buffers of the texts are reused, so that staging soon allocates nothing.
#[derive(Debug)]
pub(super) struct Staged {
    id: Text,
    event: Text,
    retry: Option<Duration>,
}

impl Staged {
    pub(super) const fn new() -> Self {
        Self {
            id: Text::new(),
            event: Text::new(),
            retry: None,
        }
    }

    pub(super) fn set_id(&mut self, id: &EventId<'_>) {
        self.id.set(id.as_str());
    }

    pub(super) fn set_event(&mut self, event: &EventType<'_>) {
        self.event.set(event.as_str());
    }

    pub(super) const fn set_retry(&mut self, retry: Duration) {
        self.retry = Some(retry);
    }

    pub(super) const fn clear(&mut self) {
        self.id.is_set = false;
        self.event.is_set = false;
        self.retry = None;
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.id.is_set && !self.event.is_set && self.retry.is_none()
    }

    fn id(&self) -> Option<EventId<'_>> {
        self.id.get().map(EventId::trusted)
    }

    fn event(&self) -> Option<EventType<'_>> {
        self.event.get().map(EventType::trusted)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            encode::head(out, self.id().as_ref(), self.event().as_ref(), self.retry);
        }
    }

    /// Returns `event` with the staged fields that it does not set itself.
    pub(super) fn fill<'a>(&'a self, event: &'a Event<'_>) -> Event<'a> {
        let event = event.borrowed();
        Event {
            id: event.id.or_else(|| self.id()),
            event: event.event.or_else(|| self.event()),
            retry: event.retry.or(self.retry),
            ..event
        }
    }
}

/// Optional text whose buffer is reused.
#[derive(Debug)]
struct Text {
    text: String,
    is_set: bool,
}

impl Text {
    const fn new() -> Self {
        Self {
            text: String::new(),
            is_set: false,
        }
    }

    fn set(&mut self, text: &str) {
        self.text.clear();
        self.text.push_str(text);
        self.is_set = true;
    }

    fn get(&self) -> Option<Cow<'_, str>> {
        self.is_set.then_some(Cow::Borrowed(&*self.text))
    }
}
