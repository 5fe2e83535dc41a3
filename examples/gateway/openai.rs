//! `POST /v1/chat/completions`.

use std::io;

use serde_json::{Value, json};
use sse_core::Response;
pub(crate) use sse_core::shapes::openai::Error;
use sse_core::shapes::openai::done;
use sse_net::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::{self, Model, Question};

pub(crate) const PATH: &str = "/v1/chat/completions";

pub(crate) enum Reply {
    Whole(Response),
    Stream(Completion),
}

/// A completion that is streamed.
pub(crate) struct Completion {
    model: Model,
    created: u64,
}

/// Starts the model. An error before the first token is a response.
#[expect(clippy::needless_pass_by_value, reason = "made for `and_then`")]
pub(crate) fn begin(question: Question) -> Result<Reply, Error> {
    if question.model != model::NAME {
        let message = format!(
            "there is no model {:?}; use {:?}",
            question.model,
            model::NAME
        );
        return Err(Error::new(404, message).code("model_not_found"));
    }
    let model = Model::ask(&question).map_err(|_| Error::new(503, "the model is overloaded"))?;
    let created = model::now();
    if question.stream {
        return Ok(Reply::Stream(Completion { model, created }));
    }
    let choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": model.answer()},
        "finish_reason": "stop",
    });
    let usage = json!({
        "prompt_tokens": 1, "completion_tokens": model.len(), "total_tokens": model.len() + 1,
    });
    let whole = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": created,
        "model": model::NAME,
        "choices": [choice],
        "usage": usage,
    });
    let response = Response::new(200).with_body("application/json", whole.to_string());
    Ok(Reply::Whole(response))
}

impl Completion {
    /// Writes the tokens. An error after the first token is an event.
    pub(crate) async fn write<C>(mut self, mut stream: Stream<C>) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let created = self.created;
        let chunk = |delta: Value, reason: Option<&str>| {
            json!({
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": created,
                "model": model::NAME,
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            })
        };
        let role = json!({"role": "assistant", "content": ""});
        stream.write_json(&chunk(role, None)).await?;
        loop {
            match self.model.next().await {
                Ok(Some(token)) => {
                    let delta = json!({"content": token});
                    stream.write_json(&chunk(delta, None)).await?;
                }
                Ok(None) => {
                    stream.write_json(&chunk(json!({}), Some("stop"))).await?;
                    stream.send(&done()).await?;
                    break;
                }
                Err(_) => {
                    let error = Error::new(503, "the model is overloaded");
                    stream.send(&error.to_event()).await?;
                    break;
                }
            }
        }
        stream.end().await
    }
}
