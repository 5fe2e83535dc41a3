//! The options that the programs with a client share.

use std::time::Duration;

use sse_core::EventId;
use sse_net::{Client, Connect, EventSource};
use sse_tls::TlsConnector;

use crate::{Args, Ending};

/// Headers, deadlines and trust of a client, from a command line.
#[derive(Debug, Default)]
pub struct ClientOptions {
    headers: Vec<(String, String)>,
    last_event_id: Option<EventId<'static>>,
    silence: Option<Duration>,
    ca: Option<String>,
}

impl ClientOptions {
    /// Takes an option if it is one of `--ca`, `--header`, `--last-event-id` and `--silence`.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] if its value is missing or invalid.
    pub fn take(&mut self, option: &str, args: &mut Args) -> Result<bool, Ending> {
        match option {
            "--ca" => self.ca = Some(args.value("a file")?),
            "--header" => {
                let header: String = args.value("a header")?;
                self.add_header(&header)?;
            }
            "--last-event-id" => {
                let id: String = args.value("an event ID")?;
                self.set_last_event_id(id)?;
            }
            "--silence" => self.silence = Some(args.seconds()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the source with these options.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] if a header cannot be set.
    pub fn apply(&self, mut source: EventSource) -> Result<EventSource, Ending> {
        for (name, value) in &self.headers {
            source = source
                .header(name, value)
                .map_err(|error| Ending::Usage(format!("--header can't set {name}: {error}")))?;
        }
        if let Some(id) = &self.last_event_id {
            source = source.last_event_id(id.clone());
        }
        Ok(match self.silence {
            Some(silence) => source.silence(silence),
            None => source,
        })
    }

    /// Returns what opens TLS sessions for the source, and for what it redirects to.
    ///
    /// # Errors
    ///
    /// [`Ending::Failure`] if the trusted certificates cannot be read.
    pub fn tls(&self, source: &EventSource) -> Result<Option<TlsConnector>, Ending> {
        if let Some(ca) = &self.ca {
            return TlsConnector::trusting(ca)
                .map(Some)
                .map_err(Ending::failure);
        }
        match TlsConnector::new() {
            Ok(tls) => Ok(Some(tls)),
            // A system without certificates can do without them.
            Err(_) if !source.is_https() => Ok(None),
            Err(error) => Err(Ending::Failure(format!(
                "the system's certificates can't be used: {error}; name yours with --ca"
            ))),
        }
    }

    fn add_header(&mut self, header: &str) -> Result<(), Ending> {
        let Some((name, value)) = header.split_once(':') else {
            return Err(not_a_header(header));
        };
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("Last-Event-ID") {
            return self.set_last_event_id(value.to_owned());
        }
        let is_reserved = ["Content-Length", "Expect", "Transfer-Encoding"]
            .iter()
            .any(|reserved| reserved.eq_ignore_ascii_case(name));
        if is_reserved {
            let sentence = format!("--header can't set {name}: the program sets it");
            return Err(Ending::Usage(sentence));
        }
        let probe = EventSource::get("http://localhost/").and_then(|get| get.header(name, value));
        probe.map_err(|_| not_a_header(header))?;
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn set_last_event_id(&mut self, id: String) -> Result<(), Ending> {
        let id = EventId::new(id).map_err(|error| Ending::Usage(error.to_string()))?;
        self.last_event_id = Some(id);
        Ok(())
    }
}

/// Returns a client of the source.
#[must_use]
pub fn connect(source: EventSource, tls: Option<TlsConnector>) -> Client {
    match tls {
        Some(tls) => source.connect_with(tls),
        None => source.connect(),
    }
}

/// Returns the error for a URL that no client can follow.
#[must_use]
pub fn not_a_url(url: &str) -> Ending {
    Ending::Usage(format!(
        "{url:?} is not a URL like http://…, https://… or unix:/run/app.sock:/path"
    ))
}

fn not_a_header(header: &str) -> Ending {
    Ending::Usage(format!(
        "--header takes a header like \"X: y\", not {header:?}"
    ))
}
