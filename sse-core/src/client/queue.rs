//! The items that the application has not taken yet.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use super::item::{Closed, Item, Opened};
use crate::decode::MessageEvent;
use crate::event::{EventId, EventType};

/// Items in order.
///
/// Their texts lie in one buffer, because most events are small: a queue that is filled and
/// emptied again and again does not allocate. The shell fills it only while it is empty, so its
/// size is bounded by what one read can contain.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    text: String,
    content: Vec<u8>,
    /// The ends of the texts that have been taken.
    text_taken: usize,
    content_taken: usize,
    /// The last event ID in `text`, which following events share.
    id: (usize, usize),
}

#[derive(Debug)]
enum Entry {
    /// The type and the data begin where the last text ended.
    Event {
        is_gap: bool,
        type_end: usize,
        data_end: usize,
        id: (usize, usize),
        /// The end of the texts of this event.
        end: usize,
    },
    Comment {
        end: usize,
    },
    Content {
        end: usize,
    },
    Retry(Duration),
    Opened(Box<Opened>),
    Closed(Box<Closed>),
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes items until the first one is an event. Returns `false` if there is none.
    pub(super) fn skip_to_event(&mut self) -> bool {
        while let Some(entry) = self.entries.front() {
            if matches!(entry, Entry::Event { .. }) {
                return true;
            }
            self.pop();
        }
        false
    }

    pub(super) fn pop(&mut self) -> Option<Item<'_>> {
        let begin = self.text_taken;
        Some(match self.entries.pop_front()? {
            Entry::Event {
                is_gap,
                type_end,
                data_end,
                id,
                end,
            } => {
                self.text_taken = end;
                let event = MessageEvent::trusted(
                    EventType::trusted(Cow::Borrowed(&self.text[begin..type_end])),
                    Cow::Borrowed(&self.text[type_end..data_end]),
                    Cow::Borrowed(&self.text[id.0..id.1]),
                );
                if is_gap {
                    Item::Gap(event)
                } else {
                    Item::Event(event)
                }
            }
            Entry::Comment { end } => {
                self.text_taken = end;
                Item::Comment(Cow::Borrowed(&self.text[begin..end]))
            }
            Entry::Content { end } => {
                let begin = self.content_taken;
                self.content_taken = end;
                Item::Content(&self.content[begin..end])
            }
            Entry::Retry(retry) => Item::Retry(retry),
            Entry::Opened(opened) => Item::Opened(*opened),
            Entry::Closed(closed) => Item::Closed(*closed),
        })
    }

    pub(super) fn push_event(&mut self, event: &MessageEvent<'_>, is_gap: bool) {
        self.reuse();
        self.text.push_str(event.event());
        let type_end = self.text.len();
        self.text.push_str(event.data());
        let data_end = self.text.len();
        self.push_id(event.last_event_id());
        self.entries.push_back(Entry::Event {
            is_gap,
            type_end,
            data_end,
            id: self.id,
            end: self.text.len(),
        });
    }

    /// Events of a few bytes share an ID, so that a long one is not copied for each.
    fn push_id(&mut self, id: &str) {
        // An ID that no request can carry is of no use to the application either.
        let id = if id.len() > EventId::MAX_LEN { "" } else { id };
        if &self.text[self.id.0..self.id.1] != id {
            let begin = self.text.len();
            self.text.push_str(id);
            self.id = (begin, self.text.len());
        }
    }

    pub(super) fn push_comment(&mut self, text: &str) {
        self.reuse();
        self.text.push_str(text);
        let end = self.text.len();
        self.entries.push_back(Entry::Comment { end });
    }

    pub(super) fn push_content(&mut self, content: &[u8]) {
        self.reuse();
        self.content.extend_from_slice(content);
        let end = self.content.len();
        self.entries.push_back(Entry::Content { end });
    }

    pub(super) fn push_retry(&mut self, retry: Duration) {
        self.entries.push_back(Entry::Retry(retry));
    }

    pub(super) fn push_opened(&mut self, opened: Opened) {
        self.entries.push_back(Entry::Opened(Box::new(opened)));
    }

    pub(super) fn push_closed(&mut self, closed: Closed) {
        self.entries.push_back(Entry::Closed(Box::new(closed)));
    }

    /// Returns the memory of an empty queue, for a client that waits for a long time.
    pub(super) fn shrink(&mut self) {
        if self.entries.is_empty() {
            *self = Self::default();
        }
    }

    /// Starts again at the beginning of the buffers of an empty queue.
    fn reuse(&mut self) {
        if self.entries.is_empty() {
            self.text.clear();
            self.content.clear();
            (self.text_taken, self.content_taken, self.id) = (0, 0, (0, 0));
        }
    }
}
