//! Values that applications look up in a head.

use std::borrow::Cow;
use std::str;

use super::Head;
use crate::http::list::{is_token_byte, trim};

impl Head {
    /// Returns the first header of this name, if it is UTF-8.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        str::from_utf8(self.header(name)?).ok()
    }

    /// Returns the first value of this name in the query, decoded.
    ///
    /// It is decoded as a form is: `+` is a space, and bytes that are not UTF-8 become U+FFFD.
    ///
    /// ```
    /// use sse_core::Head;
    ///
    /// let headers = [("cookie", &b"user=7; theme=dark"[..])];
    /// let head = Head::from_parts("GET", "/?room=a%26b+c&room=d", None, headers)?;
    /// assert_eq!(head.query_value("room").as_deref(), Some("a&b c"));
    /// assert_eq!(head.cookie("theme"), Some("dark"));
    /// # Ok::<(), sse_core::Rejection>(())
    /// ```
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        form_urlencoded::parse(self.query()?.as_bytes())
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    /// Returns the value of the first cookie of this name: [RFC 6265, 5.4].
    ///
    /// Names are case-sensitive. A value is returned as it was sent, with its quotes if it has
    /// any.
    ///
    /// [RFC 6265, 5.4]: https://www.rfc-editor.org/rfc/rfc6265#section-5.4
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.header_values("cookie")
            .filter_map(|line| str::from_utf8(line).ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .find(|(other, _)| trim(other) == name)
            .map(|(_, value)| trim(value))
    }

    /// Returns whether `Accept` allows event streams: [RFC 9110, 12.5.1].
    ///
    /// Without `Accept`, everything is allowed.
    ///
    /// [RFC 9110, 12.5.1]: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
    #[must_use]
    pub const fn accepts_event_stream(&self) -> bool {
        self.accept.allows_event_stream()
    }

    /// Returns whether `Accept` names `text/event-stream`, as that of an `EventSource` does.
    ///
    /// A page or a probe that accepts everything (`*/*`) does not ask for a stream.
    #[must_use]
    pub const fn asks_for_event_stream(&self) -> bool {
        self.accept.names_event_stream()
    }

    /// Returns whether the body is JSON: `application/json`, or a type that ends in `+json`.
    ///
    /// It is not if it has a `Content-Encoding`, or two content types.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let mut types = self.header_values("content-type");
        let (Some(content_type), None) = (types.next(), types.next()) else {
            return false;
        };
        let mut encodings = self.header_values("content-encoding");
        let is_encoded = encodings.any(|encoding| !encoding.eq_ignore_ascii_case(b"identity"));
        !is_encoded && is_json_type(content_type)
    }
}

fn is_json_type(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    let Some((kind, subtype)) = media_type.split_at_checked(b"application/".len()) else {
        return false;
    };
    let suffix = subtype.rsplit(|byte| *byte == b'+').next();
    kind.eq_ignore_ascii_case(b"application/")
        && subtype.iter().copied().all(is_token_byte)
        && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"json"))
}
