//! The log of a CI job: a page follows a file while the job writes it.
//!
//! ```text
//! (for n in 1 2 3; do echo step $n; sleep 1; done; echo 0 > job.exit) > job &
//! cargo run --bin cookbook -- ci_log job
//! curl -N http://127.0.0.1:31344/log
//! ```
//!
//! The file is the history, so there is no topic: each client reads it at its own pace. The ID of
//! a line is the offset after it, so a page that comes back continues there, also after a restart
//! of the server. `job.exit` has the status when the job is done, and ends the streams.

use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use sse_net::{
    Answer, Config, Event, EventId, EventType, Rejection, Request, Response, Server, ServerHandle,
};
use tokio::fs::{self, File};
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::sleep;

async fn handle(path: Arc<str>, request: Request) -> Answer {
    if request.path() != "/log" {
        return request.reject(Rejection::NOT_FOUND);
    }
    let offset = match request.last_event_id() {
        None => 0,
        Some(id) if id == DONE => return request.respond(Response::new(204)),
        Some(id) => id.as_str().parse().unwrap_or(0),
    };
    request.stream(async move |mut stream| {
        let mut lines = Lines::open(&path, offset).await?;
        while let Some(line) = lines.next().await? {
            let event = Event::new().id(lines.offset).data(line);
            stream.send(&event).await?; // waits for a client that is slow
        }
        let status = fs::read_to_string(format!("{path}.exit")).await?;
        let exit = Event::new().event(EXIT).data(status.trim_end());
        stream.send(&exit.id(DONE)).await?;
        stream.end().await // the page closes its EventSource on `exit`
    })
}

/// The whole lines of a file that is being written.
struct Lines {
    file: BufReader<File>,
    offset: u64,
    exit: String,
    line: Vec<u8>,
}

impl Lines {
    async fn open(path: &str, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(Self {
            file: BufReader::new(file),
            offset,
            exit: format!("{path}.exit"),
            line: Vec::new(),
        })
    }

    /// Waits for the next line; `None` when the job is done and its log has been read.
    async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            // Asked before reading, so that what the job wrote last is not missed.
            let is_done = fs::try_exists(&self.exit).await?;
            self.file.read_until(b'\n', &mut self.line).await?;
            if self.line.ends_with(b"\n") || (is_done && !self.line.is_empty()) {
                self.offset += self.line.len() as u64;
                let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
                self.line.clear();
                return Ok(Some(line));
            }
            if is_done {
                return Ok(None);
            }
            sleep(POLL).await;
        }
    }
}

pub(crate) fn serve(listener: TcpListener, path: &str) -> ServerHandle {
    let server = Server::new(Config::default()).listen(listener);
    server.serve_with(Arc::from(path), handle)
}

const EXIT: EventType = EventType::from_static("exit");

/// The ID of the last event. A client that has it has seen all.
const DONE: EventId = EventId::from_static("done");

/// How often a file at its end is looked at.
const POLL: Duration = Duration::from_millis(200);
