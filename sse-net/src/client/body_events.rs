//! The events of a response of an HTTP library.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http_body::Body as HttpBody;
use sse_core::client::ClientError;
use sse_core::{Decoded, Decoder, MessageEvent};

use super::exchange::Parts;
use super::link::BoxError;

/// The events of a body of hyper, reqwest or another HTTP library, once.
///
/// It does not look at the response head and does not reconnect; see
/// [`Connect::connect_over`](crate::Connect::connect_over) for that. The end of the body is the
/// end, without an unfinished event.
///
/// ```
/// use http_body_util::Full;
/// use sse_net::BodyEvents;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = Full::new(&b"data: hey\n\ndata: there\n\n"[..]); // or response.into_body()
/// let mut events = BodyEvents::new(body);
/// while let Some(event) = events.next().await? {
///     println!("{}", event.data());
/// }
/// # Ok::<(), sse_net::ClientError>(())
/// # }).unwrap();
/// ```
pub struct BodyEvents<B> {
    body: Pin<Box<B>>,
    decoder: Decoder,
    has_ended: bool,
}

impl<B: HttpBody<Error: Into<BoxError>> + Send> BodyEvents<B> {
    /// Decodes a body with the default limits of a [`Decoder`].
    #[must_use]
    pub fn new(body: B) -> Self {
        Self::with_decoder(body, Decoder::new())
    }

    /// Decodes a body with a decoder that has its own settings.
    #[must_use]
    pub fn with_decoder(body: B, decoder: Decoder) -> Self {
        Self {
            body: Box::pin(body),
            decoder,
            has_ended: false,
        }
    }

    /// Returns the next event; `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// [`ClientError::Lost`] with an error of the body, or [`ClientError::Decode`]. Both end the
    /// events.
    pub async fn next(&mut self) -> Result<Option<MessageEvent<'static>>, ClientError> {
        poll_fn(|cx| self.poll_event(cx)).await.transpose()
    }

    /// Returns the decoder, which has the last event ID and the reconnection time.
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<MessageEvent<'static>, ClientError>>> {
        for _ in 0..BUDGET {
            if self.has_ended {
                return Poll::Ready(None);
            }
            // The decoder keeps what of a part has not been decoded.
            let mut chunk = self.decoder.chunk(b"");
            loop {
                match chunk.next() {
                    Ok(Some(Decoded::Event(event))) => {
                        return Poll::Ready(Some(Ok(event.into_owned())));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        self.has_ended = true;
                        return Poll::Ready(Some(Err(ClientError::Decode(error))));
                    }
                }
            }
            drop(chunk);
            let decoder = &mut self.decoder;
            let mut take = |part: &[u8]| drop(decoder.chunk(part));
            match ready!(self.body.as_mut().poll_part(cx, &mut take)) {
                Ok(is_there) => self.has_ended = !is_there,
                Err(error) => {
                    self.has_ended = true;
                    let error = ClientError::Lost(io::Error::other(error));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        // Others have their turn, however fast the body is.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<B: HttpBody<Error: Into<BoxError>> + Send> Stream for BodyEvents<B> {
    type Item = Result<MessageEvent<'static>, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl<B> fmt::Debug for BodyEvents<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyEvents")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

/// The parts of a body that are read in one poll.
const BUDGET: usize = 32;
