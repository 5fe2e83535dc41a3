//! Decodes an event stream from standard input as JSON lines on standard output.
//!
//! ```text
//! $ curl -sN http://127.0.0.1:31337/sse | cargo run -q --bin decode
//! {"retry":1000}
//! {"event":"message","data":"{\"text\":\"welcome\",\"ts\":1763798400}","id":"1"}
//! ```
//!
//! `--comments` prints comments too. `--chunk 1` reads byte by byte; the output is the same.
//! `encode` turns the lines into a stream again.

use std::fmt;
use std::io::{self, BufWriter, Read, Write};
use std::process::ExitCode;

use cli::{Args, Ending, Line};
use sse_core::{Decoded, Decoder};

fn main() -> ExitCode {
    cli::run(USAGE, |args| decode(&Options::parse(args)?))
}

struct Options {
    chunk: usize,
    comments: bool,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut options = Self {
            chunk: BUFFER,
            comments: false,
        };
        while let Some(option) = args.option()? {
            match &*option {
                "--chunk" => options.chunk = args.value(CHUNK)?,
                "--comments" => options.comments = true,
                _ => return Err(args.unknown()),
            }
        }
        match options.chunk {
            1..=MAX_CHUNK => Ok(options),
            other => Err(Ending::Usage(format!("--chunk takes {CHUNK}, not {other}"))),
        }
    }
}

fn decode(options: &Options) -> Result<(), Ending> {
    let mut stdin = io::stdin().lock();
    let mut lines = Lines::new(io::stdout().lock());
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; options.chunk];
    loop {
        lines.flush()?;
        let input = match stdin.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => &buffer[..len],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Ending::stdin(error)),
        };
        let mut chunk = decoder.chunk(input);
        while let Some(decoded) = chunk.next().map_err(undecodable)? {
            match &decoded {
                Decoded::Event(event) => lines.write(&Line::event(event))?,
                Decoded::Retry(retry) => lines.write(&Line::retry(*retry))?,
                Decoded::Comment(comment) if options.comments => {
                    lines.write(&Line::Comment { comment })?;
                }
                _ => {}
            }
        }
    }
}

/// A writer of JSON lines of at most `MAX_LINE` bytes.
struct Lines<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, out),
            line: vec![0; MAX_LINE],
        }
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), Ending> {
        // Escaped JSON is up to six times as long as the text, so the buffer is the limit.
        let mut room = &mut self.line[..];
        serde_json::to_writer(&mut room, line).map_err(|_| {
            undecodable(format_args!(
                "an event exceeds {MAX_LINE} bytes as a JSON line"
            ))
        })?;
        let len = MAX_LINE - room.len();
        let written = self.out.write_all(&self.line[..len]);
        written
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(Ending::stdout)
    }

    fn flush(&mut self) -> Result<(), Ending> {
        self.out.flush().map_err(Ending::stdout)
    }
}

fn undecodable(reason: impl fmt::Display) -> Ending {
    Ending::Failure(format!("the event stream can't be decoded: {reason}"))
}

const USAGE: &str = "\
Usage: decode [OPTIONS] < STREAM > LINES

Reads an event stream and writes JSON lines, one for each event and reconnection time.

  --chunk N    read at most N bytes at a time (65536)
  --comments   print comments too
  --help       print this text";

const CHUNK: &str = "a number of bytes from 1 to 16777216";
const MAX_CHUNK: usize = 16 << 20;
const BUFFER: usize = 64 << 10;

/// The maximum length of a line in bytes, the same as in `encode`.
const MAX_LINE: usize = Decoder::DEFAULT_MAX_LINE;
