//! The request target and authorities: RFC 9112, 3.2, and RFC 3986, 3.2.

use std::net::Ipv6Addr;
use std::str;

use crate::http::response::Rejection;

/// Refuses a target whose form is not valid for the method: RFC 9112, 3.2.
pub(super) fn check_target(method: &str, target: &str) -> Result<(), Rejection> {
    if !target.is_ascii() {
        return Err(Rejection::BAD_REQUEST
            .because("the request target has a character outside ASCII; send it percent-encoded"));
    }
    let is_legal = match split_target(target) {
        _ if method == "CONNECT" => is_authority(target.as_bytes()),
        (Some(authority), rest) => {
            !authority.is_empty()
                && is_authority(authority.as_bytes())
                && matches!(rest.bytes().next(), None | Some(b'/' | b'?'))
        }
        (None, "*") => method == "OPTIONS",
        (None, path) => path.starts_with('/'),
    };
    if !is_legal || target.contains('#') {
        return Err(Rejection::BAD_REQUEST
            .because("the request target is neither a path nor an absolute http URL"));
    }
    Ok(())
}

/// Splits a target into the authority, if it is absolute, and the path with the query.
pub(super) fn split_target(target: &str) -> (Option<&str>, &str) {
    if target.starts_with('/') {
        return (None, target);
    }
    match target.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ => (None, target),
    }
}

/// Returns whether `text` is a host, which may be empty, with an optional port: RFC 3986, 3.2.
///
/// User information is not allowed (RFC 9110, 4.2.4).
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (is_host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (is_ip_literal(&rest[..end]), &rest[end + 1..]),
            None => return false,
        },
        _ => {
            let end = registered_name_len(text);
            (true, &text[end..])
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_host && is_port
}

fn is_ip_literal(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Returns the length of the registered name, perhaps none, at the front of `text`.
fn registered_name_len(text: &[u8]) -> usize {
    let mut len = 0;
    loop {
        let rest = &text[len..];
        let plain = rest.iter().position(|byte| !IS_PLAIN[usize::from(*byte)]);
        len += plain.unwrap_or(rest.len());
        match &text[len..] {
            [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => len += 3,
            _ => return len,
        }
    }
}

/// Whether a byte stands for itself in a host: RFC 3986, 2.2 and 2.3.
///
/// It is a table, because every request has a host.
const IS_PLAIN: [bool; 256] = {
    let mut is_plain = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        is_plain[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others = b"-._~!$&'()*+,;=".as_slice();
    while let [byte, rest @ ..] = others {
        is_plain[*byte as usize] = true;
        others = rest;
    }
    is_plain
};
