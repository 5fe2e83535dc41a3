//! Certificates, keys and authorities from PEM files.

mod error;
mod parse;
mod reload;
mod resolver;
mod validity;

pub use error::PemError;
pub use reload::Notice;
pub(crate) use reload::{Source, Status};
pub use validity::Warning;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::config::TlsConfig;
use error::Fault;
use parse::{certificates, certified_key, read};
use resolver::CertificateResolver;
use validity::Validity;

/// The PEM files with a server's certificates, keys and client authorities.
///
/// A certificate file contains the server's certificate, followed by its issuers up to the
/// authority, like certbot's `fullchain.pem`. A key file contains the unencrypted key in PKCS #8,
/// PKCS #1 or SEC1. Both may be the same file. They are regular files, or links to such, because
/// a reload reads them again. The maximum size of a file is 1 MiB.
///
/// ```no_run
/// use sse_tls::PemFiles;
///
/// let tls = PemFiles::new("/etc/app/example.org.pem", "/etc/app/example.org.key")
///     .certificate("/etc/app/example.net.pem", "/etc/app/example.net.key")
///     .allow_client_certificates("/etc/app/clients-ca.pem")
///     .load()?;
/// # let _ = tls;
/// # Ok::<(), sse_tls::PemError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PemFiles {
    /// Never empty.
    certificates: Vec<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    is_client_certificate_required: bool,
}

impl PemFiles {
    /// Creates a list of files with one certificate and its key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificates: vec![(certificate.into(), key.into())],
            client_ca: None,
            is_client_certificate_required: false,
        }
    }

    /// Adds a certificate, for other names or with another kind of key.
    ///
    /// A client gets the first certificate that is valid for the name it requests (SNI) and whose
    /// key it can use. If there is none, or the client sends no name, it gets the first
    /// certificate whose key it can use.
    #[must_use]
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificates.push((certificate.into(), key.into()));
        self
    }

    /// Requires client certificates signed by an authority in the file `ca`.
    ///
    /// A client without a valid certificate is refused in the handshake. Default: no certificate
    /// is requested.
    ///
    /// Revocation is not checked. Sessions are not resumed, so that each handshake verifies the
    /// certificate.
    #[must_use]
    pub fn require_client_certificates(mut self, ca: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(ca.into());
        self.is_client_certificate_required = true;
        self
    }

    /// Requests client certificates, but accepts clients without one.
    ///
    /// The handler decides by [`TlsInfo::peer_certificate`](crate::TlsInfo::peer_certificate). An
    /// invalid certificate is refused, and sessions are not resumed, as with
    /// [`require_client_certificates`](Self::require_client_certificates).
    #[must_use]
    pub fn allow_client_certificates(mut self, ca: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(ca.into());
        self.is_client_certificate_required = false;
        self
    }

    /// Reads the files and returns a configuration that can be reloaded.
    ///
    /// It supports TLS 1.2 and 1.3 with [ring], and HTTP/1 by ALPN. Unless client certificates are
    /// requested, sessions are resumed with tickets whose keys last 12 hours and are not shared with
    /// other configurations.
    ///
    /// An expired certificate is not an error; see [`TlsConfig::warnings`].
    ///
    /// # Errors
    ///
    /// The file that cannot be used, and why.
    pub fn load(self) -> Result<TlsConfig, PemError> {
        Source::load(self)
    }

    fn read(&self) -> Result<Contents, PemError> {
        let mut certificates = Vec::new();
        for (certificate, key) in &self.certificates {
            certificates.push((read(certificate)?, read(key)?));
        }
        Ok(Contents {
            certificates,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// Makes a configuration from the contents of these files.
    fn configure(
        &self,
        contents: &Contents,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<(ServerConfig, Vec<Validity>), PemError> {
        let provider = Arc::new(ring::default_provider());
        let mut keys = Vec::new();
        let mut validities = Vec::new();
        for ((certificate, key), (chain, secret)) in
            self.certificates.iter().zip(&contents.certificates)
        {
            let certified = certified_key(certificate, chain, key, secret, &provider)?;
            validities.push(Validity::of(certificate, &certified.cert[0]));
            keys.push(Arc::new(certified));
        }
        let verifier = match self.client_ca.as_deref().zip(contents.client_ca.as_deref()) {
            Some((ca, text)) => self.client_verifier(ca, text, &provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(CertificateResolver(keys)));
        config.alpn_protocols = vec![b"http/1.1".into(), b"http/1.0".into()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.client_ca.is_none() {
            config.ticketer = ticketer;
            // A client reconnects one stream at a time, and gets a new ticket when it does.
            config.send_tls13_tickets = 1;
        } else {
            // Resuming does not verify the client's certificate, and brings a new ticket: a client
            // that reconnects now and then would never be verified again.
            config.send_tls13_tickets = 0;
        }
        Ok((config, validities))
    }

    fn client_verifier(
        &self,
        ca: &Path,
        text: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, PemError> {
        let roots = parse_roots(ca, text)?;
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if !self.is_client_certificate_required {
            builder = builder.allow_unauthenticated();
        }
        Ok(builder
            .build()
            .expect("the roots are not empty, and there are no revocation lists"))
    }
}

/// Reads the authorities in a PEM file.
pub(crate) fn roots(ca: &Path) -> Result<RootCertStore, PemError> {
    parse_roots(ca, &read(ca)?)
}

/// Reads a certificate chain and its key.
pub(crate) fn identity(certificate: &Path, key: &Path) -> Result<CertifiedKey, PemError> {
    let (chain, secret) = (read(certificate)?, read(key)?);
    certified_key(certificate, &chain, key, &secret, &ring::default_provider())
}

fn parse_roots(ca: &Path, text: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, text)? {
        roots
            .add(certificate)
            .map_err(|_| PemError::new(ca, Fault::Certificate))?;
    }
    Ok(roots)
}

/// The contents of the files, in the order of `PemFiles`.
#[derive(Hash)]
struct Contents {
    certificates: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}
