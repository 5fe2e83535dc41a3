//! Recording stream after stream to a file.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cli::Ending;
use sse_core::{Decoded, Decoder, Event, Recorder};
use sse_net::{Client, Transport};
use tokio::time::{Instant, sleep};

use crate::connect::{ConnectError, MIN_WAIT, connect, read_error};
use crate::file;
use crate::options::{Options, is_sendable};

/// A file, and the stream that is recorded to it.
pub(crate) struct Recording<'o> {
    options: &'o Options,
    recorder: Recorder<File>,
    /// The length in time of the continued recording.
    before: Duration,
    began: Instant,
    /// Keeps the stream's last event ID and reconnection time.
    decoder: Decoder,
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
        let mut recording = Self {
            options,
            recorder: Recorder::new(file),
            before,
            began: Instant::now(),
            decoder,
            events: Arc::default(),
        };
        if options.continues {
            recording.note_gap("the recording ended here")?;
        }
        Ok(recording)
    }

    /// Records stream after stream until the server ends them for good.
    pub(crate) async fn follow(&mut self) -> Result<(), Ending> {
        let mut has_answered = false;
        let mut backoff = MIN_WAIT;
        loop {
            let wait = match connect(self.options, self.decoder.last_event_id()).await {
                Ok(None) => return Ok(()),
                Ok(Some(client)) => {
                    has_answered = true;
                    let (before, began) = (self.count(), Instant::now());
                    let end = self.record(client).await?;
                    if self.options.once {
                        return end.map(drop).map_err(Ending::Failure);
                    }
                    let (Ok(why) | Err(why)) = end;
                    self.note_gap(&why)?;
                    // A stream that ends at once does not reset the backoff.
                    if self.count() > before || began.elapsed() >= HEALTHY {
                        backoff = MIN_WAIT;
                    }
                    let wait = self.retry().max(backoff);
                    cli::print_error(format_args!("{why}; reconnecting in {wait:?}"));
                    wait
                }
                Err(ConnectError::RetryAfter(sentence, wait)) => {
                    has_answered = true;
                    cli::print_error(format_args!(
                        "{sentence}; retrying in {wait:?}, as Retry-After asks"
                    ));
                    wait
                }
                Err(ConnectError::Temporary(sentence)) if has_answered => {
                    let wait = self.retry().max(backoff);
                    cli::print_error(format_args!("{sentence}; retrying in {wait:?}"));
                    wait
                }
                Err(ConnectError::Temporary(sentence) | ConnectError::Final(sentence)) => {
                    return Err(Ending::Failure(sentence));
                }
            };
            backoff = (2 * backoff.max(self.retry())).min(MAX_WAIT);
            sleep(wait).await;
        }
    }

    /// Records one stream. The inner result says why it ended: `Err` if it is incomplete.
    async fn record(
        &mut self,
        stream: Client<Transport>,
    ) -> Result<Result<String, String>, Ending> {
        let mut stream = stream.limit(self.options.silence);
        let end = loop {
            match stream.read().await {
                Ok(Some(bytes)) => self.write(&bytes)?,
                Ok(None) if self.recorder.is_within_event() => {
                    let sentence =
                        "the stream ended in the middle of an event, which is not recorded";
                    break Err(sentence.to_owned());
                }
                Ok(None) => break Ok("the server ended the stream".to_owned()),
                Err(error) => break Err(read_error(&error)),
            }
        };
        self.recorder.restart();
        self.decoder.restart();
        Ok(end)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        let mut rest = bytes;
        let mut events = 0;
        let decoded = loop {
            match self.decoder.decode(&mut rest) {
                Ok(Some(Decoded::Event(_))) => events += 1,
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let recorded = self.recorder.record(self.at(), bytes);
        recorded.map_err(|error| self.write_error(&error))?;
        self.events.fetch_add(events, Ordering::Relaxed);
        decoded.map_err(|error| Ending::Failure(format!("the stream can't be decoded: {error}")))
    }

    /// Writes a comment that the stream was interrupted and what may be missing: a response does
    /// not show whether the server resumed after the last event ID.
    fn note_gap(&mut self, why: &str) -> Result<(), Ending> {
        let note = match self.decoder.last_event_id() {
            "" => format!("{why}; events may be missing, because the stream has no IDs"),
            id if !is_sendable(id) => format!(
                "{why}; events may be missing, because no request can carry the ID of the last one"
            ),
            id => format!(
                "{why}; the server is asked to resume after event {id}; if it can't, events \
                 are missing"
            ),
        };
        let noted = self.recorder.send(self.at(), &Event::new().comment(note));
        noted.map_err(|error| self.write_error(&error))
    }

    /// Returns the number of recorded events.
    fn count(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Returns the reconnection time, between `MIN_WAIT` and `MAX_WAIT`.
    fn retry(&self) -> Duration {
        let retry = self.decoder.retry().unwrap_or(RETRY);
        retry.clamp(MIN_WAIT, MAX_WAIT)
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

/// The reconnection time of a stream that does not set one.
const RETRY: Duration = Duration::from_secs(3);

/// The maximum pause that a reconnection time or the backoff sets.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A stream of this age resets the backoff even without events.
const HEALTHY: Duration = Duration::from_secs(60);
