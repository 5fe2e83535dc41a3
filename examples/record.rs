//! Records an event stream from any HTTP/1.1 server to a file, with times.
//!
//! ```text
//! $ cargo run --bin record -- http://127.0.0.1:31337/sse session.sse
//! 42 events in 41.0 s
//! $ cargo run --bin replay -- session.sse --speed 10
//! ```
//!
//! When the connection ends, `record` reconnects like a browser: with the last event ID, after
//! the reconnection time or `Retry-After`. A comment in the file marks the place. Ctrl-C ends the
//! program. Even after a crash, every whole event in the file can be replayed, and `--continue`
//! appends to the file.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cli::{Args, Ending, Progress, Signals};
use http::{HeaderName, HeaderValue};
use sse_core::{BodyError, Decoded, Decoder, Event, MEDIA_TYPE, Recorder};
use sse_net::{Client, Transport};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use source::Source;

mod file;
mod source;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cant_start)?;
        let recorded = runtime.block_on(record(&options));
        // A thread that resolves a name must not delay the exit.
        runtime.shutdown_background();
        recorded
    })
}

struct Options {
    source: Source,
    file: String,
    tls: Option<TlsConnector>,
    headers: Vec<(String, String)>,
    silence: Duration,
    continues: bool,
    once: bool,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut operands, mut ca, mut headers) = (Vec::new(), None, Vec::new());
        let (mut silence, mut continues, mut once) = (SILENCE, false, false);
        while let Some(option) = args.option()? {
            match &*option {
                "--ca" => ca = Some(args.value::<String>("a file")?),
                "--header" => {
                    let header: String = args.value("a header")?;
                    headers.push(parse_header(&header)?);
                }
                "--silence" => silence = args.seconds()?,
                "--continue" => continues = true,
                "--once" => once = true,
                option if option.starts_with('-') => return Err(args.unknown()),
                _ => operands.push(option),
            }
        }
        let [url, file] = <[String; 2]>::try_from(operands)
            .map_err(|_| Ending::Usage("record takes a URL and a file".to_owned()))?;
        let source: Source = url.parse().map_err(|()| {
            Ending::Usage(format!(
                "{url:?} is not a URL like http://…, https://… or unix:/run/app.sock:/path"
            ))
        })?;
        let tls = if source.is_secure() {
            Some(source::connector(ca.as_deref()).map_err(Ending::Failure)?)
        } else {
            None
        };
        Ok(Self {
            tls,
            source,
            file,
            headers,
            silence,
            continues,
            once,
        })
    }

    /// Returns the request head. Given headers replace the defaults, but a given `Last-Event-ID`
    /// is used only until the stream has had an ID.
    fn request(&self, last_event_id: &str) -> String {
        let own_id = is_sendable(last_event_id).then_some(("Last-Event-ID", last_event_id));
        let defaults = [
            ("Host", &*self.source.host),
            ("Accept", MEDIA_TYPE),
            ("Accept-Encoding", "identity"),
            ("Cache-Control", "no-cache"),
        ];
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let defaults = defaults
            .into_iter()
            .filter(|(name, _)| !self.headers.iter().any(|(given, _)| is(given, name)));
        let given = self.headers.iter().map(|(name, value)| (&**name, &**value));
        let given = given.filter(|(name, _)| own_id.is_none_or(|(id, _)| !is(name, id)));
        let mut request = format!("GET {} HTTP/1.1\r\n", self.source.target);
        for (name, value) in defaults.chain(given).chain(own_id) {
            request += &format!("{name}: {value}\r\n");
        }
        request + "\r\n"
    }
}

/// Parses a header line into its name and value.
fn parse_header(header: &str) -> Result<(String, String), Ending> {
    let parsed = header.split_once(':').and_then(|(name, value)| {
        HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = value.trim_matches([' ', '\t']);
        HeaderValue::from_str(value).ok()?;
        Some((name.to_owned(), value.to_owned()))
    });
    let Some((name, value)) = parsed else {
        let sentence = format!("--header takes a header like \"X: y\", not {header:?}");
        return Err(Ending::Usage(sentence));
    };
    match &*name.to_ascii_lowercase() {
        "content-length" | "expect" | "transfer-encoding" => Err(Ending::Usage(format!(
            "--header can't set {name}: the request has no body"
        ))),
        _ => Ok((name, value)),
    }
}

async fn record(options: &Options) -> Result<(), Ending> {
    let mut signals = Signals::new().map_err(cant_start)?;
    let mut recording = Recording::open(options)?;
    let (events, began) = (Arc::clone(&recording.events), Instant::now());
    let line = move || {
        let events = events.load(Ordering::Relaxed);
        format!("{events} events in {:.1} s", began.elapsed().as_secs_f64())
    };
    let progress = Progress::new(line.clone());
    let ended = tokio::select! {
        ended = recording.follow() => ended,
        () = signals.next() => Ok(()),
    };
    drop(progress);
    let ended = ended.and_then(|()| recording.sync());
    match &ended {
        Err(_) if recording.is_empty() => drop(fs::remove_file(&options.file)),
        _ => cli::print(line()),
    }
    ended
}

