//! Plays a recording, or any event stream in a file, at the pace at which it was recorded.
//!
//! ```text
//! $ cargo run --bin replay -- session.sse --speed 10
//! $ cargo run --bin replay -- session.sse --listen 127.0.0.1:8080
//! open http://127.0.0.1:8080/ (Ctrl-C ends it)
//! ```
//!
//! To standard output, or to whoever opens the stream at `/sse`: each gets the recording from
//! its beginning, or goes on after the last event that it has seen. At the end comes an event
//! `close`, and who comes back after it is told to stop.

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
        if options.is_once()? {
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
        match options.file.is_empty() {
            true => Err(Ending::Usage("replay takes a file".to_owned())),
            false => Ok(options),
        }
    }

    /// Whether what is to be played can be read only once: standard input, a pipe.
    fn is_once(&self) -> Result<bool, Ending> {
        if self.file == STDIN {
            return Ok(true);
        }
        let metadata = fs::metadata(&self.file).map_err(|error| cant_play(&self.file, &error))?;
        // A directory is read for what the system says of that.
        Ok(!metadata.is_file() && !metadata.is_dir())
    }
}

/// Whatever can't be read twice, to standard output as it comes.
fn print_once(options: &Options) -> Result<(), Ending> {
    if options.is_looped || options.listen.is_some() {
        return Err(Ending::Failure(format!(
            "can't play {:?} more than once, as --loop and --listen do; save it to a file first",
            options.file
        )));
    }
    let recording = Recording::new(options);
    let input: Box<dyn BufRead> = match &*options.file {
        STDIN => Box::new(io::stdin().lock()),
        file => Box::new(BufReader::new(recording.or_unreadable(File::open(file))?)),
    };
    let replayer = recording.from(Replayer::new(input));
    let progress = |played| counted(played, "event");
    print(&recording, replayer, progress, true)
}

/// To standard output; each event at once, if nobody knows when the next one comes.
fn print<R: BufRead>(
    recording: &Recording,
    mut replayer: Replayer<R>,
    progress: impl Fn(u64) -> String + Send + 'static,
    is_live: bool,
) -> Result<(), Ending> {
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let played = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    // Where events are shown on the terminal, the line would get among them.
    let progress = (!io::stdout().is_terminal()).then(|| {
        let played = Arc::clone(&played);
        Progress::new(move || {
            let played = progress(played.load(Ordering::Relaxed));
            format!("{played}, {:.1} s", began.elapsed().as_secs_f64())
        })
    });
    let mut wire = Vec::new();
    while let Some(recorded) = recording.or_unreadable(replayer.read())? {
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

/// To browsers.
async fn serve(recording: Recording, listen: &str) -> Result<(), Ending> {
    let tcp = cli::bind(listen, |address| Tcp::default().bind(address))
        .map_err(|error| Ending::Failure(format!("can't listen on {listen:?}: {error}")))?;
    let address = cli::url_host(tcp.local_addr().map_err(cant_start)?);
    // It is for pages that are being developed, wherever they are served.
    let config = Config::default().upgrader(Upgrader::new().allow_any_origin());
    let mut signals = Signals::new().map_err(cant_start)?;
    let server = Server::new(config).listen(tcp).serve(recording.clone());
    cli::say(format_args!("open http://{address}/ (Ctrl-C ends it)"));
    let progress = recording.show();
    signals.next().await;
    drop(progress);
    tokio::select! {
        biased;
        () = signals.next() => {} // Whoever asks twice does not want to wait.
        () = server.drain(GRACE) => {}
    }
    Ok(())
}

/// To one client, which is counted by what it has been sent.
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

/// A recording, and how it is to be played.
#[derive(Clone)]
struct Recording {
    file: String,
    pace: Pace,
    from: Option<EventId<'static>>,
    is_looped: bool,
    /// How many events are to be played, and how long that takes; once, if it is looped.
    events: u64,
    length: Duration,
    page: String,
    /// The ID of what is sent after the last event, since that may have none, or one that others
    /// have too. It has the count, so that in a recording of all this it is not the end's.
    end: EventId<'static>,
    /// How many clients it is being played to.
    clients: Arc<AtomicU64>,
    /// How many events have been sent to all of them.
    sent: Arc<AtomicU64>,
    /// When the last of those is due, in milliseconds.
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

    /// Looks once at all of it, so that what is wrong with it is told at once.
    fn open(options: &Options) -> Result<Self, Ending> {
        let mut recording = Self::new(options);
        let mut types = BTreeSet::new();
        let mut replayer = recording.replayer()?;
        while let Some(recorded) = recording.or_unreadable(replayer.read())? {
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
        // As JSON within a script, which a `<` could end.
        let types = serde_json::to_string(&types).unwrap_or_default();
        recording.page = PAGE
            .replace("END", recording.end.as_str())
            .replace("TYPES", &types.replace('<', "\\u003c"));
        Ok(recording)
    }

    /// All that is to be played.
    fn replayer(&self) -> Result<Replayer<BufReader<File>>, Ending> {
        let replayer = self.from(self.or_unreadable(self.whole())?);
        match self.is_looped {
            true => Ok(replayer.looped()),
            false => Ok(replayer),
        }
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

    /// What a client gets, one after the other: what it has not seen, if it has seen any of it.
    fn players(&self, last: Option<EventId<'_>>) -> Result<Vec<Player<BufReader<File>>>, Ending> {
        let mut parts = Vec::new();
        let mut has_seen = false;
        if let Some(last) = last {
            if !self.is_looped && last == self.end {
                return Ok(Vec::new());
            }
            let mut rest = self.or_unreadable(self.whole())?.from_id(last);
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

    /// Says how many events have been played, and of how many.
    fn progress(&self) -> impl Fn(u64) -> String + Send + 'static {
        let of = (!self.is_looped).then(|| counted(self.events, "event"));
        move |played| match &of {
            None => counted(played, "event"),
            Some(all) => format!("{played} of {all}"),
        }
    }

    /// Says who is being played to.
    fn show(&self) -> Progress {
        let recording = self.clone();
        let of = match self.is_looped {
            true => String::new(),
            false => format!(" of {:.1}", self.length.as_secs_f64()),
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

    fn or_unreadable<T>(&self, read: io::Result<T>) -> Result<T, Ending> {
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
                // Browsers stop on this.
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
        // The connection's own \"open\" and \"error\" are none of the recording's.
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

Plays a recording to standard output, event by event when it is due. What has no times is
played at once. FILE may be a pipe, or - for standard input; these are played as they come, once,
without --listen and --loop.

  --listen ADDR   play it to whoever opens http://ADDR/sse, from the beginning or from after
                  the last event that it has seen; :8080 is that port on all addresses; http://ADDR/ is a page that shows it.
                  At the end comes an event \"close\" with an ID of its own. An EventSource that
                  is not closed on it comes back once, and is stopped by the answer 204
  --speed X       X times as fast as it was recorded
  --max           as fast as possible
  --from ID       begin with the event that has this ID
  --loop          begin again at the end; a round takes at least 100 ms
  --help          show this";

/// The file that stands for standard input.
const STDIN: &str = "-";

const SPEED: &str = "a number above 0";

/// How many event types the page listens to.
const MAX_TYPES: usize = 1000;

/// Within what time streams are ended.
const GRACE: Duration = Duration::from_millis(500);

const BUFFER: usize = 64 << 10;
