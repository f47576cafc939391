//! Configurations for programs that want no more than that: the provider ring, and certificates in PEM (RFC 7468).
//!
//! None of them asks for or sets the provider that rustls keeps for a whole process.

use std::io;
use std::sync::Arc;

use memchr::memmem;
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::error::{Error, Result};

/// A configuration for clients that trust whom the system trusts, for [`TcpSocket::start_tls`](crate::TcpSocket::start_tls).
///
/// Reads the system's store of certificates, which takes a while: make it once, and use it for all connections. They also share
/// the memory of earlier sessions, which makes later handshakes shorter. On Android the store has to be prepared first, as the
/// crate `rustls-platform-verifier` says.
///
/// # Errors
///
/// [`Error::Io`] if the system's store can't be read.
///
/// ```no_run
/// use wakesock::{TcpSocket, tls};
///
/// let config = tls::client_config()?;
/// let mut socket = TcpSocket::new();
/// socket.connect("example.com", 443)?;
/// socket.start_tls("example.com", &config)?;
/// # Ok::<(), wakesock::Error>(())
/// ```
pub fn client_config() -> Result<Arc<ClientConfig>> {
    let operation = "client_config";
    let builder = client_builder(operation)?.with_platform_verifier();
    let builder = builder.map_err(|error| refused(operation, error))?;
    Ok(without_certificate(builder))
}

/// A configuration for clients that trust only whom these authorities (certificates in PEM, one or more) vouch for.
///
/// A server's self-signed certificate may be among them, unless it is marked as an authority's: then the handshake fails with
/// `CaUsedAsEndEntity`. `openssl req -x509` marks it so, unless told `-addext basicConstraints=CA:FALSE`.
///
/// # Errors
///
/// [`Error::Io`] of the kind `InvalidInput` if there is no certificate in it, or one that can't be read.
///
/// ```no_run
/// use wakesock::{TcpSocket, tls};
///
/// let config = tls::client_config_trusting(&std::fs::read("our-ca.pem")?)?;
/// let mut socket = TcpSocket::new();
/// socket.connect("db.example", 5433)?;
/// socket.start_tls("db.example", &config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn client_config_trusting(ca_pem: &[u8]) -> Result<Arc<ClientConfig>> {
    let operation = "client_config_trusting";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(operation, ca_pem)? {
        roots.add(certificate).map_err(|error| refused(operation, error))?;
    }
    Ok(without_certificate(
        client_builder(operation)?.with_root_certificates(roots),
    ))
}

/// A configuration for servers with this certificate, for [`TcpSocket::start_tls_server`](crate::TcpSocket::start_tls_server).
///
/// `chain_pem` has the server's certificate and then those of the authorities between it and a root; `key_pem` its private
/// key, as PKCS #8, PKCS #1 or SEC 1, and not encrypted. Clients are asked for no certificate.
///
/// # Errors
///
/// [`Error::Io`] of the kind `InvalidInput` if one of them has nothing of the kind, or the key isn't that of the certificate.
///
/// ```no_run
/// use wakesock::{TcpSocket, tls};
///
/// let config = tls::server_config(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// let mut listener = TcpSocket::new();
/// listener.listen_on("0.0.0.0:443", &Default::default())?;
/// let mut client = listener.accept_new()?;
/// client.start_tls_server(&config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn server_config(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>> {
    let operation = "server_config";
    let chain = certificates(operation, chain_pem)?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| bad_pem(operation, PRIVATE_KEY, key_pem, error))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    config.map(Arc::new).map_err(|error| refused(operation, error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_builder(operation: &'static str) -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.map_err(|error| refused(operation, error))
}

fn without_certificate(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Arc<ClientConfig> {
    Arc::new(builder.with_no_client_auth())
}

fn certificates(operation: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(bad_pem(operation, "certificate", pem, pem::Error::NoItemsFound)),
        Err(error) => Err(bad_pem(operation, "certificate", pem, error)),
    }
}

const PRIVATE_KEY: &str = "private key";

fn bad_pem(operation: &'static str, wanted: &str, given: &[u8], error: pem::Error) -> Error {
    let has = |text: &str| memmem::find(given, text.as_bytes()).is_some();
    let hint = if wanted == PRIVATE_KEY && has("ENCRYPTED") {
        "; one that is encrypted has to be decrypted first"
    } else if !given.is_empty() && !has("-----BEGIN ") {
        "; it may be DER, which is not PEM"
    } else {
        ""
    };
    match error {
        pem::Error::NoItemsFound => refused(operation, format!("no {wanted} in the PEM{hint}")),
        error => refused(operation, format!("the {wanted} can't be read: {error}{hint}")),
    }
}

fn refused(operation: &'static str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::io(operation, io::Error::new(io::ErrorKind::InvalidInput, why))
}
