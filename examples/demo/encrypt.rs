//! The TLS configuration of the demo.

use std::fs::{File, remove_file};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cli::Ending;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use sse_tls::rustls::ServerConfig;
use sse_tls::rustls::crypto::ring;
use sse_tls::{PemFiles, TlsConfig};

/// The options of the command line that concern TLS.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) is_on: bool,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) client_ca: Option<String>,
}

impl Options {
    /// Returns where the certificate comes from, or `None` without TLS.
    pub(crate) fn source(self) -> Result<Option<Source>, Ending> {
        match (self.certificate, self.key, self.client_ca) {
            (Some(certificate), Some(key), client_ca) => {
                let files = PemFiles::new(certificate, key);
                Ok(Some(Source::Files(match client_ca {
                    Some(ca) => files.require_client_certificates(ca),
                    None => files,
                })))
            }
            (None, None, None) => Ok(self.is_on.then_some(Source::SelfSigned)),
            _ => Err(Ending::Usage(
                "--cert needs --key and the reverse, and --client-ca needs both".to_owned(),
            )),
        }
    }
}

pub(crate) enum Source {
    Files(PemFiles),
    /// A certificate made for this run.
    SelfSigned,
}

/// How often the files are read again.
const RELOAD: Duration = Duration::from_secs(10);

impl Source {
    /// Loads or makes the certificate of a server at `address`.
    pub(crate) fn load(
        self,
        address: IpAddr,
    ) -> Result<(TlsConfig, Option<CertificateFile>), Ending> {
        match self {
            Self::Files(files) => {
                let tls = files.load();
                let tls = tls.map_err(|error| Ending::Failure(error.to_string()))?;
                tls.warnings().iter().for_each(cli::print_error);
                tokio::spawn(tls.clone().watch(RELOAD, cli::print_error));
                Ok((tls, None))
            }
            Self::SelfSigned => {
                let (tls, file) = make(address).map_err(|error| {
                    Ending::Failure(format!("can't make a certificate: {error}"))
                })?;
                Ok((tls, Some(file)))
            }
        }
    }
}

/// Makes a self-signed certificate. Only the certificate is written to a file, not its key.
fn make(address: IpAddr) -> Result<(TlsConfig, CertificateFile), Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    let addresses = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        address,
    ];
    let names = addresses.map(SanType::IpAddress);
    params.subject_alt_names.extend(names);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(30 * 86_400)).into();
    let certificate = params.self_signed(&key)?;

    let file = CertificateFile::write(&certificate.pem())?;
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"http/1.1".into()];
    Ok((TlsConfig::from(Arc::new(config)), file))
}

/// The file with the certificate, for clients to trust. Dropping it deletes the file.
pub(crate) struct CertificateFile(PathBuf);

impl CertificateFile {
    fn write(pem: &str) -> io::Result<Self> {
        let name = format!("sse-demo-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        // In a container, a process that was killed had the same number.
        let _ = remove_file(&path);
        File::create_new(&path)?.write_all(pem.as_bytes())?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CertificateFile {
    fn drop(&mut self) {
        let _ = remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_process_that_was_killed_is_replaced() {
        std::mem::forget(CertificateFile::write("of the one before").unwrap());
        let file = CertificateFile::write("new").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "new");
    }
}
