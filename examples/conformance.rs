//! Runs the corpus of `sse-core/tests/corpus` against another implementation.
//!
//! ```text
//! cargo run --bin conformance -- streams target/debug/decode --comments
//! cargo run --bin conformance -- requests 127.0.0.1:31337
//! ```

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use cli::{Args, Ending};
use serde::Deserialize;
use serde_json::{Map, Value};

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let Options {
            only_events,
            operands,
        } = Options::parse(args)?;
        let failures = match operands.split_first() {
            Some((what, command)) if what == "streams" && !command.is_empty() => {
                run_all(STREAMS, |case| check_stream(case, command, only_events))?
            }
            Some((what, [address])) if what == "requests" => {
                run_all(REQUESTS, |case| check_request(case, address))?
            }
            _ => return Err(Ending::Usage(TAKES.to_owned())),
        };
        match failures {
            0 => Ok(()),
            _ => Err(Ending::Failure(format!("{failures} cases failed"))),
        }
    })
}

struct Options {
    only_events: bool,
    /// What comes after the first operand belongs to the command.
    operands: Vec<String>,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut only_events, mut operands) = (false, Vec::new());
        while let Some(option) = args.option()? {
            match &*option {
                "--events" if operands.is_empty() => only_events = true,
                _ if option.starts_with('-') && operands.is_empty() => return Err(args.unknown()),
                _ => operands.push(option),
            }
        }
        Ok(Self {
            only_events,
            operands,
        })
    }
}

/// Runs the cases, and returns how many have failed. Each failure is printed.
fn run_all<'a, C: Deserialize<'a>>(
    corpus: &'a str,
    check: impl Fn(&C) -> Result<(), String>,
) -> Result<usize, Ending> {
    let mut failures = 0;
    for (line, case) in corpus.lines().enumerate() {
        let case = serde_json::from_str(case).map_err(Ending::failure)?;
        if let Err(difference) = check(&case) {
            cli::print(format_args!("line {}: {difference}", line + 1));
            failures += 1;
        }
    }
    let count = corpus.lines().count();
    cli::print(format_args!("{} of {count} cases passed", count - failures));
    Ok(failures)
}

#[derive(Deserialize)]
struct Stream {
    about: String,
    input: Option<String>,
    hex: Option<String>,
    items: Vec<Value>,
}

/// Feeds the stream to a new process of the command.
fn check_stream(case: &Stream, command: &[String], only_events: bool) -> Result<(), String> {
    let input = match (&case.input, &case.hex) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (_, Some(hex)) => unhex(hex),
        _ => Vec::new(),
    };
    let found = run(command, &input).map_err(|error| format!("{:?}: {error}", command[0]))?;
    let found = found.lines().map(serde_json::from_str::<Value>);
    let found = found.collect::<Result<Vec<_>, _>>();
    let mut found = found.map_err(|error| format!("the output is not JSON lines: {error}"))?;
    let mut items = case.items.clone();
    if only_events {
        for items in [&mut items, &mut found] {
            items.retain(|item| item.get("event").is_some());
        }
    }
    if found == items {
        return Ok(());
    }
    let about = &case.about;
    let input = input.escape_ascii();
    let [items, found] = [items, found].map(Value::Array);
    Err(format!(
        "{about}: \"{input}\" decodes to {items}, not {found}"
    ))
}

fn run(command: &[String], input: &[u8]) -> io::Result<String> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // The inputs are shorter than a pipe, so this does not wait for the output to be read.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[derive(Deserialize)]
struct Request {
    about: String,
    request: String,
    status: u16,
    headers: Map<String, Value>,
}

/// Sends the request on a new connection, and reads the head of the response.
fn check_request(case: &Request, address: &str) -> Result<(), String> {
    let about = &case.about;
    let head = exchange(address, case.request.as_bytes())
        .map_err(|error| format!("{about}: no response head was received: {error}"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status != Some(case.status.to_string().as_str()) {
        let found = status.unwrap_or_default();
        return Err(format!(
            "{about}: the status is {found}, not {}",
            case.status
        ));
    }
    let headers = Vec::from_iter(lines.filter_map(|line| line.split_once(':')));
    for (name, value) in &case.headers {
        let value = value.as_str().unwrap_or_default();
        let is_it = |(other, found): &(&str, &str)| {
            other.eq_ignore_ascii_case(name) && found.trim() == value
        };
        if !headers.iter().any(is_it) {
            return Err(format!("{about}: the response has no {name}: {value}"));
        }
    }
    Ok(())
}

fn exchange(address: &str, request: &[u8]) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    // A server may respond and close before it has read all of it.
    let _ = connection.write_all(request);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read(&mut byte)? == 0 || head.len() > MAX_HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

const STREAMS: &str = include_str!("../sse-core/tests/corpus/streams.jsonl");

const REQUESTS: &str = include_str!("../sse-core/tests/corpus/requests.jsonl");

const TIMEOUT: Duration = Duration::from_secs(10);

const MAX_HEAD: usize = 64 << 10;

const TAKES: &str = "the program takes `streams COMMAND` or `requests ADDRESS`";

const USAGE: &str = "\
Usage: conformance [OPTIONS] streams COMMAND [ARGUMENT]...
       conformance requests ADDRESS

Runs the corpus of sse-core/tests/corpus, whose README has the format.

`streams` starts COMMAND for each stream, with the stream as its standard input; it prints a JSON
line for each item, as `decode --comments` does. `requests` connects to a server that has a stream
at /sse, and nothing else. Failures are printed; the exit status is 1 if there are any.

  --events   compare events alone, for decoders that return nothing else
  --help     print this text";
