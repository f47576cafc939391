//! TLS: a layer inside a socket, and the configurations that it takes.
//!
//! [`TcpSocket::start_tls`](crate::TcpSocket::start_tls) and
//! [`start_tls_server`](crate::TcpSocket::start_tls_server) begin it on a connection. From then on the socket's calls are
//! those they were, with the same limits and ends, and what they read and write is plaintext: lines, `peek`, `BufRead`, halves,
//! queues and wait events.
//!
//! The layer is rustls, which is here as [`wakesock::rustls`](crate::rustls): what is agreed on, whom to trust, certificates,
//! ALPN and resumption are set in its [`ClientConfig`](rustls::ClientConfig) and [`ServerConfig`](rustls::ServerConfig). With
//! the feature `tls-ring` there are functions here that make the usual ones.

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
pub(crate) use self::wire::{UNFINISHED, Wire, Written};
