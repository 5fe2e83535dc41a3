//! Encodes JSON lines from standard input as an event stream on standard output.
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
//! and `comment`. Blank lines are skipped, and so is a byte order mark at the start. An invalid
//! line is reported on standard error and skipped. The exit status is 0 if every line was valid.

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
    let mut invalid = 0;
    for number in 1_u64.. {
        // Flush before `read` blocks, so that events are not held back.
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
                cli::print_error(format_args!("line {number}: {reason}"));
                invalid += 1;
            }
        }
    }
    match invalid {
        0 => Ok(()),
        1 => Err(Ending::Failure("1 line was invalid".to_owned())),
        _ => Err(Ending::Failure(format!("{invalid} lines were invalid"))),
    }
}

/// Reads the next line without its line break. The inner error says why it is invalid.
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
        return Ok(Some(Err(format!("the line exceeds {MAX_LINE} bytes"))));
    }
    let text = str::from_utf8(line);
    Ok(Some(text.map_err(|error| {
        format!(
            "the line is not valid UTF-8 at byte {}",
            error.valid_up_to()
        )
    })))
}

fn parse(line: &str) -> Result<Event<'_>, String> {
    if line.trim().is_empty() {
        return Ok(Event::new());
    }
    // serde would also accept an array of the fields' values.
    if !line.trim_start().starts_with('{') {
        return Err(r#"the line is not a JSON object such as {"data": "hey"}"#.to_owned());
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
            event = event.id(id.into_event_id()?);
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
    fn into_event_id(self) -> Result<EventId<'static>, FieldError> {
        match self {
            Self::Unsigned(integer) => Ok(integer.into()),
            Self::Signed(integer) => Ok(integer.into()),
            Self::Text(text) => EventId::new(text),
        }
    }
}

const USAGE: &str = r#"Usage: encode < LINES > STREAM

Reads JSON lines and writes them as an event stream. A line has any of
  "id"       the event ID, a string or an integer
  "event"    the event type
  "retry"    the reconnection time in milliseconds
  "data"     the data, which may have several lines
  "comment"  a comment, which browsers ignore
Blank lines are skipped, and so is a byte order mark at the start.
An invalid line is reported on standard error and skipped; the exit status is then 1.

  --help     print this text"#;

/// The maximum length of a line in bytes, the same as in `decode`.
const MAX_LINE: usize = Decoder::DEFAULT_MAX_LINE;

const BYTE_ORDER_MARK: char = '\u{feff}';

const BUFFER: usize = 64 << 10;
