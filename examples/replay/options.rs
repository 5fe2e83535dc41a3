//! The command line of `replay`.

use std::{fs, io};

use cli::{Args, Ending};
use sse_core::{EventId, Pace};

pub(crate) struct Options {
    pub(crate) file: String,
    pub(crate) listen: Option<String>,
    pub(crate) pace: Pace,
    pub(crate) from: Option<EventId<'static>>,
    pub(crate) is_looped: bool,
}

impl Options {
    pub(crate) fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut options = Self {
            file: String::new(),
            listen: None,
            pace: Pace::RECORDED,
            from: None,
            is_looped: false,
        };
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => options.listen = Some(args.value("an address")?),
                "--speed" => {
                    let factor: f64 = args.value(SPEED)?;
                    options.pace = Pace::times(factor)
                        .ok_or_else(|| Ending::Usage(format!("--speed takes {SPEED}")))?;
                }
                "--max" => options.pace = Pace::FASTEST,
                "--from" => {
                    let id: String = args.value("an event ID")?;
                    let id = EventId::new(id).map_err(|error| Ending::Usage(error.to_string()))?;
                    options.from = Some(id);
                }
                "--loop" => options.is_looped = true,
                option if option.starts_with('-') && option != STDIN => return Err(args.unknown()),
                _ if options.file.is_empty() => options.file = option,
                _ => return Err(Ending::Usage("replay takes one file".to_owned())),
            }
        }
        if options.file.is_empty() {
            return Err(Ending::Usage("replay takes a file".to_owned()));
        }
        Ok(options)
    }

    /// Returns whether the file can be read only once: standard input or a pipe.
    pub(crate) fn is_read_once(&self) -> Result<bool, Ending> {
        if self.file == STDIN {
            return Ok(true);
        }
        let metadata = fs::metadata(&self.file).map_err(|error| cant_play(&self.file, &error))?;
        // A directory is opened, so that the system's error is reported.
        Ok(!metadata.is_file() && !metadata.is_dir())
    }
}

pub(crate) fn cant_play(file: &str, error: &io::Error) -> Ending {
    Ending::Failure(format!("can't play {file:?}: {error}"))
}

pub(crate) const USAGE: &str = "\
Usage: replay [OPTIONS] FILE

Plays a recording to standard output, each event at its time. Events without times are played
at once. FILE may be a pipe, or - for standard input; these are played once, as they arrive,
without --listen and --loop.

  --listen ADDR   serve the recording at http://ADDR/sse, from the beginning or after the
                  client's last event ID, and a page that shows it at http://ADDR/; :8080 is
                  port 8080 on all addresses. A \"close\" event with its own ID ends the
                  stream. An EventSource that is not closed then reconnects once and gets 204
  --speed X       play X times as fast as recorded
  --max           play as fast as possible
  --from ID       begin with the event that has this ID
  --loop          begin again at the end; a round is at least 100 ms of recorded time
  --help          print this text";

/// The operand for standard input.
pub(crate) const STDIN: &str = "-";

const SPEED: &str = "a number above 0";
