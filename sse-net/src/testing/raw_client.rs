//! A client for tests of servers, and for tools.

use std::time::Duration;
use std::{error, io};

use sse_core::{
    BodyLimits, BodyReader, Decoded, Decoder, EventId, MEDIA_TYPE, MessageEvent, ResponseHead,
    ResponseHeadReader,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A client for tests of a running server, and for tools.
///
/// It works on any connection: TCP, TLS, a Unix socket, a pipe in memory. It sends the request,
/// returns what it receives, and waits no longer than its limit. It opens no connection, follows
/// no redirect and does not reconnect. Bodies are read in any [framing](sse_core::Framing).
///
/// ```
/// use sse_core::{Event, EventType, Retention};
/// use sse_net::testing::RawClient;
/// use sse_net::{Config, Routes, Server, Tcp, Topic};
/// use tokio::net::TcpStream;
///
/// #[tokio::main(flavor = "current_thread")] // or #[tokio::test]
/// async fn main() -> std::io::Result<()> {
///     let ticks = Topic::new(Retention::events(100));
///     let listener = Tcp::default().bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = Server::new(Config::default())
///         .listen(listener)
///         .serve(Routes::new().topic("/ticks", &ticks));
///
///     let mut client = RawClient::new(TcpStream::connect(address).await?);
///     let head = client.get("/ticks").await?;
///     assert_eq!(head.status(), 200);
///     assert_eq!(head.header("content-type"), Some("text/event-stream"));
///
///     ticks.publish(&Event::new().id(1).data("not this one")).unwrap();
///     ticks.publish(&Event::new().id(2).event(EventType::from_static("tick")).data("hey")).unwrap();
///     let tick = client.event_of("tick").await?;
///     assert_eq!((tick.data(), tick.last_event_id()), ("hey", "2"));
/// #   drop(server);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct RawClient<C> {
    connection: C,
    limit: Duration,
    /// Bytes that have been received and not been read.
    input: Vec<u8>,
    /// The method of the last request.
    method: String,
    head: ResponseHeadReader,
    /// `None` before the response head.
    body: Option<BodyReader>,
    decoder: Decoder,
    /// A part of the body; its first `decoded` bytes have been decoded.
    part: Vec<u8>,
    decoded: usize,
}

impl<C: AsyncRead + AsyncWrite + Unpin> RawClient<C> {
    /// The time limit of each call by default: 5 s.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(5);

    /// Creates a client on this connection.
    #[must_use]
    pub const fn new(connection: C) -> Self {
        Self {
            connection,
            limit: Self::DEFAULT_LIMIT,
            input: Vec::new(),
            method: String::new(),
            head: ResponseHeadReader::new(),
            body: None,
            decoder: Decoder::new(),
            part: Vec::new(),
            decoded: 0,
        }
    }

    /// Sets the time limit of each call. [`Duration::MAX`] means no limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends a `GET` request for `target`, such as `/ticks?from=1`, and returns the response head.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask), and [`InvalidInput`](io::ErrorKind::InvalidInput) for a target
    /// with a space or a control character.
    pub async fn get(&mut self, target: &str) -> io::Result<ResponseHead> {
        let request = request(target, "")?;
        self.ask(request.as_bytes()).await
    }

    /// Like [`get`](Self::get), with a last event ID.
    ///
    /// It remains the last event ID until an event has another.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`InvalidInput`](io::ErrorKind::InvalidInput) for text that
    /// is not an event ID.
    pub async fn resume(&mut self, target: &str, last_event_id: &str) -> io::Result<ResponseHead> {
        let id = EventId::new(last_event_id).map_err(invalid)?;
        let request = request(target, &format!("Last-Event-ID: {}\r\n", id.as_str()))?;
        self.decoder.set_last_event_id(&id);
        self.ask(request.as_bytes()).await
    }

