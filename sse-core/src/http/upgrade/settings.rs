//! Settings of an upgrader, and the hosts, origins and CORS headers that follow from them.

use std::borrow::Cow;
use std::time::SystemTime;

use super::methods::Methods;
use crate::event::{Fault, Field, FieldError};
use crate::http::head::{Head, HeadReader, is_authority};
use crate::http::host::{Host, is_own_origin};
use crate::http::response::{Headers, Rejection, Response};

/// The settings of an [`Upgrader`](crate::Upgrader).
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) max_head: usize,
    pub(super) max_headers: usize,
    /// Empty where every host is allowed.
    hosts: Vec<Host>,
    pub(super) methods: Methods,
    pub(super) origins: Origins,
    pub(super) credentials: bool,
    /// The response that accepts, whose headers are ready to be copied.
    pub(super) accepting: Response,
    pub(super) is_https: bool,
    pub(super) clock: Option<fn() -> SystemTime>,
}

impl Settings {
    pub(super) fn allow_host(&mut self, host: &str) -> Result<(), FieldError> {
        check_authority(Field::Host, host, 0)?;
        self.hosts.push(Host::new(host));
        Ok(())
    }

    pub(super) fn allow_origin(&mut self, origin: &str) -> Result<(), FieldError> {
        let origin = normalise_origin(origin)?;
        match &mut self.origins {
            Origins::Listed(origins) => origins.push(origin),
            others => *others = Origins::Listed(vec![origin]),
        }
        Ok(())
    }

    pub(super) fn is_allowed_host(&self, head: &Head) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let requested = Host::new(head.host());
        self.hosts.iter().any(|allowed| allowed.covers(&requested))
    }

    /// Refuses pages of origins that are not allowed.
    pub(super) fn check_origin(&self, head: &Head) -> Result<(), Rejection> {
        let Origins::Listed(_) = self.origins else {
            return Ok(());
        };
        match origin(head) {
            Some(origin) if !self.is_allowed_origin(&origin, head) => {
                Err(Rejection::FORBIDDEN.because("pages of this origin may not read the stream"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses requests that pages of other origins send in the name of their visitors.
    ///
    /// Here an origin has to be allowed: a form needs no CORS header to be sent.
    pub(super) fn check_sender(&self, head: &Head) -> Result<(), Rejection> {
        let Some(origin) = origin(head) else {
            return Ok(());
        };
        let is_listed = match &self.origins {
            Origins::Unchecked => false,
            // Then a page cannot send credentials with a request whose response it reads. So this
            // is a form, or another request for which browsers do not ask.
            Origins::Any if !self.credentials => !has_credentials(head),
            origins => origins.allow(&origin),
        };
        // Fetch Metadata: a page cannot set this. It helps where a proxy has changed `Host`, and
        // where the origin is hidden by a referrer policy.
        let is_declared = head.header("sec-fetch-site") == Some(b"same-origin");
        if is_listed || is_declared || is_own_origin(&origin, head.host(), self.is_https) {
            return Ok(());
        }
        Err(Rejection::FORBIDDEN.because("pages of this origin may not send such requests"))
    }

    fn is_allowed_origin(&self, origin: &str, head: &Head) -> bool {
        self.origins.allow(origin) || is_own_origin(origin, head.host(), self.is_https)
    }

    /// Returns the CORS headers of a response with these headers: Fetch, "CORS protocol".
    pub(super) fn cors(&self, head: Option<&Head>, headers: &mut Headers) -> Headers {
        let is_any = match &self.origins {
            Origins::Unchecked => return Headers::new(),
            Origins::Any => true,
            Origins::Listed(_) => false,
        };
        if headers.has("Access-Control-Allow-Origin") {
            return Headers::new(); // The program has set it.
        }
        // Browsers refuse "*" together with credentials.
        if is_any && !self.credentials {
            return Headers::constant("Access-Control-Allow-Origin: *\r\n");
        }
        let mut cors = if headers.extend_vary("Origin") {
            Headers::new()
        } else {
            Headers::constant("Vary: Origin\r\n")
        };
        if let Some((head, origin)) = head.and_then(|head| Some((head, origin(head)?)))
            && self.is_allowed_origin(&origin, head)
        {
            cors.add("Access-Control-Allow-Origin", &origin);
            if self.credentials {
                cors.add("Access-Control-Allow-Credentials", "true");
            }
        }
        cors
    }
}

/// Returns whether the request has credentials that browsers add by themselves: cookies, and those
/// of their password prompts and of the system.
fn has_credentials(head: &Head) -> bool {
    let added: [&[u8]; 4] = [b"Basic", b"Digest", b"Negotiate", b"NTLM"];
    let mut schemes = head
        .header_values("authorization")
        .filter_map(|value| value.split(|byte| *byte == b' ').next());
    head.header("cookie").is_some()
        || schemes.any(|scheme| added.iter().any(|added| scheme.eq_ignore_ascii_case(added)))
}

/// Returns the origin of the page that sent the request.
fn origin(head: &Head) -> Option<Cow<'_, str>> {
    head.header("origin").map(String::from_utf8_lossy)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_head: HeadReader::DEFAULT_MAX_HEAD,
            max_headers: HeadReader::DEFAULT_MAX_HEADERS,
            hosts: Vec::new(),
            methods: Methods::default(),
            origins: Origins::Unchecked,
            credentials: false,
            accepting: Response::event_stream(),
            is_https: false,
            clock: None,
        }
    }
}

/// The origins whose pages may read responses.
#[derive(Debug, Clone)]
pub(super) enum Origins {
    /// No CORS header is sent.
    Unchecked,
    Any,
    /// In lower case.
    Listed(Vec<String>),
}

impl Origins {
    fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Unchecked | Self::Any => true,
            Self::Listed(origins) => origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

/// Checks an origin and returns it in lower case, without its scheme's default port.
fn normalise_origin(origin: &str) -> Result<String, FieldError> {
    // The origin of a local file, for example, is opaque and spelt "null".
    if origin != "null" {
        match origin.find("://") {
            Some(scheme @ 1..) if is_scheme(&origin[..scheme]) => {
                check_authority(Field::Origin, origin, scheme + 3)?;
            }
            _ if origin.is_empty() => check_authority(Field::Origin, origin, 0)?,
            _ => return Err(FieldError::new(Field::Origin, Fault::Malformed)),
        }
    }
    let mut origin = origin.to_ascii_lowercase();
    // RFC 6454, 6.2: an origin leaves out the default port of its scheme.
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        if origin.starts_with(scheme) && origin.ends_with(port) {
            origin.truncate(origin.len() - port.len());
        }
    }
    Ok(origin)
}

/// Returns whether `text` is the scheme of a URL: RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Returns whether the port is below 65,536, if there is one.
fn has_valid_port(authority: &str) -> bool {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains('[') || host.ends_with(']') => {
            port.parse::<u16>().is_ok()
        }
        _ => true,
    }
}

/// Checks that `text` is an authority from `start` on.
fn check_authority(field: Field, text: &str, start: usize) -> Result<(), FieldError> {
    let authority = &text.as_bytes()[start..];
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+;=%:[]".contains(&byte);
    if let Some(offset) = authority.iter().position(|byte| !is_legal(*byte)) {
        return Err(FieldError::character(field, text, start + offset));
    }
    match authority {
        [] if text.is_empty() => Err(FieldError::new(field, Fault::Empty)),
        [] | [.., b':'] => Err(FieldError::new(field, Fault::Malformed)),
        _ if is_authority(authority) && has_valid_port(&text[start..]) => Ok(()),
        _ => Err(FieldError::new(field, Fault::Malformed)),
    }
}
