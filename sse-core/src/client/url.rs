//! URLs of event sources, and references to others: RFC 3986.

use std::fmt;
use std::str::FromStr;

use crate::event::{Fault, Field, FieldError};
use crate::http::is_authority;

/// A URL that a client can connect to: `http:`, `https:` or `unix:`.
///
/// `unix:/run/app.sock:/path` is the path `/path` of the server at the Unix socket
/// `/run/app.sock`. Fragments and the segments `.` and `..` are removed, and characters that a
/// request cannot carry are percent-encoded, as in browsers. User names and passwords are refused.
///
/// ```
/// use sse_core::client::Url;
///
/// let url: Url = "https://example.org/a b?c#d".parse()?;
/// assert_eq!((url.host(), url.port(), url.target()), ("example.org", 443, "/a%20b?c"));
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// The host with an optional port in lower case, or the path of the socket; then the path and
    /// the query, beginning with a slash.
    text: Box<str>,
    /// The offset of that slash.
    target: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
    Unix,
}

impl Url {
    fn new(scheme: Scheme, authority: &str, target: &str) -> Self {
        Self {
            scheme,
            text: [authority, target].concat().into(),
            target: authority.len(),
        }
    }

    /// Returns the host name or address, without brackets; empty for a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.scheme {
            Scheme::Unix => "",
            _ => split_port(self.server()).0.trim_matches(['[', ']']),
        }
    }

    /// Returns the port: by default 80 or 443, and 0 for a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match (self.scheme, split_port(self.server()).1) {
            (Scheme::Unix, _) => 0,
            (Scheme::Http, "") => 80,
            (Scheme::Https, "") => 443,
            (_, port) => port.parse().unwrap_or_default(),
        }
    }

    /// Returns the value of `Host`; `localhost` for a Unix socket.
    #[must_use]
    pub fn authority(&self) -> &str {
        match self.scheme {
            Scheme::Unix => "localhost",
            _ => self.server(),
        }
    }

    /// Returns the path of the Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<&str> {
        (self.scheme == Scheme::Unix).then_some(self.server())
    }

    /// Returns the request target: the path and the query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.text[self.target..]
    }

    /// Returns the host with an optional port, or the path of the socket.
    fn server(&self) -> &str {
        &self.text[..self.target]
    }

    /// Returns whether the URL requires TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Returns whether requests to both go to one server, so that they may share credentials.
    #[must_use]
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && match self.scheme {
                Scheme::Unix => self.server() == other.server(),
                _ => self.host() == other.host() && self.port() == other.port(),
            }
    }

    /// Resolves a reference relative to this URL: RFC 3986, 5.2.
    ///
    /// # Errors
    ///
    /// The resulting URL is malformed or of another scheme.
    pub fn resolve(&self, reference: &str) -> Result<Self, FieldError> {
        let reference = without_fragment(reference.trim_end_matches(BLANKS));
        let start = reference.len() - reference.trim_start_matches(BLANKS).len();
        check_characters(reference, start)?;
        let reference = &reference[start..];
        if has_scheme(reference) {
            return reference.parse();
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return match self.scheme {
                Scheme::Unix => Err(malformed()),
                Scheme::Http => format!("http://{rest}").parse(),
                Scheme::Https => format!("https://{rest}").parse(),
            };
        }
        let (path, _) = split_query(self.target());
        let target = match reference.as_bytes() {
            [] => self.target().to_owned(),
            [b'/', ..] => reference.to_owned(),
            [b'?', ..] => format!("{path}{reference}"),
            _ => {
                // RFC 3986, 5.2.3: "all but the last segment of the base URI's path".
                let folder = &path[..=path.rfind('/').unwrap_or_default()];
                format!("{folder}{reference}")
            }
        };
        Ok(Self::new(self.scheme, self.server(), &normalise(&target)))
    }
}

impl FromStr for Url {
    type Err = FieldError;

