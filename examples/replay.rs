//! Plays a recording, or any event stream in a file, at the pace at which it was recorded.
//!
//! ```text
//! $ cargo run --bin replay -- session.sse --speed 10
//! $ cargo run --bin replay -- session.sse --listen 127.0.0.1:8080
//! open http://127.0.0.1:8080/ (Ctrl-C ends it)
//! ```
//!
//! It plays to standard output, or to every client of `/sse`: from the beginning, or after the
//! client's last event ID. A `close` event ends the stream; a client that reconnects after it
//! gets the status 204.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cli::{Args, Ending, Progress, Signals};
use sse_core::{Decoded, Event, EventId, EventType, Pace, Rejection, Replayer, Response, Upgrader};
use sse_net::{Answer, Config, Handler, Player, Request, Server, Stream, Tcp};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        if options.is_read_once()? {
            return print_once(&options);
        }
        let recording = Recording::open(&options)?;
        match &options.listen {
            None => {
                let progress = recording.progress();
                print(&recording, recording.replayer()?, progress, false)
            }
            Some(listen) => {
                let runtime = Runtime::new().map_err(cant_start)?;
                runtime.block_on(serve(recording, listen))
            }
        }
    })
}

struct Options {
    file: String,
    listen: Option<String>,
    pace: Pace,
    from: Option<EventId<'static>>,
    is_looped: bool,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut options = Self {
            file: String::new(),
            listen: None,
            pace: Pace::RECORDED,
            from: None,
            is_looped: false,
        };
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => options.listen = Some(args.value("an address")?),
                "--speed" => {
                    let factor: f64 = args.value(SPEED)?;
                    options.pace = Pace::times(factor)
                        .ok_or_else(|| Ending::Usage(format!("--speed takes {SPEED}")))?;
                }
                "--max" => options.pace = Pace::FASTEST,
                "--from" => {
                    let id: String = args.value("an event ID")?;
                    let id = EventId::new(id).map_err(|error| Ending::Usage(error.to_string()))?;
                    options.from = Some(id);
                }
                "--loop" => options.is_looped = true,
                option if option.starts_with('-') && option != STDIN => return Err(args.unknown()),
                _ if options.file.is_empty() => options.file = option,
                _ => return Err(Ending::Usage("replay takes one file".to_owned())),
            }
        }
        if options.file.is_empty() {
            return Err(Ending::Usage("replay takes a file".to_owned()));
        }
        Ok(options)
    }

    /// Returns whether the file can be read only once: standard input or a pipe.
    fn is_read_once(&self) -> Result<bool, Ending> {
        if self.file == STDIN {
            return Ok(true);
        }
        let metadata = fs::metadata(&self.file).map_err(|error| cant_play(&self.file, &error))?;
        // A directory is opened, so that the system's error is reported.
        Ok(!metadata.is_file() && !metadata.is_dir())
    }
}

/// Plays input that can be read only once to standard output, as it arrives.
fn print_once(options: &Options) -> Result<(), Ending> {
    if options.is_looped || options.listen.is_some() {
        return Err(Ending::Failure(format!(
            "{:?} can be read only once, and --loop and --listen read it again; save it to a file",
            options.file
        )));
    }
    let recording = Recording::new(options);
    let input: Box<dyn BufRead> = match &*options.file {
        STDIN => Box::new(io::stdin().lock()),
        file => Box::new(BufReader::new(recording.or_read_error(File::open(file))?)),
    };
    let replayer = recording.from(Replayer::new(input));
    let progress = |played| counted(played, "event");
    print(&recording, replayer, progress, true)
}

/// Plays to standard output. `is_live` flushes after each event.
fn print<R: BufRead>(
    recording: &Recording,
    mut replayer: Replayer<R>,
    progress: impl Fn(u64) -> String + Send + 'static,
    is_live: bool,
) -> Result<(), Ending> {
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let played = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    // On a terminal, the progress line would mix with the events.
    let progress = (!io::stdout().is_terminal()).then(|| {
        let played = Arc::clone(&played);
        Progress::new(move || {
            let played = progress(played.load(Ordering::Relaxed));
            format!("{played}, {:.1} s", began.elapsed().as_secs_f64())
        })
    });
    let mut wire = Vec::new();
    while let Some(recorded) = recording.or_read_error(replayer.read())? {
        let due = recording.pace.due(recorded.at());
        let wait = due.saturating_sub(began.elapsed());
        if !wait.is_zero() {
            out.flush().map_err(Ending::stdout)?;
            thread::sleep(wait);
        }
        wire.clear();
        recorded.event().encode(&mut wire);
        out.write_all(&wire).map_err(Ending::stdout)?;
        if is_live {
            out.flush().map_err(Ending::stdout)?;
        }
        if let Decoded::Event(_) = recorded.decoded() {
            played.fetch_add(1, Ordering::Relaxed);
        }
    }
    out.flush().map_err(Ending::stdout)?;
    drop(progress);
    Ok(())
}

