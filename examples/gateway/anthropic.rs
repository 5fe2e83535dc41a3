//! `POST /v1/messages`.

use std::io;

use serde_json::json;
use sse_core::Response;
pub(crate) use sse_core::shapes::anthropic::Error;
use sse_core::shapes::anthropic::{event, message_stop, ping};
use sse_net::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::{self, Model, Question};

pub(crate) const PATH: &str = "/v1/messages";

pub(crate) enum Reply {
    Whole(Response),
    Stream(Message),
}

/// A message that is streamed.
pub(crate) struct Message(Model);

/// Starts the model. An error before the first token is a response.
#[expect(clippy::needless_pass_by_value, reason = "made for `and_then`")]
pub(crate) fn begin(question: Question) -> Result<Reply, Error> {
    if question.model != model::NAME {
        let message = format!(
            "there is no model {:?}; use {:?}",
            question.model,
            model::NAME
        );
        return Err(Error::new(404, message));
    }
    let model = Model::ask(&question).map_err(|_| Error::new(529, "the model is overloaded"))?;
    if question.stream {
        return Ok(Reply::Stream(Message(model)));
    }
    let whole = json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model::NAME,
        "content": [{"type": "text", "text": model.answer()}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": model.len()},
    });
    let response = Response::new(200).with_body("application/json", whole.to_string());
    Ok(Reply::Whole(response))
}

impl Message {
    /// Writes the tokens. An error after the first token is an event.
    pub(crate) async fn write<C>(self, mut stream: Stream<C>) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self(mut model) = self;
        let message = json!({
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model::NAME,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 0},
        });
        let start = json!({"message": message});
        stream.send(&event("message_start", &start)?).await?;
        let block = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
        stream.send(&event("content_block_start", &block)?).await?;
        stream.send(&ping()).await?;
        loop {
            match model.next().await {
                Ok(Some(token)) => {
                    let delta = json!({"type": "text_delta", "text": token});
                    let delta = json!({"index": 0, "delta": delta});
                    stream.send(&event("content_block_delta", &delta)?).await?;
                }
                Ok(None) => break,
                Err(_) => {
                    let error = Error::new(529, "the model is overloaded");
                    stream.send(&error.to_event()).await?;
                    return stream.end().await;
                }
            }
        }
        let stop = json!({"index": 0});
        stream.send(&event("content_block_stop", &stop)?).await?;
        let delta = json!({
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": model.len()},
        });
        stream.send(&event("message_delta", &delta)?).await?;
        stream.send(&message_stop()).await?;
        stream.end().await
    }
}
