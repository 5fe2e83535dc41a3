//! Plays a recording, or any event stream in a file, at the pace at which it was recorded.
//!
//! ```text
//! $ cargo run --bin replay -- session.sse --speed 10
//! $ cargo run --bin replay -- session.sse --listen 127.0.0.1:8080
//! open http://127.0.0.1:8080/ (Ctrl-C ends it)
//! ```
//!
//! To standard output, or to whoever opens the stream at `/sse`: each gets the recording from
//! its beginning, or goes on after the last event that it has seen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cli::{Args, Ending, Progress};
use sse_core::{Decoded, EventId, Pace, Rejection, Replayer, Response, Upgrader};
use sse_net::{Answer, Config, Handler, Incoming, Player, Server, Tcp};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let recording = Recording::open(&options)?;
        match &options.listen {
            None => print(&recording),
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
                option if option.starts_with('-') => return Err(args.unknown()),
                _ if options.file.is_empty() => options.file = option,
                _ => return Err(Ending::Usage("replay takes one file".to_owned())),
            }
        }
        match options.file.is_empty() {
            true => Err(Ending::Usage("replay takes a file".to_owned())),
            false => Ok(options),
        }
    }
}

/// To standard output.
fn print(recording: &Recording) -> Result<(), Ending> {
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut replayer = recording.replayer()?;
    let played = Arc::new(AtomicU64::new(0));
    // Where events are shown on the terminal, the line would get among them.
    let progress = match io::stdout().is_terminal() {
        true => None,
        false => Some(recording.progress(&played)),
    };
    let began = Instant::now();
    let mut wire = Vec::new();
    while let Some(recorded) = recording.or_unreadable(replayer.read())? {
        let wait = recording
            .pace
            .due(recorded.at())
            .saturating_sub(began.elapsed());
        if !wait.is_zero() {
            out.flush().map_err(Ending::stdout)?;
            thread::sleep(wait);
        }
        wire.clear();
        recorded.event().encode(&mut wire);
        out.write_all(&wire).map_err(Ending::stdout)?;
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
    let tcp = Tcp::default()
        .bind(listen)
        .map_err(|error| Ending::Failure(format!("can't listen on {listen:?}: {error}")))?;
    let address = tcp.local_addr().map_err(cant_start)?;
    let config = Config {
        // It is for pages that are being developed, wherever they are served.
        upgrader: Upgrader::new().allow_any_origin(),
        ..Config::default()
    };
    let server = Server::new(config).listen(tcp).serve(recording);
    cli::say(format_args!("open http://{address}/ (Ctrl-C ends it)"));
    cli::signalled().await.map_err(cant_start)?;
    server.drain(GRACE).await;
    Ok(())
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
}

impl Recording {
    /// Looks once at all of it, so that what is wrong with it is told at once.
    fn open(options: &Options) -> Result<Self, Ending> {
        let mut recording = Self {
            file: options.file.clone(),
            pace: options.pace,
            from: options.from.clone(),
            is_looped: false,
            events: 0,
            length: Duration::ZERO,
            page: String::new(),
        };
        let mut types = BTreeSet::new();
        let mut replayer = recording.replayer()?;
        while let Some(recorded) = recording.or_unreadable(replayer.read())? {
            recording.length = recording.pace.due(recorded.at());
            if let Decoded::Event(event) = recorded.decoded() {
                recording.events += 1;
                if types.len() < MAX_TYPES && !types.contains(event.event_type()) {
                    types.insert(event.event_type().to_owned());
                }
            }
        }
        recording.is_looped = options.is_looped;
        // As JSON within a script, which a `<` could end.
        let types = serde_json::to_string(&types).unwrap_or_default();
        recording.page = PAGE.replace("TYPES", &types.replace('<', "\\u003c"));
        Ok(recording)
    }

    /// All that is to be played.
    fn replayer(&self) -> Result<Replayer<BufReader<File>>, Ending> {
        let mut replayer = self.or_unreadable(self.whole())?;
        if let Some(id) = &self.from {
            replayer = replayer.from_id(id.into());
        }
        match self.is_looped {
            true => Ok(replayer.looped()),
            false => Ok(replayer),
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

    fn progress(&self, played: &Arc<AtomicU64>) -> Progress {
        let (played, began) = (Arc::clone(played), Instant::now());
        let (of_events, of_time) = match self.is_looped {
            true => (String::new(), String::new()),
            false => (
                format!(" of {}", self.events),
                format!(" of {:.1}", self.length.as_secs_f64()),
            ),
        };
        Progress::new(move || {
            let (events, time) = (played.load(Ordering::Relaxed), began.elapsed());
            format!(
                "{events}{of_events} events, {:.1}{of_time} s",
                time.as_secs_f64()
            )
        })
    }

    fn or_unreadable<T>(&self, read: io::Result<T>) -> Result<T, Ending> {
        read.map_err(|error| Ending::Failure(format!("can't play {:?}: {error}", self.file)))
    }
}

impl Handler for Recording {
    async fn handle(&self, request: Incoming) -> Answer {
        match request.path() {
            "/" => {
                let page = self.page.clone();
                request.respond(Response::new(200).body("text/html; charset=utf-8", page))
            }
            "/sse" => match self.players(request.last_event_id()) {
                Err(_) => request.reject(Rejection::UNAVAILABLE),
                // Browsers stop on this.
                Ok(players) if players.is_empty() => request.respond(Response::new(204)),
                Ok(players) => request.stream(async move |mut stream| {
                    for mut player in players {
                        player.send_to(&mut stream).await?;
                    }
                    Ok(())
                }),
            },
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }
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
        events.append(`${event.lastEventId} ${type} ${event.data}\\n`);
    });
}
</script>
";

const USAGE: &str = "\
Usage: replay [OPTIONS] FILE

Plays a recording to standard output, event by event when it is due. What has no times is
played at once.

  --listen ADDR   play it to whoever opens http://ADDR/sse, from the beginning or from after
                  the last event that it has seen; http://ADDR/ is a page that shows it
  --speed X       X times as fast as it was recorded
  --max           as fast as possible
  --from ID       begin with the event that has this ID
  --loop          begin again at the end
  --help          show this";

const SPEED: &str = "a number above 0";

/// How many event types the page listens to.
const MAX_TYPES: usize = 1000;

/// Within what time streams are ended.
const GRACE: Duration = Duration::from_millis(500);

const BUFFER: usize = 64 << 10;
