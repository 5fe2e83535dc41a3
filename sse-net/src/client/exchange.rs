//! Requests by an HTTP library.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body as HttpBody;
use sse_core::ResponseHead;
use sse_core::client::Machine;

use super::connector::Boxed;
use super::link::{BoxError, Link};

/// Sends a request by the library.
pub(super) type Send =
    Box<dyn FnMut(http::Request<Bytes>) -> Boxed<Result<Response, BoxError>> + std::marker::Send>;

pub(super) type Response = http::Response<Body>;

/// The body of a response.
pub(super) type Body = Pin<Box<dyn Parts>>;

/// The parts of a body, of any types.
pub(super) trait Parts: std::marker::Send {
    /// Passes the next part to `take`, in one piece or several. `false` at the end.
    fn poll_part(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<bool, BoxError>>;
}

impl<B: HttpBody<Error: Into<BoxError>> + std::marker::Send> Parts for B {
    fn poll_part(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<bool, BoxError>> {
        match ready!(self.poll_frame(cx)) {
            None => Poll::Ready(Ok(false)),
            Some(Err(error)) => Poll::Ready(Err(error.into())),
            Some(Ok(frame)) => {
                if let Ok(mut data) = frame.into_data() {
                    while data.has_remaining() {
                        take(data.chunk());
                        data.advance(data.chunk().len());
                    }
                }
                Poll::Ready(Ok(true))
            }
        }
    }
}

/// Erases the types of a function that sends requests.
pub(super) fn boxed<F, R, B, E>(mut send: F) -> Send
where
    F: FnMut(http::Request<Bytes>) -> R + std::marker::Send + 'static,
    R: Future<Output = Result<http::Response<B>, E>> + std::marker::Send + 'static,
    B: HttpBody<Error: Into<BoxError>> + std::marker::Send + 'static,
    E: Into<BoxError> + 'static,
{
    Box::new(move |request| {
        let response = send(request);
        Box::pin(async move {
            let response = response.await.map_err(Into::into)?;
            Ok(response.map(|body| Box::pin(body) as Body))
        })
    })
}

/// Begins to send the machine's request.
pub(super) fn send(machine: &mut Machine, now: Duration, send: &mut Send) -> Link {
    match request(machine) {
        Ok(request) => {
            machine.requested(now);
            Link::Requested(send(request))
        }
        Err(error) => {
            machine.fail(now, io::Error::new(io::ErrorKind::InvalidInput, error));
            Link::Closed
        }
    }
}

fn request(machine: &Machine) -> http::Result<http::Request<Bytes>> {
    let mut request = http::Request::builder()
        .method(machine.method())
        .uri(machine.url().to_string());
    for (name, value) in machine.headers() {
        // HTTP/2 has its own field for it, which libraries set from the URL.
        if !name.eq_ignore_ascii_case("host") {
            request = request.header(name, value);
        }
    }
    request.body(machine.body())
}

/// Reports the response. Returns the body, if there is one to be read.
pub(super) fn respond(
    machine: &mut Machine,
    now: Duration,
    response: Result<Response, BoxError>,
) -> Option<Body> {
    match response {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let headers = head.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            machine.respond(now, ResponseHead::from_parts(head.status.as_u16(), headers));
            Some(body)
        }
        Err(error) => {
            machine.fail(now, io::Error::other(error));
            None
        }
    }
}

/// Reads a part of the body. Ready if that has changed something.
pub(super) fn poll_body(
    body: &mut Body,
    cx: &mut Context<'_>,
    machine: &mut Machine,
    clock: impl Fn() -> Duration,
) -> Poll<()> {
    let now = std::cell::OnceCell::new();
    let mut take = |part: &[u8]| machine.receive(*now.get_or_init(&clock), part);
    match ready!(body.as_mut().poll_part(cx, &mut take)) {
        Ok(true) => {}
        Ok(false) => machine.end(clock()),
        Err(error) => machine.fail(clock(), io::Error::other(error)),
    }
    Poll::Ready(())
}
