//! Requests with bodies, valid and hostile, and what a server makes of each.
//!
//! Tests of the async server and of TLS include this file, too.

/// The limit of bodies that the servers of these tests set.
pub(crate) const LIMIT: u64 = 1000;

/// A request to `/echo`, which is answered with its body.
pub(crate) struct Post {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// 200 with this body.
    Body(Vec<u8>),
    /// This status.
    Refused(u16),
}

impl Post {
    /// Checks what the server has written: exactly one response.
    #[track_caller]
    pub(crate) fn check(&self, output: &[u8]) {
        let text = String::from_utf8_lossy(output);
        let name = self.name;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{name}: {text}");
        let (head, body) = text.split_once("\r\n\r\n").expect(name);
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        match &self.expected {
            Expected::Body(expected) => {
                assert_eq!(status, Some(200), "{name}: {text}");
                assert_eq!(body.as_bytes(), expected, "{name}");
            }
            Expected::Refused(expected) => assert_eq!(status, Some(*expected), "{name}: {text}"),
        }
    }
}

/// Returns all requests.
#[rustfmt::skip]
pub(crate) fn posts() -> Vec<Post> {
    let mut posts = Vec::new();
    let mut add = |name, headers: &str, rest: &str, expected| {
        posts.push(Post {
            name,
            bytes: format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n{rest}").into(),
            expected,
        });
    };
    let body = |text: &str| Expected::Body(text.into());
    let refused = Expected::Refused;
    let admin = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    let cl = "Content-Length: 5\r\n";

    add("length", cl, "hello", body("hello"));
    add("length of zero", "Content-Length: 0\r\n", "", body(""));
    add("length with zeros", "Content-Length: 005\r\n", "hello", body("hello"));
    add("length at the limit", "Content-Length: 1000\r\n", &"x".repeat(1000), body(&"x".repeat(1000)));
    add("body with blank lines", "Content-Length: 8\r\n", "\r\n\r\n\r\n\r\n", body("\r\n\r\n\r\n\r\n"));
    add("chunks", te, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", body("hello"));
    add("no chunk but the last", te, "0\r\n\r\n", body(""));
    add("upper-case size with zeros", te, "000A\r\n0123456789\r\n00\r\n\r\n", body("0123456789"));
    add("extensions", te, "5;a=b; c=\"d\"\r\nhello\r\n0;e\r\n\r\n", body("hello"));
    add("trailers", te, "5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n", body("hello"));
    add("empty list elements", "Transfer-Encoding: , chunked\r\n", "0\r\n\r\n", body(""));
    add("another header", &format!("Transfer_Encoding: chunked\r\n{cl}"), "0\r\n\r\n", body("0\r\n\r\n"));
    add("a request after the body", cl, &format!("hello{admin}"), body("hello"));
    add("a request after the chunks", te, &format!("5\r\nhello\r\n0\r\n\r\n{admin}"), body("hello"));
    add("garbage after the body", cl, "hello\0\r\n\r\nxyz", body("hello"));

    // RFC 9112, 6.3, and 11.2: what two servers could read in two ways.
    add("both", &format!("{cl}{te}"), "0\r\n\r\n", refused(400));
    add("both, chunks first", &format!("{te}{cl}"), "0\r\n\r\n", refused(400));
    add("length twice", &format!("{cl}{cl}"), "hello", refused(400));
    add("two lengths", &format!("{cl}Content-Length: 6\r\n"), "hello!", refused(400));
    add("a list of lengths", "Content-Length: 5, 5\r\n", "hello", refused(400));
    add("a signed length", "Content-Length: +5\r\n", "hello", refused(400));
    add("a negative length", "Content-Length: -5\r\n", "hello", refused(400));
    add("a hexadecimal length", "Content-Length: 0x5\r\n", "hello", refused(400));
    add("an empty length", "Content-Length:\r\n", "hello", refused(400));
    add("a space before the colon", "Content-Length : 5\r\n", "hello", refused(400));
    add("a folded line", "Content-Length:\r\n 5\r\n", "hello", refused(400));
    add("a folded coding", "Transfer-Encoding:\r\n\tchunked\r\n", "0\r\n\r\n", refused(400));
    add("a folded header", &format!("X: a\r\n b\r\n{cl}"), "hello", refused(400));
    add("a bare CR", &format!("X: a\rTransfer-Encoding: chunked\r\n{cl}"), "hello", refused(400));
    add("a NUL", &format!("X: a\0b\r\n{cl}"), "hello", refused(400));
    add("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n", refused(400));
    add("chunked on two lines", &format!("{te}{te}"), "0\r\n\r\n", refused(400));
    add("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n", refused(400));
    add("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n", refused(400));
    add("identity", "Transfer-Encoding: identity\r\n", "hello", refused(400));
    add("another coding", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", refused(501));
    add("almost chunked", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", refused(400));
    add("a quoted coding", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", refused(400));

    // RFC 9112, 7.1.
    for (name, chunks) in [
        ("a size of letters", "g\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("two sizes", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("a CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a chunk that is too long", "4\r\nhello\r\n0\r\n\r\n"),
        ("a chunk that is too short", "6\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("a bare LF after the last size", "5\r\nhello\r\n0\n\r\n"),
        ("a bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("a bare LF after a trailer", "5\r\nhello\r\n0\r\nX: y\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
        ("a trailer with a NUL", "5\r\nhello\r\n0\r\nX: \0\r\n\r\n"),
        ("no end of a chunk", "5\r\nhel"),
        ("no last chunk", "5\r\nhello\r\n"),
        ("no blank line at the end", "5\r\nhello\r\n0\r\n"),
        ("no chunk at all", ""),
    ] {
        add(name, te, chunks, refused(400));
    }
    add("half a body", "Content-Length: 5\r\n", "hel", refused(400));
    add("no byte of a body", "Content-Length: 5\r\n", "", refused(400));

    // Beyond limits.
    let many = "x".repeat(1001);
    add("length beyond the limit", "Content-Length: 1001\r\n", &many, refused(413));
    add("length beyond 64 bits", "Content-Length: 99999999999999999999\r\n", &many, refused(413));
    add("chunk beyond the limit", te, &format!("3e9\r\n{many}\r\n0\r\n\r\n"), refused(413));
    add("chunks beyond the limit", te, &format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(1001)), refused(413));
    add("chunk near 64 bits", te, "5\r\nhello\r\nfffffffffffffffb\r\n", refused(413));
    add("a size line without end", te, &"0".repeat(2000), refused(400));
    add("an extension without end", te, &format!("5;{}", "a".repeat(2000)), refused(400));
    add("too many extensions", te, &format!("1;{}\r\nx\r\n", "a".repeat(900)).repeat(30), refused(400));
    add("trailers without end", te, &format!("0\r\nX: {}", "a".repeat(9000)), refused(431));
    add("too many trailers", te, &format!("0\r\n{}\r\n", "X: y\r\n".repeat(65)), refused(431));

    // RFC 9110, 15.5.12 and 15.5.18; Fetch, "CORS protocol".
    add("no length", "", "", refused(411));
    add("no length, and data", "", "hello", refused(411));
    add("an unknown expectation", &format!("Expect: 200-ok\r\n{cl}"), "hello", refused(417));
    add("two expectations", &format!("Expect: 100-continue, x\r\n{cl}"), "hello", refused(417));
    add("the form of another page", &format!("Origin: http://evil\r\n{cl}"), "hello", refused(403));
    add("the form of an opaque page", &format!("Origin: null\r\n{cl}"), "hello", refused(403));
    add("the server's own page", &format!("Origin: http://a\r\n{cl}"), "hello", body("hello"));
    let declared = format!("Origin: https://b\r\nSec-Fetch-Site: same-origin\r\n{cl}");
    add("the server's own page behind a proxy", &declared, "hello", body("hello"));

    let mut add_1_0 = |name, rest: &str, expected| {
        posts.push(Post {
            name,
            bytes: format!("POST /echo HTTP/1.0\r\n{rest}").into(),
            expected,
        });
    };
    add_1_0("HTTP/1.0", "Content-Length: 5\r\n\r\nhello", body("hello"));
    add_1_0("HTTP/1.0 expects", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", body("hello"));
    add_1_0("HTTP/1.0 in chunks", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", refused(400));
    add_1_0("HTTP/1.0 without length", "\r\nhello", refused(411));
    posts
}
