//! An event stream over blocking TLS, with a thread for each connection.
//!
//! It limits neither connections nor the time of a whole request head; `low_level` shows both.
//!
//! `cargo run --bin tls_blocking -- fullchain.pem privkey.pem`, then
//! `curl --cacert fullchain.pem https://localhost:8443/`.

use std::error::Error;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use cli::Ending;
use sse_core::{UpgradeError, Upgrader};
use sse_tls::PemFiles;
use sse_tls::rustls::{ServerConfig, ServerConnection, StreamOwned};

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
        let served = socket.and_then(|socket| spawn(socket, tls.current()));
        if let Err(error) = served {
            // Files or threads have run out; an immediate retry would fail again.
            cli::print_error(format_args!("a connection can't be served: {error}"));
            thread::sleep(BACKOFF);
        }
    }
    Ok(())
}

/// Serves a connection on its own thread.
fn spawn(socket: TcpStream, tls: Arc<ServerConfig>) -> io::Result<()> {
    let session = ServerConnection::new(tls).map_err(io::Error::other)?;
    // Errors concern this client only.
    thread::Builder::new().spawn(move || serve_client(StreamOwned::new(session, socket)))?;
    Ok(())
}

fn serve_client(connection: StreamOwned<ServerConnection, TcpStream>) -> Result<(), UpgradeError> {
    connection.sock.set_read_timeout(Some(TIMEOUT))?;
    connection.sock.set_write_timeout(Some(TIMEOUT))?;
    let upgrader = Upgrader::new().https().clock(SystemTime::now);
    let mut stream = upgrader.read(connection)?.accept()?;
    for n in 1..=10 {
        stream.write_event(n, "tick", "hey there")?;
        thread::sleep(Duration::from_secs(1));
    }
    let mut connection = stream.close()?;
    connection.conn.send_close_notify(); // The client knows that the stream is complete.
    connection.conn.complete_io(&mut connection.sock)?;
    Ok(())
}

/// The deadline of each read and each write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a connection that can't be served.
const BACKOFF: Duration = Duration::from_millis(200);

const FILES: &str = "two files, a certificate and its key";

const USAGE: &str = "\
Usage: tls_blocking [OPTIONS] CERTIFICATE KEY

Serves ten events to each client over TLS, with a thread for each connection. CERTIFICATE is
followed by its issuers, and both files are PEM.

  --listen ADDR  the address to listen on (127.0.0.1:8443); :8443 is port 8443 on all
                 addresses, and port 0 any free port
  --help         print this text";
