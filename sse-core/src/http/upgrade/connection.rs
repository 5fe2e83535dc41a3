//! Reading a request head from a connection, and writing the response.

use std::io::{self, Read, Write};

use super::UpgradeError;
use crate::http::head::{Head, HeadReader};
use crate::http::response::{Rejection, Reply};

/// Ends the server's half of a connection.
pub(super) type ShutDown<C> = fn(&mut C) -> io::Result<()>;

/// Reads a head, and returns the bytes after it.
pub(super) fn read_head(
    reader: &mut HeadReader,
    conn: &mut impl Read,
) -> Result<(Head, Vec<u8>), UpgradeError> {
    let mut piece = [0; 2048];
    loop {
        let mut input = match conn.read(&mut piece) {
            Ok(0) if reader.is_empty() => {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            Ok(0) => {
                return Err(Rejection::BAD_REQUEST
                    .because("the connection ended within the request head")
                    .into());
            }
            Ok(len) => &piece[..len],
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    return Err(Rejection::REQUEST_TIMEOUT.into());
                }
                _ => return Err(error.into()),
            },
        };
        if let Some(head) = reader.read(&mut input)? {
            return Ok((head, input.to_vec()));
        }
    }
}

/// Writes a reply, ends the server's half of the connection, and reads what the peer sends.
///
/// Without `shut_down` the peer does not learn that it should end its half, so it is read only
/// if it is sending.
pub(super) fn finish<C: Read + Write>(
    conn: &mut C,
    reply: &Reply,
    shut_down: Option<ShutDown<C>>,
    is_sending: bool,
) -> io::Result<()> {
    conn.write_all(&reply.encode())?;
    conn.flush()?;
    if let Some(shut_down) = shut_down {
        shut_down(conn)?;
    }
    if shut_down.is_some() || is_sending {
        linger(conn);
    }
    Ok(())
}

/// Reads and drops what the peer sends, within bounds of bytes and of reads.
fn linger(conn: &mut impl Read) {
    let mut piece = [0; 8 << 10];
    let mut conn = conn.take(MAX_LINGER);
    for _ in 0..MAX_LINGER_READS {
        match conn.read(&mut piece) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// The maximum number of bytes that are read after a response.
pub(super) const MAX_LINGER: u64 = 256 << 10;

/// A peer that sends single bytes must not occupy a thread for as long as that takes.
const MAX_LINGER_READS: usize = 64;
