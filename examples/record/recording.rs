//! Recording stream after stream to a file.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cli::Ending;
use sse_core::client::Closed;
use sse_core::{Decoder, Event, Recorder};
use sse_net::{Client, ClientError, Item};
use tokio::time::Instant;

use crate::file;
use crate::options::Options;

/// A file, and the stream that is recorded to it.
pub(crate) struct Recording<'o> {
    options: &'o Options,
    recorder: Recorder<File>,
    client: Client,
    /// The length in time of the continued recording.
    before: Duration,
    began: Instant,
    /// The number of recorded events.
    pub(crate) events: Arc<AtomicU64>,
}

impl<'o> Recording<'o> {
    pub(crate) fn open(options: &'o Options) -> Result<Self, Ending> {
        let path = &options.file;
        let opened = if options.continues {
            file::reopen(path)
        } else {
            file::create(path).map(|file| (file, Duration::ZERO, Decoder::new()))
        };
        let (file, before, decoder) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ending::Failure(format!(
                "{path:?} exists; remove it, or append to it with --continue"
            )),
            io::ErrorKind::WouldBlock => Ending::Failure(format!(
                "another process records to {path:?}; end it, or record to another file"
            )),
            _ => Ending::Failure(format!("can't open {path:?}: {error}")),
        })?;
        let source = options.source.clone().resume_after(&decoder);
        let mut recording = Self {
            options,
            recorder: Recorder::new(file),
            client: cli::connect(source, options.tls.clone()),
            before,
            began: Instant::now(),
            events: Arc::default(),
        };
        if options.continues {
            recording.note_gap("the recording ended here")?;
        }
        Ok(recording)
    }

    /// Records stream after stream until the server ends them for good.
    pub(crate) async fn follow(&mut self) -> Result<(), Ending> {
        let (mut is_open, mut has_answered) = (false, false);
        loop {
            match self.client.next_item().await.map_err(Ending::failure)? {
                None => return Ok(()),
                Some(Item::Opened(_)) => (is_open, has_answered) = (true, true),
                Some(Item::Content(bytes)) => {
                    let at = self.before.saturating_add(self.began.elapsed());
                    let recorded = self.recorder.record(at, &bytes);
                    recorded.map_err(|error| self.write_error(&error))?;
                }
                Some(Item::Event(_) | Item::Gap(_)) => {
                    self.events.fetch_add(1, Ordering::Relaxed);
                }
                Some(Item::Closed(Closed {
                    reason, retry_in, ..
                })) => {
                    let is_torn = self.recorder.is_within_event();
                    self.recorder.restart();
                    let why = match reason {
                        ClientError::Ended if is_torn => TORN.to_owned(),
                        ref reason => reason.to_string(),
                    };
                    if is_open && self.options.once {
                        return match reason {
                            ClientError::Ended if !is_torn => Ok(()),
                            _ => Err(Ending::Failure(why)),
                        };
                    }
                    let is_asked = matches!(&reason, ClientError::Status(response)
                        if response.head().header("retry-after").is_some());
                    has_answered |= is_asked;
                    if !has_answered {
                        return Err(Ending::Failure(why));
                    }
                    if is_open {
                        self.note_gap(&why)?;
                    }
                    let as_asked = if is_asked {
                        ", as Retry-After asks"
                    } else {
                        ""
                    };
                    cli::print_error(format_args!(
                        "{why}; reconnecting in {retry_in:.1?}{as_asked}"
                    ));
                    is_open = false;
                }
                Some(_) => {}
            }
        }
    }

    /// Writes a comment that the stream was interrupted and what may be missing: a response does
    /// not show whether the server resumed after the last event ID.
    fn note_gap(&mut self, why: &str) -> Result<(), Ending> {
        let note = match self.client.last_event_id() {
            "" => format!(
                "{why}; events may be missing, because the last ones have no ID that a request can \
                 carry"
            ),
            id => format!(
                "{why}; the server is asked to resume after event {id}; if it can't, events \
                 are missing"
            ),
        };
        let noted = self.recorder.send(self.at(), &Event::new().comment(note));
        noted.map_err(|error| self.write_error(&error))
    }

    /// Forces the file to disk; some file systems report only now that they are full.
    pub(crate) fn sync(&self) -> Result<(), Ending> {
        let synced = self.recorder.writer().sync_all();
        synced.map_err(|error| self.write_error(&error))
    }

    /// Returns whether nothing has been written, so that the file can be removed.
    pub(crate) fn is_empty(&self) -> bool {
        let metadata = self.recorder.writer().metadata();
        metadata.is_ok_and(|metadata| metadata.len() == 0)
    }

    /// Returns the time since the recording began.
    fn at(&self) -> Duration {
        self.before.saturating_add(self.began.elapsed())
    }

    fn write_error(&self, error: &io::Error) -> Ending {
        Ending::Failure(format!("can't record to {:?}: {error}", self.options.file))
    }
}

const TORN: &str = "the stream ended in the middle of an event, which is not recorded";
