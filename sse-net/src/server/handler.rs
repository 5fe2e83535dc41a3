//! The application's side of a server.

use std::pin::Pin;

use super::answer::Answer;
use super::request::Request;

/// Answers requests: a function, a type of the application, or [`Routes`](crate::Routes).
///
/// For a function with state, use [`serve_with`](crate::Server::serve_with). A type may hold the
/// state, too:
///
/// ```
/// use std::collections::HashMap;
/// use sse_net::{Answer, Handler, Rejection, Request, Topic};
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

/// A function, and the state of which each call gets a clone.
pub(super) struct WithState<S, F> {
    pub(super) state: S,
    pub(super) handler: F,
}

impl<S, F, A> Handler for WithState<S, F>
where
    S: Clone + Send + Sync + 'static,
    F: Fn(S, Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send {
        (self.handler)(self.state.clone(), request)
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
        Box::pin(async move { self.handle(request).await.ready().await })
    }
}
