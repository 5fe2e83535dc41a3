//! Random programs: the machine in any pieces against a naive reading of the same bytes.

use std::io;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sse_core::Events;
use sse_core::client::{EventSource, Item, Machine, Step};

/// What a server does with one connection.
#[derive(Debug, Clone)]
enum Connection {
    Refuse,
    Busy,
    /// Sends this many of the next events, cut into pieces, and ends after some bytes of the next
    /// event.
    Stream {
        events: usize,
        torn: usize,
        piece: usize,
        chunked: bool,
        end: End,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset,
    Silence,
}

fn connection() -> impl Strategy<Value = Connection> {
    let end = prop_oneof![Just(End::Fin), Just(End::Reset), Just(End::Silence)];
    prop_oneof![
        1 => Just(Connection::Refuse),
        1 => Just(Connection::Busy),
        4 => (0..5_usize, 0..20_usize, 1..30_usize, any::<bool>(), end).prop_map(
            |(events, torn, piece, chunked, end)| Connection::Stream {
                events, torn, piece, chunked, end,
            }
        ),
    ]
}

fn event(id: usize) -> String {
    format!(
        "id: {id}\n: comment\ndata: {}\ndata: more\n\n",
        "x".repeat(id % 7)
    )
}

fn chunk(text: &str) -> String {
    match text.len() {
        0 => String::new(),
        len => format!("{len:x}\r\n{text}\r\n"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every event arrives once and in order, whatever happens to the connections, and the
    /// machine comes to its end when the server says so.
    #[test]
    fn every_event_arrives_once(connections in vec(connection(), 0..30), seed: u64) {
        let source = EventSource::get("http://a/").unwrap().silence(Duration::from_secs(9));
        let mut machine = Machine::new(source, seed);
        let mut connections = connections.into_iter();
        let mut now = Duration::ZERO;
        let (mut received, mut published) = (Vec::new(), 0);
        loop {
            match machine.step(now) {
                Step::Wait { until } => {
                    prop_assert!(until > now, "a wait is in the future");
                    now = until;
                }
                Step::Connect { .. } => {
                    serve(&mut machine, &mut now, connections.next().as_ref(), &mut published)?;
                }
                Step::Exchange { deadline } => now = deadline,
                _ => break,
            }
            while let Some(item) = machine.next_item() {
                if let Item::Event(event) = item {
                    received.push((event.last_event_id().to_owned(), event.data().to_owned()));
                }
            }
        }
        prop_assert!(machine.take_result().is_ok());
        let all: String = (1..=published).map(event).collect();
        let expected = Events::new(all.as_bytes()).map(|event| {
            let event = event.unwrap();
            (event.last_event_id().to_owned(), event.data().to_owned())
        });
        prop_assert_eq!(received, expected.collect::<Vec<_>>());
    }
}

/// The naive server: it continues after the ID of the request, and ends when it has no more to do.
fn serve(
    machine: &mut Machine,
    now: &mut Duration,
    connection: Option<&Connection>,
    published: &mut usize,
) -> Result<(), TestCaseError> {
    if let Some(Connection::Refuse) = connection {
        machine.fail(*now, io::ErrorKind::ConnectionRefused.into());
        return Ok(());
    }
    machine.connected(*now);
    let request = String::from_utf8_lossy(machine.unsent()).into_owned();
    machine.sent(*now, request.len());
    let id = request
        .lines()
        .find_map(|line| line.strip_prefix("Last-Event-ID: "));
    let id: usize = id.map_or(0, |id| id.parse().unwrap());
    prop_assert_eq!(id, *published, "the client has received what was whole");
    let (events, torn, piece, chunked, end) = match connection.cloned() {
        None => {
            machine.receive(*now, b"HTTP/1.1 204 No Content\r\n\r\n");
            return Ok(());
        }
        Some(Connection::Busy) => {
            machine.receive(*now, b"HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n");
            return Ok(());
        }
        Some(Connection::Stream {
            events,
            torn,
            piece,
            chunked,
            end,
        }) => (events, torn, piece, chunked, end),
        Some(Connection::Refuse) => unreachable!(),
    };
    let mut wire = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n".to_owned();
    wire += if chunked {
        "Transfer-Encoding: chunked\r\n\r\n"
    } else {
        "\r\n"
    };
    let mut frames: Vec<String> = (id + 1..=id + events).map(event).collect();
    *published = id + events;
    let next = event(*published + 1);
    // Without its last byte an event is not whole.
    frames.push(next[..torn.min(next.len() - 1)].to_owned());
    for frame in frames {
        wire += &if chunked { chunk(&frame) } else { frame };
    }
    for piece in wire.as_bytes().chunks(piece) {
        machine.receive(*now, piece);
        *now += Duration::from_millis(1);
    }
    match end {
        End::Fin => machine.end(*now),
        End::Reset => machine.fail(*now, io::ErrorKind::ConnectionReset.into()),
        End::Silence => {}
    }
    Ok(())
}
