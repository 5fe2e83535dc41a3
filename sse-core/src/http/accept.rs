//! Content negotiation: RFC 9110, 12.5.1 "Accept".

use super::list::{elements, split, trim};

/// The media type of event streams: `text/event-stream`.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// The headers of an event stream, without those that the application sets.
pub(crate) const EVENT_STREAM_HEADERS: &str = "Content-Type: text/event-stream\r\n\
    Cache-Control: no-cache, no-transform\r\n\
    X-Accel-Buffering: no\r\n";

/// What the values of `Accept` say about event streams.
///
/// Of the ranges that match, the most specific decides, and a weight of zero excludes. Other
/// weights do not matter, because there is only one type to choose from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accept {
    is_restricted: bool,
    /// The specificity of the range that decides, and whether it is wanted.
    best: (u8, bool),
}

impl Accept {
    pub(crate) fn add(&mut self, value: &[u8]) {
        if value == MEDIA_TYPE.as_bytes() {
            // As `EventSource` sends it.
            self.is_restricted = true;
            self.best = (MOST_SPECIFIC, true);
            return;
        }
        let value = String::from_utf8_lossy(value);
        for range in elements(&value).filter(|range| !range.is_empty()) {
            self.is_restricted = true;
            let mut parts = split(range, b';').map(trim);
            let specificity = parts.next().map_or(0, specificity);
            let is_wanted = !parts.any(is_zero_weight);
            if specificity > 0 {
                // At the same specificity, `true` is the greater.
                self.best = self.best.max((specificity, is_wanted));
            }
        }
    }

    pub(crate) const fn allows_event_stream(self) -> bool {
        !self.is_restricted || self.best.1
    }

    pub(crate) const fn names_event_stream(self) -> bool {
        matches!(self.best, (MOST_SPECIFIC, true))
    }
}

/// The specificity of [`MEDIA_TYPE`] itself.
const MOST_SPECIFIC: u8 = 3;

/// Returns how closely a media range matches: 0 where it does not.
fn specificity(range: &str) -> u8 {
    ["*/*", "text/*", MEDIA_TYPE]
        .iter()
        .zip(1..)
        .find(|(pattern, _)| range.eq_ignore_ascii_case(pattern))
        .map_or(0, |(_, specificity)| specificity)
}

fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else {
        return false;
    };
    let weight = trim(weight);
    trim(name).eq_ignore_ascii_case("q")
        && weight.starts_with('0')
        && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        for (values, expected) in [
            (&[][..], true),
            (&[""], true),
            (&[" , ,"], true),
            (&["text/event-stream"], true),
            (&["TEXT/Event-Stream"], true),
            (&["text/event-stream;charset=utf-8"], true),
            (&["*/*"], true),
            (&["text/*"], true),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], true),
            (&["text/html"], false),
            (&["application/*"], false),
            (&["text/event-streams"], false),
            (&["text/html", "text/event-stream"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q=0.000"], false),
            (&["text/event-stream;q=0.001"], true),
            (&["text/event-stream;q=1"], true),
            (&["text/event-stream;q=0, */*"], false),
            (&["*/*", "text/event-stream ; q=0."], false),
            (&["*/*;q=0, text/event-stream"], true),
            (&["*/*;q=0, text/*"], true),
            (&["text/*;q=0, */*"], false),
            (&["text/html;x=\",text/event-stream\""], false),
            (&["text/html;x=\"\\\",\", text/event-stream"], true),
            (&["text/event-stream;q=nonsense"], true),
        ] {
            let mut accept = Accept::default();
            for value in values {
                accept.add(value.as_bytes());
            }
            assert_eq!(accept.allows_event_stream(), expected, "{values:?}");
        }
    }
}
