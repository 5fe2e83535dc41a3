//! A client for tests and tools.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use httparse::Status;
use sse_core::{Decoded, Decoder, MessageEvent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A client on a connection: TCP, TLS, a Unix socket, a pipe in memory. It says what it is
/// told to, shows what comes, and waits no longer than it is told.
///
/// It is for tests of a running server, and for tools: it opens no connection, follows no
/// redirect and does not reconnect. The body may be chunked or not.
///
/// ```
/// use sse_core::{Event, EventType, Retention};
/// use sse_net::{Client, Config, Routes, Server, Tcp, Topic};
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
///     let mut client = Client::new(TcpStream::connect(address).await?);
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
pub struct Client<C> {
    connection: C,
    limit: Duration,
    /// What has been read and not looked at.
    input: Vec<u8>,
    body: Body,
    decoder: Decoder,
    /// What has come and not been given.
    items: VecDeque<Decoded<'static>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Client<C> {
    /// How long each call waits by default: 5 s.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(5);

    /// A client that has said nothing yet.
    #[must_use]
    pub const fn new(connection: C) -> Self {
        Self {
            connection,
            limit: Self::DEFAULT_LIMIT,
            input: Vec::new(),
            body: Body::Plain,
            decoder: Decoder::new(),
            items: VecDeque::new(),
        }
    }

    /// How long each call waits; [`Duration::MAX`] is without a limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Asks for `target`, such as `/ticks?from=1`, and gives the response head.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn get(&mut self, target: &str) -> io::Result<ResponseHead> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        );
        self.ask(head.as_bytes()).await
    }

    /// The same as a client that has seen events up to `last_event_id`.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn resume(&mut self, target: &str, last_event_id: &str) -> io::Result<ResponseHead> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Last-Event-ID: {last_event_id}\r\n\r\n"
        );
        self.ask(head.as_bytes()).await
    }

    /// Sends these bytes as they are, and gives the response head. Interim responses, such as
    /// 103 (Early Hints), are skipped.
    ///
    /// # Errors
    ///
    /// What the connection says; [`TimedOut`](io::ErrorKind::TimedOut) after the limit;
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where the answer ends within its head;
    /// [`InvalidData`](io::ErrorKind::InvalidData) where it is not HTTP/1.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<ResponseHead> {
        let limit = self.limit;
        let exchange = async {
            self.connection.write_all(request).await?;
            self.connection.flush().await?;
            let mut interim = 0;
            loop {
                if let Some((head, len)) = ResponseHead::parse(&self.input)? {
                    self.input.drain(..len);
                    if head.is_interim() {
                        interim += len;
                        if interim > MAX_HEAD {
                            return Err(too_long());
                        }
                        continue;
                    }
                    self.body = Body::of(&head);
                    return Ok(head);
                }
                if self.fill().await? == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!(
                            "the connection ended before a response head, after {:?}",
                            String::from_utf8_lossy(&self.input)
                        ),
                    ));
                }
            }
        };
        match timeout(limit, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(late("no response head came", limit)),
        }
    }

    /// What comes next: an event, a reconnection time, a comment; `None` when the stream has
    /// ended.
    ///
    /// # Errors
    ///
    /// What the connection says; [`TimedOut`](io::ErrorKind::TimedOut) after the limit;
    /// [`InvalidData`](io::ErrorKind::InvalidData) where the body is no event stream within
    /// the limits of a [`Decoder`], or its chunks are not well-formed.
    pub async fn next(&mut self) -> io::Result<Option<Decoded<'static>>> {
        match timeout(self.limit, self.item()).await {
            Ok(item) => item,
            Err(_) => Err(late("nothing came", self.limit)),
        }
    }

    /// The next event, whatever its type.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the
    /// stream has ended.
    pub async fn event(&mut self) -> io::Result<MessageEvent<'static>> {
        self.find(None).await
    }

    /// The next event of this type; those before it are skipped.
    ///
    /// # Errors
    ///
    /// As [`event`](Self::event). The sentence says what came instead.
    pub async fn event_of(&mut self, event_type: &str) -> io::Result<MessageEvent<'static>> {
        self.find(Some(event_type)).await
    }

    /// The next bytes of the body, as they are; `None` at its end. Events that have been
    /// decoded already are not among them.
    ///
    /// # Errors
    ///
    /// What the connection says; [`TimedOut`](io::ErrorKind::TimedOut) after the limit;
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where the body has not come to the end
    /// that was announced; [`InvalidData`](io::ErrorKind::InvalidData) where its chunks are not
    /// well-formed.
    pub async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match timeout(self.limit, self.part()).await {
            Ok(part) => part,
            Err(_) => Err(late("nothing came", self.limit)),
        }
    }

    /// The last event ID that a browser would come back with.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// The connection, say to end it.
    pub fn into_connection(self) -> C {
        self.connection
    }

    async fn find(&mut self, event_type: Option<&str>) -> io::Result<MessageEvent<'static>> {
        let limit = self.limit;
        let mut others = Vec::new();
        let finding = async {
            while let Some(item) = self.item().await? {
                match item {
                    Decoded::Event(event)
                        if event_type.is_none_or(|of| of == event.event_type()) =>
                    {
                        return Ok(Some(event));
                    }
                    Decoded::Event(event) => others.push(event.event_type().to_owned()),
                    _ => {}
                }
            }
            Ok(None)
        };
        let found = timeout(limit, finding).await;
        let missing = match event_type {
            None => "no event came".to_owned(),
            Some(of) => format!("no event of the type {of:?} came, but of {others:?}"),
        };
        match found {
            Ok(Ok(Some(event))) => Ok(event),
            Ok(Ok(None)) => {
                let sentence = format!("the stream has ended; {missing}");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, sentence))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late(&missing, limit)),
        }
    }

    async fn item(&mut self) -> io::Result<Option<Decoded<'static>>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let Some(part) = self.part().await? else {
                return Ok(None);
            };
            let mut rest = &part[..];
            while let Some(item) = self.decoder.decode(&mut rest)? {
                self.items.push_back(item.into_owned());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.input.reserve(BUFFER);
        self.connection.read_buf(&mut self.input).await
    }

    /// Nothing is lost when this is cancelled.
    async fn part(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.body.take(&mut self.input)? {
                Taken::Part(part) => return Ok(Some(part)),
                Taken::End => return Ok(None),
                Taken::NotYet => {}
            }
            if self.fill().await? == 0 {
                return self.body.end();
            }
        }
    }
}

