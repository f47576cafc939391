//! [`TlsInfo`]: what a handshake has agreed on.

use rustls::pki_types::CertificateDer;

/// What a TLS handshake has agreed on: [`TcpSocket::tls_info`](crate::TcpSocket::tls_info).
///
/// U++'s `SSLInfo`. The certificates come as they were sent (DER, RFC 5280): a crate like `x509-parser` takes them apart.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    pub(super) version: &'static str,
    pub(super) cipher: &'static str,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
    pub(super) peer_certificates: Vec<CertificateDer<'static>>,
    pub(super) was_resumed: bool,
}

impl TlsInfo {
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
