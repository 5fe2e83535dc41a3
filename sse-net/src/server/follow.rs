//! Answers that follow topics.

use std::borrow::Borrow;

use sse_core::{EventId, Response};

use super::answer::{Answer, Kind};
use super::request::Request;
use crate::config::jittered;
use crate::shard::Follow;
use crate::topic::{Choice, Several, Start, StreamToken, Topic};

impl Request {
    /// Sets the token by which the stream's topics are changed while the client follows.
    ///
    /// The topics that the handler names are the first ones. A client that reconnects with the
    /// token gets those of its stream, which the hub keeps; see
    /// [`HubConfig::max_kept_streams`](crate::HubConfig::max_kept_streams). If the hub does not
    /// know the token of a client with a last event ID, for example after a restart, the client
    /// gets a gap event with `"token":"unknown"` in its data, and the first topics: the page
    /// sends its topics again. [`StreamTopics`](crate::StreamTopics) has an example.
    ///
    /// A client that knows the token can follow the topics, so bind it to the user with
    /// [`StreamToken::bound_to`], and [remove](crate::StreamTopics::remove) topics that the user
    /// may no longer follow. The topics have to belong to a hub; otherwise the response is 500.
    #[must_use]
    pub fn with_token(mut self, token: StreamToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Streams `topic` to the client, which resumes or starts where
    /// [`TopicConfig::start`](crate::TopicConfig::start) says.
    pub fn follow(self, topic: &Topic) -> Answer {
        self.follow_from(topic, topic.start())
    }

    /// Streams `topic` to the client, which resumes or starts at `start`.
    ///
    /// A client that has missed events, or whose last event ID the topic does not know, gets
    /// the topic's gap event first. It continues with the oldest retained event, or as
    /// [`unknown_id`](crate::TopicConfig::unknown_id) is set. [`Answer::resume`] returns which
    /// case it is.
    ///
    /// If the topic is finished and the client has received all of it, the response is 204, after
    /// which browsers stop reconnecting.
    pub fn follow_from(self, topic: &Topic, start: Start) -> Answer {
        self.follow_all_from([topic], start)
    }

    /// Streams several topics of a [`Hub`](crate::Hub) to the client, which resumes or starts with
    /// the next event.
    ///
    /// The events come in the order of their IDs, and one last event ID resumes all topics. A gap
    /// in one of them is reported by a gap event with the topic's name, and does not hold up the
    /// others. When one of the topics has been finished, the client gets an event `close` with its
    /// name, in JSON as `{"topic":"…"}`. The newest events of the keys of [keyed
    /// topics](crate::Hub::keyed_topic) come first. The stream ends when all have been finished; a
    /// client that has seen all events then gets 204.
    ///
    /// The client costs some 200 bytes more than one that follows one topic, and each event a
    /// look at its other topics, so some tens of them are ordinary. The response is 400 if there
    /// are more than [`max_topics_per_stream`](crate::HubConfig::max_topics_per_stream), and 500 if
    /// they do not belong to one hub, or there is none, which is logged with the feature
    /// `tracing`.
    ///
    /// Topics are added and removed while the client follows if the request has a
    /// [token](Self::with_token).
    ///
    /// ```
    /// use sse_net::{Answer, Hub, Rejection, Request};
    ///
    /// fn follow(request: Request, hub: &Hub, user: &str) -> Answer {
    ///     match (hub.topic("news"), hub.topic(format!("inbox/{user}"))) {
    ///         (Ok(news), Ok(inbox)) => request.follow_all([&news, &inbox]),
    ///         _ => request.reject(Rejection::UNAVAILABLE),
    ///     }
    /// }
    /// # let _ = follow;
    /// ```
    pub fn follow_all(self, topics: impl IntoIterator<Item = impl Borrow<Topic>>) -> Answer {
        self.follow_all_from(topics, Start::Live)
    }

    /// Streams several topics to the client like [`follow_all`](Self::follow_all). It resumes, or
    /// starts at `start` in each of them.
    pub fn follow_all_from(
        self,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        start: Start,
    ) -> Answer {
        match Choice::of(topics, self.token.is_some()) {
            Ok(choice) => self.follow_choice(choice, start),
            Err(error) => self.answer(error.rejection()),
        }
    }

    fn follow_choice(self, choice: Choice, start: Start) -> Answer {
        match choice {
            Choice::Several(hub, topics)
                if !hub.is_ready(&topics, self.last_event_id().as_ref()) =>
            {
                Answer::new(Kind::Waiting(Box::pin(async move {
                    let asked = self.last_event_id().map(EventId::into_owned);
                    match hub.is_ready_in_time(&topics, asked.as_ref()).await {
                        true => self.follow_ready(Choice::Several(hub, topics), start),
                        false => self.retry_later(),
                    }
                })))
            }
            choice => self.follow_ready(choice, start),
        }
    }

    fn follow_ready(mut self, choice: Choice, start: Start) -> Answer {
        let accepting = match self.accept_head() {
            Ok(accepting) => accepting,
            Err(answer) => return answer,
        };
        let token = self.token.take();
        let asked = self.last_event_id();
        let (retry, mut opening) = (self.retry.map(jittered), Vec::new());
        let (follows, resume, is_over) = match choice {
            Choice::One(topic) => {
                let located = topic.locate(asked.as_ref(), start);
                located.encode_opening(&topic, retry, &mut opening);
                let (cursor, joining) = (located.cursor, located.joining.map(Box::new));
                (
                    Follow::One {
                        topic,
                        cursor,
                        joining,
                    },
                    located.resume,
                    located.is_over,
                )
            }
            Choice::Several(hub, topics) => {
                let several = Several::locate(hub, topics, asked.as_ref(), start, token);
                several.encode_opening(retry, &mut opening);
                let (resume, is_over) = (several.resume, several.is_over());
                (Follow::Several(several.into()), resume, is_over)
            }
        };
        if is_over {
            return self.answer(Response::new(204));
        }
        let mut head = match self.response_head(accepting) {
            Ok(head) => head,
            Err(answer) => return answer,
        };
        head.append(&mut opening);
        Answer::new(Kind::Follow {
            follows,
            resume,
            opening: head,
            sends_retry: self.retry.is_some(),
        })
    }
}
