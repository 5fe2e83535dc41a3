//! The same endpoints inside axum, with a graceful shutdown.

use std::io;

use axum::Router;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::request::Parts;
use axum::http::{Request, Response};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::IntoResponse;
use axum::routing::post;
use cli::Signals;
use serde_json::Error;
use sse_core::Rejection;
use sse_net::{Body, Responder};
use tokio::net::TcpListener;

use crate::kept_body::KeptBody;
use crate::model::Question;
use crate::{GRACE, MAX_BODY, anthropic, config, openai};

pub(crate) async fn serve(listener: TcpListener, mut signals: Signals) -> io::Result<()> {
    // The client says that it accepts JSON, and expects events without a reconnection time.
    let responder = Responder::new(config()?).ignore_accept().without_retry();
    let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
    let app = Router::new()
        .route(openai::PATH, post(chat_completions))
        .route(anthropic::PATH, post(messages))
        .layer(from_fn_with_state(responder.clone(), check))
        .layer(DefaultBodyLimit::max(limit))
        .layer(map_request(async |request: Request<AxumBody>| {
            request.map(|body| AxumBody::new(KeptBody::new(body)))
        }))
        .with_state(responder.clone());
    // A graceful shutdown waits for every stream; `drain` ends them.
    let shutdown = async move {
        signals.next().await;
        tokio::spawn(async move { responder.drain(GRACE).await });
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}

/// Refuses what may not be sent, before its body is read.
async fn check(
    State(responder): State<Responder>,
    request: Request<AxumBody>,
    next: Next,
) -> Response<AxumBody> {
    match responder.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Extractors consume parts of the request, and the responder reads the rest.
async fn chat_completions(
    State(responder): State<Responder>,
    parts: Parts,
    body: Bytes,
) -> Response<Body> {
    let reply = parse(&body)
        .map_err(openai::Error::from)
        .and_then(openai::begin);
    match reply {
        Ok(openai::Reply::Whole(response)) => responder.respond(&parts, response),
        Ok(openai::Reply::Stream(completion)) => {
            responder.stream(&parts, async |stream| completion.write(stream).await)
        }
        Err(error) => responder.respond(&parts, error.to_response()),
    }
}

async fn messages(State(responder): State<Responder>, parts: Parts, body: Bytes) -> Response<Body> {
    let reply = parse(&body)
        .map_err(anthropic::Error::from)
        .and_then(anthropic::begin);
    match reply {
        Ok(anthropic::Reply::Whole(response)) => responder.respond(&parts, response),
        Ok(anthropic::Reply::Stream(message)) => {
            responder.stream(&parts, async |stream| message.write(stream).await)
        }
        Err(error) => responder.respond(&parts, error.to_response()),
    }
}

fn parse(body: &[u8]) -> Result<Question, Rejection> {
    serde_json::from_slice(body).map_err(|error: Error| {
        Rejection::BAD_REQUEST.because(format!("the body is not the expected JSON: {error}"))
    })
}