    fn from_str(url: &str) -> Result<Self, FieldError> {
        let url = without_fragment(url);
        check_characters(url, 0)?;
        let (scheme, rest) = url.split_once(':').ok_or_else(malformed)?;
        let scheme = match &*scheme.to_ascii_lowercase() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            _ => return Err(malformed()),
        };
        let (authority, target) = match (scheme, rest.strip_prefix("//")) {
            (Scheme::Unix, _) => match rest.find(":/") {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, "/"),
            },
            (_, Some(rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            (_, None) => return Err(malformed()),
        };
        if scheme != Scheme::Unix {
            check_authority(authority)?;
        } else if authority.is_empty() {
            return Err(malformed());
        }
        let target = normalise(target);
        Ok(match scheme {
            Scheme::Unix => Self::new(scheme, authority, &target),
            _ => Self::new(scheme, &authority.to_ascii_lowercase(), &target),
        })
    }
}

impl TryFrom<&str> for Url {
    type Error = FieldError;

    fn try_from(url: &str) -> Result<Self, FieldError> {
        url.parse()
    }
}

impl TryFrom<&String> for Url {
    type Error = FieldError;

    fn try_from(url: &String) -> Result<Self, FieldError> {
        url.parse()
    }
}

impl TryFrom<String> for Url {
    type Error = FieldError;

    fn try_from(url: String) -> Result<Self, FieldError> {
        url.parse()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, target) = (self.server(), self.target());
        match self.scheme {
            Scheme::Http => write!(f, "http://{server}{target}"),
            Scheme::Https => write!(f, "https://{server}{target}"),
            Scheme::Unix => write!(f, "unix:{server}:{target}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the query: it may hold a token.
        let url = self.to_string();
        match url.split_once('?') {
            Some((url, _)) => write!(f, "{url}?…"),
            None => f.write_str(&url),
        }
    }
}

/// Refuses control characters from the offset `start` on.
fn check_characters(url: &str, start: usize) -> Result<(), FieldError> {
    let control = url[start..]
        .bytes()
        .position(|byte| byte.is_ascii_control());
    control.map_or(Ok(()), |offset| {
        Err(FieldError::character(Field::Url, url, start + offset))
    })
}

fn check_authority(authority: &str) -> Result<(), FieldError> {
    if authority.contains('@') {
        return Err(FieldError::new(Field::Url, Fault::Credentials));
    }
    let (host, port) = split_port(authority);
    let has_port = authority.len() > host.len();
    if host.is_empty()
        || !is_authority(authority.as_bytes())
        || (has_port && !port.is_empty() && port.parse::<u16>().is_err())
    {
        return Err(malformed());
    }
    Ok(())
}

/// Splits an authority into the host and the port, which may be empty.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    }
}

/// Splits a target into the path and the query with its question mark.
fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

