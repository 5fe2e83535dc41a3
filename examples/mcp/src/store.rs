//! What rmcp stores, in a hub: the events of its streams, and its sessions.
//!
//! A stream is a topic of the hub. An event's ID is `<the hub's ID>/<the stream's>`, because rmcp
//! resumes a stream by an event's ID alone.

use std::future::ready;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use rmcp::model::{RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::{
    EventStore, EventStoreError, EventStream, ServerSseMessage, SessionState, SessionStore,
    SessionStoreError,
};
use serde_json::json;
use sse_core::{LogId, MessageEvent};
use sse_net::{
    Event, EventId, EventType, Hub, HubConfig, Published, Resume, Retention, Start, Topic,
};

/// The events and the sessions of an MCP server.
pub(crate) struct Store {
    hub: Hub,
    /// Streams with smaller IDs are those of an earlier process.
    began: LogId,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Store {
    /// Returns the settings of a hub for this store.
    ///
    /// A stream is retained for an hour, in up to 4 MiB, and a session for a day.
    pub(crate) fn hub_config() -> HubConfig {
        let events = Retention::events(usize::MAX).bytes(4 << 20);
        HubConfig::default()
            .topics(STREAM, events.age(Duration::from_secs(3600)))
            .topics(
                SESSION,
                Retention::events(1).age(Duration::from_secs(24 * 3600)),
            )
    }

    pub(crate) fn new(hub: Hub) -> Result<Self, Error> {
        let start = hub.topic("starts")?.publish(&Event::new().data(""))?;
        let began = start.id().unwrap_or_default();
        Ok(Self { hub, began })
    }

    /// Notes the request that a stream answers, for a later process.
    pub(crate) fn note_request(&self, stream: &str, request: &RequestId) -> Result<(), Error> {
        let note = Event::new().event(REQUEST).json_data(request)?;
        // A stream that has been finished already needs no note.
        let _ = self.stream(stream)?.publish(&note);
        Ok(())
    }

    /// Follows a stream after an event's ID, until it is finished.
    pub(crate) fn follow(&self, last_event_id: &str) -> Result<EventStream, Error> {
        let unknown = || format!("{last_event_id} is not the ID of an event");
        let (id, name) = last_event_id.split_once('/').ok_or_else(unknown)?;
        let after = LogId::parse(id).ok_or_else(unknown)?;
        let topic = self.stream(name)?;
        let subscription = topic.subscribe_after(EventId::from(after), Start::Earliest);
        if subscription.resume() == Resume::Unknown {
            return Err(unknown().into());
        }
        if after < self.began && !name.ends_with(COMMON) && !topic.is_finished() {
            interrupt(&topic)?;
        }
        let name = name.to_owned();
        let events = subscription.events();
        let messages = events.filter_map(move |event| {
            // The oldest events may have been evicted; the others follow.
            ready(event.ok().and_then(|event| message(&name, &event)))
        });
        Ok(Box::pin(messages))
    }

    fn stream(&self, name: &str) -> Result<Topic, Error> {
        Ok(self.hub.topic(format!("{STREAM}{name}"))?)
    }

    fn session(&self, id: &str) -> Result<Topic, Error> {
        Ok(self.hub.topic(format!("{SESSION}{id}"))?)
    }

    /// Waits until an event is on disk, if there is a journal.
    async fn stored(&self, event: &Published) -> Result<(), Error> {
        if self.hub.journal_state().is_some() {
            event.stored().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl EventStore for Store {
    async fn store_event(
        &self,
        stream: &str,
        event: &ServerSseMessage,
    ) -> Result<String, EventStoreError> {
        let mut stored = Event::new().data("");
        if let Some(message) = &event.message {
            stored = stored.json_data(&**message)?;
        }
        if let Some(retry) = event.retry {
            stored = stored.retry(retry);
        }
        let topic = self.stream(stream)?;
        let published = topic.publish(&stored)?;
        // The stream of a request ends with its response. The common stream of a session has
        // only responses whose requests are not known any more.
        if is_response(event) && !stream.ends_with(COMMON) {
            topic.finish(None)?;
        }
        self.stored(&published).await?;
        let id = published.id().unwrap_or_default();
        Ok(format!("{id}/{stream}"))
    }

    async fn replay_events_after(
        &self,
        last_event_id: &str,
    ) -> Result<EventStream, EventStoreError> {
        self.follow(last_event_id)
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn load(&self, id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let topic = self.session(id)?;
        if topic.is_finished() {
            return Ok(None);
        }
        match retained(&topic).last() {
            Some(state) => Ok(Some(serde_json::from_str(state.data())?)),
            None => Ok(None),
        }
    }

    async fn store(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let state = Event::new().json_data(state)?;
        let published = self.session(id)?.publish(&state)?;
        self.stored(&published).await
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        let end = self.session(id)?.finish(None)?;
        self.stored(&end).await
    }
}

/// Ends the stream of a request that an earlier process did not answer.
fn interrupt(topic: &Topic) -> Result<(), Error> {
    let notes = retained(topic);
    let note = notes.iter().find(|event| event.event() == REQUEST.as_str());
    let Some(note) = note else {
        topic.finish(None)?;
        return Ok(());
    };
    let request: RequestId = serde_json::from_str(note.data())?;
    let message = "the server was restarted during the request; send it again";
    let error = json!({ "code": -32603, "message": message });
    let error = json!({ "jsonrpc": "2.0", "id": request, "error": error });
    topic.finish(Some(&Event::new().json_data(&error)?))?;
    Ok(())
}

/// Returns the events that a topic retains.
fn retained(topic: &Topic) -> Vec<MessageEvent<'static>> {
    let mut events = topic.subscribe(Start::Earliest).events();
    let mut retained = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        retained.extend(event);
    }
    retained
}

/// Returns the event as rmcp sends it, or `None` if it is a note.
fn message(stream: &str, event: &MessageEvent<'_>) -> Option<ServerSseMessage> {
    if event.event() != "message" {
        return None;
    }
    let id = format!("{}/{stream}", event.last_event_id());
    let mut message = ServerSseMessage::default();
    message.event_id = Some(id);
    if !event.data().is_empty() {
        message.message = Some(serde_json::from_str(event.data()).ok()?);
    }
    Some(message)
}

fn is_response(event: &ServerSseMessage) -> bool {
    let message = event.message.as_deref();
    matches!(
        message,
        Some(ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))
    )
}

/// The beginnings of the names of topics.
const STREAM: &str = "stream/";
const SESSION: &str = "session/";

/// The end of the name of a session's stream that belongs to no request, as rmcp names it.
const COMMON: &str = ":common";

/// The type of the note of a request, which clients do not receive.
const REQUEST: EventType<'static> = EventType::from_static("request");

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_stored_until_it_is_deleted() {
        let store = Store::new(Hub::new(Store::hub_config())).unwrap();
        assert!(store.load("a").await.unwrap().is_none());
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let state = json!({ "initialize_params": params });
        let state: SessionState = serde_json::from_value(state).unwrap();
        store.store("a", &state).await.unwrap();
        let loaded = store.load("a").await.unwrap().unwrap();
        assert_eq!(loaded.initialize_params, state.initialize_params);
        store.delete("a").await.unwrap();
        assert!(store.load("a").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_stream_is_not_resumed_after_an_unknown_id() {
        let store = Store::new(Hub::new(Store::hub_config())).unwrap();
        let event = ServerSseMessage::default();
        let known = store.store_event("a", &event).await.unwrap();
        assert!(store.follow(&known).is_ok());
        for id in ["", "1-1", "nonsense/a", "1-1/a", "99999999999999-1/a"] {
            let error = store.follow(id).err().map(|error| error.to_string());
            assert_eq!(error, Some(format!("{id} is not the ID of an event")));
        }
    }
}
