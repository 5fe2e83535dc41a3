//! A topic served over TLS, with a certificate that may be renewed at any time.
//!
//! `cargo run --bin tls -- fullchain.pem privkey.pem`, then
//! `curl --cacert fullchain.pem https://localhost:8443/ticks`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use cli::Ending;
use sse_core::{Event, Retention};
use sse_net::{Config, Routes, Server, Tcp, Topic};
use sse_tls::{PemFiles, TlsListener};
use tokio::runtime::Runtime;
use tokio::time::sleep;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let (listen, files) = args.listen_and_operands("127.0.0.1:8443", FILES)?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime
            .block_on(serve(&listen, files))
            .map_err(Ending::failure)
    })
}

async fn serve(listen: &str, [certificate, key]: [String; 2]) -> Result<(), Box<dyn Error>> {
    let tls = PemFiles::new(certificate, key).load()?;
    tokio::spawn(tls.clone().watch(Duration::from_secs(10), cli::print_error));

    let ticks = Topic::new(Retention::events(1000));
    let tcp = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(tcp.local_addr()?);
    let _server = Server::new(Config::default())
        .listen(TlsListener::new(tcp, tls))
        .serve(Routes::new().topic("/ticks", &ticks));
    cli::print_serving(format_args!(
        "curl -N https://{host}/ticks (Ctrl-C ends it)"
    ));
    for n in 1.. {
        ticks.publish(&Event::new().id(n).data("tick"))?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

const FILES: &str = "two files, a certificate and its key";

const USAGE: &str = "\
Usage: tls [OPTIONS] CERTIFICATE KEY

Serves an event a second at /ticks over TLS. CERTIFICATE is followed by its issuers, and both
files are PEM; renewed files are loaded within 10 seconds.

  --listen ADDR  the address to listen on (127.0.0.1:8443); :8443 is port 8443 on all
                 addresses, and port 0 any free port
  --help         print this text";
