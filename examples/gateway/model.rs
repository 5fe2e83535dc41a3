//! A model for tests, which repeats the question.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

/// The only model.
pub(crate) const NAME: &str = "parrot";

/// The part of a request that both companies' endpoints have.
#[derive(Deserialize)]
pub(crate) struct Question {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) stream: bool,
}

#[derive(Deserialize)]
pub(crate) struct Message {
    content: Value,
}

impl Question {
    /// Returns the text of the last message.
    fn text(&self) -> String {
        let content = self.messages.last().map(|message| &message.content);
        match content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                Vec::from_iter(texts).join(" ")
            }
            _ => String::new(),
        }
    }
}

/// Why the model cannot continue.
#[derive(Debug)]
pub(crate) struct Overloaded;

/// The model at work on one question. It is stopped by being dropped.
pub(crate) struct Model {
    tokens: Vec<String>,
    at: usize,
    fails: bool,
}

impl Model {
    /// Starts the model. It fails at once on the question `fail`, and after two tokens on one
    /// that begins with `fail`.
    pub(crate) fn ask(question: &Question) -> Result<Self, Overloaded> {
        let text = question.text();
        if text == "fail" {
            return Err(Overloaded);
        }
        let answer = format!("You said: {text}");
        Ok(Self {
            tokens: answer.split_inclusive(' ').map(str::to_owned).collect(),
            at: 0,
            fails: text.starts_with("fail"),
        })
    }

    /// Returns the next token, after some time.
    pub(crate) async fn next(&mut self) -> Result<Option<&str>, Overloaded> {
        sleep(Duration::from_millis(20)).await;
        if self.fails && self.at == 2 {
            return Err(Overloaded);
        }
        self.at += 1;
        Ok(self.tokens.get(self.at - 1).map(|token| &**token))
    }

    /// Returns the whole answer.
    pub(crate) fn answer(&self) -> String {
        self.tokens.concat()
    }

    /// Returns the number of tokens of the whole answer.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
