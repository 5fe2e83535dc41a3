//! A client of a model's endpoint: ours, and reqwest with our decoder.
//!
//! `cargo run --bin cookbook -- model_client http://127.0.0.1:31344/v1/chat/completions` asks the
//! server of the recipe `model` twice.
//!
//! Ours sends the request once and never again, has deadlines, and reports a completion that is cut
//! off. reqwest brings its cookies and proxies; then the program itself has to look for the end of
//! the completion, and for errors within the stream.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sse_net::{BodyEvents, Connect, EventSource};

use crate::BoxError;

pub(crate) async fn run(url: &str) -> Result<(), BoxError> {
    cli::print(format_args!("ours: {}", ask(url, "hey there").await?));
    let text = ask_with_reqwest(url, "hey there").await?;
    cli::print(format_args!("reqwest: {text}"));
    match ask(url, "please fail now").await {
        Ok(text) => cli::print(format_args!("unexpected: {text}")),
        Err(error) => cli::print(format_args!("an error: {error}")),
    }
    Ok(())
}

async fn ask(url: &str, prompt: &str) -> Result<String, BoxError> {
    let mut tokens = EventSource::post(url)?
        .header("Authorization", "Bearer …")?
        .json(&json!({ "prompt": prompt }))?
        .silence(Duration::from_secs(30)) // not a byte for so long is an error
        .ends_at_data("[DONE]") // and so is an end without this, or an error within the stream
        .connect(); // https: .connect_with(TlsConnector::new()?), from sse-tls
    let mut text = String::new();
    while let Some(event) = tokens.next().await? {
        text += &token(event.data())?;
    }
    Ok(text)
}

async fn ask_with_reqwest(url: &str, prompt: &str) -> Result<String, BoxError> {
    let body = json!({ "prompt": prompt }).to_string();
    let request = reqwest::Client::new()
        .post(url)
        .header("Content-Type", "application/json")
        .body(body);
    let response = request.send().await?.error_for_status()?;
    let mut events = BodyEvents::new(reqwest::Body::from(response));
    let mut text = String::new();
    while let Some(event) = events.next().await? {
        if event.data() == "[DONE]" {
            return Ok(text);
        }
        text += &token(event.data())?;
    }
    Err("the stream ended without [DONE]".into())
}

/// Returns the text of a chunk, or the error in its place.
fn token(data: &str) -> Result<String, BoxError> {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Delta,
    }
    #[derive(Deserialize)]
    struct Delta {
        content: Option<String>,
    }

    let chunk: Chunk = serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
    let choices = chunk.choices.into_iter();
    Ok(choices.filter_map(|choice| choice.delta.content).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_may_have_no_content() {
        for (delta, expected) in [
            (r#"{"content":"hey"}"#, "hey"),
            (r#"{"role":"assistant","content":null}"#, ""),
            ("{}", ""),
        ] {
            let data = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
            assert_eq!(token(&data).unwrap(), expected, "{delta}");
        }
    }
}
