//! The load alone: `load PORT CERTIFICATE CLIENTS SECONDS`.

use std::error::Error;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sse_tls_benches::load::{Load, configure};

fn main() -> Result<(), Box<dyn Error>> {
    let args = Vec::from_iter(std::env::args().skip(1));
    let [port, certificate, clients, seconds] = &args[..] else {
        return Err("load PORT CERTIFICATE CLIENTS SECONDS".into());
    };
    let server = ([127, 0, 0, 1], port.parse()?).into();
    let mut load = Load::new(
        server,
        &configure(CertificateDer::from_pem_file(certificate)?)?,
    )?;
    for _ in 0..clients.parse()? {
        load.connect()?;
    }
    for _ in 0..seconds.parse()? {
        println!("{:?}", load.run(Duration::from_secs(1))?);
    }
    Ok(())
}
