//! What a handler can learn about a TLS session.

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use sse_net::Request;

/// The result of a connection's handshake.
///
/// It belongs to the request and is dropped with it, so that it costs a stream no memory.
///
/// ```
/// use sse_core::Rejection;
/// use sse_net::{Answer, Request, Topic};
/// use sse_tls::TlsInfo;
///
/// /// Only for clients with a certificate.
/// fn follow(request: Request, topic: &Topic) -> Answer {
///     let is_known = TlsInfo::of(&request).is_some_and(|tls| tls.peer_certificate().is_some());
///     if is_known {
///         request.follow(topic)
///     } else {
///         request.reject(Rejection::FORBIDDEN)
///     }
/// }
/// # let _ = follow;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    version: ProtocolVersion,
    server_name: Option<String>,
    peer_certificates: Vec<CertificateDer<'static>>,
    is_resumed: bool,
}

impl TlsInfo {
    /// Returns the information about the connection of `request`.
    ///
    /// `None` if it did not come through a [`TlsListener`](crate::TlsListener).
    #[must_use]
    pub fn of(request: &Request) -> Option<&Self> {
        request.extension()
    }

    pub(crate) fn new(session: &ServerConnection) -> Self {
        Self {
            // After the handshake it is always known.
            version: session
                .protocol_version()
                .unwrap_or(ProtocolVersion::TLSv1_3),
            server_name: session.server_name().map(str::to_owned),
            peer_certificates: session
                .peer_certificates()
                .map(<[_]>::to_vec)
                .unwrap_or_default(),
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Returns the negotiated version: TLS 1.2 or 1.3.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Returns the server name that the client requested (SNI), in lower case.
    ///
    /// It may differ from the request's `Host`.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the client's certificate in DER, if it has sent one.
    ///
    /// It is verified in each handshake, unless the application's own `rustls::ServerConfig` does
    /// not do that, or resumes sessions.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificates.first().map(|der| &**der)
    }

    /// Returns the client's certificate and the issuers it has sent, in DER.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// Returns whether the handshake resumed an earlier session.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}
