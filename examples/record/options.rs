//! The command line of `record`.

use std::time::Duration;

use cli::{Args, Ending};
use http::{HeaderName, HeaderValue};
use sse_core::MEDIA_TYPE;
use tokio_rustls::TlsConnector;

use crate::source::{self, Source};

pub(crate) struct Options {
    pub(crate) source: Source,
    pub(crate) file: String,
    pub(crate) tls: Option<TlsConnector>,
    headers: Vec<(String, String)>,
    pub(crate) silence: Duration,
    pub(crate) continues: bool,
    pub(crate) once: bool,
}

impl Options {
    pub(crate) fn parse(mut args: Args) -> Result<Self, Ending> {
        let (mut operands, mut ca, mut headers) = (Vec::new(), None, Vec::new());
        let (mut silence, mut continues, mut once) = (SILENCE, false, false);
        while let Some(option) = args.option()? {
            match &*option {
                "--ca" => ca = Some(args.value::<String>("a file")?),
                "--header" => {
                    let header: String = args.value("a header")?;
                    headers.push(parse_header(&header)?);
                }
                "--silence" => silence = args.seconds()?,
                "--continue" => continues = true,
                "--once" => once = true,
                option if option.starts_with('-') => return Err(args.unknown()),
                _ => operands.push(option),
            }
        }
        let [url, file] = <[String; 2]>::try_from(operands)
            .map_err(|_| Ending::Usage("record takes a URL and a file".to_owned()))?;
        let source: Source = url.parse().map_err(|()| {
            Ending::Usage(format!(
                "{url:?} is not a URL like http://…, https://… or unix:/run/app.sock:/path"
            ))
        })?;
        let tls = if source.is_secure() {
            Some(source::connector(ca.as_deref()).map_err(Ending::Failure)?)
        } else {
            None
        };
        Ok(Self {
            tls,
            source,
            file,
            headers,
            silence,
            continues,
            once,
        })
    }

    /// Returns the request head. Given headers replace the defaults, but a given `Last-Event-ID`
    /// is used only until the stream has had an ID.
    pub(crate) fn request(&self, last_event_id: &str) -> String {
        let own_id = is_sendable(last_event_id).then_some(("Last-Event-ID", last_event_id));
        let defaults = [
            ("Host", &*self.source.host),
            ("Accept", MEDIA_TYPE),
            ("Accept-Encoding", "identity"),
            ("Cache-Control", "no-cache"),
        ];
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let defaults = defaults
            .into_iter()
            .filter(|(name, _)| !self.headers.iter().any(|(given, _)| is(given, name)));
        let given = self.headers.iter().map(|(name, value)| (&**name, &**value));
        let given = given.filter(|(name, _)| own_id.is_none_or(|(id, _)| !is(name, id)));
        let mut request = format!("GET {} HTTP/1.1\r\n", self.source.target);
        for (name, value) in defaults.chain(given).chain(own_id) {
            request += &format!("{name}: {value}\r\n");
        }
        request + "\r\n"
    }
}

/// Parses a header line into its name and value.
fn parse_header(header: &str) -> Result<(String, String), Ending> {
    let parsed = header.split_once(':').and_then(|(name, value)| {
        HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = value.trim_matches([' ', '\t']);
        HeaderValue::from_str(value).ok()?;
        Some((name.to_owned(), value.to_owned()))
    });
    let Some((name, value)) = parsed else {
        let sentence = format!("--header takes a header like \"X: y\", not {header:?}");
        return Err(Ending::Usage(sentence));
    };
    match &*name.to_ascii_lowercase() {
        "content-length" | "expect" | "transfer-encoding" => Err(Ending::Usage(format!(
            "--header can't set {name}: the request has no body"
        ))),
        _ => Ok((name, value)),
    }
}

/// Returns whether a request can carry this event ID unchanged. Servers refuse control characters
/// and long headers, and spaces at the ends of a value are not part of it.
pub(crate) fn is_sendable(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.trim_matches([' ', '\t']) == id
        && !id.contains(|c: char| c.is_ascii_control())
}

pub(crate) const USAGE: &str = "\
Usage: record [OPTIONS] URL FILE

Records an event stream to a file, with times. URL is http://…, https://… or
unix:/run/app.sock:/path. When the connection ends, record reconnects with the last event ID, and
a comment in the file marks the place. It ends after a response of 204, or with Ctrl-C. It obeys
Retry-After up to a day.

  --ca FILE           trust the certificates in FILE (PEM) instead of the system's
  --header LINE       send this header, such as \"Authorization: Bearer …\"; it replaces a
                      default, such as Host or Accept
  --silence SECONDS   reconnect when nothing has arrived for this long (300)
  --once              end with the stream; the exit status is 1 if it is incomplete
  --continue          append to a recording, after its last event
  --help              print this text";

/// The maximum length of an event ID in a request, in bytes.
const MAX_ID: usize = 1024;

/// A connection without a byte for this long counts as lost; heartbeats come more often.
const SILENCE: Duration = Duration::from_secs(300);
