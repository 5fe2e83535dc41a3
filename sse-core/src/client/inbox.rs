//! Received items that the application has not taken.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::ending::Delay;
use super::error::ClientError;
use super::item::Item;
use super::machine::{Machine, State};
use super::terminal::{self, Meaning};
use crate::decode::{Decoded, Found, MessageEvent};

/// Items in order: first those that are kept, then the one that has been found, then those in the
/// decoder's text.
///
/// Events are found when the application takes them, and lent from the decoder: storing each of
/// them would take as long as decoding it. They are kept only if the stream ends before.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    kept: VecDeque<Item<'static>>,
    /// An item within the decoder's text.
    found: Option<Found>,
    /// Whether that is an event by which the server reports a gap.
    is_gap: bool,
}

impl Inbox {
    /// Appends an item. Those in the text must have been kept.
    pub(super) fn keep(&mut self, item: Item<'static>) {
        self.kept.push_back(item);
    }
}

impl Machine {
    /// Whether there are items to take.
    #[inline]
    pub fn has_items(&mut self) -> bool {
        // The end of the stream is an item, too.
        !self.inbox.kept.is_empty() || self.find() || !self.inbox.kept.is_empty()
    }

    /// Removes items until the next one is an event or a gap. Returns `false` if there is none.
    #[inline]
    pub fn skip_to_event(&mut self) -> bool {
        while self.has_items() {
            let is_event = match (self.inbox.kept.front(), &self.inbox.found) {
                (Some(item), _) => matches!(item, Item::Event(_) | Item::Gap(_)),
                (None, found) => matches!(found, Some(Found::Event { .. })),
            };
            if is_event {
                return true;
            }
            self.next_item();
        }
        false
    }

    /// Returns the next item.
    #[inline]
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        if !self.has_items() {
            return None;
        }
        if let Some(item) = self.inbox.kept.pop_front() {
            return Some(item);
        }
        self.inbox.found.take().map(|found| self.item(&found))
    }

    /// Returns the next event or gap, and drops the items before it.
    #[inline]
    pub fn next_event(&mut self) -> Option<MessageEvent<'_>> {
        if !self.skip_to_event() {
            return None;
        }
        let found = match self.inbox.kept.pop_front() {
            Some(Item::Event(event) | Item::Gap(event)) => return Some(event),
            Some(_) => return None,
            None => self.inbox.found.take()?,
        };
        match self.decoder.decoded(&found) {
            Decoded::Event(event) => Some(event),
            _ => None,
        }
    }

    /// Returns memory that a machine without items does not need, before a long wait.
    pub fn shrink(&mut self) {
        if !self.has_items() {
            self.inbox = Inbox::default();
            match self.state {
                State::Open { .. } => self.decoder.shrink(),
                _ => self.decoder.restart(),
            }
        }
    }

    /// Passes the content of a part of the body to the decoder.
    ///
    /// The reader of the body remembers its end or error, which counts after the items before.
    pub(super) fn receive_body(&mut self, mut bytes: &[u8]) {
        let has_content = self.source.settings.has_content;
        if self.inbox.found.is_some() || has_content {
            self.keep_items();
        }
        let Some(body) = &mut self.body else {
            return;
        };
        while let Ok(Some(mut part)) = body.read(&mut bytes) {
            if has_content {
                self.inbox.keep(Item::Content(Cow::Owned(part.to_vec())));
            }
            while !part.is_empty() {
                self.decoder.push(&mut part);
            }
        }
    }

    /// Keeps the items that have been received, before the stream may end.
    pub(super) fn keep_items(&mut self) {
        while self.find() {
            let Some(found) = self.inbox.found.take() else {
                return;
            };
            let item = self.item(&found).into_owned();
            self.inbox.keep(item);
        }
    }

    #[inline]
    fn item(&self, found: &Found) -> Item<'_> {
        match self.decoder.decoded(found) {
            Decoded::Event(event) if self.inbox.is_gap => Item::Gap(event),
            Decoded::Event(event) => Item::Event(event),
            Decoded::Retry(retry) => Item::Retry(retry),
            Decoded::Comment(text) => Item::Comment(text),
        }
    }

    /// Finds the next item in the text. Returns `false` if there is none.
    #[inline]
    fn find(&mut self) -> bool {
        while self.inbox.found.is_none()
            && let State::Open { .. } = self.state
        {
            match self.decoder.find() {
                Ok(Some(found)) => self.judge(found),
                Ok(None) => {
                    self.end_with_body();
                    break;
                }
                Err(error) => self.finish(Err(ClientError::Decode(error))),
            }
        }
        self.inbox.found.is_some()
    }

    /// Applies what the decoder has found to the stream.
    #[inline]
    fn judge(&mut self, found: Found) {
        let Found::Event { .. } = found else {
            self.inbox.found = Some(found);
            return;
        };
        self.backoff.reset();
        if let State::Open {
            last_byte,
            last_event,
            ..
        } = &mut self.state
        {
            *last_event = *last_byte;
        }
        let meaning = match &*self.source.terminals {
            [] => Meaning::Ordinary,
            terminals => match self.decoder.decoded(&found) {
                Decoded::Event(event) => terminal::judge(&event, terminals),
                _ => Meaning::Ordinary,
            },
        };
        let result = match meaning {
            meaning @ (Meaning::Ordinary | Meaning::Last) => {
                self.events += 1;
                let event_type = self.decoder.event_type(&found);
                self.inbox.is_gap = event_type == self.source.gap_type.as_str();
                self.inbox.found = Some(found);
                if meaning == Meaning::Ordinary {
                    return;
                }
                Ok(())
            }
            Meaning::End => Ok(()),
            Meaning::Error => Err(self.reported(&found)),
        };
        self.finish(result);
    }

    /// Returns an event by which the server reports an error.
    fn reported(&self, found: &Found) -> ClientError {
        let (event_type, data) = match self.decoder.decoded(found) {
            Decoded::Event(event) => (event.event().to_owned(), event.data().to_owned()),
            _ => Default::default(),
        };
        ClientError::Reported {
            event_type,
            data,
            events: self.events,
        }
    }

    /// Ends the stream if its body has ended or failed.
    fn end_with_body(&mut self) {
        let (&State::Open { last_byte: now, .. }, Some(body)) = (&self.state, &mut self.body)
        else {
            return;
        };
        let reason = match body.read(&mut &[][..]) {
            _ if body.is_complete() => ClientError::Ended,
            Ok(_) => return,
            Err(error) => ClientError::Body(error),
        };
        self.disconnect(now, reason, Delay::Backoff);
    }
}
