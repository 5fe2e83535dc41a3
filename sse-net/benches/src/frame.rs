//! The wire form of events in `bare` and `hyper`, the same as in the library.

/// The response head.
pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\nconnection: close\r\n\r\n";

/// Appends an event with an ID as long as those of the library.
pub fn encode(data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: 1700000000000-0\ndata: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}