    /// Sends these bytes as a request, and returns the response head.
    ///
    /// Interim responses, such as 103 (Early Hints), are skipped. The body of an earlier response has
    /// to be read to its end before.
    ///
    /// # Errors
    ///
    /// Those of the connection; [`TimedOut`](io::ErrorKind::TimedOut) after the limit;
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the response ends within its head;
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it is not HTTP/1, its head is too large, or
    /// its [framing](sse_core::Framing::of_response) is invalid.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<ResponseHead> {
        if let Some(method) = request.split(|byte| *byte == b' ').next()
            && !method.is_empty()
        {
            self.method = String::from_utf8_lossy(method).into_owned();
        }
        let limit = self.limit;
        let exchange = async {
            self.connection.write_all(request).await?;
            self.connection.flush().await?;
            self.response_head().await
        };
        match timeout(limit, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(late("no response head was received", limit)),
        }
    }

    /// Returns the next event, reconnection time or comment; `None` when the stream has ended.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`InvalidData`](io::ErrorKind::InvalidData) if the body
    /// exceeds the limits of a [`Decoder`].
    pub async fn next(&mut self) -> io::Result<Option<Decoded<'static>>> {
        match timeout(self.limit, self.item()).await {
            Ok(item) => item,
            Err(_) => Err(late("nothing was received", self.limit)),
        }
    }

    /// Returns the next event of any type.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the
    /// stream has ended.
    pub async fn event(&mut self) -> io::Result<MessageEvent<'static>> {
        self.find(None).await
    }

    /// Returns the next event of this type, and skips other events before it.
    ///
    /// # Errors
    ///
    /// As [`event`](Self::event). The error lists the types of the first ten skipped events.
    pub async fn event_of(&mut self, event_type: &str) -> io::Result<MessageEvent<'static>> {
        self.find(Some(event_type)).await
    }

    /// Returns the next bytes of the body; `None` at its end.
    ///
    /// They do not include items that [`next`](Self::next), [`event`](Self::event) or
    /// [`event_of`](Self::event_of) have returned.
    ///
    /// # Errors
    ///
    /// Those of the connection; [`TimedOut`](io::ErrorKind::TimedOut) after the limit; a
    /// [`BodyError`](sse_core::BodyError), of the kind
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the body is incomplete and
    /// [`InvalidData`](io::ErrorKind::InvalidData) if its chunks are malformed;
    /// [`NotConnected`](io::ErrorKind::NotConnected) before the first response head.
    pub async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match timeout(self.limit, self.undecoded()).await {
            Ok(part) => part,
            Err(_) => Err(late("nothing was received", self.limit)),
        }
    }

    /// Returns the last event ID, which a browser would send when it reconnects.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// Returns the connection, for example to close it.
    pub fn into_connection(self) -> C {
        self.connection
    }

    async fn find(&mut self, event_type: Option<&str>) -> io::Result<MessageEvent<'static>> {
        let limit = self.limit;
        let mut others = Vec::new();
        let finding = async {
            while let Some(item) = self.item().await? {
                match item {
                    Decoded::Event(event) if event_type.is_none_or(|of| of == event.event()) => {
                        return Ok(Some(event));
                    }
                    Decoded::Event(event) if others.len() < MAX_LISTED => {
                        others.push(event.event().to_owned());
                    }
                    _ => {}
                }
            }
            Ok(None)
        };
        let found = timeout(limit, finding).await;
        let missing = match event_type {
            None => "no event was received".to_owned(),
            Some(of) if others.is_empty() => format!("no event of the type {of:?} was received"),
            Some(of) => format!("no event of the type {of:?} was received, only of {others:?}"),
        };
        match found {
            Ok(Ok(Some(event))) => Ok(event),
            Ok(Ok(None)) => {
                let text = format!("the stream has ended; {missing}");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late(&missing, limit)),
        }
    }

    async fn item(&mut self) -> io::Result<Option<Decoded<'static>>> {
        loop {
            // A line at a time, because `read` returns what comes after the item.
            let rest = &self.part[self.decoded..];
            if let Some(line) = rest
                .split_inclusive(|byte| matches!(byte, b'\r' | b'\n'))
                .next()
            {
                self.decoded += line.len();
                if let Some(item) = self.decoder.chunk(line).next()? {
                    return Ok(Some(item.into_owned()));
                }
                continue;
            }
            match self.next_part().await? {
                Some(part) => (self.part, self.decoded) = (part, 0),
                None => return Ok(None),
            }
        }
    }

    async fn undecoded(&mut self) -> io::Result<Option<Vec<u8>>> {
        let undecoded = self.part.split_off(self.decoded);
        if undecoded.is_empty() {
            self.next_part().await
        } else {
            Ok(Some(undecoded))
        }
    }

    /// Nothing is lost when this is cancelled.
    async fn response_head(&mut self) -> io::Result<ResponseHead> {
        loop {
            let mut rest = &self.input[..];
            let head = self.head.read(&mut rest)?;
            let taken = self.input.len() - rest.len();
            self.input.drain(..taken);
            if let Some(head) = head {
                self.body = Some(head.body(&self.method, BodyLimits::new())?);
                self.decoder.restart();
                (self.part, self.decoded) = (Vec::new(), 0);
                return Ok(head);
            }
            if self.fill().await? == 0 {
                return Err(self.head.end().into());
            }
        }
    }

    /// Nothing is lost when this is cancelled.
    async fn next_part(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(body) = &mut self.body else {
                let text = "there is no response to read; send a request first";
                return Err(io::Error::new(io::ErrorKind::NotConnected, text));
            };
            let part = read_all(body, &mut self.input)?;
            if !part.is_empty() {
                return Ok(Some(part));
            }
            if body.is_complete() {
                return Ok(None);
            }
            if self.fill().await? == 0 {
                self.body.as_mut().map_or(Ok(()), BodyReader::end)?;
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.input.reserve(BUFFER);
        self.connection.read_buf(&mut self.input).await
    }
}

/// Reads the bytes of the body in `input`. An error is returned after the bytes before it.
fn read_all(body: &mut BodyReader, input: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut rest = &input[..];
    let mut part = Vec::new();
    let read = loop {
        match body.read(&mut rest) {
            Ok(Some(more)) => part.extend_from_slice(more),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let taken = input.len() - rest.len();
    input.drain(..taken);
    match read {
        Err(error) if part.is_empty() => Err(error.into()),
        _ => Ok(part),
    }
}

fn request(target: &str, headers: &str) -> io::Result<String> {
    if target.bytes().any(|byte| byte <= b' ' || byte == b'\x7f') {
        let text = format!("the target {target:?} has a space or a control character");
        return Err(invalid(text));
    }
    Ok(format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {MEDIA_TYPE}\r\n{headers}\r\n"
    ))
}

fn invalid(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

fn late(what: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {limit:?}"))
}

/// The maximum number of skipped events whose types an error lists.
const MAX_LISTED: usize = 10;

/// The least number of bytes that are read at once.
const BUFFER: usize = 16 << 10;
