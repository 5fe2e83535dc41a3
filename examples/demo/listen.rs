//! The server and its listeners.

use std::io;
use std::mem;
use std::time::Duration;

use cli::Ending;
use sse_core::EventType;
use sse_net::{Config, Heartbeat, Server, Tcp};
use sse_tls::TlsListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use crate::cant_start;
use crate::encrypt::CertificateFile;
use crate::options::Options;

/// Binds the listeners. Returns the server, its URL and the file of a certificate made for it.
pub(crate) fn listen(
    options: &mut Options,
) -> Result<(Server, String, Option<CertificateFile>), Ending> {
    let mut listeners = Vec::new();
    for (name, socket) in mem::take(&mut options.sockets.tcp) {
        let tcp = Tcp::default().adopt(socket).map_err(cant_start)?;
        listeners.push((tcp, name != "http"));
    }
    if let Some(listen) = &options.listen {
        let tcp = cli::bind(listen, |address| Tcp::default().bind(address));
        listeners.push((tcp.map_err(Ending::failure)?, true));
    }
    let mut server = Server::new(config(options));
    let (mut url, mut certificate, mut tls) = (None, None, None);
    for (tcp, may_have_tls) in listeners {
        let address = tcp.local_addr().map_err(cant_start)?;
        if may_have_tls && let Some(source) = options.tls.take() {
            let (loaded, file) = source.load(address.ip())?;
            (certificate, tls) = (file, Some(loaded));
        }
        let tls = tls.clone().filter(|_| may_have_tls);
        let scheme = if tls.is_some() { "https" } else { "http" };
        url.get_or_insert_with(|| format!("{scheme}://{}/", cli::url_host(address)));
        server = match tls {
            Some(tls) => server.listen(TlsListener::new(tcp, tls)),
            None => server.listen(tcp),
        };
    }
    #[cfg(unix)]
    for (_, socket) in mem::take(&mut options.sockets.unix) {
        socket.set_nonblocking(true).map_err(cant_start)?;
        let socket = UnixListener::from_std(socket).map_err(cant_start)?;
        server = server.listen(socket);
    }
    if let Some(path) = &options.unix {
        let listening = listen_unix(server, path);
        server =
            listening.map_err(|error| Ending::failure(cli::cant_listen("--unix", path, &error)))?;
    }
    let url = url.unwrap_or_else(|| "the Unix socket".to_owned());
    Ok((server, url, certificate))
}

fn config(options: &Options) -> Config {
    Config::default()
        .max_connections(raise_file_limit(options.max_connections))
        .max_refusals(MAX_REFUSALS)
        .max_json(MAX_MESSAGE)
        .heartbeat(options.heartbeat)
        .heartbeat_form(Heartbeat::Event(HEARTBEAT))
        .retry(RETRY)
        .upgrader(options.upgrader.clone())
}

#[cfg(unix)]
fn listen_unix(server: Server, path: &str) -> io::Result<Server> {
    Ok(server.listen(sse_net::bind_unix(path)?))
}

#[cfg(not(unix))]
fn listen_unix(_server: Server, _path: &str) -> io::Result<Server> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Raises the limit of open files, and returns how many of the `wanted` connections it allows.
fn raise_file_limit(wanted: usize) -> usize {
    let files = wanted.saturating_add(OTHER_FILES) as u64;
    let files = rlimit::increase_nofile_limit(files).unwrap_or(files);
    let room = usize::try_from(files).unwrap_or(usize::MAX);
    let room = room.saturating_sub(OTHER_FILES).min(wanted);
    if room < wanted {
        cli::print_error(format_args!(
            "the limit of open files allows {room} connections, not {wanted}; raise it with ulimit -n"
        ));
    }
    room
}

const HEARTBEAT: EventType = EventType::from_static("heartbeat");

/// The reconnection time that clients are sent.
const RETRY: Duration = Duration::from_secs(1);

/// The largest message to an inbox, in bytes of JSON.
const MAX_MESSAGE: u64 = 4096;

/// Connections beyond the limit that are being refused.
const MAX_REFUSALS: usize = 64;

/// Files other than those connections: refusals, listeners, standard streams, the runtime's, the
/// system's.
const OTHER_FILES: usize = MAX_REFUSALS + 32;
