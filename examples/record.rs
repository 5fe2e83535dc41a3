//! Records an event stream from any HTTP/1.1 server to a file, with times.
//!
//! ```text
//! $ cargo run --bin record -- http://127.0.0.1:31337/sse session.sse
//! 42 events in 41.0 s
//! $ cargo run --bin replay -- session.sse --speed 10
//! ```
//!
//! When the connection ends, it reconnects as a browser does, with the last event ID and after
//! the time that the stream or the server asked for; a comment in the file says so. Ctrl-C ends
//! it. Whatever ends it, every whole event in the file can be replayed, and `--continue` goes on
//! with the file.

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
        // Who waits for a name to be resolved is not waited for.
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
                "{url:?} is no URL like http://…, https://… or unix:/run/app.sock:/path"
            ))
        })?;
        let tls = match source.is_secure() {
            true => Some(source::trust(ca.as_deref()).map_err(Ending::Failure)?),
            false => None,
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

    /// The request head. A header that was given takes the place of the default, but for the
    /// last event ID once the stream has had one.
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

/// The name and the value of a header.
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
            "--header does not take {name}, because the request has no body"
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
        _ => cli::say(line()),
    }
    ended
}

struct Recording<'o> {
    options: &'o Options,
    recorder: Recorder<File>,
    /// How long the recording is that this one goes on with.
    before: Duration,
    began: Instant,
    /// Follows the stream for its last event ID and reconnection time.
    decoder: Decoder,
    events: Arc<AtomicU64>,
}

