//! Received items that the application has not taken.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::ending::Delay;
use super::error::ClientError;
use super::item::Item;
use super::machine::{Machine, State};
use super::terminal::{self, Meaning};
use crate::decode::{Decoded, Found, MessageEvent};

/// Items in order: first those that are kept, then the one that has been found, then those in the
/// bytes.
///
/// Events are decoded when the application takes them, and lent from the decoder: storing each of
/// them would take as long as decoding it. They are kept only if the stream ends before.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    kept: VecDeque<Item<'static>>,
    found: Option<Next>,
    /// Bytes of the body, with its framing.
    bytes: Vec<u8>,
    /// The number of bytes that the body's reader has read.
    read: usize,
    /// The content that the decoder has not taken, before that offset.
    content: Range<usize>,
}

/// An item within the decoder's text or the bytes.
#[derive(Debug)]
enum Next {
    Event(Found),
    Gap(Found),
    /// A comment or a reconnection time.
    Other(Found),
    Content,
}

impl Inbox {
    /// Appends an item. Those in the bytes must have been kept.
    pub(super) fn keep(&mut self, item: Item<'static>) {
        self.kept.push_back(item);
    }

    /// Appends bytes of the body.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the bytes.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.read, self.content) = (0, 0..0);
    }

    const fn is_found(&self) -> bool {
        self.found.is_some()
    }
}

impl Machine {
    /// Whether there are items to take.
    #[inline]
    pub fn has_items(&mut self) -> bool {
        !self.inbox.kept.is_empty() || self.find() || !self.inbox.kept.is_empty()
    }

    /// Removes items until the next one is an event or a gap. Returns `false` if there is none.
    #[inline]
    pub fn skip_to_event(&mut self) -> bool {
        while self.has_items() {
            let is_event = match (self.inbox.kept.front(), &self.inbox.found) {
                (Some(item), _) => matches!(item, Item::Event(_) | Item::Gap(_)),
                (None, next) => matches!(next, Some(Next::Event(_) | Next::Gap(_))),
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
        self.inbox.found.take().map(|next| self.item(&next))
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
        match found {
            Next::Event(found) | Next::Gap(found) => match self.decoder.decoded(&found) {
                Decoded::Event(event) => Some(event),
                _ => None,
            },
            Next::Other(_) | Next::Content => None,
        }
    }

    /// Returns memory that a machine without items does not need, before a long wait.
    pub fn shrink(&mut self) {
        if !self.has_items() {
            self.inbox = Inbox::default();
        }
    }

    /// Keeps the items that have been received, before the stream may end.
    pub(super) fn keep_items(&mut self) {
        while self.find() {
            let Some(next) = self.inbox.found.take() else {
                return;
            };
            let item = self.item(&next).into_owned();
            self.inbox.keep(item);
        }
    }

    #[inline]
    fn item(&self, next: &Next) -> Item<'_> {
        let (found, is_gap) = match next {
            Next::Event(found) | Next::Other(found) => (found, false),
            Next::Gap(found) => (found, true),
            Next::Content => {
                let content = &self.inbox.bytes[self.inbox.content.clone()];
                return Item::Content(Cow::Borrowed(content));
            }
        };
        match self.decoder.decoded(found) {
            Decoded::Event(event) if is_gap => Item::Gap(event),
            Decoded::Event(event) => Item::Event(event),
            Decoded::Retry(retry) => Item::Retry(retry),
            Decoded::Comment(text) => Item::Comment(text),
        }
    }

    /// Finds the next item in the bytes. Returns `false` if there is none.
    #[inline]
    fn find(&mut self) -> bool {
        while !self.inbox.is_found()
            && let State::Open { .. } = self.state
        {
            match self.decoder.find() {
                Ok(Some(found)) => self.judge(found),
                Ok(None) if self.decode_more() => {}
                Ok(None) => break,
                Err(error) => self.finish(Err(ClientError::Decode(error))),
            }
        }
        self.inbox.is_found()
    }

    /// Applies what the decoder has found to the stream.
    #[inline]
    fn judge(&mut self, found: Found) {
        let Decoded::Event(event) = self.decoder.decoded(&found) else {
            self.inbox.found = Some(Next::Other(found));
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
            terminals => terminal::judge(&event, terminals),
        };
        let result = match meaning {
            meaning @ (Meaning::Ordinary | Meaning::Last) => {
                self.events += 1;
                self.inbox.found = Some(if event.event() == self.source.gap_type.as_str() {
                    Next::Gap(found)
                } else {
                    Next::Event(found)
                });
                if meaning == Meaning::Ordinary {
                    return;
                }
                Ok(())
            }
            Meaning::End => Ok(()),
            Meaning::Error => Err(ClientError::Reported {
                event_type: event.event().to_owned(),
                data: event.data().to_owned(),
                events: self.events,
            }),
        };
        self.finish(result);
    }

    /// Passes more of the content to the decoder. Returns `false` if there is none.
    fn decode_more(&mut self) -> bool {
        if self.inbox.content.is_empty() {
            if !self.read_content() {
                return false;
            }
            if self.source.settings.has_content {
                self.inbox.found = Some(Next::Content);
                return true;
            }
        }
        let Inbox { bytes, content, .. } = &mut self.inbox;
        let mut rest = &bytes[content.clone()];
        self.decoder.push(&mut rest);
        content.start = content.end - rest.len();
        true
    }

    /// Reads a part of the body's content. Returns `false` if there is none.
    fn read_content(&mut self) -> bool {
        let State::Open { last_byte: now, .. } = self.state else {
            return false;
        };
        let Some(body) = &mut self.body else {
            return false;
        };
        let inbox = &mut self.inbox;
        let mut rest = &inbox.bytes[inbox.read..];
        let reason = match body.read(&mut rest) {
            Ok(Some(part)) => {
                inbox.read = inbox.bytes.len() - rest.len();
                inbox.content = inbox.read - part.len()..inbox.read;
                return true;
            }
            Ok(None) if body.is_complete() => ClientError::Ended,
            Ok(None) => {
                inbox.clear();
                return false;
            }
            Err(error) => ClientError::Body(error),
        };
        self.disconnect(now, reason, Delay::Backoff);
        false
    }
}
