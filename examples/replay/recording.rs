//! The recording that is played, and the page that shows it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cli::{Ending, Progress};
use sse_core::{Decoded, EventId, Pace, Replayer};
use sse_net::Player;

use crate::options::{Options, cant_play};

/// A recording, its playback settings, and counts of its clients.
#[derive(Clone)]
pub(crate) struct Recording {
    file: String,
    pub(crate) pace: Pace,
    from: Option<EventId<'static>>,
    is_looped: bool,
    /// The number of events to play and the time that takes; of one round if it is looped.
    pub(crate) events: u64,
    length: Duration,
    pub(crate) page: String,
    /// The ID of the final `close` event: the last event's own may be missing or not unique. It
    /// contains the number of events, so that a recording of a replay has another.
    pub(crate) end: EventId<'static>,
    /// The number of clients.
    pub(crate) clients: Arc<AtomicU64>,
    /// The number of events sent to all clients together.
    pub(crate) sent: Arc<AtomicU64>,
    /// The time of the last event sent, in milliseconds.
    pub(crate) position: Arc<AtomicU64>,
}

impl Recording {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            file: options.file.clone(),
            pace: options.pace,
            from: options.from.clone(),
            is_looped: false,
            events: 0,
            length: Duration::ZERO,
            page: String::new(),
            end: EventId::from_static(""),
            clients: Arc::default(),
            sent: Arc::default(),
            position: Arc::default(),
        }
    }

    /// Reads the whole recording once, so that errors are reported at the start.
    pub(crate) fn open(options: &Options) -> Result<Self, Ending> {
        let mut recording = Self::new(options);
        let mut types = BTreeSet::new();
        let mut replayer = recording.replayer()?;
        while let Some(recorded) = recording.or_read_error(replayer.read())? {
            recording.length = recording.pace.due(recorded.at());
            if let Decoded::Event(event) = recorded.decoded() {
                recording.events += 1;
                if types.len() < MAX_TYPES && !types.contains(event.event()) {
                    types.insert(event.event().to_owned());
                }
            }
        }
        recording.is_looped = options.is_looped;
        let end = EventId::new(format!("end-of-{}", recording.events));
        recording.end = end.map_err(|error| Ending::Failure(error.to_string()))?;
        // JSON inside a script element; an unescaped `<` could end the element.
        let types = serde_json::to_string(&types).unwrap_or_default();
        recording.page = PAGE
            .replace("END", recording.end.as_str())
            .replace("TYPES", &types.replace('<', "\\u003c"));
        Ok(recording)
    }

    /// Returns a replayer of everything to play.
    pub(crate) fn replayer(&self) -> Result<Replayer<BufReader<File>>, Ending> {
        let replayer = self.from(self.or_read_error(self.whole())?);
        Ok(if self.is_looped {
            replayer.looped()
        } else {
            replayer
        })
    }

    pub(crate) fn from<R: BufRead>(&self, replayer: Replayer<R>) -> Replayer<R> {
        match &self.from {
            Some(id) => replayer.from_id(id.into()),
            None => replayer,
        }
    }

    fn whole(&self) -> io::Result<Replayer<BufReader<File>>> {
        let file = File::open(&self.file)?;
        Ok(Replayer::new(BufReader::with_capacity(BUFFER, file)))
    }

    /// Returns what to play to a client, in order: the rest after `last` if that is known,
    /// else everything; nothing after the end.
    pub(crate) fn players(
        &self,
        last: Option<EventId<'_>>,
    ) -> Result<Vec<Player<BufReader<File>>>, Ending> {
        let mut parts = Vec::new();
        let mut has_seen = false;
        if let Some(last) = last {
            if !self.is_looped && last == self.end {
                return Ok(Vec::new());
            }
            let mut rest = self.or_read_error(self.whole())?.from_id(last);
            has_seen = matches!(rest.read(), Ok(Some(_)));
            if has_seen && matches!(rest.peek(), Ok(Some(_))) {
                parts.push(rest);
            }
        }
        if !has_seen || self.is_looped {
            let mut all = self.replayer()?;
            // With `--from`, this searches for the beginning.
            self.or_read_error(all.peek())?;
            parts.push(all);
        }
        let play = |replayer| Player::new(replayer, self.pace);
        Ok(parts.into_iter().map(play).collect())
    }

    /// Returns a function that describes how many events have been played.
    pub(crate) fn progress(&self) -> impl Fn(u64) -> String + Send + 'static {
        let of = (!self.is_looped).then(|| counted(self.events, "event"));
        move |played| match &of {
            None => counted(played, "event"),
            Some(all) => format!("{played} of {all}"),
        }
    }

    /// Shows the number of clients and events.
    pub(crate) fn show_progress(&self) -> Progress {
        let recording = self.clone();
        let of = if self.is_looped {
            String::new()
        } else {
            format!(" of {:.1}", self.length.as_secs_f64())
        };
        Progress::new(move || {
            let clients = counted(recording.clients.load(Ordering::Relaxed), "client");
            let sent = counted(recording.sent.load(Ordering::Relaxed), "event");
            let at = Duration::from_millis(recording.position.load(Ordering::Relaxed));
            format!(
                "{clients}, {sent} sent, the last at {:.1}{of} s",
                at.as_secs_f64()
            )
        })
    }

    /// Reports a recording that has no events, such as a file that is no event stream.
    pub(crate) fn report_if_empty(&self, events: u64) {
        if events == 0 {
            let file = &self.file;
            cli::print_error(format_args!(
                "{file:?} has no event; is it an event stream?"
            ));
        }
    }

    pub(crate) fn or_read_error<T>(&self, read: io::Result<T>) -> Result<T, Ending> {
        read.map_err(|error| cant_play(&self.file, &error))
    }
}

pub(crate) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

const PAGE: &str = "\
<!DOCTYPE html>
<meta charset=\"utf-8\">
<title>Replay</title>
<pre id=\"events\"></pre>
<script>
const events = document.getElementById('events');
const source = new EventSource('/sse');
for (const type of TYPES) {
    source.addEventListener(type, event => {
        // \"open\" and \"error\" also come from the EventSource itself.
        if (event instanceof MessageEvent) {
            events.append(`${event.lastEventId} ${type} ${event.data}\\n`);
        }
    });
}
source.addEventListener('close', event => {
    if (event.lastEventId === 'END') source.close();
});
</script>
";

/// The maximum number of event types that the page listens to.
const MAX_TYPES: usize = 1000;

/// The size of the buffers for reading and writing.
pub(crate) const BUFFER: usize = 64 << 10;
