//! A page of htmx: a form is answered with a stream, and named events reach the page.
//!
//! `npm ci` in `examples/browser` installs the scripts, `cargo run --bin htmx` serves the page.
//! In htmx 4, the extension `sse` swaps events without a type into the page and dispatches the
//! others as events of the document.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cli::{Ending, Signals, escape_html};
use sse_core::{Event, EventType, FieldError, Rejection, Retention, Upgrader};
use sse_net::{Answer, Config, Request, Response, Server, Start, Stream, Tcp, Topic};
use tokio::runtime::Runtime;
use tokio::time::sleep;

const COUNT: EventType = EventType::from_static("count");

#[derive(Clone)]
struct App {
    messages: Topic,
    /// The number of messages so far.
    count: Arc<AtomicUsize>,
    scripts: String,
}

impl App {
    async fn handle(self, mut request: Request) -> Answer {
        match (request.method(), request.path()) {
            ("GET" | "HEAD", "/") => request.respond(page()),
            ("GET" | "HEAD", "/htmx.js") => {
                let scripts = Response::new(200).with_body("text/javascript", self.scripts);
                request.respond(scripts)
            }
            ("GET" | "HEAD", "/messages") => request.follow_from(&self.messages, Start::Earliest),
            ("POST", "/say") => match request.body(MAX_FORM).await {
                Ok(form) => {
                    let text = field(&form, "text");
                    let _ = self.publish(&text);
                    request.stream(async move |stream| reply(stream, text).await)
                }
                Err(rejection) => request.reject(rejection),
            },
            (_, "/say") => request.reject(Rejection::method_not_allowed("POST")),
            ("POST", "/" | "/htmx.js" | "/messages") => {
                request.reject(Rejection::METHOD_NOT_ALLOWED)
            }
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }

    /// Publishes a message for all pages, and their number.
    fn publish(&self, text: &str) -> io::Result<()> {
        let html = format!("<li>{}</li>", escape_html(text));
        self.messages.publish(&Event::new().data(html))?;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let count = Event::new().event(COUNT).data(count.to_string());
        self.messages.publish(&count)?;
        Ok(())
    }
}

/// Answers the form word by word.
async fn reply(mut stream: Stream, text: String) -> io::Result<()> {
    for word in format!("You said: {text}").split_inclusive(' ') {
        let html = format!("<span>{}</span>", escape_html(word));
        stream.write_str(&html).await?;
        sleep(Duration::from_millis(20)).await;
    }
    stream.end().await
}

/// Returns a field of a form, or nothing.
fn field(form: &[u8], name: &str) -> String {
    let mut fields = form_urlencoded::parse(form);
    let value = fields.find(|(other, _)| other == name);
    value.map_or_else(String::new, |(_, value)| value.into_owned())
}

fn page() -> Response {
    Response::new(200).with_body("text/html; charset=utf-8", include_str!("htmx.html"))
}

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31342")?;
        let scripts = [
            "htmx.org/dist/htmx.min.js",
            "htmx.org/dist/ext/hx-sse.min.js",
        ];
        let scripts = scripts.into_iter().map(cli::script);
        let scripts = scripts.collect::<Result<Vec<_>, _>>()?.join("\n");
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime
            .block_on(serve(&listen, scripts))
            .map_err(Ending::failure)
    })
}

async fn serve(listen: &str, scripts: String) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("open http://{host}/ (Ctrl-C ends it)"));
    let messages = Topic::new(Retention::events(200));
    let app = App {
        messages,
        count: Arc::default(),
        scripts,
    };
    let server = Server::new(config()?)
        .listen(listener)
        .serve(move |request| app.clone().handle(request));
    signals.next().await;
    server.drain(Duration::from_millis(500)).await;
    Ok(())
}

fn config() -> Result<Config, FieldError> {
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?;
    Ok(Config::default().upgrader(upgrader))
}

/// The largest form, in bytes.
const MAX_FORM: u64 = 10_000;

const USAGE: &str = "\
Usage: htmx [OPTIONS]

Serves a page of htmx. Its scripts are installed by `npm ci` in examples/browser.

  --listen ADDR  the address to listen on (127.0.0.1:31342); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";
