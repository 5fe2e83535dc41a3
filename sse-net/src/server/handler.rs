//! The application's side of a server.

use std::pin::Pin;

use super::answer::Answer;
use super::request::Request;

/// Answers requests: a function, a type of the application, or [`Routes`](crate::Routes).
///
/// A type holds the state that requests need:
///
/// ```
/// use std::collections::HashMap;
/// use sse_net::{Answer, Handler, Rejection, Request, Retention, Topic};
///
/// struct Rooms {
///     by_path: HashMap<String, Topic>,
///     token: String,
/// }
///
/// impl Handler for Rooms {
///     async fn handle(&self, request: Request) -> Answer {
///         if request.header("x-token") != Some(self.token.as_bytes()) {
///             return request.reject(Rejection::UNAUTHORIZED);
///         }
///         match self.by_path.get(request.path()) {
///             Some(room) => request.follow(room),
///             None => request.reject(Rejection::NOT_FOUND),
///         }
///     }
/// }
/// # let rooms = Rooms {
/// #     by_path: HashMap::from([("/rust".into(), Topic::new(Retention::default()))]),
/// #     token: "secret".into(),
/// # };
/// # let _: &dyn std::any::Any = &rooms;
/// ```
///
/// A function may capture its state, cloned for each request:
///
/// ```
/// use sse_net::{Answer, Handler, Request, Topic};
///
/// fn handler(room: Topic) -> impl Handler {
///     move |request: Request| {
///         let room = room.clone();
///         async move { request.follow(&room) }
///     }
/// }
/// # let _ = handler;
/// ```
///
/// The future is dropped when its client disconnects, and at the
/// [time limit](crate::Config::handler_timeout), where the response is 503. The response to a
/// panic is 500. Bytes that the client sends meanwhile are discarded, up to
/// [`max_input`](crate::Config::max_input).
pub trait Handler: Send + Sync + 'static {
    /// Answers a request.
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send {
        self(request)
    }
}

/// A [`Handler`] of any type.
pub(super) trait DynHandler: Send + Sync {
    /// Calls [`Handler::handle`] when the future is polled first, so that its panics are the
    /// future's.
    fn handle_boxed(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
}

impl<H: Handler> DynHandler for H {
    fn handle_boxed(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move { self.handle(request).await })
    }
}
