//! Certificates, keys and authorities from PEM files.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::config::TlsConfig;
use crate::validity::Validity;

/// What a server that is reached by its own TLS needs, and in which PEM files it is.
///
/// A file with a certificate holds the server's own first, then those of its issuers up to the
/// authority, as certbot's `fullchain.pem` does. A file with a key holds it unencrypted, in
/// PKCS #8, PKCS #1 or SEC1. Both may be the same file. None may be larger than 1 MiB.
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
    /// The server's certificate and its key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificates: vec![(certificate.into(), key.into())],
            client_ca: None,
            is_client_certificate_required: false,
        }
    }

    /// Another certificate, for other names or with another kind of key. A client gets the
    /// first whose names fit the one it asks for (SNI) and whose key it can use. Where none
    /// fits, or it asks for no name, it gets the first whose key it can use.
    #[must_use]
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificates.push((certificate.into(), key.into()));
        self
    }

    /// Asks clients for a certificate that one of the authorities in `ca` vouches for, and
    /// refuses in the handshake those who have none. By default none is asked for.
    ///
    /// Revocation is not checked. A session that is resumed, up to 12 hours later, is not
    /// asked again, unless `ca` has changed.
    #[must_use]
    pub fn require_client_certificates(mut self, ca: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(ca.into());
        self.is_client_certificate_required = true;
        self
    }

    /// As [`require_client_certificates`](Self::require_client_certificates), but whoever has
    /// no certificate is let in, for the application to decide. A bad one is refused.
    #[must_use]
    pub fn allow_client_certificates(mut self, ca: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(ca.into());
        self.is_client_certificate_required = false;
        self
    }

    /// Reads the files: TLS 1.2 and 1.3 with [ring], HTTP/1 by ALPN, sessions resumed by
    /// tickets whose keys last 12 hours and are this configuration's alone.
    ///
    /// A certificate that has expired is loaded; see [`TlsConfig::warnings`].
    ///
    /// # Errors
    ///
    /// The file, and what is wrong with it.
    pub fn load(self) -> Result<TlsConfig, PemError> {
        TlsConfig::load(self)
    }

    pub(crate) fn read(&self) -> Result<Contents, PemError> {
        let mut certificates = Vec::new();
        for (certificate, key) in &self.certificates {
            certificates.push((read(certificate)?, read(key)?));
        }
        Ok(Contents {
            certificates,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// The configuration that `contents`, which these files had, amount to.
    pub(crate) fn configure(
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
            let certified = certify(certificate, chain, key, secret, &provider)?;
            validities.push(Validity::of(certificate, &certified.cert[0]));
            keys.push(Arc::new(certified));
        }
        let clients = match self.client_ca.as_deref().zip(contents.client_ca.as_deref()) {
            Some((ca, text)) => self.verifier(ca, text, &provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(ByName(keys)));
        config.alpn_protocols = vec![b"http/1.1".into(), b"http/1.0".into()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        // A page has one stream to come back to, and gets another ticket when it does.
        config.send_tls13_tickets = 1;
        Ok((config, validities))
    }

    fn verifier(
        &self,
        ca: &Path,
        text: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca, text)? {
            roots
                .add(certificate)
                .map_err(|_| PemError::new(ca, Fault::Certificate))?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.is_client_certificate_required {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        Ok(builder
            .build()
            .expect("there is an authority, and no revocation list"))
    }
}

/// What the files held at one time, in their order.
pub(crate) struct Contents {
    certificates: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    /// Something that differs where the contents do.
    pub(crate) fn print(&self, hasher: &RandomState) -> Print {
        Print {
            certificates: hasher.hash_one(&self.certificates),
            client_ca: hasher.hash_one(&self.client_ca),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) certificates: u64,
    pub(crate) client_ca: u64,
}

/// The certificates of a server, of which a client gets one that fits.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = &self.0[..] {
            return Some(Arc::clone(only));
        }
        let is_usable = |certified: &&Arc<CertifiedKey>| {
            let key = &certified.key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let mut usable = self.0.iter().filter(is_usable);
        let named = match hello.server_name().map(ServerName::try_from) {
            Some(Ok(name)) => usable.clone().find(|certified| is_for(certified, &name)),
            _ => None,
        };
        named.or_else(|| usable.next()).cloned()
    }
}

fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = certified.end_entity_cert();
    let parsed = certificate.and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}

fn certify(
    certificate: &Path,
    chain: &[u8],
    key: &Path,
    secret: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PemError> {
    let chain = certificates(certificate, chain)?;
    ParsedCertificate::try_from(&chain[0])
        .map_err(|_| PemError::new(certificate, Fault::Certificate))?;
    let secret = private_key(key, secret)?;
    let secret = provider
        .key_provider
        .load_private_key(secret)
        .map_err(|_| PemError::new(key, Fault::Key))?;
    let certified = CertifiedKey::new(chain, secret);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(_) => Err(PemError::new(key, Fault::OtherKey(certificate.to_owned()))),
    }
}

/// At least one.
fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| PemError::new(file, Fault::of(&error)))? {
        none if none.is_empty() => Err(PemError::new(file, Fault::NoCertificate)),
        certificates => Ok(certificates),
    }
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let fault = match error {
            _ if is_encrypted(text) => Fault::Encrypted,
            pem::Error::NoItemsFound => Fault::NoKey,
            error => Fault::of(&error),
        };
        PemError::new(file, fault)
    })
}

