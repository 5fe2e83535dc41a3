//! A topic served over TLS, with a certificate that may be renewed at any time.
//!
//! `cargo run --bin tls -- fullchain.pem privkey.pem`, then
//! `curl --cacert fullchain.pem https://localhost:8443/ticks`.

use std::error::Error;
use std::time::Duration;

use sse_core::{Event, Retention};
use sse_net::{Config, Routes, Server, Tcp, Topic};
use sse_tls::{PemFiles, TlsListener};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let files = args.next().zip(args.next());
    let (certificate, key) = files.ok_or("usage: tls CERTIFICATE KEY")?;
    let tls = PemFiles::new(certificate, key).load()?;
    tokio::spawn(
        tls.clone()
            .watch(Duration::from_secs(10), |notice| eprintln!("{notice}")),
    );

    let ticks = Topic::new(Retention::events(1000));
    let _server = Server::new(Config::default())
        .listen(TlsListener::new(
            Tcp::default().bind("127.0.0.1:8443")?,
            tls,
        ))
        .serve(Routes::new().topic("/ticks", &ticks));
    for n in 1.. {
        ticks.publish(&Event::new().id(n).data("tick"))?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