impl<'o> Recording<'o> {
    fn open(options: &'o Options) -> Result<Self, Ending> {
        let path = &options.file;
        let (file, before, decoder) = match options.continues {
            true => file::reopen(path),
            false => file::create(path).map(|file| (file, Duration::ZERO, Decoder::new())),
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ending::Failure(format!(
                "{path:?} exists; remove it, or go on with it with --continue"
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
            recording.note("the recording ended here")?;
        }
        Ok(recording)
    }

    /// Records until there is nothing more to come.
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
                    self.note(&why)?;
                    // A stream that ends at once is no success, however often it begins.
                    if self.count() > before || began.elapsed() >= HEALTHY {
                        backoff = MIN_WAIT;
                    }
                    let wait = self.retry().max(backoff);
                    cli::complain(format_args!("{why}; reconnecting in {wait:?}"));
                    wait
                }
                Err(Trouble::Later(sentence, wait)) => {
                    has_answered = true;
                    cli::complain(format_args!(
                        "{sentence}; trying again in {wait:?}, as it asks"
                    ));
                    wait
                }
                Err(Trouble::Passing(sentence)) if has_answered => {
                    let wait = self.retry().max(backoff);
                    cli::complain(format_args!("{sentence}; trying again in {wait:?}"));
                    wait
                }
                Err(Trouble::Passing(sentence) | Trouble::Final(sentence)) => {
                    return Err(Ending::Failure(sentence));
                }
            };
            backoff = (2 * backoff.max(self.retry())).min(MAX_WAIT);
            sleep(wait).await;
        }
    }

    /// Records one stream, and returns why it has ended, as an error if it is incomplete.
    async fn record(
        &mut self,
        stream: Client<Transport>,
    ) -> Result<Result<String, String>, Ending> {
        let mut stream = stream.limit(self.options.silence);
        let end = loop {
            match stream.read().await {
                Ok(Some(part)) => self.take(&part)?,
                Ok(None) if self.recorder.is_within_event() => {
                    let sentence = "the stream ended within an event, which is not recorded";
                    break Err(sentence.to_owned());
                }
                Ok(None) => break Ok("the server has ended the stream".to_owned()),
                Err(error) => break Err(lost(&error)),
            }
        };
        self.recorder.restart();
        self.decoder.restart();
        Ok(end)
    }

    fn take(&mut self, part: &[u8]) -> Result<(), Ending> {
        let mut rest = part;
        let mut events = 0;
        let decoded = loop {
            match self.decoder.decode(&mut rest) {
                Ok(Some(Decoded::Event(_))) => events += 1,
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let recorded = self.recorder.record(self.at(), part);
        recorded.map_err(|error| self.unwritable(&error))?;
        self.events.fetch_add(events, Ordering::Relaxed);
        decoded.map_err(|error| Ending::Failure(format!("the stream can't be decoded: {error}")))
    }

    /// Says in the recording that there is a seam, and what may be missing. Whether a server has
    /// heeded the last event ID, nothing in its answer tells.
    fn note(&mut self, why: &str) -> Result<(), Ending> {
        let note = match self.decoder.last_event_id() {
            "" => format!("{why}; events may be missing, since the stream has no IDs"),
            id if !is_sendable(id) => format!(
                "{why}; events may be missing, since no request can carry the ID of the last one"
            ),
            id => format!(
                "{why}; the server is asked to go on after event {id}, and if it can't, \
                 events are missing"
            ),
        };
        let noted = self.recorder.send(self.at(), &Event::new().comment(note));
        noted.map_err(|error| self.unwritable(&error))
    }

    /// A client whose stream is about to come, unless the server says that there is nothing
    /// more.
    async fn connect(&self) -> Result<Option<Client<Transport>>, Trouble> {
        let Options { source, tls, .. } = self.options;
        let connecting = timeout(PATIENCE, source.connect(tls.as_ref())).await;
        let connection = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut client = Client::new(connection.map_err(Trouble::unreachable)?).limit(PATIENCE);
        let request = self.options.request(self.decoder.last_event_id());
        let head = client.ask(request.as_bytes()).await;
        let head = head.map_err(Trouble::unreachable)?;
        match head.status() {
            200 if head.media_type().as_deref() == Some(MEDIA_TYPE) => {
                match head.content_coding() {
                    None => Ok(Some(client)),
                    Some(encoding) => Err(Trouble::Final(format!(
                        "the stream has the content encoding {encoding:?}, which can't be recorded; \
                     have the server, or a proxy before it, send it without"
                    ))),
                }
            }
            204 => Ok(None),
            200 => Err(Trouble::Final("the answer is no event stream".to_owned())),
            status => {
                let sentence = match head.header("location") {
                    Some(location) if matches!(status, 300..400) => format!(
                        "the server answers with {status} and refers to {location:?}; \
                         record that if you trust it"
                    ),
                    _ => format!("the server answers with {status}"),
                };
                Err(match (status, head.retry_after(SystemTime::now())) {
                    (408 | 429 | 500.., Some(wait)) => {
                        Trouble::Later(sentence, wait.clamp(MIN_WAIT, MAX_ASKED))
                    }
                    (408 | 429 | 500.., None) => Trouble::Passing(sentence),
                    _ => Trouble::Final(sentence),
                })
            }
        }
    }

    /// How many events have been recorded.
    fn count(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The reconnection time, within bounds.
    fn retry(&self) -> Duration {
        let retry = self.decoder.retry().unwrap_or(RETRY);
        retry.clamp(MIN_WAIT, MAX_WAIT)
    }

    /// Some file systems report only now that they are full.
    fn sync(&self) -> Result<(), Ending> {
        let synced = self.recorder.writer().sync_all();
        synced.map_err(|error| self.unwritable(&error))
    }

    /// Whether there is nothing in it that is worth a file.
    fn is_empty(&self) -> bool {
        let metadata = self.recorder.writer().metadata();
        metadata.is_ok_and(|metadata| metadata.len() == 0)
    }

    fn at(&self) -> Duration {
        self.before.saturating_add(self.began.elapsed())
    }

    fn unwritable(&self, error: &io::Error) -> Ending {
        Ending::Failure(format!("can't record to {:?}: {error}", self.options.file))
    }
}

/// Whether an event ID comes back as it was sent: servers refuse control characters in headers
/// and long headers, and blanks at the ends of a value are no part of it.
fn is_sendable(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.trim_matches([' ', '\t']) == id
        && !id.contains(|c: char| c.is_ascii_control())
}

/// Why a stream has ended that is not complete.
fn lost(error: &io::Error) -> String {
    let body_error = error
        .get_ref()
        .and_then(<dyn Error + Send + Sync>::downcast_ref::<BodyError>);
    match body_error {
        Some(error) => error.to_string(),
        None => format!("the connection was lost: {error}"),
    }
}

/// Why there is no stream.
enum Trouble {
    /// It may be over later.
    Passing(String),
    /// The server asks for a wait.
    Later(String, Duration),
    Final(String),
}

impl Trouble {
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    fn unreachable(error: io::Error) -> Self {
        Self::Passing(match error.kind() {
            io::ErrorKind::InvalidData => format!("the answer can't be read: {error}"),
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

Records an event stream to a file, with times: http://…, https://… or
unix:/run/app.sock:/path. When the connection ends, it asks for what follows the last event,
and the file says so; it ends when the server says that nothing more is to come, or with Ctrl-C.
It waits as long as the server asks for with Retry-After, at most a day.

  --ca FILE           trust the certificates in FILE (PEM) instead of those the system trusts
  --header LINE       send this header, such as \"Authorization: Bearer …\"; it takes the place
                      of a default, such as Host or Accept
  --silence SECONDS   reconnect when nothing has come for so long (default: 300)
  --once              end with the stream; the exit status is 1 if it is incomplete
  --continue          go on with a recording, after its last event
  --help              show this";

/// The longest event ID that is sent, in bytes.
const MAX_ID: usize = 1024;

/// How long it waits before it reconnects, where the stream does not say.
const RETRY: Duration = Duration::from_secs(3);

const MIN_WAIT: Duration = Duration::from_millis(100);

const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long it may take to connect, and until the answer comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long a server may ask to be left alone.
const MAX_ASKED: Duration = Duration::from_secs(86_400);

/// After how long a stream without events counts as one that works.
const HEALTHY: Duration = Duration::from_secs(60);

/// After how long without a sign a connection is taken for lost. Servers send heartbeats more
/// often.
const SILENCE: Duration = Duration::from_secs(300);