/// The head of a response, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

impl ResponseHead {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The first header of that name, in whatever case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// All of it, to the blank line at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the answer is yet to come: RFC 9110, section 15.2. With 101, there is none.
    const fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// The head at the beginning of `input`, if all of it is there, and its length.
    fn parse(input: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(input).map_err(|error| {
            let sentence = format!("the answer is no HTTP/1 response: {error}");
            io::Error::new(io::ErrorKind::InvalidData, sentence)
        })?;
        let len = match parsed {
            Status::Complete(len) => len,
            Status::Partial if input.len() < MAX_HEAD => return Ok(None),
            Status::Partial => return Err(too_long()),
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = response.headers.iter();
        let head = Self {
            status: response.code.unwrap_or_default(),
            headers: headers
                .map(|header| (header.name.to_owned(), text(header.value)))
                .collect(),
            text: text(&input[..len]),
        };
        Ok(Some((head, len)))
    }
}

/// What is left of a body, by how it is framed: RFC 9112, section 6.
#[derive(Debug)]
enum Body {
    /// It ends with the connection.
    Plain,
    /// So many bytes are to come.
    Sized(u64),
    /// So many bytes of a chunk are to come; with none, the size of the next.
    Chunked(u64),
    /// The end of a chunk is to come.
    ChunkEnd,
    Ended,
}

enum Taken {
    Part(Vec<u8>),
    NotYet,
    End,
}

impl Body {
    fn of(head: &ResponseHead) -> Self {
        let coding = head.header("transfer-encoding").unwrap_or_default();
        let length = head.header("content-length");
        match length.and_then(|digits| digits.parse().ok()) {
            _ if matches!(head.status(), 204 | 304) => Self::Ended,
            _ if coding.to_ascii_lowercase().ends_with("chunked") => Self::Chunked(0),
            Some(length) => Self::Sized(length),
            None => Self::Plain,
        }
    }

    /// Takes of `input` what is there.
    fn take(&mut self, input: &mut Vec<u8>) -> io::Result<Taken> {
        loop {
            match self {
                Self::Sized(0) => *self = Self::Ended,
                Self::Ended => return Ok(Taken::End),
                _ if input.is_empty() => return Ok(Taken::NotYet),
                Self::Plain => return Ok(Taken::Part(std::mem::take(input))),
                Self::Chunked(0) => match httparse::parse_chunk_size(input) {
                    Ok(Status::Complete((len, size))) => {
                        input.drain(..len);
                        *self = match size {
                            // What may follow are trailers.
                            0 => Self::Ended,
                            size => Self::Chunked(size),
                        };
                    }
                    Ok(Status::Partial) if input.len() < MAX_HEAD => return Ok(Taken::NotYet),
                    _ => return Err(malformed()),
                },
                Self::ChunkEnd => {
                    match &input[..] {
                        [b'\r'] => return Ok(Taken::NotYet),
                        [b'\r', b'\n', ..] => drop(input.drain(..2)),
                        _ => return Err(malformed()),
                    }
                    *self = Self::Chunked(0);
                }
                Self::Sized(left) | Self::Chunked(left) => {
                    let len = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    *left -= len as u64;
                    if let Self::Chunked(0) = self {
                        *self = Self::ChunkEnd;
                    }
                    return Ok(Taken::Part(input.drain(..len).collect()));
                }
            }
        }
    }

    /// The connection has ended.
    fn end(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Plain | Self::Ended => {
                *self = Self::Ended;
                Ok(None)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended within the body",
            )),
        }
    }
}

fn too_long() -> io::Error {
    let sentence = format!("the response head exceeds {MAX_HEAD} bytes");
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the body's chunks are not well-formed",
    )
}

fn late(what: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {limit:?}"))
}

/// How much is read at once, at least.
const BUFFER: usize = 16 << 10;

/// How long a response head may be, and those before it in sum; and how many headers it may have.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
