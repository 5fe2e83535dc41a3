//! The choice of a certificate for a client.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Chooses among certificates by the requested name and the client's signature schemes.
#[derive(Debug)]
pub(super) struct CertificateResolver(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for CertificateResolver {
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
            Some(Ok(name)) => usable
                .clone()
                .find(|certified| is_valid_for(certified, &name)),
            _ => None,
        };
        named.or_else(|| usable.next()).cloned()
    }
}

fn is_valid_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = certified.end_entity_cert();
    let parsed = certificate.and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}
