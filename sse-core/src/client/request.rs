//! The bytes of a request.

use super::source::EventSource;
use super::url::Url;
use crate::http::MEDIA_TYPE;

/// Where the current request goes, which a redirect changes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The URL of a redirect.
    pub(super) url: Option<Box<Url>>,
    /// Whether the request is a `GET` without the body of the call.
    pub(super) is_bare: bool,
    /// Whether a redirect has left the origin of the application's URL.
    pub(super) is_foreign: bool,
    pub(super) redirects: u32,
}

impl Target {
    pub(super) const fn new(is_bare: bool) -> Self {
        Self {
            url: None,
            is_bare,
            is_foreign: false,
            redirects: 0,
        }
    }

    pub(super) fn url<'s>(&'s self, source: &'s EventSource) -> &'s Url {
        self.url.as_deref().unwrap_or(&source.url)
    }

    pub(super) fn method<'s>(&self, source: &'s EventSource) -> &'s str {
        if self.is_bare { "GET" } else { &source.method }
    }

    /// Returns the body of the request.
    pub(super) fn body<'s>(&self, source: &'s EventSource) -> &'s [u8] {
        if self.is_bare { &[] } else { &source.body }
    }

    /// Returns the headers of the request, but for `Content-Length`.
    pub(super) fn headers<'s>(
        &'s self,
        source: &'s EventSource,
        last_event_id: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s str, &'s str)> {
        let defaults = [
            ("Host", self.url(source).authority()),
            ("Accept", MEDIA_TYPE),
            ("Accept-Encoding", "identity"),
            ("Cache-Control", "no-cache"),
        ];
        let id = last_event_id.map(|id| ("Last-Event-ID", id));
        let defaults = defaults.into_iter().filter(|(name, _)| {
            let mut given = self.given(source);
            !given.any(|(other, _)| other.eq_ignore_ascii_case(name))
        });
        defaults.chain(self.given(source)).chain(id)
    }

    /// Returns the headers of the application that may be sent to this target.
    fn given<'s>(
        &self,
        source: &'s EventSource,
    ) -> impl Iterator<Item = (&'s str, &'s str)> + use<'s> {
        let (is_foreign, is_bare) = (self.is_foreign, self.is_bare);
        let headers = source.headers.iter();
        headers.map(|(name, value)| (&**name, &**value)).filter(
            move |(name, _)| match is_about_body(name) {
                true => !is_bare,
                false => !is_foreign || is_shareable(name),
            },
        )
    }

    /// Encodes the request, without `Connection: close`.
    ///
    /// RFC 9112, 9.3 asks for it, since no second request follows. But there are servers that then
    /// end a body by closing the connection instead of sending it in chunks, and a client cannot
    /// tell such an end from a connection that was cut.
    pub(super) fn encode(&self, source: &EventSource, last_event_id: Option<&str>) -> Vec<u8> {
        let method = self.method(source);
        let target = self.url(source).target();
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in self.headers(source, last_event_id) {
            for part in [name, ": ", value, "\r\n"] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        let body = self.body(source);
        // RFC 9110, 8.6: "A user agent SHOULD send Content-Length in a request when the method
        // defines a meaning for enclosed content".
        if !body.is_empty() || !matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }
}

/// Returns whether a header that is not about the body may be sent to another origin.
fn is_shareable(name: &str) -> bool {
    const SHAREABLE: [&str; 4] = ["Accept", "Accept-Language", "Cache-Control", "User-Agent"];
    SHAREABLE
        .iter()
        .any(|other| other.eq_ignore_ascii_case(name))
}

/// Returns whether a header describes the body: Fetch, "request-body-header name".
fn is_about_body(name: &str) -> bool {
    const ABOUT_BODY: [&str; 4] = [
        "Content-Encoding",
        "Content-Language",
        "Content-Location",
        "Content-Type",
    ];
    ABOUT_BODY
        .iter()
        .any(|other| other.eq_ignore_ascii_case(name))
}
