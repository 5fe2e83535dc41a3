//! Comparison of hosts and origins.

use std::net::Ipv6Addr;

/// A host with an optional port, normalised by RFC 3986, 6.2.2 and 6.2.3.
///
/// `example.org`, `EXAMPLE.org.`, `%65xample.org` and `example.org:` are one host, and
/// `[::1]` and `[0:0:0:0:0:0:0:1]` are another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    /// Digits without leading zeros.
    port: Option<String>,
}

impl Host {
    /// Normalises a valid authority.
    pub(crate) fn new(authority: &str) -> Self {
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port),
            _ => (authority, ""),
        };
        let port = match port.trim_start_matches('0') {
            "" if port.is_empty() => None,
            "" => Some("0".to_owned()),
            digits => Some(digits.to_owned()),
        };
        Self {
            name: normalise(name),
            port,
        }
    }

    /// Returns whether a request for `other` is a request for this host.
    ///
    /// Without a port, this host covers every port. Clients leave out the default port of
    /// their scheme.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_default = || other.port.is_none() && matches!(self.port(), Some("80" | "443"));
        self.name == other.name && (self.port.is_none() || self.port == other.port || is_default())
    }

    fn without_port(mut self, default: &str) -> Self {
        self.port.take_if(|port| port == default);
        self
    }

    fn port(&self) -> Option<&str> {
        self.port.as_deref()
    }
}

/// Returns whether `origin` is that of a server that a client reaches as `host`.
pub(crate) fn is_own_origin(origin: &str, host: &str, is_https: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "https" => "443",
        "http" if !is_https => "80",
        _ => return false,
    };
    let [origin, own] = [authority, host].map(|text| Host::new(text).without_port(port));
    !host.is_empty() && origin == own
}

fn normalise(name: &str) -> String {
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Some(Ok(address)) = literal.map(str::parse::<Ipv6Addr>) {
        return format!("[{address}]");
    }
    let name = decode_percent(name).to_ascii_lowercase();
    // RFC 3986, 3.2.2: "The rightmost domain label of a fully qualified domain name in DNS may
    // be followed by a single "."".
    match name.strip_suffix('.') {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => name,
    }
}

/// Decodes percent-encoded bytes. Invalid encodings stay as they are.
fn decode_percent(name: &str) -> String {
    let mut parts = name.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                decoded.push(byte);
                decoded.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                decoded.push(b'%');
                decoded.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_covers_other_spellings_of_itself() {
        for (allowed, asked, expected) in [
            ("example.org", "example.org", true),
            ("example.org", "EXAMPLE.org:8080", true),
            ("example.org", "example.org.", true), // RFC 3986, 3.2.2
            ("example.org.", "example.org", true),
            ("example.org", "example.org..", false),
            ("example.org", "%65xampl%45.org", true), // RFC 3986, 6.2.2.2
            ("example.org", "example.org:", true),    // RFC 3986, 6.2.3
            ("example.org:8080", "example.org:08080", true),
            ("example.org:8080", "example.org.:8080", true),
            ("example.org:8080", "example.org", false),
            ("example.org:8080", "example.org:80801", false),
            ("example.org:443", "example.org", true), // RFC 9110, 4.2.3
            ("example.org:80", "example.org", true),
            ("example.org:443", "example.org:80", false),
            ("[::1]", "[0:0:0:0:0:0:0:1]", true), // RFC 5952
            ("[::1]:80", "[0::1]", true),
            ("[2001:DB8::A]", "[2001:db8:0::a]:1", true),
            ("[::1]", "[::2]", false),
            ("127.0.0.1", "127.0.0.1:31337", true),
            ("a", "", false),
            ("a", ".", false),
            ("a", "%", false),
        ] {
            let [allowed, asked] = [allowed, asked].map(Host::new);
            assert_eq!(allowed.covers(&asked), expected, "{allowed:?} {asked:?}");
        }
    }

    #[test]
    fn a_servers_own_origin_is_that_of_its_host() {
        for (origin, host, over_http, over_https) in [
            ("http://a.example", "a.example", true, false),
            ("https://a.example", "a.example", true, true),
            ("https://a.example", "A.example.:443", true, true),
            ("https://a.example:8443", "a.example:8443", true, true),
            ("http://a.example", "a.example:80", true, false),
            ("http://a.example", "a.example:443", false, false),
            ("https://a.example:8443", "a.example", false, false),
            ("https://a.example", "b.example", false, false),
            ("http://[::1]:31337", "[0::1]:31337", true, false),
            ("ftp://a.example", "a.example", false, false),
            ("null", "null", false, false),
            ("http://", "", false, false),
            ("", "", false, false),
        ] {
            let own = [false, true].map(|is_https| is_own_origin(origin, host, is_https));
            assert_eq!(own, [over_http, over_https], "{origin} {host}");
        }
    }
}
