//! Header values that are lists: RFC 9110, sections 5.3 and 5.6.

use std::str;

use crate::event::{Fault, Field, FieldError};

/// Combines the lines of one header into one value: RFC 9110, 5.3.
///
/// `None` if there is no such line. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn combine<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<String> {
    let mut lines = lines.into_iter();
    let mut combined = String::from_utf8_lossy(lines.next()?).into_owned();
    for line in lines {
        combined.push_str(", ");
        combined.push_str(&String::from_utf8_lossy(line));
    }
    Some(combined)
}

/// Returns the trimmed elements of a combined value, including empty ones.
pub(crate) fn elements(combined: &str) -> impl Iterator<Item = &str> {
    split(combined, b',').map(trim)
}

/// Splits at a separator that is not within a quoted string: RFC 9110, 5.6.4.
pub(crate) fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = find_unquoted(text.as_bytes(), separator);
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn find_unquoted(text: &[u8], separator: u8) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.iter().position(|&byte| {
        match (is_quoted, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_quoted = !is_quoted,
            (false, _) => return byte == separator,
            (true, _) => {}
        }
        false
    })
}

/// Removes spaces and tabs at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Returns whether a token may have this byte: RFC 9110, 5.6.2.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Returns whether this is a token: RFC 9110, 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Checks that the text of a field is a token: RFC 9110, 5.6.2.
pub(crate) fn check_token(field: Field, text: &str) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(field, Fault::Empty));
    }
    match text.bytes().position(|byte| !is_token_byte(byte)) {
        Some(offset) => Err(FieldError::character(field, text, offset)),
        None => Ok(()),
    }
}
