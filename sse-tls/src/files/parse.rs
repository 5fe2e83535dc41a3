//! Certificates and keys from the text of PEM files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::error::{Fault, PemError};

/// Reads a regular file of at most `MAX_SIZE` bytes, without its byte order mark.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    let mut text = Vec::new();
    let mut read = || {
        // Opening a pipe waits for its writer, and reading it again for a reload would, too.
        if !fs::metadata(file)?.is_file() {
            return Ok(None);
        }
        let opened = File::open(file)?;
        opened.take(MAX_SIZE + 1).read_to_end(&mut text).map(Some)
    };
    match read() {
        Err(error) => Err(PemError::new(file, Fault::Read(Arc::new(error)))),
        Ok(None) => Err(PemError::new(file, Fault::NotRegular)),
        Ok(Some(0)) => Err(PemError::new(file, Fault::Empty)),
        Ok(Some(len)) if len as u64 > MAX_SIZE => Err(PemError::new(file, Fault::TooLarge)),
        Ok(Some(_)) => Ok(without_byte_order_mark(text)),
    }
}

/// Removes a byte order mark, which some editors write. It would hide the first section: text
/// before a section's label is ignored, but the label must begin a line (RFC 7468, section 2).
fn without_byte_order_mark(mut text: Vec<u8>) -> Vec<u8> {
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    text
}

/// Parses a certificate chain and its key, and checks that they match.
pub(super) fn certified_key(
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
        Err(_) => Err(PemError::new(
            key,
            Fault::KeyMismatch(certificate.to_owned()),
        )),
    }
}

/// Parses at least one certificate.
pub(super) fn certificates(
    file: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PemError::new(file, fault(&error)))?;
    if certificates.is_empty() {
        return Err(PemError::new(file, Fault::NoCertificate));
    }
    Ok(certificates)
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let fault = match error {
            _ if is_encrypted(text) => Fault::Encrypted,
            pem::Error::NoItemsFound => Fault::NoKey,
            error => fault(&error),
        };
        PemError::new(file, fault)
    })
}

/// Returns whether a key is encrypted, in OpenSSL's traditional format or in PKCS #8.
fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("ENCRYPTED")
}

const fn fault(error: &pem::Error) -> Fault {
    match error {
        pem::Error::MissingSectionEnd { .. } => Fault::Incomplete,
        _ => Fault::Pem,
    }
}

/// Far more than any chain; a larger file is not a PEM file.
const MAX_SIZE: u64 = 1 << 20;
