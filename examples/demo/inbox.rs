//! The inboxes: a topic of messages for each visitor.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sse_core::{Event, EventType, Rejection, Response, Retention};
use sse_net::{Answer, Request, Topic, TopicConfig};

use crate::hub::Demo;

/// The names of all inboxes begin with this.
pub(crate) const PREFIX: &str = "inbox/";

/// An inbox is dropped when nobody follows it and its last message is older than an hour.
pub(crate) fn config() -> TopicConfig {
    let hour = Duration::from_secs(3600);
    TopicConfig::from(Retention::events(50).age(hour)).event_type(EventType::from_static("mail"))
}

impl Demo {
    /// Returns the inbox of a visitor.
    pub(crate) fn inbox(&self, visitor: &str) -> Result<Topic, Rejection> {
        let is_valid =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_NAME).contains(&visitor.len()) || !visitor.bytes().all(is_valid) {
            return Err(Rejection::BAD_REQUEST.because(NAME));
        }
        let inbox = self.hub.topic(format!("{PREFIX}{visitor}"));
        inbox.map_err(|_| Rejection::UNAVAILABLE.because("there are too many inboxes; retry later"))
    }

    /// Puts the message in the request into an inbox.
    pub(crate) async fn send(&self, mut request: Request) -> Answer {
        let result = match request.json::<Message>().await {
            Ok(message) => self.deliver(&message),
            Err(rejection) => Err(rejection),
        };
        match result {
            Ok(()) => request.respond(Response::new(204)),
            Err(rejection) => request.reject(rejection),
        }
    }

    fn deliver(&self, message: &Message) -> Result<(), Rejection> {
        let inbox = self.inbox(&message.to)?;
        let event = Event::new().json_data(message);
        let event = event.expect("a struct of text serializes");
        let published = inbox.publish(&event);
        published.map_err(|_| Rejection::INTERNAL_SERVER_ERROR)?;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    to: String,
    from: String,
    text: String,
}

/// The longest name of a visitor, in bytes.
const MAX_NAME: usize = 40;

const NAME: &str = "the name of a visitor has 1 to 40 lowercase letters, digits and hyphens";
