//! Comparison of event streams.

use std::io::{self, BufRead};
use std::time::Duration;

use super::difference::{Difference, describe, excerpts};
use crate::decode::Decoded;
use crate::log::LogId;
use crate::recording::{Recorded, Replayer};

/// Returns the events, reconnection times and comments of a stream or a recording.
///
/// An event that is not complete at the end is left out.
///
/// # Panics
///
/// When the stream exceeds the default limits of a [`Decoder`](crate::Decoder).
#[must_use]
#[track_caller]
pub fn decoded(wire: &[u8]) -> Vec<Decoded<'static>> {
    let items = Replayer::new(wire).map(|item| item.map(Recorded::into_decoded));
    match items.collect() {
        Ok(items) => items,
        Err(error) => panic!("the stream cannot be decoded: {error}"),
    }
}

/// Compares the events, reconnection times and comments of two streams or recordings.
///
/// By default the times of recordings do not matter.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    tolerance: Option<Duration>,
    skips_comments: bool,
    skips_retries: bool,
    skips_log_ids: bool,
}

impl Comparison {
    /// Creates a comparison that ignores the times.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tolerance: None,
            skips_comments: false,
            skips_retries: false,
            skips_log_ids: false,
        }
    }

    /// Compares the times too. They may differ by up to `tolerance`.
    #[must_use]
    pub const fn times_within(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Ignores comments, such as heartbeats.
    #[must_use]
    pub const fn without_comments(mut self) -> Self {
        self.skips_comments = true;
        self
    }

    /// Ignores reconnection times, which servers lengthen at random.
    #[must_use]
    pub const fn without_retries(mut self) -> Self {
        self.skips_retries = true;
        self
    }

    /// Ignores event IDs that a log or a topic has assigned, such as `1700000000000-517`.
    ///
    /// They differ from run to run. IDs of publishers are compared, unless they look like those.
    #[must_use]
    pub const fn without_log_ids(mut self) -> Self {
        self.skips_log_ids = true;
        self
    }

    /// Returns the first difference, or `None` if the streams are the same.
    ///
    /// Nothing after the difference is read. The streams may be longer than memory.
    ///
    /// # Errors
    ///
    /// An error of a reader, or a [`DecodeError`](crate::DecodeError), before the difference.
    pub fn first_difference(
        &self,
        expected: impl BufRead,
        got: impl BufRead,
    ) -> io::Result<Option<Difference>> {
        let (mut expected, mut got) = (self.items(expected), self.items(got));
        let mut index = 0;
        loop {
            let (expected, got) = (expected.next().transpose()?, got.next().transpose()?);
            if let Some((field, expected, got)) = self.compare(expected.as_ref(), got.as_ref()) {
                return Ok(Some(Difference {
                    index,
                    field,
                    expected,
                    got,
                }));
            }
            if expected.is_none() {
                return Ok(None);
            }
            index += 1;
        }
    }

    /// Panics unless the streams are the same.
    ///
    /// # Panics
    ///
    /// When they differ, with the [`Difference`] as the message; when one cannot be decoded.
    #[track_caller]
    pub fn assert_same(&self, expected: impl BufRead, got: impl BufRead) {
        match self.first_difference(expected, got) {
            Ok(None) => {}
            Ok(Some(difference)) => panic!("the streams differ: {difference}"),
            Err(error) => panic!("the streams cannot be compared: {error}"),
        }
    }

    fn items(&self, stream: impl BufRead) -> impl Iterator<Item = io::Result<Recorded<'static>>> {
        let is_compared = |item: &Recorded<'_>| match item.decoded() {
            Decoded::Comment(_) => !self.skips_comments,
            Decoded::Retry(_) => !self.skips_retries,
            _ => true,
        };
        Replayer::new(stream).filter(move |item| item.as_ref().map_or(true, is_compared))
    }

    fn compare(
        &self,
        expected: Option<&Recorded<'_>>,
        got: Option<&Recorded<'_>>,
    ) -> Option<Differing> {
        match (expected, got) {
            (None, None) => None,
            (Some(expected), Some(got)) => self
                .compare_items(expected, got)
                .or_else(|| self.compare_times(expected.at(), got.at())),
            _ => Some(("kind", describe(expected), describe(got))),
        }
    }

    fn compare_items(&self, expected: &Recorded<'_>, got: &Recorded<'_>) -> Option<Differing> {
        match (expected.decoded(), got.decoded()) {
            (Decoded::Event(expected), Decoded::Event(got)) => {
                let id = self.compared_id(expected.last_event_id());
                let got_id = self.compared_id(got.last_event_id());
                compare_texts("type", expected.event(), got.event())
                    .or_else(|| compare_texts("data", expected.data(), got.data()))
                    .or_else(|| compare_texts("last event ID", id, got_id))
            }
            (Decoded::Retry(expected), Decoded::Retry(got)) if expected == got => None,
            (Decoded::Retry(expected), Decoded::Retry(got)) => {
                Some(of_times("reconnection time", *expected, *got))
            }
            (Decoded::Comment(expected), Decoded::Comment(got)) => {
                compare_texts("text", expected, got)
            }
            _ => Some(("kind", describe(Some(expected)), describe(Some(got)))),
        }
    }

    fn compare_times(&self, expected: Duration, got: Duration) -> Option<Differing> {
        let is_off = |tolerance| expected.abs_diff(got) > tolerance;
        self.tolerance
            .is_some_and(is_off)
            .then(|| of_times("time", expected, got))
    }

    fn compared_id<'a>(&self, id: &'a str) -> &'a str {
        if self.skips_log_ids && LogId::parse(id).is_some() {
            ""
        } else {
            id
        }
    }
}

/// The name of the field that differs, its expected value and its actual one.
type Differing = (&'static str, String, String);

fn compare_texts(field: &'static str, expected: &str, got: &str) -> Option<Differing> {
    let (expected, got) = excerpts(expected, got)?;
    Some((field, expected, got))
}

fn of_times(field: &'static str, expected: Duration, got: Duration) -> Differing {
    (field, format!("{expected:?}"), format!("{got:?}"))
}
