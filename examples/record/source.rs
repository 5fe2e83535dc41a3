//! The URL that `record` takes, and connections to it.

use std::error::Error;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use rustls_native_certs::load_native_certs;
use sse_net::Transport;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A parsed `http:`, `https:` or `unix:` URL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    address: Address,
    /// The value of `Host`.
    pub(crate) host: String,
    /// The request target, in origin form.
    pub(crate) target: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    Tcp {
        host: String,
        port: u16,
        is_secure: bool,
    },
    Unix(String),
}

impl FromStr for Source {
    type Err = ();

    fn from_str(url: &str) -> Result<Self, ()> {
        if let Some(unix) = url.strip_prefix("unix:") {
            let (path, target) = match unix.find(":/") {
                Some(at) => (&unix[..at], &unix[at + 1..]),
                None => (unix, "/"),
            };
            let target: Uri = target.parse().map_err(drop)?;
            return match path {
                "" => Err(()),
                path => Ok(Self {
                    address: Address::Unix(path.to_owned()),
                    host: "localhost".to_owned(),
                    target: origin_form(&target),
                }),
            };
        }
        let uri: Uri = url.parse().map_err(drop)?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(()),
        };
        let authority = uri.authority().ok_or(())?;
        if authority.as_str().contains('@') {
            return Err(()); // Credentials in URLs are not sent.
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() != authority.host() => return Err(()),
            None if is_secure => 443,
            None => 80,
        };
        Ok(Self {
            address: Address::Tcp {
                // The brackets of an IPv6 address belong to the URL only.
                host: authority.host().trim_matches(['[', ']']).to_owned(),
                port,
                is_secure,
            },
            host: authority.to_string(),
            target: origin_form(&uri),
        })
    }
}

impl Source {
    /// Opens a connection, over TLS if a connector is given.
    pub(crate) async fn connect(&self, tls: Option<&TlsConnector>) -> io::Result<Transport> {
        match &self.address {
            #[cfg(unix)]
            Address::Unix(path) => Ok(tokio::net::UnixStream::connect(path).await?.into()),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Address::Tcp { host, port, .. } => {
                let connection = TcpStream::connect((&**host, *port)).await?;
                let Some(tls) = tls else {
                    return Ok(connection.into());
                };
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Transport::new(tls.connect(name, connection).await?))
            }
        }
    }

    /// Returns whether the URL needs TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        matches!(
            self.address,
            Address::Tcp {
                is_secure: true,
                ..
            }
        )
    }
}

/// Returns the request target in origin form (RFC 9112, section 3.2.1). An empty path is sent
/// as `/`. Characters that URIs do not allow (RFC 3986, section 2) are percent-encoded, as in
/// browsers.
fn origin_form(uri: &Uri) -> String {
    let path = match uri.path() {
        "" => "/",
        path => path,
    };
    let mut target = String::new();
    let query = uri.query().map(|query| format!("?{query}"));
    for byte in path.bytes().chain(query.unwrap_or_default().bytes()) {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                target.push(char::from(byte));
            }
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
    target
}

/// Returns a connector that trusts the certificates in the file `ca`, by default the system's.
pub(crate) fn connector(ca: Option<&str>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            add_roots(&mut roots, ca).map_err(|error| format!("can't trust {ca:?}: {error}"))?;
        }
        // Certificates of the system that cannot be parsed are skipped.
        None => drop(roots.add_parsable_certificates(load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

fn add_roots(roots: &mut RootCertStore, ca: &str) -> Result<(), Box<dyn Error>> {
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        Err("the file contains no certificate".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_address_a_host_and_a_target() {
        let tcp = |host: &str, port, is_secure| Address::Tcp {
            host: host.to_owned(),
            port,
            is_secure,
        };
        let unix = |path: &str| Address::Unix(path.to_owned());
        for (url, address, host, target) in [
            ("http://a", tcp("a", 80, false), "a", "/"),
            ("http://a/b?c=d#e", tcp("a", 80, false), "a", "/b?c=d"),
            ("http://a?x=1", tcp("a", 80, false), "a", "/?x=1"),
            ("http://a:1?", tcp("a", 1, false), "a:1", "/?"),
            ("http://a?x=/#e", tcp("a", 80, false), "a", "/?x=/"),
            ("http://a#e", tcp("a", 80, false), "a", "/"),
            (
                "http://a/?a=[b]{c}",
                tcp("a", 80, false),
                "a",
                "/?a=[b]%7Bc%7D",
            ),
            (
                "http://a/\u{e9}?\u{e9}",
                tcp("a", 80, false),
                "a",
                "/%C3%A9?%C3%A9",
            ),
            ("HTTPS://a:1/%20", tcp("a", 1, true), "a:1", "/%20"),
            ("https://[::1]/b", tcp("::1", 443, true), "[::1]", "/b"),
            ("unix:/run/a.sock", unix("/run/a.sock"), "localhost", "/"),
            ("unix:/a:/b?c", unix("/a"), "localhost", "/b?c"),
            ("unix:/a:/?c#d", unix("/a"), "localhost", "/?c"),
            ("unix:a.sock:/b", unix("a.sock"), "localhost", "/b"),
        ] {
            let expected = Source {
                address,
                host: host.to_owned(),
                target: target.to_owned(),
            };
            assert_eq!(url.parse(), Ok(expected), "{url}");
        }
        for url in [
            "",
            "a",
            "/a",
            "a:80",
            "ftp://a/",
            "http:///a",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://user:password@a/",
            "http://user@a:80/",
            "http://a:99999/",
            "unix:",
            "unix::/a",
        ] {
            assert_eq!(url.parse::<Source>(), Err(()), "{url}");
        }
    }
}
