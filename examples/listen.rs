//! Listening at the address of `--listen`.

use std::io;

/// Binds to an address such as `127.0.0.1:8080`, or `:8080` for all addresses.
///
/// # Errors
///
/// The last error of `bind`, as a sentence that names the address and `--listen`.
pub fn bind<L>(listen: &str, bind: impl Fn(&str) -> io::Result<L>) -> io::Result<L> {
    let bound = match listen.strip_prefix(':') {
        // IPv6 sockets take IPv4 as well, but not every system has IPv6.
        Some(port) => bind(&format!("[::]:{port}")).or_else(|_| bind(&format!("0.0.0.0:{port}"))),
        None => bind(listen),
    };
    bound.map_err(|error| cant_listen("--listen", listen, &error))
}

/// Returns the error of a listener as a sentence that names the option with its address.
#[must_use]
pub fn cant_listen(option: &str, at: &str, error: &io::Error) -> io::Error {
    let sentence = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{at} is in use; end the other program, or choose another address with {option}"
            )
        }
        _ => format!("{option} {at:?}: {error}"),
    };
    io::Error::new(error.kind(), sentence)
}
