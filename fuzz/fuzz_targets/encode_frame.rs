//! Encodes any event with any text in any field. Invalid text is refused; the rest decodes to
//! the same event and nothing else, and no writer changes or splits it.

#![no_main]

use std::io::ErrorKind;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Decoder, Event, EventId, EventType, Fault, FieldError, SendError, Stream};
use sse_fuzz::{Conn, Item, Steps, decode, event, with_line_feeds};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    max_pending: u8,
    writes: Steps,
    id: Option<&'a str>,
    event: Option<&'a str>,
    retry: Option<Duration>,
    comment: Option<&'a str>,
    data: Option<&'a str>,
}

/// A method that sends data only.
type Door = fn(&mut Stream<Conn<'_>>, &str) -> Result<(), SendError>;

const DOORS: [Door; 3] = [
    |stream, data| stream.write_str(data),
    |stream, data| stream.write_bytes(data.as_bytes()),
    |stream, data| stream.write_display(data),
];

fuzz_target!(|input: Input<'_>| {
    let mut frame = Vec::new();
    input.to_event().encode(&mut frame);
    let expected = [input.to_items(), input.to_items()].concat();
    let decoded = decode(&mut Decoder::new(), [&*frame.repeat(2)]);
    assert_eq!(decoded, (expected, Ok(())));
    check_stream(&input, &frame);
});

impl Input<'_> {
    fn id(&self) -> Option<EventId<'_>> {
        let text = self.id?;
        let has_outer_blank = text.starts_with(BLANKS) || text.ends_with(BLANKS);
        let fault = match text.char_indices().find(|(_, c)| c.is_ascii_control()) {
            _ if has_outer_blank => Some(Fault::OuterBlank),
            _ if text.len() > EventId::MAX_LEN => Some(Fault::TooLong {
                limit: EventId::MAX_LEN,
            }),
            Some((offset, character)) => Some(Fault::Character { character, offset }),
            None => None,
        };
        let id = EventId::new(text);
        assert_eq!(id.as_ref().err().map(FieldError::fault), fault);
        id.ok()
    }

    fn event_type(&self) -> Option<EventType<'_>> {
        let text = self.event?;
        let event_type = EventType::new(text);
        let fault = event_type.as_ref().err().map(FieldError::fault);
        let found = text.char_indices().find(|(_, c)| "\r\n".contains(*c));
        let expected = found.map(|(offset, character)| Fault::Character { character, offset });
        assert_eq!(fault, expected);
        event_type.ok()
    }

    /// Returns the event with all fields that are not refused.
    fn to_event(&self) -> Event<'_> {
        let event = Event::new();
        let event = self.id().into_iter().fold(event, Event::id);
        let event = self.event_type().into_iter().fold(event, Event::event);
        let event = self.retry.into_iter().fold(event, Event::retry);
        let event = self.comment.into_iter().fold(event, Event::comment);
        self.data.into_iter().fold(event, Event::data)
    }

    /// Returns what a client decodes.
    fn to_items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(comment) = self.comment {
            let comment = with_line_feeds(comment);
            items.extend(
                comment
                    .split('\n')
                    .map(|line| Item::Comment(line.to_owned().into())),
            );
        }
        if let Some(retry) = self.retry {
            let millis = retry.as_nanos().div_ceil(1_000_000);
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            items.push(Item::Retry(Duration::from_millis(millis)));
        }
        if let Some(data) = self.data {
            let [event_type, id] = [
                self.event_type().map(|text| text.to_string()),
                self.id().map(|text| text.to_string()),
            ]
            .map(Option::unwrap_or_default);
            items.push(event(&event_type, with_line_feeds(data), &id));
        }
        items
    }

    /// Sets the fields that precede the data.
    fn stage(&self, stream: &mut Stream<Conn<'_>>) {
        if let Some(comment) = self.comment {
            insist(|| stream.comment(comment));
        }
        if let Some(id) = self.id {
            assert_eq!(stream.set_id(id).is_ok(), self.id().is_some());
        }
        if let Some(event) = self.event {
            assert_eq!(stream.set_event(event).is_ok(), self.event_type().is_some());
        }
        if let Some(retry) = self.retry {
            stream.set_retry(retry);
        }
    }
}

/// Whatever the writer does, the bytes are complete frames in order, and the number of pending
/// bytes is bounded.
fn check_stream(input: &Input<'_>, frame: &[u8]) {
    let max_pending = input.max_pending.into();
    let conn = Conn::new(b"", Steps::CALM, input.writes.clone());
    let mut stream = Stream::new(conn).max_pending(max_pending);
    let check = |stream: &Stream<Conn<'_>>, count| {
        let sent = [&stream.writer().output, stream.pending()].concat();
        assert_eq!(sent, frame.repeat(count));
        assert!(stream.pending().len() <= max_pending + frame.len());
    };
    insist(|| stream.send(&input.to_event()));
    check(&stream, 1);
    for (door, count) in DOORS.into_iter().zip(2..) {
        input.stage(&mut stream);
        insist(|| match input.data {
            Some(data) => door(&mut stream, data),
            None => stream.send(&Event::new()),
        });
        check(&stream, count);
    }
    while stream.flush().is_err() {}
    assert_eq!(stream.writer().output, frame.repeat(1 + DOORS.len()));
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Sends until the stream accepts the frame.
fn insist(mut send: impl FnMut() -> Result<(), SendError>) {
    loop {
        match send() {
            Ok(()) => return,
            Err(SendError::Io(error)) => return assert_ne!(error.kind(), ErrorKind::Interrupted),
            Err(SendError::Full { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
