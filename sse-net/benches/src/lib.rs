//! Code shared by the measuring programs.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};

pub mod ask;
pub mod bars;
#[path = "../../../examples/feed.rs"]
pub mod feed;
pub mod figures;
pub mod frame;
pub mod histogram;
pub mod load;
pub mod measure;
pub mod nchan;
pub mod peers;
pub mod probe;
pub mod process;
pub mod publishers;
pub mod redis_server;
pub mod tokens;

/// Listens on loopback with a large backlog. Port 0 or `None` is any free port.
///
/// # Errors
///
/// The listener cannot be opened.
pub fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into())?;
    socket.listen(4096)
}

/// Creates a runtime with this number of worker threads.
///
/// # Errors
///
/// A thread cannot be started.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}