/// Whether a key is encrypted, as OpenSSL writes it in its old form or in PKCS #8.
fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("ENCRYPTED")
}

fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(MAX_SIZE + 1).read_to_end(&mut text));
    match read {
        Err(error) => Err(PemError::new(file, Fault::Read(Arc::new(error)))),
        Ok(0) => Err(PemError::new(file, Fault::Empty)),
        Ok(len) if len as u64 > MAX_SIZE => Err(PemError::new(file, Fault::TooLarge)),
        Ok(_) => Ok(without_mark(text)),
    }
}

/// Takes away a byte order mark, which some editors put at the beginning of a text. It is not
/// part of the text, and would hide the first section (RFC 7468, 2: data before a section's
/// label, which begins its line, is ignored).
fn without_mark(mut text: Vec<u8>) -> Vec<u8> {
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    text
}

/// Far more than any chain; what is larger is another file.
const MAX_SIZE: u64 = 1 << 20;

/// A PEM file, and why it can't be used.
#[derive(Debug, Clone)]
pub struct PemError {
    file: PathBuf,
    fault: Fault,
}

#[derive(Debug, Clone)]
enum Fault {
    Read(Arc<io::Error>),
    Empty,
    TooLarge,
    Cut,
    Pem,
    NoCertificate,
    Certificate,
    NoKey,
    Encrypted,
    Key,
    OtherKey(PathBuf),
}

impl Fault {
    const fn of(error: &pem::Error) -> Self {
        match error {
            pem::Error::MissingSectionEnd { .. } => Self::Cut,
            _ => Self::Pem,
        }
    }
}

impl PemError {
    fn new(file: &Path, fault: Fault) -> Self {
        Self {
            file: file.to_owned(),
            fault,
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.file.display())?;
        match &self.fault {
            Fault::Read(error) => write!(f, "can't be read: {error}"),
            Fault::Empty => f.write_str("is empty"),
            Fault::TooLarge => f.write_str("is larger than 1 MiB; is it the right file?"),
            Fault::Cut => f.write_str("ends within a section, as if it were cut"),
            Fault::Pem => f.write_str("has a section that is not in PEM's form"),
            Fault::NoCertificate => f.write_str(
                "has no certificate in it, which would begin with -----BEGIN CERTIFICATE-----",
            ),
            Fault::Certificate => {
                f.write_str("has a certificate that is damaged, or none of X.509 version 3")
            }
            Fault::NoKey => f.write_str(
                "has no private key in it, which would begin with -----BEGIN PRIVATE KEY-----",
            ),
            Fault::Encrypted => f.write_str(
                "has an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
            ),
            Fault::Key => f.write_str(
                "has a private key that is damaged, or of a kind other than RSA from 2048 bits, \
                 ECDSA with P-256 or P-384, and Ed25519",
            ),
            Fault::OtherKey(certificate) => write!(
                f,
                "has another private key than that of the first certificate in {}",
                certificate.display()
            ),
        }
    }
}

impl Error for PemError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Read(error) => Some(error),
            _ => None,
        }
    }
}
