//! The command line of `record`.

use cli::{Args, ClientOptions, Ending, not_a_url};
use sse_net::EventSource;
use sse_tls::TlsConnector;

pub(crate) struct Options {
    pub(crate) source: EventSource,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) file: String,
    pub(crate) continues: bool,
    pub(crate) once: bool,
}

impl Options {
    pub(crate) fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut operands, mut client) = (Vec::new(), ClientOptions::default());
        let (mut continues, mut once) = (false, false);
        while let Some(option) = args.option()? {
            match &*option {
                "--continue" => continues = true,
                "--once" => once = true,
                option if client.take(option, &mut args)? => {}
                option if option.starts_with('-') => return Err(args.unknown()),
                _ => operands.push(option),
            }
        }
        let [url, file] = <[String; 2]>::try_from(operands)
            .map_err(|_| Ending::Usage("record takes a URL and a file".to_owned()))?;
        let source = EventSource::get(&url).map_err(|_| not_a_url(&url))?;
        Ok(Self {
            tls: client.tls(&source)?,
            source: client.apply(source)?.with_content(),
            file,
            continues,
            once,
        })
    }
}

pub(crate) const USAGE: &str = "\
Usage: record [OPTIONS] URL FILE

Records an event stream to a file, with times. URL is http://…, https://… or
unix:/run/app.sock:/path. When the connection ends, record reconnects with the last event ID, and
a comment in the file marks the place. It ends after a response of 204, or with Ctrl-C. It obeys
Retry-After up to a day, and follows redirects; headers stay with the origin of URL.

  --ca FILE           trust the certificates in FILE (PEM) instead of the system's
  --header LINE       send this header, such as \"Authorization: Bearer …\"; it replaces a
                      default, such as Host or Accept
  --last-event-id ID  begin after the event with this ID
  --silence SECONDS   reconnect when nothing has arrived for this long (300)
  --once              end with the stream; the exit status is 1 if it is incomplete
  --continue          append to a recording, after its last event
  --help              print this text";
