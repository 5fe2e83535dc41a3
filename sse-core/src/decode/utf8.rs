//! UTF-8 as the Encoding Standard decodes it.

use std::borrow::Cow;

/// Replaces `text` by a field's value.
#[inline]
pub(super) fn set_text(text: &mut String, value: &[u8]) {
    text.clear();
    // IDs and types are short and ASCII; for those this is faster than validating UTF-8.
    if value.len() < 24 && value.is_ascii() {
        text.extend(value.iter().copied().map(char::from));
    } else {
        text.push_str(&decode_utf8(value));
    }
}

/// Decodes UTF-8, with U+FFFD for each ill-formed sequence.
///
/// Line ends are ASCII, so decoding each value equals decoding the whole stream.
#[inline]
pub(super) fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
