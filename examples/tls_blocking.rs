//! An event stream over blocking TLS, with a thread for each connection.
//!
//! `cargo run --bin tls_blocking -- fullchain.pem privkey.pem`, then
//! `curl --cacert fullchain.pem https://localhost:8443/`.

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use cli::Ending;
use sse_core::{UpgradeError, Upgrader};
use sse_tls::PemFiles;
use sse_tls::rustls::{ServerConnection, StreamOwned};

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let (listen, files) = args.listen_and_operands("127.0.0.1:8443", FILES)?;
        serve(&listen, files).map_err(Ending::failure)
    })
}

fn serve(listen: &str, [certificate, key]: [String; 2]) -> Result<(), Box<dyn Error>> {
    let tls = PemFiles::new(certificate, key).load()?;
    let listener = cli::bind(listen, |address| TcpListener::bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("curl -N https://{host}/ (Ctrl-C ends it)"));

    for socket in listener.incoming() {
        let (socket, session) = (socket?, ServerConnection::new(tls.current())?);
        thread::spawn(move || -> Result<(), UpgradeError> {
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            let upgrader = Upgrader::new().https().clock(SystemTime::now);
            let request = upgrader.read(StreamOwned::new(session, socket))?;
            let mut stream = request.accept()?;
            for n in 1..=10 {
                stream.write_event(n, "tick", "hey there")?;
                thread::sleep(Duration::from_secs(1));
            }
            let mut connection = stream.close()?;
            connection.conn.send_close_notify(); // The client knows that the stream is complete.
            Ok(connection
                .conn
                .complete_io(&mut connection.sock)
                .map(|_| ())?)
        });
    }
    Ok(())
}

const FILES: &str = "two files, a certificate and its key";

const USAGE: &str = "\
Usage: tls_blocking [OPTIONS] CERTIFICATE KEY

Serves ten events to each client over TLS, with a thread for each connection. CERTIFICATE is
followed by its issuers, and both files are PEM.

  --listen ADDR  the address to listen on (127.0.0.1:8443); :8443 is port 8443 on all
                 addresses, and port 0 any free port
  --help         print this text";
