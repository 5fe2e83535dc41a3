//! A machine with a scripted peer and a clock that only the test moves.

use std::io;
use std::time::Duration;

use sse_core::client::{Closed, EventSource, Item, Machine, Opened, Step};

/// What the peer does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum In<'a> {
    /// Refuses the connection.
    Refused,
    /// Sends these bytes.
    Bytes(&'a str),
    /// Ends the connection.
    End,
    /// Resets the connection.
    Reset,
    /// Does nothing for this time.
    After(Duration),
}

pub(crate) const OK: In<'static> =
    In::Bytes("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");

/// Runs a machine and returns what happened, as lines.
pub(crate) fn run(source: EventSource, inputs: &[In<'_>]) -> Vec<String> {
    let mut world = World::new(source);
    for input in inputs {
        world.feed(*input);
    }
    world.settle();
    world.log
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Duration,
    pub(crate) log: Vec<String>,
}

impl World {
    pub(crate) fn new(source: EventSource) -> Self {
        Self {
            machine: Machine::new(source, 1),
            now: Duration::from_secs(1),
            log: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, input: In<'_>) {
        if let In::After(time) = input {
            // A shell asks for a step before it waits.
            self.machine.step(self.now);
            self.now += time;
            self.machine.step(self.now);
            return self.take();
        }
        self.connect(matches!(input, In::Refused));
        match input {
            In::Bytes(bytes) => self.machine.receive(self.now, bytes.as_bytes()),
            In::End => self.machine.end(self.now),
            In::Reset => {
                let reset = io::ErrorKind::ConnectionReset;
                self.machine.fail(self.now, reset.into());
            }
            In::Refused | In::After(_) => {}
        }
        self.take();
    }

    /// Waits and connects, as the machine asks for.
    fn connect(&mut self, is_refused: bool) {
        loop {
            match self.machine.step(self.now) {
                Step::Wait { until } => self.now = until,
                Step::Connect { .. } if is_refused => {
                    let refused = io::ErrorKind::ConnectionRefused;
                    return self.machine.fail(self.now, refused.into());
                }
                Step::Connect { .. } => {
                    self.machine.connected(self.now);
                    let request = String::from_utf8(self.machine.unsent().to_vec()).unwrap();
                    let id = request
                        .lines()
                        .find_map(|line| line.strip_prefix("Last-Event-ID: "));
                    let id = id.map(|id| format!(" after {id}")).unwrap_or_default();
                    let method = request.split(' ').next().unwrap();
                    let line = format!("{method} {}{id}", self.machine.url());
                    self.log.push(line);
                    self.machine.sent(self.now, request.len());
                }
                _ => return,
            }
        }
    }

    /// Logs the items. Then the machine waits, with as little memory as possible.
    pub(crate) fn take(&mut self) {
        while let Some(item) = self.machine.next_item() {
            self.log.push(match item {
                Item::Opened(Opened { head, attempt, .. }) => {
                    format!("opened {} at attempt {attempt}", head.status())
                }
                Item::Event(event) => describe("", &event),
                Item::Gap(event) => describe("gap ", &event),
                Item::Retry(retry) => format!("retry {retry:?}"),
                Item::Comment(text) => format!(": {text}"),
                Item::Content(bytes) => format!("content {:?}", String::from_utf8_lossy(&bytes)),
                Item::Closed(Closed { reason, .. }) => format!("closed: {reason}"),
                other => format!("{other:?}"),
            });
        }
        self.machine.shrink();
    }

    fn settle(&mut self) {
        if self.machine.step(self.now) == Step::Over {
            self.log.push(match self.machine.take_result() {
                Ok(()) => "over".to_owned(),
                Err(error) => format!("error: {error}"),
            });
            assert!(
                self.machine.take_result().is_ok(),
                "a result is returned once"
            );
        }
    }
}

fn describe(prefix: &str, event: &sse_core::MessageEvent<'_>) -> String {
    let id = match event.last_event_id() {
        "" => String::new(),
        id => format!(" #{id}"),
    };
    format!("{prefix}{} {:?}{id}", event.event(), event.data())
}
