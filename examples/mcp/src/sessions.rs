//! Sessions whose responses are read from the hub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use rmcp::model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionError, SessionTransport,
};
use rmcp::transport::streamable_http_server::session::{
    EventStore, RestoreOutcome, ServerSseMessage, SessionId, SessionManager,
};
use tokio::sync::Notify;

use crate::store::Store;

/// The time after which a client comes back for the rest of a response.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

/// The sessions of rmcp, each response of which follows its stream in the store.
///
/// So a response that a client has resumed is read in the same way as the first, and a slow client
/// does not delay its session.
pub(crate) struct Sessions {
    local: LocalSessionManager,
    store: Arc<Store>,
    open: Arc<Mutex<Open>>,
}

/// The responses to requests that have been begun by them, and how to end each.
type Open = HashMap<(SessionId, RequestId), Arc<Notify>>;

impl Sessions {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let events: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let mut local = LocalSessionManager::default().with_event_store(events);
        local.session_config.sse_retry = Some(RETRY);
        Self {
            local,
            store,
            open: Arc::default(),
        }
    }

    /// Ends the response to a request, which continues: the client comes back for the result.
    ///
    /// Returns `false` if the client has left already.
    pub(crate) fn end_response(&self, session: &str, request: &RequestId) -> bool {
        let key = (SessionId::from(session), request.clone());
        match lock(&self.open).get(&key) {
            Some(end) => {
                end.notify_one();
                true
            }
            None => false,
        }
    }

    fn begin_response(&self, session: &SessionId, request: RequestId) -> (Arc<Notify>, Response) {
        let key = (Arc::clone(session), request);
        let end = Arc::new(Notify::new());
        lock(&self.open).insert(key.clone(), Arc::clone(&end));
        let open = Arc::clone(&self.open);
        (end, Response { open, key })
    }
}

/// A response that is open. Dropping it removes its entry.
struct Response {
    open: Arc<Mutex<Open>>,
    key: (SessionId, RequestId),
}

impl Drop for Response {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = SessionTransport;

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let ClientJsonRpcMessage::Request(request) = &message else {
            return Err(SessionError::SessionServiceTerminated.into());
        };
        let request = request.id.clone();
        // Before the request begins, which may end its response at once.
        let (end, response) = self.begin_response(id, request.clone());
        let mut live = Box::pin(self.local.create_stream(id, message).await?);
        // The ID of the priming event names the stream. Everything after it is read from the
        // store; rmcp stores an event before it sends it.
        let priming = live
            .next()
            .await
            .ok_or(SessionError::SessionServiceTerminated)?;
        let first = priming.event_id.clone().unwrap_or_default();
        if let Some((_, name)) = first.split_once('/') {
            let noted = self.store.note_request(name, &request);
            noted.map_err(SessionError::EventStore)?;
        }
        let rest = self
            .store
            .follow(&first)
            .map_err(SessionError::EventStore)?;
        let events = stream::once(async { priming }).chain(rest);
        let events = events.take_until(async move { end.notified().await });
        Ok(events.inspect(move |_| {
            let _ = &response;
        }))
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.local.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.local.resume(id, last_event_id).await
    }

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        self.local.create_session().await
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.local.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.local.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.local.close_session(id).await
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        self.local.accept_message(id, message).await
    }

    async fn restore_session(
        &self,
        id: SessionId,
    ) -> Result<RestoreOutcome<Self::Transport>, Self::Error> {
        self.local.restore_session(id).await
    }

    fn event_store(&self) -> Option<Arc<dyn EventStore>> {
        self.local.event_store()
    }
}
