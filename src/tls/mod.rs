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
//! // A protocol inside, ALPN. A client that offers none is let in: `tls_info` tells what was agreed on.
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
//! # Many handshakes in one thread
//!
//! In a queue, a handshake is begun with a limit of zero, and goes on when the queue says that something has come. When its
//! [limit](crate::TcpSocket::tls_limit) is over, the queue reports the socket as readable, too: the next call tells
//! [`HandshakeTimeout`](crate::Error::HandshakeTimeout). So a client that says nothing doesn't stay.
//!
//! ```
//! use std::collections::HashMap;
//! use std::time::Duration;
//! use wakesock::{Error, SocketEventQueue, TcpSocket, WaitEvents};
//!
//! /// Goes on with a client as far as that goes at once.
//! # #[cfg(feature = "tls")]
//! fn greet(client: &mut TcpSocket) -> Result<(), Error> {
//!     client.wait_tls()?;
//!     client.put_all(b"hello\n")
//! }
//!
//! # #[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
//! # {
//! let handshake = Duration::from_secs(10);
//! # let made = rcgen::generate_simple_self_signed(["server.test".to_owned()])?;
//! # let (chain_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
//! let config = wakesock::tls::server_config(chain_pem.as_bytes(), key_pem.as_bytes())?;
//! let mut listener = TcpSocket::new();
//! listener.listen_on("127.0.0.1:0", &Default::default())?;
//! let queue = SocketEventQueue::new()?;
//! queue.subscribe_read(&listener)?;
//! # let (addr, end) = (listener.local_addr()?, queue.handle());
//! # let silent = std::net::TcpStream::connect(addr)?;
//! # let asking = std::thread::spawn(move || -> Result<_, Error> {
//! #     let config = wakesock::tls::client_config_trusting(chain_pem.as_bytes())?;
//! #     let mut client = TcpSocket::new();
//! #     client.connect_to(&[addr])?;
//! #     client.start_tls("server.test", &config)?;
//! #     let said = client.get_line();
//! #     end.close();
//! #     said
//! # });
//! let mut clients = HashMap::new();
//! while let Ok(events) = queue.wait(None) {
//!     for event in events {
//!         let id = event.socket_id();
//!         let mut client = if id == listener.id() {
//!             let mut client = TcpSocket::new();
//!             client.timeout(Duration::ZERO).tls_limit(handshake);
//!             // What the handshake has come to is told by the next call.
//!             let _ = client.accept(&listener).and_then(|()| client.start_tls_server(&config));
//!             if !client.is_tls() {
//!                 continue;
//!             }
//!             client
//!         } else if let Some(client) = clients.remove(&id) {
//!             client
//!         } else {
//!             // It was dropped, which the queue reports.
//!             continue;
//!         };
//!         match greet(&mut client) {
//!             Ok(()) => {}
//!             Err(Error::Timeout) => {
//!                 queue.subscribe(&client, WaitEvents::READ | client.wants(), client.id())?;
//!                 if client.wants().is_empty() {
//!                     queue.disable_write(&client)?;
//!                 }
//!                 clients.insert(client.id(), client);
//!             }
//!             Err(error) => eprintln!("{error}"),
//!         }
//!     }
//! }
//! # assert_eq!(asking.join().unwrap()?.as_deref(), Some("hello"));
//! # assert_eq!(clients.len(), 1, "who is silent");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program that depends on rustls itself should do so without its default features: where two providers are compiled in, code
//! that asks rustls for the provider of the process panics.
//!
//! # What a failure says
//!
//! [`Error::Tls`](crate::Error::Tls) has the words of rustls:
//!
//! | it says | because |
//! |---|---|
//! | `invalid peer certificate: UnknownIssuer` | nobody who is trusted has vouched for the server: trust it by `client_config_trusting` |
//! | `certificate not valid for name "…"` | it is another's, or has the name in its `CN` alone and not among its `subjectAltName` |
//! | `CaUsedAsEndEntity` | it is an authority's, which can't be a server's |
//! | `received corrupt message of type InvalidContentType` | what came is no TLS: the peer speaks plain text |
//! | `received fatal alert: …`, in a server | the client has refused: `UnknownCA`, `CertificateUnknown` and `BadCertificate` mean the certificate |

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
