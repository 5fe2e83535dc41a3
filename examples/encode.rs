//! JSON lines on standard input become an event stream on standard output.
//!
//! ```text
//! $ echo '{"id": 7, "event": "tick", "data": "two\nlines"}' | cargo run -q --bin encode
//! id: 7
//! event: tick
//! data: two
//! data: lines
//!
//! ```
//!
//! A line has any of `id` (a string or an integer), `event`, `retry` (milliseconds), `data`
//! and `comment`. A blank line is skipped, and so is a byte order mark before the first. A line
//! that is refused writes nothing: standard error says why, and the next is served. The exit status is 0 if all lines were served.

use std::io::{self, BufRead, BufReader, BufWriter, Read};
use std::process::ExitCode;
use std::str;
use std::time::Duration;

use cli::Ending;
use serde::Deserialize;
use sse_core::{Decoder, Event, EventId, EventType, FieldError, Stream};

fn main() -> ExitCode {
    cli::run(USAGE, |mut args| match args.option()? {
        Some(_) => Err(args.unknown()),
        None => encode(),
    })
}

fn encode() -> Result<(), Ending> {
    let mut input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let mut stream = Stream::new(BufWriter::with_capacity(BUFFER, io::stdout().lock()));
    let mut line = Vec::new();
    let mut refused = 0;
    for number in 1_u64.. {
        // Before waiting for the next line, show what the lines so far have led to.
        if !input.buffer().contains(&b'\n') {
            stream.flush().map_err(Ending::stdout)?;
        }
        let Some(line) = read_line(&mut input, &mut line).map_err(Ending::stdin)? else {
            break;
        };
        let line = line.map(|line| match number {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        });
        match line.and_then(parse) {
            Ok(event) => stream.send(&event).map_err(Ending::stdout)?,
            Err(reason) => {
                cli::complain(format_args!("line {number}: {reason}"));
                refused += 1;
            }
        }
    }
    match refused {
        0 => Ok(()),
        1 => Err(Ending::Failure("1 line was refused".to_owned())),
        _ => Err(Ending::Failure(format!("{refused} lines were refused"))),
    }
}

/// The next line without its end, or why it is refused.
fn read_line<'l>(
    input: &mut impl BufRead,
    line: &'l mut Vec<u8>,
) -> io::Result<Option<Result<&'l str, String>>> {
    line.clear();
    let longest = (MAX_LINE + "\n".len()) as u64;
    if input.take(longest).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(format!("it has more than {MAX_LINE} bytes"))));
    }
    let text = str::from_utf8(line);
    Ok(Some(text.map_err(|error| {
        format!("it is not UTF-8 from byte {}", error.valid_up_to())
    })))
}

fn parse(line: &str) -> Result<Event<'_>, String> {
    if line.trim().is_empty() {
        return Ok(Event::new());
    }
    // An array of the fields' values would do for serde.
    if !line.trim_start().starts_with('{') {
        return Err(r#"it is no JSON object, such as {"data": "hey"}"#.to_owned());
    }
    let line: Line = serde_json::from_str(line).map_err(|error| {
        let sentence = error.to_string();
        sentence.replace(" at line 1 column ", " at column ")
    })?;
    line.into_event().map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Id>,
    event: Option<String>,
    retry: Option<u64>,
    data: Option<String>,
    comment: Option<String>,
}

impl Line {
    fn into_event(self) -> Result<Event<'static>, FieldError> {
        let mut event = Event::new();
        if let Some(id) = self.id {
            event = event.id(id.judge()?);
        }
        if let Some(name) = self.event {
            event = event.event(EventType::new(name)?);
        }
        if let Some(millis) = self.retry {
            event = event.retry(Duration::from_millis(millis));
        }
        if let Some(data) = self.data {
            event = event.data(data);
        }
        if let Some(comment) = self.comment {
            event = event.comment(comment);
        }
        Ok(event)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected id to be a string or an integer")]
enum Id {
    Unsigned(u64),
    Signed(i64),
    Text(String),
}

impl Id {
    fn judge(self) -> Result<EventId<'static>, FieldError> {
        match self {
            Self::Unsigned(integer) => Ok(integer.into()),
            Self::Signed(integer) => Ok(integer.into()),
            Self::Text(text) => EventId::new(text),
        }
    }
}

const USAGE: &str = r#"Usage: encode < LINES > STREAM

Reads JSON lines and writes them as an event stream. A line has any of
  "id"       a string or an integer
  "event"    the event type
  "retry"    the reconnection time in milliseconds
  "data"     the data, in as many lines as it likes
  "comment"  what browsers skip
Blank lines are skipped, and so is a byte order mark at the beginning.
A line that is refused is named on standard error, and the exit status is 1."#;

/// What `decode` prints is no longer than this.
const MAX_LINE: usize = Decoder::DEFAULT_MAX_LINE;

const BYTE_ORDER_MARK: char = '\u{feff}';

const BUFFER: usize = 64 << 10;
