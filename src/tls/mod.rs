//! TLS: a layer inside a socket, and the configurations that it takes.
//!
//! [`TcpSocket::start_tls`](crate::TcpSocket::start_tls) and
//! [`start_tls_server`](crate::TcpSocket::start_tls_server) begin it on a connection. From then on the socket's calls are
//! those they were, with the same limits and ends, and what they read and write is plaintext: lines, `peek`, `BufRead`, halves,
//! queues and wait events.
//!
//! The layer is rustls, which is here as [`wakesock::rustls`](crate::rustls): what is agreed on, whom to trust, certificates,
//! ALPN and resumption are set in its [`ClientConfig`](rustls::ClientConfig) and [`ServerConfig`](rustls::ServerConfig). With
//! the feature `tls-ring` there are functions here that make the usual ones, to which more can be added:
//!
//! ```no_run
//! # #[cfg(feature = "tls-ring")]
//! # {
//! use std::sync::Arc;
//! use wakesock::rustls::pki_types::{CertificateDer, pem::PemObject};
//! use wakesock::rustls::server::WebPkiClientVerifier;
//! use wakesock::rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
//! use wakesock::tls;
//!
//! // A protocol inside, ALPN. Who offers none is let in: `tls_info` tells what was agreed on.
//! let mut config = tls::server_config(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
//! Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
//!
//! // Clients have to show a certificate of an authority of ours.
//! let mut authorities = RootCertStore::empty();
//! authorities.add(CertificateDer::from_pem_file("clients-ca.pem")?)?;
//! let provider = Arc::new(ring::default_provider());
//! let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider)).build()?;
//! let chain = CertificateDer::pem_file_iter("chain.pem")?.collect::<Result<_, _>>()?;
//! let config = ServerConfig::builder_with_provider(provider)
//!     .with_safe_default_protocol_versions()?
//!     .with_client_cert_verifier(verifier)
//!     .with_single_cert(chain, PrivateKeyDer::from_pem_file("key.pem")?)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program that depends on rustls itself should do so without its default features: with two providers compiled in, what asks
//! for the one of the process panics.

#[cfg(feature = "tls")]
mod adapters;
#[cfg(feature = "tls")]
mod boundary;
#[cfg(feature = "tls-ring")]
mod config;
#[cfg(feature = "tls")]
mod info;
#[cfg(not(feature = "tls"))]
mod none;
#[cfg(feature = "tls")]
mod session;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no session"))]
mod wire;

#[cfg(feature = "tls-ring")]
pub use self::config::{client_config, client_config_trusting, server_config};
#[cfg(feature = "tls")]
pub use self::info::TlsInfo;
#[cfg(not(feature = "tls"))]
pub(crate) use self::none::Session;
#[cfg(feature = "tls")]
pub(crate) use self::session::Session;
#[cfg(feature = "websocket")]
pub(crate) use self::wire::is_for_now;
pub(crate) use self::wire::{UNFINISHED, Wire, Written};
