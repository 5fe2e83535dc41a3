//! A model endpoint: tokens for one client, asked by `GET` or `POST`.

use std::error::Error;
use std::future::pending;

use sse_net::{Answer, Config, Rejection, Request, Server, Stream, Upgrader};
use tokio_stream::StreamExt;

use sse_net_benches::feed::Options;
use sse_net_benches::listen;
use sse_net_benches::tokens::{COUNT, Question, Tokens};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let upgrader = Upgrader::new().allow_methods(["GET", "POST"])?;
    let _server = Server::new(Config::default().upgrader(upgrader))
        .listen(listen(options.port)?)
        .serve(handle);
    pending().await
}

async fn handle(mut request: Request) -> Answer {
    match (request.method(), request.path()) {
        ("GET", "/first") => request
            .without_retry()
            .stream(|stream| write(stream, Tokens::ready(1))),
        ("GET", "/tokens") => request
            .without_retry()
            .stream(|stream| write(stream, Tokens::one_by_one(COUNT))),
        ("GET", "/burst") => request
            .without_retry()
            .stream(|stream| write(stream, Tokens::ready(COUNT))),
        ("POST", "/ask") => match request.json::<Question>().await {
            Ok(question) => request
                .without_retry()
                .stream(move |stream| write(stream, Tokens::ready(question.text.len().min(1)))),
            Err(rejection) => request.reject(rejection),
        },
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

async fn write(mut stream: Stream, mut tokens: Tokens) -> std::io::Result<()> {
    while let Some(token) = tokens.next().await {
        stream.write_json(&token).await?;
    }
    stream.end().await
}