/// Serves the recording over HTTP.
async fn serve(recording: Recording, listen: &str) -> Result<(), Ending> {
    let tcp = cli::bind(listen, |address| Tcp::default().bind(address))
        .map_err(|error| Ending::Failure(format!("can't listen on {listen:?}: {error}")))?;
    let address = cli::url_host(tcp.local_addr().map_err(cant_start)?);
    // For pages under development, which may be served from any origin.
    let config = Config::default().upgrader(Upgrader::new().allow_any_origin());
    let mut signals = Signals::new().map_err(cant_start)?;
    let server = Server::new(config).listen(tcp).serve(recording.clone());
    cli::print(format_args!("open http://{address}/ (Ctrl-C ends it)"));
    let progress = recording.show_progress();
    signals.next().await;
    drop(progress);
    tokio::select! {
        biased;
        () = signals.next() => {} // A second signal ends the program at once.
        () = server.drain(GRACE) => {}
    }
    Ok(())
}

/// Plays to one client, and counts the events sent.
async fn play(
    mut player: Player<BufReader<File>>,
    stream: &mut Stream,
    recording: &Recording,
) -> io::Result<()> {
    loop {
        let recorded = tokio::select! {
            biased;
            recorded = player.next() => recorded?,
            () = stream.closed() => return Ok(()),
        };
        let Some(recorded) = recorded else {
            return Ok(());
        };
        stream.send(&recorded.event()).await?;
        let millis = recording.pace.due(recorded.at()).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        recording.position.store(millis, Ordering::Relaxed);
        if let Decoded::Event(_) = recorded.decoded() {
            recording.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A recording, its playback settings, and counts of its clients.
#[derive(Clone)]
struct Recording {
    file: String,
    pace: Pace,
    from: Option<EventId<'static>>,
    is_looped: bool,
    /// The number of events to play and the time that takes; of one round if it is looped.
    events: u64,
    length: Duration,
    page: String,
    /// The ID of the final `close` event: the last event's own may be missing or not unique. It
    /// contains the number of events, so that a recording of a replay has another.
    end: EventId<'static>,
    /// The number of clients.
    clients: Arc<AtomicU64>,
    /// The number of events sent to all clients together.
    sent: Arc<AtomicU64>,
    /// The time of the last event sent, in milliseconds.
    position: Arc<AtomicU64>,
}

impl Recording {
    fn new(options: &Options) -> Self {
        Self {
            file: options.file.clone(),
            pace: options.pace,
            from: options.from.clone(),
            is_looped: false,
            events: 0,
            length: Duration::ZERO,
            page: String::new(),
            end: EventId::from_static(""),
            clients: Arc::default(),
            sent: Arc::default(),
            position: Arc::default(),
        }
    }

    /// Reads the whole recording once, so that errors are reported at the start.
    fn open(options: &Options) -> Result<Self, Ending> {
        let mut recording = Self::new(options);
        let mut types = BTreeSet::new();
        let mut replayer = recording.replayer()?;
        while let Some(recorded) = recording.or_read_error(replayer.read())? {
            recording.length = recording.pace.due(recorded.at());
            if let Decoded::Event(event) = recorded.decoded() {
                recording.events += 1;
                if types.len() < MAX_TYPES && !types.contains(event.event()) {
                    types.insert(event.event().to_owned());
                }
            }
        }
        recording.is_looped = options.is_looped;
        let end = EventId::new(format!("end-of-{}", recording.events));
        recording.end = end.map_err(|error| Ending::Failure(error.to_string()))?;
        // JSON inside a script element; an unescaped `<` could end the element.
        let types = serde_json::to_string(&types).unwrap_or_default();
        recording.page = PAGE
            .replace("END", recording.end.as_str())
            .replace("TYPES", &types.replace('<', "\\u003c"));
        Ok(recording)
    }

    /// Returns a replayer of everything to play.
    fn replayer(&self) -> Result<Replayer<BufReader<File>>, Ending> {
        let replayer = self.from(self.or_read_error(self.whole())?);
        Ok(if self.is_looped {
            replayer.looped()
        } else {
            replayer
        })
    }

    fn from<R: BufRead>(&self, replayer: Replayer<R>) -> Replayer<R> {
        match &self.from {
            Some(id) => replayer.from_id(id.into()),
            None => replayer,
        }
    }

    fn whole(&self) -> io::Result<Replayer<BufReader<File>>> {
        let file = File::open(&self.file)?;
        Ok(Replayer::new(BufReader::with_capacity(BUFFER, file)))
    }

    /// Returns what to play to a client, in order: the rest after `last` if that is known,
    /// else everything; nothing after the end.
    fn players(&self, last: Option<EventId<'_>>) -> Result<Vec<Player<BufReader<File>>>, Ending> {
        let mut parts = Vec::new();
        let mut has_seen = false;
        if let Some(last) = last {
            if !self.is_looped && last == self.end {
                return Ok(Vec::new());
            }
            let mut rest = self.or_read_error(self.whole())?.from_id(last);
            has_seen = matches!(rest.read(), Ok(Some(_)));
            if has_seen && matches!(rest.peek(), Ok(Some(_))) {
                parts.push(rest);
            }
        }
        if !has_seen || self.is_looped {
            parts.push(self.replayer()?);
        }
        let play = |replayer| Player::new(replayer, self.pace);
        Ok(parts.into_iter().map(play).collect())
    }

    /// Returns a function that describes how many events have been played.
    fn progress(&self) -> impl Fn(u64) -> String + Send + 'static {
        let of = (!self.is_looped).then(|| counted(self.events, "event"));
        move |played| match &of {
            None => counted(played, "event"),
            Some(all) => format!("{played} of {all}"),
        }
    }

    /// Shows the number of clients and events.
    fn show_progress(&self) -> Progress {
        let recording = self.clone();
        let of = if self.is_looped {
            String::new()
        } else {
            format!(" of {:.1}", self.length.as_secs_f64())
        };
        Progress::new(move || {
            let clients = counted(recording.clients.load(Ordering::Relaxed), "client");
            let sent = counted(recording.sent.load(Ordering::Relaxed), "event");
            let at = Duration::from_millis(recording.position.load(Ordering::Relaxed));
            format!(
                "{clients}, {sent} sent, the last at {:.1}{of} s",
                at.as_secs_f64()
            )
        })
    }

    fn or_read_error<T>(&self, read: io::Result<T>) -> Result<T, Ending> {
        read.map_err(|error| cant_play(&self.file, &error))
    }
}

impl Handler for Recording {
    async fn handle(&self, request: Request) -> Answer {
        match request.path() {
            "/" => {
                let page = self.page.clone();
                request.respond(Response::new(200).with_body("text/html; charset=utf-8", page))
            }
            "/sse" => match self.players(request.last_event_id()) {
                Err(_) => request.reject(Rejection::UNAVAILABLE),
                // A browser does not reconnect after 204.
                Ok(players) if players.is_empty() => request.respond(Response::new(204)),
                Ok(players) => {
                    let (recording, clients) = (self.clone(), Arc::clone(&self.clients));
                    let answer = request.stream(async move |mut stream| {
                        for player in players {
                            play(player, &mut stream, &recording).await?;
                        }
                        let close = EventType::from_static("close");
                        let end = Event::new().id(&recording.end).event(close).data("");
                        stream.send(&end).await?;
                        Ok(())
                    });
                    clients.fetch_add(1, Ordering::Relaxed);
                    answer.on_end(move |_| {
                        clients.fetch_sub(1, Ordering::Relaxed);
                    })
                }
            },
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn cant_play(file: &str, error: &io::Error) -> Ending {
    Ending::Failure(format!("can't play {file:?}: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}

const PAGE: &str = "\
<!DOCTYPE html>
<meta charset=\"utf-8\">
<title>Replay</title>
<pre id=\"events\"></pre>
<script>
const events = document.getElementById('events');
const source = new EventSource('/sse');
for (const type of TYPES) {
    source.addEventListener(type, event => {
        // \"open\" and \"error\" also come from the EventSource itself.
        if (event instanceof MessageEvent) {
            events.append(`${event.lastEventId} ${type} ${event.data}\\n`);
        }
    });
}
source.addEventListener('close', event => {
    if (event.lastEventId === 'END') source.close();
});
</script>
";

const USAGE: &str = "\
Usage: replay [OPTIONS] FILE

Plays a recording to standard output, each event at its time. Events without times are played
at once. FILE may be a pipe, or - for standard input; these are played once, as they arrive,
without --listen and --loop.

  --listen ADDR   serve the recording at http://ADDR/sse, from the beginning or after the
                  client's last event ID, and a page that shows it at http://ADDR/; :8080 is
                  port 8080 on all addresses. A \"close\" event with its own ID ends the
                  stream. An EventSource that is not closed then reconnects once and gets 204
  --speed X       play X times as fast as recorded
  --max           play as fast as possible
  --from ID       begin with the event that has this ID
  --loop          begin again at the end; a round takes at least 100 ms
  --help          print this text";

/// The operand for standard input.
const STDIN: &str = "-";

const SPEED: &str = "a number above 0";

/// The maximum number of event types that the page listens to.
const MAX_TYPES: usize = 1000;

/// The time over which a drain spreads the disconnects.
const GRACE: Duration = Duration::from_millis(500);

const BUFFER: usize = 64 << 10;
