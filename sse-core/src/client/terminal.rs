//! The end of a completion.

use std::sync::Arc;

use crate::decode::MessageEvent;

/// What ends a stream with success.
#[derive(Clone)]
pub(super) enum Terminal {
    Data(String),
    Event(String),
    When(Arc<Predicate>),
}

pub(super) type Predicate = dyn Fn(&MessageEvent<'_>) -> bool + Send + Sync;

/// What an event means for the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Ordinary,
    /// The stream ends with this event.
    Last,
    /// The stream ends instead of this event.
    End,
    /// The event reports an error.
    Error,
}

/// Judges an event of a stream with these terminals, of which there is at least one.
pub(super) fn judge(event: &MessageEvent<'_>, terminals: &[Terminal]) -> Meaning {
    for terminal in terminals {
        match terminal {
            Terminal::Data(data) if data == event.data() => return Meaning::End,
            Terminal::Event(event_type) if event_type == event.event() => return Meaning::Last,
            Terminal::When(is_last) if is_last(event) => return Meaning::Last,
            _ => {}
        }
    }
    if event.event() == "error" || is_error_object(event.data()) {
        return Meaning::Error;
    }
    Meaning::Ordinary
}

/// Returns whether data is a JSON object whose member `error` is neither `null` nor missing.
fn is_error_object(data: &str) -> bool {
    // Nearly all data has no such member, and a quotation mark within a text is escaped.
    memchr::memmem::find(data.as_bytes(), b"\"error\"").is_some()
        && serde_json::from_str::<serde_json::Value>(data)
            .is_ok_and(|value| value.get("error").is_some_and(|error| !error.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_judged() {
        let terminals = [
            Terminal::Data("[DONE]".to_owned()),
            Terminal::Event("message_stop".to_owned()),
            Terminal::When(Arc::new(|event| event.data().starts_with("last"))),
        ];
        for (event_type, data, expected) in [
            ("message", "[DONE]", Meaning::End),
            ("message", "[DONE] ", Meaning::Ordinary),
            ("message_stop", "{}", Meaning::Last),
            ("message", "last one", Meaning::Last),
            ("error", "overloaded", Meaning::Error),
            ("message", r#"{"error": {"message": "no"}}"#, Meaning::Error),
            ("message", r#"{"id": 1, "error": "no"}"#, Meaning::Error),
            ("message", r#"{"error": null}"#, Meaning::Ordinary),
            ("message", r#"{"a": {"error": 1}}"#, Meaning::Ordinary),
            (
                "message",
                r#"{"text": "an \"error\": 1"}"#,
                Meaning::Ordinary,
            ),
            ("message", r#""error""#, Meaning::Ordinary),
            ("message", r#"{"error": "#, Meaning::Ordinary),
        ] {
            let event = MessageEvent::new(event_type, data, "").unwrap();
            assert_eq!(judge(&event, &terminals), expected, "{event:?}");
        }
    }
}
