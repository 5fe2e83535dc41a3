//! A model endpoint: tokens for one client, asked by `GET` or `POST`, or of a run.

use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sse_net::{
    Answer, Config, Event, Hub, HubConfig, Rejection, Request, Run, Runs, RunsConfig, Server,
    Stream, Upgrader,
};
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
        .serve_with(Model::default(), handle);
    pending().await
}

#[derive(Clone)]
struct Model {
    runs: Runs,
    /// The number of runs so far, which is the key of the next one.
    count: Arc<AtomicUsize>,
}

impl Default for Model {
    fn default() -> Self {
        let config = RunsConfig::default().keep(Duration::from_secs(1));
        Self {
            runs: Runs::new(Hub::new(HubConfig::default()), config),
            count: Arc::default(),
        }
    }
}

async fn handle(model: Model, mut request: Request) -> Answer {
    match (request.method(), request.path()) {
        ("GET", "/first") => request
            .without_retry()
            .stream(|stream| write(stream, Tokens::ready(1))),
        ("GET", "/tokens") => request
            .without_retry()
            .stream(|stream| write(stream, Tokens::one_by_one(COUNT))),
        ("GET", "/run") => {
            let key = model.count.fetch_add(1, Ordering::Relaxed).to_string();
            match model
                .runs
                .start(key, |run| publish(run, Tokens::one_by_one(COUNT)))
            {
                Ok(run) => request.without_retry().follow(&run),
                Err(full) => request.reject(full.into()),
            }
        }
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

async fn publish(run: Run, mut tokens: Tokens) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Some(token) = tokens.next().await {
        run.publish(&Event::new().json_data(&token)?)?;
    }
    Ok(())
}