struct Recording<'o> {
    options: &'o Options,
    recorder: Recorder<File>,
    /// The length in time of the continued recording.
    before: Duration,
    began: Instant,
    /// Keeps the stream's last event ID and reconnection time.
    decoder: Decoder,
    events: Arc<AtomicU64>,
}

impl<'o> Recording<'o> {
    fn open(options: &'o Options) -> Result<Self, Ending> {
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
    async fn follow(&mut self) -> Result<(), Ending> {
        let mut has_answered = false;
        let mut backoff = MIN_WAIT;
        loop {
            let wait = match self.connect().await {
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
        let mut events = 0;
        let mut chunk = self.decoder.chunk(bytes);
        let decoded = loop {
            match chunk.next() {
                Ok(Some(Decoded::Event(_))) => events += 1,
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(chunk);
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

    /// Sends the request. Returns the client that reads the stream, or `None` after 204.
    async fn connect(&self) -> Result<Option<Client<Transport>>, ConnectError> {
        let Options { source, tls, .. } = self.options;
        let connecting = timeout(CONNECT_TIMEOUT, source.connect(tls.as_ref())).await;
        let connection = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut client =
            Client::new(connection.map_err(ConnectError::unreachable)?).limit(CONNECT_TIMEOUT);
        let request = self.options.request(self.decoder.last_event_id());
        let head = client.ask(request.as_bytes()).await;
        let head = head.map_err(ConnectError::unreachable)?;
        match head.status() {
            200 if head.media_type().as_deref() == Some(MEDIA_TYPE) => {
                match head.content_coding() {
                    None => Ok(Some(client)),
                    Some(encoding) => Err(ConnectError::Final(format!(
                        "the response has the content encoding {encoding:?}, which can't be recorded; \
                         turn it off in the server or in the proxy before it"
                    ))),
                }
            }
            204 => Ok(None),
            200 => Err(ConnectError::Final(
                "the response is not an event stream".to_owned(),
            )),
            status => {
                let sentence = match head.header("location") {
                    Some(location) if matches!(status, 300..400) => format!(
                        "the server responds with {status} and redirects to {location:?}; \
                         record that URL if you trust it"
                    ),
                    _ => format!("the server responds with {status}"),
                };
                Err(match (status, head.retry_after(SystemTime::now())) {
                    (408 | 429 | 500.., Some(wait)) => {
                        ConnectError::RetryAfter(sentence, wait.clamp(MIN_WAIT, MAX_RETRY_AFTER))
                    }
                    (408 | 429 | 500.., None) => ConnectError::Temporary(sentence),
                    _ => ConnectError::Final(sentence),
                })
            }
        }
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
    fn sync(&self) -> Result<(), Ending> {
        let synced = self.recorder.writer().sync_all();
        synced.map_err(|error| self.write_error(&error))
    }

    /// Returns whether nothing has been written, so that the file can be removed.
    fn is_empty(&self) -> bool {
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

/// Returns whether a request can carry this event ID unchanged. Servers refuse control characters
/// and long headers, and spaces at the ends of a value are not part of it.
fn is_sendable(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.trim_matches([' ', '\t']) == id
        && !id.contains(|c: char| c.is_ascii_control())
}

/// Describes why an incomplete stream ended.
fn read_error(error: &io::Error) -> String {
    let body_error = error
        .get_ref()
        .and_then(<dyn Error + Send + Sync>::downcast_ref::<BodyError>);
    match body_error {
        Some(error) => error.to_string(),
        None => format!("the connection was lost: {error}"),
    }
}

/// Why a connection yielded no stream.
enum ConnectError {
    /// A retry may succeed.
    Temporary(String),
    /// The server sent `Retry-After`.
    RetryAfter(String, Duration),
    Final(String),
}

impl ConnectError {
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    fn unreachable(error: io::Error) -> Self {
        Self::Temporary(match error.kind() {
            io::ErrorKind::InvalidData => format!("can't read the response: {error}"),
            _ => format!("can't reach the server: {error}"),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}

const USAGE: &str = "\
Usage: record [OPTIONS] URL FILE

Records an event stream to a file, with times. URL is http://…, https://… or
unix:/run/app.sock:/path. When the connection ends, record reconnects with the last event ID, and
a comment in the file marks the place. It ends after a response of 204, or with Ctrl-C. It obeys
Retry-After up to a day.

  --ca FILE           trust the certificates in FILE (PEM) instead of the system's
  --header LINE       send this header, such as \"Authorization: Bearer …\"; it replaces a
                      default, such as Host or Accept
  --silence SECONDS   reconnect when nothing has arrived for this long (300)
  --once              end with the stream; the exit status is 1 if it is incomplete
  --continue          append to a recording, after its last event
  --help              print this text";

/// The maximum length of an event ID in a request, in bytes.
const MAX_ID: usize = 1024;

/// The reconnection time of a stream that does not set one.
const RETRY: Duration = Duration::from_secs(3);

/// The minimum pause between two connections.
const MIN_WAIT: Duration = Duration::from_millis(100);

/// The maximum pause that a reconnection time or the backoff sets.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The deadline for connecting, and for the response head.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum pause that `Retry-After` sets.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// A stream of this age resets the backoff even without events.
const HEALTHY: Duration = Duration::from_secs(60);

/// A connection without a byte for this long counts as lost; heartbeats come more often.
const SILENCE: Duration = Duration::from_secs(300);
