//! The endpoint of `ask` with axum's `Json` and `Sse`.

use std::error::Error;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use tokio_stream::{Stream, StreamExt};

use sse_net_benches::feed::Options;
use sse_net_benches::listen;
use sse_net_benches::tokens::{COUNT, Question, Tokens};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let listener = listen(options.port)?;
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    let app = Router::new()
        .route("/first", get(async || stream(Tokens::ready(1))))
        .route("/tokens", get(async || stream(Tokens::one_by_one(COUNT))))
        .route("/burst", get(async || stream(Tokens::ready(COUNT))))
        .route(
            "/ask",
            post(async |Json(question): Json<Question>| {
                stream(Tokens::ready(question.text.len().min(1)))
            }),
        );
    axum::serve(listener, app).await?;
    Ok(())
}

fn stream(tokens: Tokens) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let events = tokens.map(|token| Event::default().json_data(token));
    Sse::new(events).keep_alive(KeepAlive::default())
}
