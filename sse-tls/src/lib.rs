//! Server-Sent Events over TLS, with nothing in front: a [`Listener`](sse_net::Listener) of
//! `sse-net` on rustls.
//!
//! A [`TlsListener`] wraps another listener and makes its connections TLS sessions. The
//! handshake runs in each connection's own task, under the request head's deadline, so that a
//! client that never finishes it stalls nobody. What comes after is the server's: those who
//! follow a topic ride the same shards as plain connections do, with the same heartbeats,
//! deadlines, drain and gaps. A burst of events goes out as one record. A stream that ends as
//! it should ends with a `close_notify`; one that is cut does not, so that a client can tell.
//!
//! ```text
//!   PemFiles ──load──> TlsConfig ──> TlsListener<Tcp> ──> Server
//!                      reload, watch        └── TlsInfo ──> Handler
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use sse_core::Retention;
//! use sse_net::{Config, Routes, Server, Tcp, Topic};
//! use sse_tls::{PemFiles, TlsListener};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let files = PemFiles::new("/etc/app/fullchain.pem", "/etc/app/privkey.pem");
//! let tls = files.load()?; // or the file, and what is wrong with it
//! for warning in tls.warnings() {
//!     eprintln!("{warning}");
//! }
//! tokio::spawn(tls.clone().watch(Duration::from_secs(10), |notice| eprintln!("{notice}")));
//!
//! let ticks = Topic::new(Retention::events(10_000));
//! let server = Server::new(Config::default())
//!     .listen(TlsListener::new(Tcp::default().bind("0.0.0.0:443")?, tls))
//!     .serve(Routes::new().topic("/ticks", &ticks));
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`PemFiles`], [`PemError`], [`Warning`]: certificates, keys and authorities from files.
//! - [`TlsConfig`], [`Notice`]: what handshakes go by, replaced while the server runs.
//! - [`TlsListener`], [`TlsInfo`]: connections, and what the application sees of them.
//!
//! # What can be relied on
//!
//! - TLS 1.2 and 1.3. Whoever speaks plain HTTP to the port is told so with a 400; whoever
//!   offers nothing but HTTP/2 is refused in the handshake (ALPN, RFC 7301).
//! - A session is resumed by a ticket that the client keeps: the server stores nothing.
//! - A certificate that is replaced is used from the next handshake on; connections that are
//!   up go on. A bad new file changes nothing, and is told.
//! - Whoever does not read holds, beside its socket's buffer, one record: some 16 KiB.
//!
//! # The blocking half
//!
//! [`sse_core::Stream`] writes to anything, and a [`rustls::StreamOwned`] is something that
//! reads and writes: [`TlsConfig::current`] is all that it takes from here. The example
//! `tls_blocking` shows it.
//!
//! # Cryptography
//!
//! Configurations from files use [ring](rustls::crypto::ring), whatever the process has set
//! as its default: it needs a C compiler and nothing else. Who wants another provider, such as
//! aws-lc-rs with post-quantum key exchange, makes a [`rustls::ServerConfig`] with it.

mod config;
mod info;
mod listener;
mod pem;
mod session;
mod validity;

pub use config::{Notice, TlsConfig};
pub use info::TlsInfo;
pub use listener::TlsListener;
pub use pem::{PemError, PemFiles};
pub use validity::Warning;

pub use rustls;
