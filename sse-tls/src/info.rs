//! What the application sees of a session.

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use sse_net::Request;

/// What the handshake of a connection has come to. It is dropped with the request, and costs a
/// stream nothing.
///
/// ```
/// use sse_core::Rejection;
/// use sse_net::{Answer, Request, Topic};
/// use sse_tls::TlsInfo;
///
/// /// Only for those who have shown a certificate.
/// fn follow(request: Request, topic: &Topic) -> Answer {
///     let is_known = TlsInfo::of(&request).is_some_and(|tls| tls.peer_certificate().is_some());
///     match is_known {
///         true => request.follow(topic),
///         false => request.reject(Rejection::FORBIDDEN),
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
    /// That of the connection on which `request` has come; none if that is no
    /// [`TlsListener`](crate::TlsListener)'s.
    #[must_use]
    pub fn of(request: &Request) -> Option<&Self> {
        request.extension()
    }

    pub(crate) fn new(session: &ServerConnection) -> Self {
        Self {
            // It is negotiated by the end of the handshake.
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

    /// The negotiated version: TLS 1.2 or 1.3.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The name by which the client has asked for the server (SNI), in lower case. It need not
    /// be that of the request's `Host`.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The client's certificate in DER, if it has shown one. It has been verified, unless the
    /// server's own `rustls::ServerConfig` says otherwise; in a session that is resumed, at
    /// its beginning.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificates.first().map(|der| &**der)
    }

    /// The client's certificate and what it has sent of its issuers, in DER.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// Whether an earlier session was resumed.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}
