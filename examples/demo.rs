//! The demo: one feed for all clients, and a page that shows the feed and its connection.
//!
//! ```text
//! $ cargo run
//! open http://127.0.0.1:31337/ (Ctrl-C ends it)
//! ```
//!
//! Open it twice, cut the network, kill the server and start it again: the page reports whether
//! it has missed events. Without a browser, `curl -N http://127.0.0.1:31337/sse` shows the
//! stream, and `-H 'Last-Event-ID: …'` resumes after an event. `--help` lists the options.

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

use encrypt::CertificateFile;

mod encrypt;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Runtime::new().map_err(cant_start)?;
        runtime.block_on(run(options))
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

async fn run(mut options: Options) -> Result<(), Ending> {
    let mut signals = Signals::new().map_err(cant_start)?;
    let demo = Demo {
        feed: feed(options.journal.as_deref())?,
        watching: Arc::default(),
    };
    let (server, url, certificate) = listen(&mut options)?;
    if let Some(path) = &options.record {
        record(&demo.feed, path.clone())?;
    }
    let written = options.record.is_some() || options.journal.is_some();
    let progress = written.then(|| show_progress(demo.feed.clone(), options.record));
    let server = server.serve(demo.clone());
    tokio::spawn(async move { demo.publish(options.every, options.count).await });
    cli::print(format_args!("open {url} (Ctrl-C ends it)"));
    if let Some(certificate) = &certificate {
        let file = certificate.path().display();
        cli::print(format_args!(
            "the certificate is {file}; accept it in the browser, or use \
             curl -N --cacert {file} {url}sse"
        ));
    }

    signals.next().await;
    drop(progress);
    tokio::select! {
        biased;
        () = signals.next() => {} // A second signal ends the program at once.
        () = server.drain(GRACE) => cli::print("stopped"),
    }
    Ok(())
}

/// Opens the feed, restored from the journal if there is one.
fn feed(journal: Option<&str>) -> Result<Topic, Ending> {
    let Some(dir) = journal else {
        return Ok(Topic::new(TopicConfig::default()));
    };
    let journal = Journal::new(dir).on_notice(|notice| cli::print_error(notice));
    Topic::open(TopicConfig::default(), &journal)
        .map_err(|error| Ending::Failure(error.to_string()))
}

/// Binds the listeners. Returns the server, its URL and the file of a certificate made for it.
fn listen(options: &mut Options) -> Result<(Server, String, Option<CertificateFile>), Ending> {
    let tcp = cli::bind(&options.listen, |address| Tcp::default().bind(address));
    let tcp = tcp.map_err(|error| cant_listen("--listen", &options.listen, &error))?;
    let address = tcp.local_addr().map_err(cant_start)?;
    let server = Server::new(
        Config::default()
            .max_connections(raise_file_limit(options.max_connections))
            .heartbeat(options.heartbeat)
            .heartbeat_form(Heartbeat::Event(HEARTBEAT))
            .retry(RETRY)
            .upgrader(options.upgrader.clone()),
    );
    let (mut server, scheme, certificate) = match options.tls.take() {
        Some(source) => {
            let (tls, certificate) = source.load(address.ip())?;
            (
                server.listen(TlsListener::new(tcp, tls)),
                "https",
                certificate,
            )
        }
        None => (server.listen(tcp), "http", None),
    };
    if let Some(path) = &options.unix {
        let listening = listen_unix(server, path);
        server = listening.map_err(|error| cant_listen("--unix", path, &error))?;
    }
    let url = format!("{scheme}://{}/", cli::url_host(address));
    Ok((server, url, certificate))
}

/// Records the feed to a new file until the program ends.
fn record(feed: &Topic, path: String) -> Result<(), Ending> {
    let file = File::create_new(&path).map_err(|error| {
        Ending::Failure(match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{path:?} exists; record to another file"),
            _ => format!("can't record to {path:?}: {error}"),
        })
    })?;
    let live = feed.subscribe(Start::Live);
    tokio::spawn(async move {
        let recording = live.record(Recorder::new(file), Instant::now());
        if let Err(error) = recording.await {
            cli::print_error(format_args!("recording to {path:?} has stopped: {error}"));
        }
    });
    Ok(())
}

