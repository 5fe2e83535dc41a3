//! The body of a request that axum refuses.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::sleep;

/// A body that is kept for 2 s if it is dropped before its end.
///
/// hyper closes the connection once the response is written and the body dropped. That resets
/// it if the client is still sending, and the client may lose the response.
pub(crate) struct KeptBody(Option<Body>);

impl KeptBody {
    pub(crate) const fn new(body: Body) -> Self {
        Self(Some(body))
    }
}

impl HttpBody for KeptBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.0.as_ref().map(HttpBody::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            return;
        }
        let body = self.0.take();
        tokio::spawn(async move {
            sleep(TIME_TO_READ).await;
            drop(body);
        });
    }
}

/// The time that a client has to read the response.
const TIME_TO_READ: Duration = Duration::from_secs(2);
