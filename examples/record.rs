//! Records an event stream from any HTTP/1.1 server to a file, with times.
//!
//! ```text
//! $ cargo run --bin record -- http://127.0.0.1:31337/sse session.sse
//! 42 events in 41.0 s
//! $ cargo run --bin replay -- session.sse --speed 10
//! ```
//!
//! When the connection ends, it comes back as a browser does, with the last event ID and after
//! the time that the stream asked for; a comment in the file says so. Ctrl-C ends it. The file
//! has whole events only, also after a crash, and `--continue` goes on with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cli::{Args, Ending, Progress, Signals};
use sse_core::{Decoded, Decoder, Event, Recorder, Replayer};
use sse_net::{Client, ResponseHead, Transport};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use source::Source;

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
    headers: String,
    continues: bool,
    once: bool,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut operands, mut ca, mut headers) = (Vec::new(), None, String::new());
        let (mut continues, mut once) = (false, false);
        while let Some(option) = args.option()? {
            match &*option {
                "--ca" => ca = Some(args.value::<String>("a file")?),
                "--header" => {
                    let header: String = args.value("a header")?;
                    if !header.contains(':') || header.contains(['\r', '\n']) {
                        let sentence =
                            format!("--header takes a header like \"X: y\", not {header:?}");
                        return Err(Ending::Usage(sentence));
                    }
                    headers += &format!("{header}\r\n");
                }
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
            continues,
            once,
        })
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
            true => reopen(path),
            false => File::create_new(path).map(|file| (file, Duration::ZERO, Decoder::new())),
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ending::Failure(format!(
                "{path:?} exists; remove it, or go on with it with --continue"
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
        let mut client = match self.connect().await {
            Ok(client) => client,
            Err(Trouble::Passing(sentence) | Trouble::Final(sentence)) => {
                return Err(Ending::Failure(sentence));
            }
        };
        while let Some(stream) = client {
            let why = self.record(stream).await?;
            self.recorder.restart();
            self.decoder.restart();
            if self.options.once {
                break;
            }
            self.note(&why)?;
            client = self.reconnect().await?;
        }
        Ok(())
    }

    /// Records one stream, and gives why it has ended.
    async fn record(&mut self, stream: Client<Transport>) -> Result<String, Ending> {
        let mut stream = stream.limit(SILENCE);
        loop {
            match stream.read().await {
                Ok(Some(part)) => self.take(&part)?,
                Ok(None) => return Ok("the server has ended the stream".to_owned()),
                Err(error) => return Ok(format!("the connection was lost: {error}")),
            }
        }
    }

    fn take(&mut self, mut part: &[u8]) -> Result<(), Ending> {
        let recorded = self.recorder.record(self.at(), part);
        recorded.map_err(|error| self.unwritable(&error))?;
        let mut undecodable =
            |error| Ending::Failure(format!("the stream can't be decoded: {error}"));
        while let Some(decoded) = self.decoder.decode(&mut part).map_err(&mut undecodable)? {
            if let Decoded::Event(_) = decoded {
                self.events.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Says in the recording that there is a seam, and what may be missing. Whether a server has
    /// heeded the last event ID, nothing in its answer tells.
    fn note(&mut self, why: &str) -> Result<(), Ending> {
        let note = match self.decoder.last_event_id() {
            "" => format!("{why}; events may be missing, since the stream has no IDs"),
            id => format!(
                "{why}; the server is asked to go on after event {id}, and if it can't, \
                 events are missing"
            ),
        };
        let noted = self.recorder.send(self.at(), &Event::new().comment(note));
        noted.map_err(|error| self.unwritable(&error))
    }

    /// Tries until it is connected, ever more seldom.
    async fn reconnect(&mut self) -> Result<Option<Client<Transport>>, Ending> {
        let retry = self.decoder.retry().unwrap_or(RETRY);
        let mut wait = retry.clamp(MIN_WAIT, MAX_WAIT);
        loop {
            sleep(wait).await;
            match self.connect().await {
                Ok(client) => return Ok(client),
                Err(Trouble::Final(sentence)) => return Err(Ending::Failure(sentence)),
                Err(Trouble::Passing(sentence)) => {
                    wait = (2 * wait).min(MAX_WAIT);
                    cli::complain(format_args!("{sentence}; trying again in {wait:?}"));
                }
            }
        }
    }

    /// A client whose stream is about to come, unless the server says that there is nothing
    /// more.
    async fn connect(&self) -> Result<Option<Client<Transport>>, Trouble> {
        let Options {
            source,
            tls,
            headers,
            ..
        } = self.options;
        let connecting = timeout(PATIENCE, source.connect(tls.as_ref())).await;
        let connection = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut client = Client::new(connection.map_err(Trouble::unreachable)?).limit(PATIENCE);
        let resume = match self.decoder.last_event_id() {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\
             Accept-Encoding: identity\r\nCache-Control: no-cache\r\n{headers}{resume}\r\n",
            source.target, source.host
        );
        let head = client.ask(request.as_bytes()).await;
        let head = head.map_err(Trouble::unreachable)?;
        match head.status() {
            200 if is_event_stream(&head) => match encoding(&head) {
                None => Ok(Some(client)),
                Some(encoding) => Err(Trouble::Final(format!(
                    "the stream has the content encoding {encoding:?}, which can't be recorded; \
                     have the server, or a proxy before it, send it without"
                ))),
            },
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
                Err(match status {
                    408 | 429 | 500.. => Trouble::Passing(sentence),
                    _ => Trouble::Final(sentence),
                })
            }
        }
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

/// A recording that is gone on with: cut off after its last whole event, how long it is, and
/// where it left off.
fn reopen(path: &str) -> io::Result<(File, Duration, Decoder)> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut start = Vec::new();
    (&file).take(START.len() as u64).read_to_end(&mut start)?;
    if !START.starts_with(&start) {
        let sentence = "it does not begin like a recording; give another file";
        return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
    }
    file.rewind()?;
    let mut replayer = Replayer::new(BufReader::new(&file));
    let mut before = Duration::ZERO;
    while let Some(recorded) = replayer.read()? {
        before = recorded.at();
    }
    let whole = replayer.whole();
    let (_, mut decoder) = replayer.into_parts();
    decoder.restart();
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, before, decoder))
}

fn is_event_stream(head: &ResponseHead) -> bool {
    let media_type = head.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("text/event-stream")
}

/// What would have to be undone to read the stream, such as `gzip`.
fn encoding(head: &ResponseHead) -> Option<&str> {
    let encoding = head.header("content-encoding")?.trim();
    let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    (!is_plain).then_some(encoding)
}

/// Why there is no stream.
enum Trouble {
    /// It may be over later.
    Passing(String),
    Final(String),
}

impl Trouble {
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    fn unreachable(error: io::Error) -> Self {
        Self::Passing(format!("can't reach the server: {error}"))
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

  --ca FILE       trust the certificates in FILE (PEM) instead of those the system trusts
  --header LINE   send this header too, such as \"Authorization: Bearer …\"
  --once          end with the stream
  --continue      go on with a recording, after its last event
  --help          show this";

/// How each recording begins: with a time.
const START: &[u8] = b":T+";

/// How long it waits before it reconnects, where the stream does not say.
const RETRY: Duration = Duration::from_secs(3);

const MIN_WAIT: Duration = Duration::from_millis(100);

const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long it may take to connect, and until the answer comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// After how long without a sign a connection is taken for lost. Servers send heartbeats more
/// often.
const SILENCE: Duration = Duration::from_secs(300);