/// Shows how many bytes have been recorded and journaled.
fn show_progress(feed: Topic, recording: Option<String>) -> Progress {
    Progress::new(move || {
        let recorded = recording.as_ref().map(|path| {
            let len = fs::metadata(path).map_or(0, |file| file.len());
            format!("{len} bytes recorded")
        });
        let journaled = feed.journal_state().map(|journal| {
            if journal.is_storing {
                format!("{} bytes in the journal", journal.bytes)
            } else {
                "the journal has failed".to_owned()
            }
        });
        Vec::from_iter(recorded.into_iter().chain(journaled)).join(", ")
    })
}

/// The feed, and the number of its clients.
#[derive(Clone)]
struct Demo {
    feed: Topic,
    watching: Arc<AtomicUsize>,
}

impl Demo {
    /// Publishes `count` events at an interval, then the `close` event.
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
                .publish(&tick.expect("a struct of text and numbers serializes"))?;
        }
        let close = Event::new().event(CLOSE).data("");
        Ok(self.feed.finish(Some(&close))?)
    }

    /// Counts the client for as long as its stream lasts.
    fn count_client(&self, answer: Answer) -> Answer {
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
            "/sse" => self.count_client(request.follow_from(&self.feed, Start::Last(HISTORY))),
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

/// Raises the limit of open files, and returns how many of the `wanted` connections it allows.
fn raise_file_limit(wanted: usize) -> usize {
    let files = wanted.saturating_add(OTHER_FILES) as u64;
    let files = rlimit::increase_nofile_limit(files).unwrap_or(files);
    let room = usize::try_from(files).unwrap_or(usize::MAX);
    let room = room.saturating_sub(OTHER_FILES).min(wanted);
    if room < wanted {
        cli::print_error(format_args!(
            "the limit of open files allows {room} connections, not {wanted}; raise it with ulimit -n"
        ));
    }
    room
}

fn cant_listen(option: &str, at: &str, error: &io::Error) -> Ending {
    Ending::Failure(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{at} is in use; end the other program, or choose another address with {option}"
            )
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

Serves a page that shows a feed, and the feed at /sse: one event a second, the same for all
clients. A new client gets the last ten events first; one that reconnects gets the events
after its last event ID. Ctrl-C drains the server; a second Ctrl-C ends it at once.

  --listen ADDR         the address to listen on (127.0.0.1:31337); :8080 is port 8080 on
                        all addresses, and port 0 any free port
  --unix PATH           listen on this Unix socket too
  --count N             end the feed with a `close` event after N events
  --every SECONDS       the time between two events (1)
  --heartbeat SECONDS   send a `heartbeat` event after this long without an event (15)
  --journal DIR         keep the feed in this directory, and restore it at the next start
  --record FILE         record the feed, with times, to a file that `replay` plays
  --tls                 speak TLS, with a certificate made for this run
  --cert FILE           speak TLS with this certificate, followed by its issuers, in PEM,
  --key FILE            and this key; renewed files are loaded within 10 seconds
  --client-ca FILE      require client certificates that this authority has signed
  --allow-origin ORIGIN allow pages of this origin to read the feed (https://example.org)
  --max-connections N   the maximum number of connections; further ones get 503 (4096)
  --help                print this text";

/// The type of the last event; the page closes its EventSource on it.
const CLOSE: EventType = EventType::from_static("close");

const HEARTBEAT: EventType = EventType::from_static("heartbeat");

/// The number of past events that a new client gets.
const HISTORY: usize = 10;

/// The reconnection time that clients are sent.
const RETRY: Duration = Duration::from_secs(1);

/// The time over which a drain spreads the disconnects.
const GRACE: Duration = Duration::from_millis(500);

/// Files other than connections: listeners, standard streams, the runtime's, the system's.
const OTHER_FILES: usize = 32;
