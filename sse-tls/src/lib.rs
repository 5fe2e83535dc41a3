//! Server-Sent Events over TLS: a [`Listener`](sse_net::Listener) and a
//! [`Connector`](sse_net::Connector) for `sse-net` on rustls.
//!
//! A [`TlsListener`] wraps another listener and turns its connections into TLS sessions. The
//! handshake runs in the task of its connection, under the deadline of the request head. Then
//! the server treats the session like any other connection: the same shards, heartbeats,
//! deadlines, drain and gaps. The program `tls` of the repository is complete, and its cookbook,
//! `examples/cookbook`, has recipes for what stands behind the listener.
//!
//! ```text
//!   PemFiles ──load──> TlsConfig ──> TlsListener<Tcp> ──> Server
//!                      reload, watch        └── TlsInfo ──> Handler
//! ```
//!
#![cfg_attr(feature = "ring", doc = "```no_run")]
#![cfg_attr(not(feature = "ring"), doc = "```ignore")]
//! use std::time::Duration;
//! use sse_core::Retention;
//! use sse_net::{Config, Routes, Server, Tcp, Topic};
//! use sse_tls::{PemFiles, TlsListener};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let files = PemFiles::new("/etc/app/fullchain.pem", "/etc/app/privkey.pem");
//! let tls = files.load()?; // the error names the file and the reason
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
//! # Contents
//!
//! - [`TlsListener`]: accepts connections and performs handshakes.
//! - [`TlsConfig`]: the configuration of handshakes, replaceable while the server runs.
//! - [`TlsConnector`]: connects a client to `https` URLs.
//! - [`TlsInfo`]: what a handler can learn about the session of a request.
#![cfg_attr(
    feature = "ring",
    doc = "- [`PemFiles`], [`PemError`]: certificates, keys and authorities from PEM files.\n\
           - [`Notice`], [`Warning`]: reports about certificates that were replaced or expire."
)]
//!
//! # Guarantees
//!
//! - TLS 1.2 and 1.3. A plain HTTP request gets a response of 400. A client that offers only
//!   HTTP/2 is refused in the handshake (ALPN, RFC 7301).
//! - The server stores no sessions: a client resumes with a ticket that it keeps. Where client
//!   certificates are requested, no session is resumed, and each handshake verifies them.
//! - A replaced certificate is used from the next handshake on; open connections continue. If
//!   the new files are invalid, the old certificate remains in use and the error is reported.
//! - A client that does not read occupies one record of 16 KiB beside its socket buffer.
//! - Events that are sent together share a record. A stream that ends regularly ends with
//!   `close_notify`; a stream that is cut does not.
//!
//! # Without a runtime
//!
//! [`sse_core::Stream`] and [`sse_core::Upgrader`] work with [`rustls::StreamOwned`], which reads
//! and writes. [`TlsConfig::current`] returns the configuration for it. The example
//! `tls_blocking` is a complete server.
//!
//! # Features
//!
//! `platform-verifier` adds `TlsConnector::new`, which trusts the certificates that the system
//! trusts.
//!
//! `ring`, on by default, adds `PemFiles` and `TlsConnector::trusting`, which use the provider ring
//! whatever the default of the process is. It needs a C compiler. Another provider, such as
//! aws-lc-rs with its post-quantum key exchange, goes into a [`rustls::ServerConfig`] that the
//! application makes.

mod config;
mod connector;
#[cfg(feature = "ring")]
mod files;
mod info;
mod listener;
mod session;

pub use config::TlsConfig;
pub use connector::TlsConnector;
#[cfg(feature = "ring")]
pub use files::{Notice, PemError, PemFiles, Warning};
pub use info::TlsInfo;
pub use listener::TlsListener;

pub use rustls;

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "ring"))]
#[doc = include_str!("../README.md")]
mod readme {}
