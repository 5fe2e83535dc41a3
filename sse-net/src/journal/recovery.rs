//! What the writer does when an operation fails or a file is gone.

use std::io::ErrorKind;
use std::mem;
use std::time::Duration;

use sse_core::{LogId, Now};

use super::disk::FileError;
use super::notice::JournalNotice;
use super::writer::{CHECK, PAUSE, Rest, State, Writer};
use super::{SyncPolicy, WhileFailing};

impl Writer {
    /// Does what is due every second.
    pub(super) fn check(&mut self, now: Now) -> Result<(), FileError> {
        self.check_at = now.steady + CHECK;
        self.report_missed();
        // A compaction deletes files itself.
        if self.is_failing() || self.is_compacting {
            return Ok(());
        }
        self.check_files()
    }

    /// Returns an error if a file is gone. Then nothing is safe any more.
    pub(super) fn check_files(&mut self) -> Result<(), FileError> {
        self.segments.check().inspect_err(|error| {
            if error.io_error().kind() == ErrorKind::NotFound {
                self.synced = LogId::default();
            }
        })
    }

    /// Makes events visible though they are not stored, unless they are to be held back.
    pub(super) fn deliver(&mut self, now: Now) {
        let news = self.source.news();
        if news.until > self.goal.until {
            self.pause_until = now.steady + PAUSE;
        }
        if self.journal.while_failing == WhileFailing::Deliver {
            self.show(news.until, &news.topics);
        }
        self.goal.add(news);
    }

    pub(super) fn fail(&mut self, error: FileError, now: Now) -> Rest {
        let was_failing = self.is_failing();
        self.segments.abandon(self.state == State::Recovering);
        self.batch.clear();
        self.written = self.synced;
        self.sync_at = None;
        self.failures += 1;
        let retry_at = now.steady + RETRY;
        self.state = State::Failed { retry_at };
        self.update(|status| status.failure = Some(error.clone()));
        if was_failing {
            return if self.link.is_closing() {
                Rest::End
            } else {
                Rest::None
            };
        }
        // What was being written is delivered, too.
        self.goal = self.source.news_after(self.synced);
        if self.journal.while_failing == WhileFailing::Deliver {
            self.show(self.goal.until, &self.goal.topics);
        }
        self.notify(&JournalNotice::Failed(error));
        Rest::None
    }

    pub(super) fn recover(&mut self, now: Now) -> Result<(), FileError> {
        if self.journal.sync != SyncPolicy::Never {
            self.sync()?;
        }
        self.show(self.written, &self.goal.topics);
        self.finish_batch(now);
        self.update(|status| status.failure = None);
        self.report_missed();
        self.notify(&JournalNotice::Recovered);
        Ok(())
    }

    pub(super) fn report_missed(&mut self) {
        let (topics, until) = mem::take(&mut self.missed);
        if topics > 0 {
            self.notify(&JournalNotice::Missed(topics, until));
        }
    }
}

/// The time between a failure and the next attempt.
const RETRY: Duration = Duration::from_secs(1);
