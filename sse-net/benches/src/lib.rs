//! What the measuring programs share.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpSocket};

#[path = "../../../examples/feed.rs"]
pub mod feed;
pub mod frame;
pub mod histogram;
pub mod load;
pub mod probe;
pub mod process;

/// A listener on loopback that holds as many as arrive at once; port 0, or none, is a free one.
///
/// # Errors
///
/// What the system says.
pub fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into())?;
    socket.listen(4096)
}
