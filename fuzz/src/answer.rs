//! Parses the HTTP responses of the library strictly.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time in all responses.
#[must_use]
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// A parsed HTTP response.
#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    headers: Vec<(String, &'a [u8])>,
}

impl<'a> Answer<'a> {
    /// Parses a response.
    ///
    /// # Panics
    ///
    /// Unless the response is complete and has only headers that the library writes, each
    /// once. An injected header panics here.
    #[track_caller]
    pub fn parse(bytes: &'a [u8]) -> Self {
        const OURS: [&str; 13] = [
            "access-control-allow-credentials",
            "access-control-allow-headers",
            "access-control-allow-methods",
            "access-control-allow-origin",
            "access-control-max-age",
            "allow",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "date",
            "vary",
            "x-accel-buffering",
        ];
        let mut headers = [httparse::EMPTY_HEADER; OURS.len()];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).expect("this is no HTTP");
        assert!(parsed.is_complete(), "the head is cut off");
        assert_eq!(response.version, Some(1));

        let headers = response.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|header| (header.name.to_ascii_lowercase(), header.value))
            .collect();
        headers.sort();
        for pair in headers.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "the header is there twice");
        }
        for (name, _) in &headers {
            assert!(OURS.contains(&&**name), "{name} has been injected");
        }
        let answer = Self {
            status: response.code.expect("the head is complete"),
            body: &bytes[parsed.unwrap()..],
            headers,
        };
        assert_eq!(answer.header("connection"), Some(&b"close"[..]));
        assert_eq!(
            answer.header("date"),
            Some(&b"Sun, 06 Nov 1994 08:49:37 GMT"[..])
        );
        answer
    }

    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| *value)
    }

    pub fn is_stream(&self) -> bool {
        self.header("content-type") == Some(b"text/event-stream")
    }

    /// The value of `Content-Length`.
    pub fn content_length(&self) -> Option<usize> {
        let digits = str::from_utf8(self.header("content-length")?).ok()?;
        digits.parse().ok()
    }
}
