//! Prints the events of a stream as they arrive.
//!
//! ```text
//! $ cargo run --bin tail -- http://127.0.0.1:31337/sse
//! {"event":"message","data":"{\"text\":\"welcome\",\"ts\":1763798400}","id":"1700000000000-517"}
//! ```
//!
//! It reconnects like a browser, with the last event ID, and ends after a response of 204. With
//! `--data` or `--method` the request is sent once. On a terminal, the lines have colours, and a
//! status line shows the connection.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cli::{Args, ClientOptions, Ending, Line, Progress, Signals, not_a_url};
use sse_core::MessageEvent;
use sse_core::client::{Closed, Opened};
use sse_net::{Client, EventSource, Item};
use sse_tls::TlsConnector;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Ending::failure)?;
        let printed = runtime.block_on(async {
            let mut signals = Signals::new().map_err(Ending::failure)?;
            let client = cli::connect(options.source.clone(), options.tls.clone());
            tokio::select! {
                printed = print(client, &options) => printed,
                () = signals.next() => Ok(()),
            }
        });
        // A thread that resolves a name must not delay the exit.
        runtime.shutdown_background();
        printed
    })
}

struct Options {
    source: EventSource,
    tls: Option<TlsConnector>,
    form: Form,
    has_comments: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    Raw,
    Colours,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut urls, mut client) = (Vec::new(), ClientOptions::default());
        let (mut method, mut data, mut until) = (None::<String>, None::<String>, None::<String>);
        let (mut has_comments, mut form) = (false, None);
        while let Some(option) = args.option()? {
            match &*option {
                "--method" => method = Some(args.value("a method")?),
                "--data" => data = Some(args.value("a text")?),
                "--until" => until = Some(args.value("a text")?),
                "--comments" => has_comments = true,
                "--raw" => form = Some(Form::Raw),
                "--json" => form = Some(Form::Json),
                option if client.take(option, &mut args)? => {}
                option if option.starts_with('-') => return Err(args.unknown()),
                _ => urls.push(option),
            }
        }
        let [url] = <[String; 1]>::try_from(urls)
            .map_err(|_| Ending::Usage("tail takes a URL".to_owned()))?;
        let default = if data.is_some() { "POST" } else { "GET" };
        let method = method.as_deref().unwrap_or(default);
        let url: sse_net::Url = url.parse().map_err(|_| not_a_url(&url))?;
        let source = EventSource::request(method, url)
            .map_err(|_| Ending::Usage(format!("--method takes a method, not {method:?}")))?;
        let mut source = client.apply(source)?;
        if let Some(data) = data {
            source = source.body(data);
        }
        if let Some(text) = until {
            source = source.ends_when(move |event| event.data().contains(&text));
        }
        let form = form.unwrap_or_else(|| match io::stdout().is_terminal() {
            true if std::env::var_os("NO_COLOR").is_none() => Form::Colours,
            _ => Form::Json,
        });
        if form == Form::Raw {
            source = source.with_content();
        }
        Ok(Self {
            tls: client.tls(&source)?,
            source,
            form,
            has_comments,
        })
    }
}

async fn print(mut client: Client, options: &Options) -> Result<(), Ending> {
    let status = Arc::new(Mutex::new(Status::new()));
    let shown = Arc::clone(&status);
    let progress = Progress::new(move || lock(&shown).line());
    let mut out = Output {
        form: options.form,
        out: io::stdout().lock(),
    };
    let ended = loop {
        match client.next_item().await {
            Ok(None) => break Ok(()),
            Err(error) => break Err(Ending::failure(error)),
            Ok(Some(item)) => {
                lock(&status).note(&item);
                let is_comment = matches!(item, Item::Comment(_));
                if !is_comment || options.has_comments {
                    out.write(&item)?;
                }
            }
        }
    };
    drop(progress);
    ended
}

fn lock(status: &Mutex<Status>) -> std::sync::MutexGuard<'_, Status> {
    status
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the status line shows.
struct Status {
    state: String,
    events: u64,
    since: Instant,
}

impl Status {
    fn new() -> Self {
        Self {
            state: "connecting".to_owned(),
            events: 0,
            since: Instant::now(),
        }
    }

