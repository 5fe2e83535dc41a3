//! A client's side of TLS.

use std::fmt;
use std::io;
#[cfg(feature = "ring")]
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
#[cfg(feature = "ring")]
use rustls::client::WebPkiServerVerifier;
#[cfg(feature = "ring")]
use rustls::client::danger::ServerCertVerifier;
#[cfg(feature = "ring")]
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
#[cfg(feature = "ring")]
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sse_core::client::Url;
use sse_net::{Connector, Direct, Transport};

#[cfg(feature = "ring")]
use crate::files::{PemError, identity, roots};

/// Opens the connections of a [`Client`](sse_net::Client), with TLS where the URL is `https`.
///
/// It offers `http/1.1` by ALPN, and checks the server's certificate and name. A server that ends
/// a stream without `close_notify` has cut it.
///
/// It is made from the certificates that the system trusts ([`new`](Self::new), feature
/// `platform-verifier`), from a file ([`trusting`](Self::trusting), feature `ring`), or from an
/// `Arc<rustls::ClientConfig>`. A clone costs one reference count.
///
#[cfg_attr(feature = "platform-verifier", doc = "```no_run")]
#[cfg_attr(not(feature = "platform-verifier"), doc = "```ignore")]
/// use sse_net::{Connect, EventSource};
/// use sse_tls::TlsConnector;
///
/// # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
/// let source = EventSource::get("https://example.org/sse")?;
/// let mut feed = source.connect_with(TlsConnector::new()?);
/// while let Some(event) = feed.next().await? {
///     println!("{}", event.data());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    /// Trusts the certificates that the system trusts.
    ///
    /// # Errors
    ///
    /// The system's certificates cannot be used.
    #[cfg(feature = "platform-verifier")]
    pub fn new() -> Result<Self, rustls::Error> {
        let verifier = rustls_platform_verifier::Verifier::new(Arc::new(ring::default_provider()))?;
        Ok(Self::with_verifier(Arc::new(verifier)))
    }

    /// Trusts the authorities in a PEM file, and no others.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    #[cfg(feature = "ring")]
    pub fn trusting(ca: impl AsRef<Path>) -> Result<Self, PemError> {
        let roots = Arc::new(roots(ca.as_ref())?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .expect("the roots are not empty, and there are no revocation lists");
        Ok(Self::with_verifier(verifier))
    }

    /// Presents a certificate to servers that request one, also after a redirect to another origin.
    ///
    /// The files are as for [`PemFiles::new`](crate::PemFiles::new). Default: none.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or the key does not match the certificate.
    #[cfg(feature = "ring")]
    pub fn identity(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, PemError> {
        let identity: CertifiedKey = identity(certificate.as_ref(), key.as_ref())?;
        let resolver = Arc::new(SingleCertAndKey::from(identity));
        Arc::make_mut(&mut self.config).client_auth_cert_resolver = resolver;
        Ok(self)
    }

    /// Sets the name that certificates have to have and that is sent to servers.
    ///
    /// Default: the host of the URL.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is neither a DNS name nor an IP
    /// address.
    pub fn server_name(mut self, name: impl Into<String>) -> io::Result<Self> {
        self.server_name = Some(parse_name(name.into())?);
        Ok(self)
    }

    #[cfg(feature = "ring")]
    fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .dangerous() // Only the name of the method: both verifiers verify.
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".into()];
        Arc::new(config).into()
    }
}

/// Uses a configuration of the application. Its ALPN protocols should be none or `http/1.1`.
impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            server_name: None,
        }
    }
}

impl Connector for TlsConnector {
    async fn connect(&self, url: &Url) -> io::Result<Transport> {
        let transport = Direct::open(url).await?;
        if !url.is_https() {
            return Ok(transport);
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(url.host().to_owned())?,
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        Ok(Transport::new(connector.connect(name, transport).await?))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

fn parse_name(name: String) -> io::Result<ServerName<'static>> {
    let error = format!("{name:?} is neither a DNS name nor an IP address");
    ServerName::try_from(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, error))
}