/// Returns whether a reference is absolute: RFC 3986, 3.1.
fn has_scheme(reference: &str) -> bool {
    let scheme = match reference.find([':', '/', '?']) {
        Some(end) if reference[end..].starts_with(':') => &reference[..end],
        _ => return false,
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Removes the segments `.` and `..`, and encodes the rest.
fn normalise(target: &str) -> String {
    let (path, query) = split_query(target);
    encode(&format!("{}{query}", without_dots(path)))
}

/// Removes the segments `.` and `..` of an absolute or empty path: RFC 3986, 5.2.4.
fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(part),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Percent-encodes what a target cannot have: RFC 3986, 2.
fn encode(target: &str) -> String {
    let mut encoded = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

const fn malformed() -> FieldError {
    FieldError::new(Field::Url, Fault::Malformed)
}

const BLANKS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_address_an_authority_and_a_target() {
        for (url, host, port, authority, target) in [
            ("http://a", "a", 80, "a", "/"),
            ("http://a/b?c=d#e", "a", 80, "a", "/b?c=d"),
            ("http://a?x=1", "a", 80, "a", "/?x=1"),
            ("http://a:1?", "a", 1, "a:1", "/?"),
            ("http://a?x=/#e", "a", 80, "a", "/?x=/"),
            ("http://a#e", "a", 80, "a", "/"),
            ("http://a:/", "a", 80, "a:", "/"),
            ("http://a/?a=[b]{c}", "a", 80, "a", "/?a=[b]%7Bc%7D"),
            ("http://a/\u{e9}?\u{e9}", "a", 80, "a", "/%C3%A9?%C3%A9"),
            ("http://a/b c", "a", 80, "a", "/b%20c"),
            ("HTTPS://A:1/%20", "a", 1, "a:1", "/%20"),
            ("http://a/b/../c/./d?/../e", "a", 80, "a", "/c/d?/../e"),
            ("https://[::1]/b", "::1", 443, "[::1]", "/b"),
            ("https://[::1]:8/b", "::1", 8, "[::1]:8", "/b"),
        ] {
            let parsed: Url = url.parse().unwrap();
            let got = (
                parsed.host(),
                parsed.port(),
                parsed.authority(),
                parsed.target(),
            );
            assert_eq!(got, (host, port, authority, target), "{url}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{url}");
        }
    }

    #[test]
    fn a_unix_url_has_a_socket_and_a_target() {
        for (url, path, target) in [
            ("unix:/run/a.sock", "/run/a.sock", "/"),
            ("unix:/a:/b?c", "/a", "/b?c"),
            ("unix:/a:/?c#d", "/a", "/?c"),
            ("unix:a.sock:/b", "a.sock", "/b"),
        ] {
            let parsed: Url = url.parse().unwrap();
            assert_eq!(parsed.unix_path(), Some(path), "{url}");
            assert_eq!((parsed.authority(), parsed.target()), ("localhost", target));
        }
    }

    #[test]
    fn other_texts_are_not_urls() {
        let malformed = "the URL is malformed; write it like https://example.org/path";
        let credentials = "the URL has a user name or a password; send them in a header instead";
        for (url, error) in [
            ("", malformed),
            ("a", malformed),
            ("/a", malformed),
            ("a:80", malformed),
            ("ftp://a/", malformed),
            ("http:a", malformed),
            ("http:///a", malformed),
            ("http://a b/", malformed),
            ("http://:80/", malformed),
            ("http://a:99999/", malformed),
            ("unix:", malformed),
            ("unix::/a", malformed),
            ("http://user:password@a/", credentials),
            ("http://user@a:80/", credentials),
            (
                "http://a/\r\nX: y",
                "the URL has a carriage return at byte 9; remove it",
            ),
            ("http://a\t/", "the URL has '\\t' at byte 8; remove it"),
            ("unix:/a\n", "the URL has a line feed at byte 7; remove it"),
        ] {
            let refused = url.parse::<Url>().unwrap_err();
            assert_eq!(refused.to_string(), error, "{url:?}");
        }
    }

    /// The examples of RFC 3986, 5.4, without fragments, parameters of other schemes and
    /// unresolvable ones.
    #[test]
    fn a_reference_is_resolved() {
        let base: Url = "http://a/b/c/d;p?q".parse().unwrap();
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q"),
            ("g#s", "/b/c/g"),
            (";x", "/b/c/;x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g.", "/b/c/g."),
            ("..g", "/b/c/..g"),
            ("./../g", "/b/g"),
            ("./g/.", "/b/c/g/"),
            ("g/../h", "/b/c/h"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("b:c", ""),
            ("//g", "http://g/"),
            ("//g/x?y", "http://g/x?y"),
            ("https://h:8/x", "https://h:8/x"),
            ("https://h/x/../../y/.", "https://h/y/"),
            ("//g/x/../y?z/../a", "http://g/y?z/../a"),
            (" /g\t", "/g"),
        ] {
            let resolved = base.resolve(reference);
            match expected {
                "" => assert!(resolved.is_err(), "{reference}"),
                target if target.starts_with('/') => {
                    assert_eq!(resolved.unwrap().to_string(), format!("http://a{target}"));
                }
                url => assert_eq!(resolved.unwrap().to_string(), url),
            }
        }
        let error = base.resolve(" /a\nb ").unwrap_err();
        let sentence = "the URL has a line feed at byte 3; remove it";
        assert_eq!(error.to_string(), sentence);
        let unix: Url = "unix:/a.sock:/b".parse().unwrap();
        assert_eq!(unix.resolve("c").unwrap().to_string(), "unix:/a.sock:/c");
        assert!(unix.resolve("//g").is_err());
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (a, b, expected) in [
            ("http://a/b", "http://A:80/c", true),
            ("http://a", "http://a:81", false),
            ("http://a", "https://a", false),
            ("http://a", "http://b", false),
            ("http://a", "unix:a", false),
            ("unix:/a:/b", "unix:/a:/c", true),
            ("unix:/a", "unix:/b", false),
        ] {
            let [a, b] = [a, b].map(|url| url.parse::<Url>().unwrap());
            assert_eq!(a.has_origin_of(&b), expected, "{a} {b}");
        }
    }
}
