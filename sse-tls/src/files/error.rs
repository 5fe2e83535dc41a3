//! Why a PEM file cannot be used.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

/// A PEM file, and why it cannot be used.
#[derive(Debug, Clone)]
pub struct PemError {
    file: PathBuf,
    fault: Fault,
}

#[derive(Debug, Clone)]
pub(super) enum Fault {
    Read(Arc<io::Error>),
    NotRegular,
    Empty,
    TooLarge,
    Incomplete,
    Pem,
    NoCertificate,
    Certificate,
    NoKey,
    Encrypted,
    Key,
    KeyMismatch(PathBuf),
}

impl PemError {
    pub(super) fn new(file: &Path, fault: Fault) -> Self {
        Self {
            file: file.to_owned(),
            fault,
        }
    }

    /// Returns the path of the file.
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
            Fault::NotRegular => {
                f.write_str("is not a regular file, such as a pipe; copy its text into a file")
            }
            Fault::Empty => f.write_str("is empty; is it the right file?"),
            Fault::TooLarge => f.write_str("is larger than 1 MiB; is it the right file?"),
            Fault::Incomplete => {
                f.write_str("ends in the middle of a PEM section; copy the whole file")
            }
            Fault::Pem => {
                f.write_str("contains a section that is not valid PEM; copy the whole file")
            }
            Fault::NoCertificate => f.write_str(
                "contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
            ),
            Fault::Certificate => {
                f.write_str("contains a certificate that is damaged or not X.509 version 3")
            }
            Fault::NoKey => f.write_str(
                "contains no private key, which begins with -----BEGIN PRIVATE KEY-----",
            ),
            Fault::Encrypted => f.write_str(
                "contains an encrypted private key; decrypt it with \
                 openssl pkey -in FILE -out PLAIN",
            ),
            Fault::Key => f.write_str(
                "contains a private key that is damaged or not supported; use RSA from 2048 \
                 bits, ECDSA with P-256 or P-384, or Ed25519",
            ),
            Fault::KeyMismatch(certificate) => write!(
                f,
                "contains a private key that does not match the first certificate in {}; use the \
                 key that the certificate was issued for",
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

impl From<PemError> for io::Error {
    fn from(error: PemError) -> Self {
        let kind = match &error.fault {
            Fault::Read(error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
