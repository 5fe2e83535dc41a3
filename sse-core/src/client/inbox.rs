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
    /// An item within the decoder's text. It is lent where it is, because moving it would take as
    /// long as finding it.
    found: Option<Found>,
}

impl Inbox {
    /// Appends an item. Those in the text must have been kept.
    pub(super) fn keep(&mut self, item: Item<'static>) {
        self.kept.push_back(item);
    }
}

impl Machine {
    /// Returns whether there are items to take.
    #[inline]
    pub fn has_items(&mut self) -> bool {
        // The end of the stream is an item, too.
        !self.inbox.kept.is_empty() || self.find() || !self.inbox.kept.is_empty()
    }

    /// Removes items until the next one is an event or a gap. Returns `false` if there is none.
    #[inline]
    pub fn skip_to_event(&mut self) -> bool {
        self.has_found_event() || self.find_event()
    }

    fn find_event(&mut self) -> bool {
        loop {
            if self.inbox.kept.is_empty() && self.find() {
                if self.has_found_event() {
                    return true;
                }
                self.inbox.found = None;
            } else {
                match self.inbox.kept.front() {
                    Some(Item::Event(_) | Item::Gap(_)) => return true,
                    Some(_) => self.inbox.kept.pop_front(),
                    None => return false,
                };
            }
        }
    }

    /// Returns whether the next item is an event that has been found.
    #[inline]
    fn has_found_event(&self) -> bool {
        self.inbox.kept.is_empty() && matches!(self.inbox.found, Some(Found::Event { .. }))
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
        self.found_item()
    }

    /// Returns the next event or gap, and drops the items before it.
    #[inline]
    pub fn next_event(&mut self) -> Option<MessageEvent<'_>> {
        if !self.has_found_event() {
            return self.find_and_take_event();
        }
        let decoded = self.decoder.decoded(self.inbox.found.as_ref()?);
        self.inbox.found = None;
        match decoded {
            Decoded::Event(event) => Some(event),
            _ => None,
        }
    }

    #[inline(never)]
    fn find_and_take_event(&mut self) -> Option<MessageEvent<'_>> {
        if !self.skip_to_event() {
            return None;
        }
        match self.next_item()? {
            Item::Event(event) | Item::Gap(event) => Some(event),
            _ => None,
        }
    }

    /// Frees memory that a machine without items does not need, before a long wait.
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
                if let State::Open { has_items, .. } = &mut self.state {
                    *has_items = true;
                }
            }
            while !part.is_empty() {
                self.decoder.push(&mut part);
            }
        }
    }

    /// Keeps the items that have been received, before the stream may end.
    pub(super) fn keep_items(&mut self) {
        while self.find() {
            let Some(item) = self.found_item() else {
                return;
            };
            let item = item.into_owned();
            self.inbox.keep(item);
        }
    }

    /// Returns the item that has been found.
    #[inline]
    fn found_item(&mut self) -> Option<Item<'_>> {
        let item = match self.decoder.decoded(self.inbox.found.as_ref()?) {
            Decoded::Event(event) if event.event() == self.source.gap_type.as_str() => {
                Item::Gap(event)
            }
            Decoded::Event(event) => Item::Event(event),
            Decoded::Retry(retry) => Item::Retry(retry),
            Decoded::Comment(text) => Item::Comment(text),
        };
        self.inbox.found = None;
        Some(item)
    }

    /// Finds the next item in the text. Returns `false` if there is none.
    #[inline]
    fn find(&mut self) -> bool {
        self.inbox.found.is_some() || self.find_next()
    }

    #[inline]
    fn find_next(&mut self) -> bool {
        while let State::Open {
            has_items,
            has_events,
            ..
        } = &mut self.state
        {
            match self.decoder.find() {
                Ok(Some(found)) => {
                    let is_event = matches!(found, Found::Event { .. });
                    self.inbox.found = Some(found);
                    *has_items = true;
                    if !is_event {
                        return true;
                    }
                    *has_events = true;
                    self.backoff.reset();
                    if self.source.terminals.is_empty() || self.judge() {
                        self.events += 1;
                        return true;
                    }
                }
                Ok(None) => {
                    self.end_with_body();
                    return false;
                }
                Err(error) => self.finish_failed(ClientError::Decode(error)),
            }
        }
        false
    }

    /// Judges the event that has been found. Returns `false`, and ends the stream, if it is an
    /// end or an error instead of an event.
    fn judge(&mut self) -> bool {
        let found = self.inbox.found.as_ref();
        let Some(Decoded::Event(event)) = found.map(|found| self.decoder.decoded(found)) else {
            return true;
        };
        let result = match terminal::judge(&event, &self.source.terminals) {
            Meaning::Ordinary => return true,
            Meaning::Last => {
                self.finish(Ok(()));
                return true;
            }
            Meaning::End => Ok(()),
            Meaning::Error => Err(ClientError::Reported {
                event_type: event.event().to_owned(),
                data: event.data().to_owned(),
                events: self.events,
            }),
        };
        self.inbox.found = None;
        self.finish(result);
        false
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
