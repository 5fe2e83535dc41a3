//! What the writer does when an operation fails or a file is gone.

use std::mem;

use sse_core::{LogId, Now};

use super::WhileFailing;
use super::disk::FileError;
use super::notice::JournalNotice;
use super::writer::{CHECK, Next, PAUSE, State, Writer};
use crate::topic::NewEvents;

impl Writer {
    /// Does what is due every second: begins to recover from a failure, or returns an error if a
    /// file is gone. Then nothing is safe any more.
    pub(super) fn check(&mut self, now: Now) -> Result<(), FileError> {
        self.check_at = now.steady + CHECK;
        self.report_missed();
        let checked = self.segments.check();
        if checked.is_err() {
            self.synced = LogId::default();
        }
        if self.state != State::Failed {
            return checked;
        }
        self.segments.prepare()?;
        self.stored_names = self.source.end_failure();
        self.written = self.synced;
        self.goal = self.source.events_after(self.synced);
        self.state = State::Recovering;
        Ok(())
    }

    /// Delivers new events, and adds them to the goal if there is one.
    pub(super) fn deliver(&mut self, now: Now) {
        let new = self.source.new_events();
        if new.until > self.goal.until {
            self.pause_until = now.steady + PAUSE;
        }
        self.show_unstored(&new);
        match self.state {
            State::Recovering => self.goal.add(new),
            _ => self.goal = NewEvents::up_to(new.until),
        }
    }

    /// Makes events visible though they are not stored, unless they are to be held back.
    fn show_unstored(&self, new: &NewEvents) {
        if self.segments.journal.while_failing == WhileFailing::Deliver {
            self.show(new.until, &new.topics);
        }
    }

    pub(super) fn fail(&mut self, error: FileError, now: Now) -> Next {
        let was_failing = self.is_failing();
        let is_deleted = self.segments.abandon(self.state == State::Recovering);
        if self.state != State::Failed {
            let stored = self.stored_names.take().filter(|_| is_deleted);
            self.source.begin_failure(stored);
        }
        self.batch.clear();
        self.goal = NewEvents::up_to(self.goal.until);
        self.sync_at = None;
        self.failures += 1;
        (self.state, self.check_at) = (State::Failed, now.steady + CHECK);
        self.update(|status| status.failure = Some(error.clone()));
        if !was_failing {
            // Events that were being written are delivered, too.
            let new = self.source.events_after(self.synced);
            self.show_unstored(&new);
            self.goal = NewEvents::up_to(new.until);
            self.notify(&JournalNotice::Failed(error));
        } else if self.link.is_closing() {
            return Next::End;
        }
        Next::Now
    }

    pub(super) fn recover(&mut self, now: Now) -> Result<(), FileError> {
        // Whatever the policy, as at the start: the files may be new.
        self.sync()?;
        self.stored_names = None;
        self.show(self.written, &self.goal.topics);
        self.finish_batch(now);
        self.update(|status| status.failure = None);
        self.report_missed();
        self.notify(&JournalNotice::Recovered);
        Ok(())
    }

    pub(super) fn report_missed(&mut self) {
        let (topics, until) = mem::take(&mut self.missed);
        if !topics.is_empty() {
            self.notify(&JournalNotice::Missed(topics.len(), until));
        }
    }
}
