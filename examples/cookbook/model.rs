//! A model's endpoint in the shape of OpenAI, with its errors before and in the middle of a stream.
//!
//! ```text
//! curl -N http://127.0.0.1:31344/v1/chat/completions -H 'Content-Type: application/json' \
//!     -d '{"prompt": "hey there"}'
//! ```
//!
//! The model fails at the word `fail`, and at an empty prompt before the first token. When the client
//! leaves, the future is dropped where it waits, and the model with it. The program `gateway` has
//! the whole of both companies' endpoints.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sse_core::shapes::openai::{Error, done};
use sse_net::{Answer, Config, Request, Server, ServerHandle, Upgrader};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::BoxError;

#[derive(Deserialize)]
struct Question {
    prompt: String,
}

async fn handle(mut request: Request) -> Answer {
    let question: Question = match request.json().await {
        Ok(question) => question,
        Err(rejection) => return request.respond(Error::from(rejection).to_response()),
    };
    // Before the first event, an error is a response with a status of its own.
    let mut model = match Model::ask(&question.prompt) {
        Ok(model) => model,
        Err(error) => return request.respond(error.to_response()),
    };
    // Clients of OpenAI accept JSON, expect events, and take each block for one.
    let request = request.ignore_accept().without_retry();
    request.stream(async move |mut stream| {
        loop {
            match model.next().await {
                Ok(Some(token)) => {
                    let choice = json!({"index": 0, "delta": {"content": token}});
                    stream.write_json(&json!({"choices": [choice]})).await?;
                }
                Ok(None) => {
                    stream.send(&done()).await?;
                    break;
                }
                // After it, the status has been sent: an error is an event, and `[DONE]` is missing.
                Err(error) => {
                    stream.send(&error.to_event()).await?;
                    break;
                }
            }
        }
        stream.end().await
    })
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let upgrader = Upgrader::new().allow_methods(["POST"])?;
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve(handle))
}

/// Repeats the prompt, a word at a time.
struct Model(VecDeque<String>);

impl Model {
    fn ask(prompt: &str) -> Result<Self, Error> {
        if prompt.is_empty() {
            return Err(Error::new(400, "the prompt is empty; send some words"));
        }
        let words = prompt.split_inclusive(' ').map(str::to_owned);
        Ok(Self(words.collect()))
    }

    async fn next(&mut self) -> Result<Option<String>, Error> {
        sleep(Duration::from_millis(5)).await;
        match self.0.pop_front() {
            Some(word) if word.trim() == "fail" => {
                Err(Error::new(503, "the model is overloaded; retry later"))
            }
            word => Ok(word),
        }
    }
}
