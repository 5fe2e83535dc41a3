//! An event stream over blocking TLS, with a thread for each connection.
//!
//! `cargo run --bin tls_blocking -- fullchain.pem privkey.pem`, then
//! `curl --cacert fullchain.pem https://localhost:8443/`.

use std::error::Error;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, SystemTime};

use sse_core::{UpgradeError, Upgrader};
use sse_tls::PemFiles;
use sse_tls::rustls::{ServerConnection, StreamOwned};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let files = args.next().zip(args.next());
    let (certificate, key) = files.ok_or("usage: tls_blocking CERTIFICATE KEY")?;
    let tls = PemFiles::new(certificate, key).load()?;

    for socket in TcpListener::bind("127.0.0.1:8443")?.incoming() {
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
