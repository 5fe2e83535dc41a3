//! The demo: one feed for all, and a page that shows it and how its stream fares.
//!
//! ```text
//! $ cargo run
//! open http://127.0.0.1:31337/ (Ctrl-C ends it)
//! ```
//!
//! Open it twice, cut the network, kill the server and start it again: the page says whether
//! it has missed anything. Without a browser, `curl -N http://127.0.0.1:31337/sse` shows the
//! stream, and `-H 'Last-Event-ID: …'` goes on after an event. `--help` lists the options.

use std::fs::{self, File};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cli::{Args, Ending, Progress, Signals};
use serde::Serialize;
use sse_core::{Event, EventType, Recorder, Rejection, Response, Upgrader};
use sse_net::{
    Answer, Config, Handler, Heartbeat, Journal, Request, Server, Start, Tcp, Topic, TopicConfig,
};
use sse_tls::TlsListener;
use tokio::runtime::Runtime;
use tokio::time::{Instant, MissedTickBehavior, interval};

use encrypt::Trusted;

mod encrypt;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Runtime::new().map_err(cant_start)?;
        runtime.block_on(demonstrate(options))
    })
}

struct Options {
    listen: String,
    unix: Option<String>,
    count: Option<u64>,
    every: Duration,
    heartbeat: Duration,
    max_connections: usize,
    record: Option<String>,
    journal: Option<String>,
    tls: Option<encrypt::Source>,
    upgrader: Upgrader,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut options = Self {
            listen: "127.0.0.1:31337".to_owned(),
            unix: None,
            count: None,
            every: Duration::from_secs(1),
            heartbeat: Duration::from_secs(15),
            max_connections: 4096,
            record: None,
            journal: None,
            tls: None,
            upgrader: Upgrader::new(),
        };
        let mut tls = encrypt::Options::default();
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => options.listen = args.value("an address")?,
                "--unix" => options.unix = Some(args.value("a path")?),
                "--count" => options.count = Some(args.value("a number")?),
                "--every" => options.every = args.seconds()?,
                "--heartbeat" => options.heartbeat = args.seconds()?,
                "--allow-origin" => {
                    let origin: String = args.value("an origin")?;
                    let allowed = options.upgrader.allow_origin(&origin);
                    options.upgrader = allowed.map_err(|error| Ending::Usage(error.to_string()))?;
                }
                "--max-connections" => options.max_connections = args.value("a number")?,
                "--record" => options.record = Some(args.value("a file")?),
                "--journal" => options.journal = Some(args.value("a directory")?),
                "--tls" => tls.is_on = true,
                "--cert" => tls.certificate = Some(args.value("a file")?),
                "--key" => tls.key = Some(args.value("a file")?),
                "--client-ca" => tls.client_ca = Some(args.value("a file")?),
                _ => return Err(args.unknown()),
            }
        }
        options.tls = tls.source()?;
        Ok(options)
    }
}

async fn demonstrate(mut options: Options) -> Result<(), Ending> {
    let mut signals = Signals::new().map_err(cant_start)?;
    let demo = Demo {
        feed: feed(options.journal.as_deref())?,
        watching: Arc::default(),
    };
    let (server, url, trusted) = listen(&mut options)?;
    if let Some(path) = &options.record {
        record(&demo.feed, path.clone())?;
    }
    let written = options.record.is_some() || options.journal.is_some();
    let progress = written.then(|| show(demo.feed.clone(), options.record));
    let server = server.serve(demo.clone());
    tokio::spawn(async move { demo.publish(options.every, options.count).await });
    cli::say(format_args!("open {url} (Ctrl-C ends it)"));
    if let Some(trusted) = &trusted {
        let file = trusted.path().display();
        cli::say(format_args!(
            "trust its certificate, {file}: in the browser, which asks, or with \
             curl -N --cacert {file} {url}sse"
        ));
    }

    signals.next().await;
    drop(progress);
    tokio::select! {
        biased;
        () = signals.next() => {} // Whoever asks twice does not want to wait.
        () = server.drain(GRACE) => cli::say("goodbye"),
    }
    Ok(())
}

/// The feed, which goes on where the last run has left it if there is a journal.
fn feed(journal: Option<&str>) -> Result<Topic, Ending> {
    let Some(dir) = journal else {
        return Ok(Topic::new(TopicConfig::default()));
    };
    let journal = Journal::new(dir).on_notice(|notice| cli::complain(notice));
    Topic::open(TopicConfig::default(), &journal)
        .map_err(|error| Ending::Failure(error.to_string()))
}

/// A server that listens wherever it is to, where a browser finds it, and the certificate that
/// has been made for it.
fn listen(options: &mut Options) -> Result<(Server, String, Option<Trusted>), Ending> {
    let tcp = Tcp::default().bind(&options.listen);
    let tcp = tcp.map_err(|error| cant_listen("--listen", &options.listen, &error))?;
    let address = tcp.local_addr().map_err(cant_start)?;
    let server = Server::new(
        Config::default()
            .max_connections(room(options.max_connections))
            .heartbeat(options.heartbeat)
            .heartbeat_form(Heartbeat::Event(HEARTBEAT))
            .retry(RETRY)
            .upgrader(options.upgrader.clone()),
    );
    let (mut server, scheme, trusted) = match options.tls.take() {
        Some(source) => {
            let (tls, trusted) = source.load(address.ip())?;
            (server.listen(TlsListener::new(tcp, tls)), "https", trusted)
        }
        None => (server.listen(tcp), "http", None),
    };
    if let Some(path) = &options.unix {
        let listening = listen_unix(server, path);
        server = listening.map_err(|error| cant_listen("--unix", path, &error))?;
    }
    Ok((server, format!("{scheme}://{address}/"), trusted))
}

