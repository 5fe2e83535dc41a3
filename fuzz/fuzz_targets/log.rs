//! Runs any program of appends, clock jumps, evictions, reads and resumes. The log returns the
//! same as a list of all events ever appended.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{EventId, Now};

#[path = "../../sse-core/tests/common/log_pair.rs"]
mod log_pair;
use log_pair::{Bounds, Pair};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    events: u8,
    bytes: u16,
    age: u8,
    backlog: (u8, u16),
    program: Vec<Operation<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Operation<'a> {
    /// Appends an event with data of this length.
    Append(u8, bool),
    AppendWith(Id<'a>, u8, bool),
    /// Advances the clock.
    Tick(u8),
    /// Sets the clock.
    Clock(Duration),
    Evict,
    Join,
    Read(u8),
    Resume(Id<'a>),
}

/// An event ID, which may look like one of the log.
#[derive(Arbitrary, Debug)]
enum Id<'a> {
    Stamp(u8, u8),
    Integer(i8),
    Text(&'a str),
}

/// Longer programs find nothing new and take long to check.
const MAX_OPERATIONS: usize = 64;

fuzz_target!(|input: Input<'_>| {
    let mut pair = Pair::new(Bounds {
        events: input.events.into(),
        bytes: input.bytes.into(),
        age: Duration::from_millis(input.age.into()),
        backlog: (
            Duration::from_millis(input.backlog.0.into()),
            input.backlog.1.into(),
        ),
    });
    let mut now = Now::from(Duration::ZERO);
    for operation in input.program.iter().take(MAX_OPERATIONS) {
        match operation {
            Operation::Append(len, encoded) => pair.append(None, &data(*len), now, *encoded),
            Operation::AppendWith(id, len, encoded) => {
                pair.append(id.judge(), &data(*len), now, *encoded);
            }
            Operation::Tick(millis) => {
                let time = Duration::from_millis((*millis).into());
                now.unix = now.unix.saturating_add(time);
                now.steady = now.steady.saturating_add(time);
            }
            Operation::Clock(time) => now.unix = *time,
            Operation::Evict => pair.evict(now),
            Operation::Join => pair.join(now),
            Operation::Read(max) => pair.read((*max).into()),
            Operation::Resume(id) => id.judge().iter().for_each(|id| pair.check_resume(id)),
        }
        pair.check();
    }
});

impl Id<'_> {
    /// Returns the ID, unless it is refused.
    fn judge(&self) -> Option<EventId<'_>> {
        match self {
            Self::Text(text) => EventId::new(*text).ok(),
            Self::Integer(integer) => Some((*integer).into()),
            Self::Stamp(millis, sequence) => EventId::new(format!("{millis}-{sequence}")).ok(),
        }
    }
}

fn data(len: u8) -> String {
    "x".repeat(len.into())
}
