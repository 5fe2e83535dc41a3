//! Unix listeners.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::listener::{Listener, Peer};
use super::{BACKLOG, Transport, cannot_listen};

/// Listens at a Unix socket, and replaces a socket file without a listener.
///
/// Other files are not replaced. The socket file stays when the server ends; the next server
/// replaces it. On Linux, its permissions decide who may connect: with the usual umask, only the
/// same user and root. 4,096 connections may wait to be accepted. If two servers replace the same
/// file at the same time, the second may displace the first.
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// let listener = sse_net::bind_unix("/run/app/events.sock")?;
/// # let _ = listener;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if a process listens there,
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the file is not a socket, and other errors of
/// the system. They name the path.
///
/// # Panics
///
/// Outside a Tokio runtime.
pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<UnixListener> {
    let path = path.as_ref();
    listen(path).map_err(|error| cannot_listen(path.display(), &error))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = SockAddr::unix(path)?;
    let socket = unix_socket()?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address)? => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Returns whether `path` is a socket without a listener.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        let sentence = "the file is not a socket; remove it, or listen at another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, sentence));
    }
    // Non-blocking: a full backlog means that a process listens.
    let refused = unix_socket()?.connect(address).err();
    Ok(refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn unix_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listener for UnixListener {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (socket, _) = Self::accept(self).await?;
        Ok((std::future::ready(Ok(Transport::from(socket))), Peer::Local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_but_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.sock");

        let live = bind_unix(&path).unwrap();
        let refused = bind_unix(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists());
        drop(bind_unix(&path).unwrap());

        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let refused = bind_unix(&file).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            refused.to_string(),
            format!(
                "can't listen at {}: the file is not a socket; remove it, or listen at another \
                 path",
                file.display()
            )
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
