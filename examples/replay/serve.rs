//! Serving a recording over HTTP.

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cli::{Ending, Signals};
use sse_core::{Decoded, Event, EventId, EventType, Rejection, Response, Upgrader};
use sse_net::{Answer, Config, Handler, Player, Request, Server, Stream, Tcp};
use tokio::task::spawn_blocking;

use crate::recording::Recording;

/// Serves the recording over HTTP.
pub(crate) async fn serve(recording: Recording, listen: &str) -> Result<(), Ending> {
    let tcp = cli::bind(listen, |address| Tcp::default().bind(address)).map_err(Ending::failure)?;
    let address = cli::url_host(tcp.local_addr().map_err(cant_start)?);
    // For pages under development, which may be served from any origin.
    let config = Config::default().upgrader(Upgrader::new().allow_any_origin());
    let mut signals = Signals::new().map_err(cant_start)?;
    let server = Server::new(config).listen(tcp).serve(recording.clone());
    cli::print_serving(format_args!("open http://{address}/ (Ctrl-C ends it)"));
    let progress = recording.show_progress();
    signals.next().await;
    drop(progress);
    tokio::select! {
        biased;
        () = signals.next() => {} // A second signal ends the program at once.
        () = server.drain(GRACE) => {}
    }
    Ok(())
}

impl Handler for Recording {
    async fn handle(&self, request: Request) -> Answer {
        match request.path() {
            "/" => {
                let page = self.page.clone();
                request.respond(Response::new(200).with_body("text/html; charset=utf-8", page))
            }
            "/sse" => match self.clone().find_players(&request).await {
                Err(_) => request.reject(Rejection::UNAVAILABLE),
                // A browser does not reconnect after 204.
                Ok(players) if players.is_empty() => request.respond(Response::new(204)),
                Ok(players) => {
                    let (recording, clients) = (self.clone(), Arc::clone(&self.clients));
                    let answer = request.stream(async move |mut stream| {
                        for player in players {
                            play(player, &mut stream, &recording).await?;
                        }
                        let close = EventType::from_static("close");
                        let end = Event::new().id(&recording.end).event(close).data("");
                        stream.send(&end).await?;
                        Ok(())
                    });
                    clients.fetch_add(1, Ordering::Relaxed);
                    answer.on_end(move |_| {
                        clients.fetch_sub(1, Ordering::Relaxed);
                    })
                }
            },
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }
}

impl Recording {
    /// Returns the players of a request. Searching the file for its ID may take long.
    async fn find_players(self, request: &Request) -> Result<Vec<Player<BufReader<File>>>, Ending> {
        let last = request.last_event_id().map(EventId::into_owned);
        let finding = spawn_blocking(move || self.players(last));
        finding
            .await
            .unwrap_or_else(|error| Err(Ending::failure(error)))
    }
}

/// Plays to one client, and counts the events sent.
async fn play(
    mut player: Player<BufReader<File>>,
    stream: &mut Stream,
    recording: &Recording,
) -> io::Result<()> {
    loop {
        let recorded = tokio::select! {
            biased;
            recorded = player.next() => recorded?,
            () = stream.closed() => return Ok(()),
        };
        let Some(recorded) = recorded else {
            return Ok(());
        };
        stream.send(&recorded.event()).await?;
        let millis = recording.pace.due(recorded.at()).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        recording.position.store(millis, Ordering::Relaxed);
        if let Decoded::Event(_) = recorded.decoded() {
            recording.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
pub(crate) fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}

/// The time over which a drain spreads the disconnects.
const GRACE: Duration = Duration::from_millis(500);