/// Records the feed to a new file, until the program ends.
fn record(feed: &Topic, path: String) -> Result<(), Ending> {
    let file = File::create_new(&path).map_err(|error| {
        Ending::Failure(match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{path:?} exists; --record to another"),
            _ => format!("can't record to {path:?}: {error}"),
        })
    })?;
    let live = feed.subscribe(Start::Live);
    tokio::spawn(async move {
        let recording = live.record(Recorder::new(file), Instant::now());
        if let Err(error) = recording.await {
            cli::complain(format_args!("{path:?} is recorded no further: {error}"));
        }
    });
    Ok(())
}

/// Shows how much has been recorded, and what the journal has.
fn show(feed: Topic, recording: Option<String>) -> Progress {
    Progress::new(move || {
        let recorded = recording.as_ref().map(|path| {
            let len = fs::metadata(path).map_or(0, |file| file.len());
            format!("{len} bytes recorded")
        });
        let kept = feed
            .journal_state()
            .map(|journal| match journal.is_keeping {
                true => format!("{} bytes in the journal", journal.bytes),
                false => format!("{} bytes are not being kept", journal.unwritten),
            });
        Vec::from_iter(recorded.into_iter().chain(kept)).join(", ")
    })
}

/// One feed, and how many watch it.
#[derive(Clone)]
struct Demo {
    feed: Topic,
    watching: Arc<AtomicUsize>,
}

impl Demo {
    /// Publishes `count` events, one every so often, and the end.
    async fn publish(&self, every: Duration, count: Option<u64>) -> io::Result<()> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for _ in 0..count.unwrap_or(u64::MAX) {
            ticks.tick().await;
            let tick = Event::new().json_data(&Tick {
                text: "hey there",
                ts: now(),
                watching: self.watching.load(Ordering::Relaxed),
            });
            self.feed
                .publish(&tick.expect("text and numbers are JSON"))?;
        }
        let close = Event::new().event(CLOSE).data("");
        Ok(self.feed.finish(Some(&close))?)
    }

    /// Counts who gets a stream, for as long as it lasts.
    fn count(&self, answer: Answer) -> Answer {
        if answer.resume().is_none() {
            return answer;
        }
        let watching = Arc::clone(&self.watching);
        watching.fetch_add(1, Ordering::Relaxed);
        answer.on_end(move |_| {
            watching.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

impl Handler for Demo {
    async fn handle(&self, request: Request) -> Answer {
        match request.path() {
            "/" => request.respond(Response::new(200).with_body("text/html; charset=utf-8", PAGE)),
            "/sse" => self.count(request.follow_from(&self.feed, Start::Last(HISTORY))),
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }
}

#[derive(Serialize)]
struct Tick {
    text: &'static str,
    /// Seconds since 1970.
    ts: u64,
    watching: usize,
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(unix)]
fn listen_unix(server: Server, path: &str) -> io::Result<Server> {
    Ok(server.listen(sse_net::bind_unix(path)?))
}

#[cfg(not(unix))]
fn listen_unix(_server: Server, _path: &str) -> io::Result<Server> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How many of the `wanted` connections the limit of open files leaves room for, once it
/// has been raised as far as needed and allowed.
fn room(wanted: usize) -> usize {
    let files = wanted.saturating_add(OTHER_FILES) as u64;
    let files = rlimit::increase_nofile_limit(files).unwrap_or(files);
    let room = usize::try_from(files).unwrap_or(usize::MAX);
    let room = room.saturating_sub(OTHER_FILES).min(wanted);
    if room < wanted {
        cli::complain(format_args!(
            "the limit of open files leaves room for {room} connections, not {wanted}"
        ));
    }
    room
}

fn cant_listen(option: &str, at: &str, error: &io::Error) -> Ending {
    Ending::Failure(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{at} is in use; end what listens there, or {option} elsewhere")
        }
        _ => format!("can't listen on {at:?}: {error}"),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}

const PAGE: &str = include_str!("demo.html");

const USAGE: &str = "\
Usage: demo [OPTIONS]

Serves a page that shows a feed, and the feed at /sse: one event a second, the same for all.
Whoever comes gets the last ten first, or what came after the last that it has seen. Ctrl-C
says goodbye to all; a second ends at once.

  --listen ADDR         listen there instead of on 127.0.0.1:31337; port 0 is any free one
  --unix PATH           listen at this Unix socket too
  --count N             end the feed with a `close` event after N events
  --every SECONDS       the time between two events (1)
  --heartbeat SECONDS   send a `heartbeat` event after so much silence (15)
  --journal DIR         keep the feed there, and go on with what is there
  --record FILE         record the feed, with times, to a file that `replay` plays
  --tls                 speak TLS, with a certificate made for this run
  --cert FILE           speak TLS with this certificate and those of its issuers, in PEM,
  --key FILE            and this key; renewed files are noticed
  --client-ca FILE      ask clients for a certificate that this authority vouches for
  --allow-origin ORIGIN let pages of this origin read the feed, too (https://example.org)
  --max-connections N   answer 503 beyond so many connections at once (4096)
  --help                show this";

/// Tells the page that the stream is over.
const CLOSE: EventType = EventType::from_static("close");

const HEARTBEAT: EventType = EventType::from_static("heartbeat");

/// How many events who comes fresh gets of the past.
const HISTORY: usize = 10;

/// How long a client that has lost its stream waits before it asks again.
const RETRY: Duration = Duration::from_secs(1);

/// Within what time streams are ended.
const GRACE: Duration = Duration::from_millis(500);

/// The listeners, the standard streams, and what the runtime and the system's libraries open.
const OTHER_FILES: usize = 32;