    fn note(&mut self, item: &Item<'_>) {
        let state = match item {
            Item::Opened(_) => "open".to_owned(),
            Item::Closed(closed) => closed.reason.to_string(),
            Item::Event(_) | Item::Gap(_) => {
                self.events += 1;
                return;
            }
            _ => return,
        };
        (self.state, self.since) = (state, Instant::now());
    }

    fn line(&self) -> String {
        let secs = self.since.elapsed().as_secs();
        format!(
            "{} events, {} for {secs} s",
            self.events,
            printable(&self.state)
        )
    }
}

struct Output<W> {
    form: Form,
    out: W,
}

impl<W: Write> Output<W> {
    fn write(&mut self, item: &Item<'_>) -> Result<(), Ending> {
        let written = match (self.form, item) {
            (
                _,
                Item::Closed(Closed {
                    reason, retry_in, ..
                }),
            ) => {
                cli::print_error(format_args!("{reason}; reconnecting in {retry_in:.1?}"));
                Ok(())
            }
            (Form::Raw, Item::Content(bytes)) => self.out.write_all(bytes),
            (Form::Raw, _) => Ok(()),
            (Form::Colours, item) => self.write_colours(item),
            (Form::Json, Item::Event(event) | Item::Gap(event)) => {
                self.write_json(&Line::event(event))
            }
            (Form::Json, Item::Retry(retry)) => self.write_json(&Line::retry(*retry)),
            (Form::Json, Item::Comment(comment)) => self.write_json(&Line::Comment { comment }),
            _ => Ok(()),
        };
        written
            .and_then(|()| self.out.flush())
            .map_err(Ending::stdout)
    }

    fn write_json(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Writes a line for a person: what the server sent cannot control the terminal.
    fn write_colours(&mut self, item: &Item<'_>) -> io::Result<()> {
        const ERASED: &str = "\r\x1b[K";
        const DIM: &str = "\x1b[2m";
        const END: &str = "\x1b[0m";
        let line = match item {
            Item::Event(event) => colour(event, "36"),
            Item::Gap(event) => colour(event, "31"),
            Item::Retry(retry) => format!("{DIM}retry {retry:?}{END}"),
            Item::Comment(text) => format!("{DIM}: {}{END}", printable(text)),
            Item::Opened(Opened { head, attempt, .. }) => {
                format!("{DIM}open: {} at attempt {attempt}{END}", head.status())
            }
            _ => return Ok(()),
        };
        writeln!(self.out, "{ERASED}{line}")
    }
}

fn colour(event: &MessageEvent<'_>, code: &str) -> String {
    let id = match event.last_event_id() {
        "" => String::new(),
        id => format!(" \x1b[2m#{}\x1b[0m", printable(id)),
    };
    let [event_type, data] = [event.event(), event.data()].map(printable);
    format!("\x1b[{code}m{event_type}\x1b[0m {data}{id}")
}

/// Escapes control characters, but for line feeds.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && char != '\n' {
            printable.extend(char.escape_default());
        } else {
            printable.push(char);
        }
    }
    printable
}

const USAGE: &str = "\
Usage: tail [OPTIONS] URL

Prints the events of a stream as they arrive, as JSON lines, or with colours on a terminal. URL is
http://…, https://… or unix:/run/app.sock:/path. When the connection ends, tail reconnects with the
last event ID. It ends after a response of 204, after --until, or with Ctrl-C. A request with
--method or --data is sent only once.

  --raw               print the stream as received
  --json              print JSON lines on a terminal, too
  --comments          print comments, too
  --method METHOD     the method of the request (GET, or POST with --data)
  --data TEXT         the body of the request
  --header LINE       send this header, such as \"Authorization: Bearer …\"
  --last-event-id ID  begin after the event with this ID
  --until TEXT        end after the first event whose data contains this text
  --silence SECONDS   reconnect when nothing has arrived for this long (300)
  --ca FILE           trust the certificates in FILE (PEM) instead of the system's
  --help              print this text";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_control_the_terminal() {
        assert_eq!(
            printable("a\x1b[2J\u{9b}m\r\n\u{7f}é"),
            "a\\u{1b}[2J\\u{9b}m\\r\n\\u{7f}é"
        );
    }
}
