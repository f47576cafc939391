//! [`TlsInfo`]: what a handshake has agreed on.

use rustls::pki_types::CertificateDer;
use rustls::{Connection, HandshakeKind, ProtocolVersion};

/// What a TLS handshake has agreed on: [`TcpSocket::tls_info`](crate::TcpSocket::tls_info).
///
/// U++'s `SSLInfo`. The certificates come as they were sent (DER, RFC 5280): a crate as `x509-parser` takes them apart.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    version: &'static str,
    cipher: &'static str,
    alpn: Option<Vec<u8>>,
    server_name: Option<String>,
    peer_certificates: Vec<CertificateDer<'static>>,
    was_resumed: bool,
}

impl TlsInfo {
    /// What `connection`, whose handshake is over, has agreed on. `asked_for` is the name that a client has asked for.
    pub(super) fn of(connection: &Connection, asked_for: Option<String>) -> TlsInfo {
        let server_name = match connection {
            Connection::Client(_) => asked_for,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str());
        let certificates = connection.peer_certificates().unwrap_or_default();
        TlsInfo {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
            cipher: cipher.unwrap_or("unknown"),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            peer_certificates: certificates.to_vec(),
            was_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// The version of the protocol: `TLSv1.3` or `TLSv1.2`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The cipher suite, by its name in IANA's registry: `TLS13_AES_256_GCM_SHA384`.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// The protocol that both want to speak inside (ALPN, RFC 7301): `h2`, `http/1.1`. None if they have not agreed on one.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The name that the client has asked for: of a client the one given to
    /// [`start_tls`](crate::TcpSocket::start_tls), of a server the one that came (SNI, RFC 6066), if one came.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The certificates that the peer has sent, its own first. Empty for a server that hasn't asked its client for one.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// Whether the session goes on where an earlier one has stopped, which saves most of a handshake.
    pub fn was_resumed(&self) -> bool {
        self.was_resumed
    }
}
