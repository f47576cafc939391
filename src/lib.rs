//! Blocking TCP sockets that something else can end.
//!
//! A thread blocked in `accept`, `connect`, `get` or `put` of a [`TcpSocket`] returns at once when another thread, or a
//! raw signal handler, closes its socket or shuts the process's sockets down. Each operation can have a time limit. Its
//! result says what has ended it, and a limit or an abort loses no byte.
//!
//! - [`TcpSocket`]: listener or connection, with the blocking calls of U++'s class of that name, and
//!   [`Read`](std::io::Read), [`BufRead`](std::io::BufRead) and [`Write`](std::io::Write);
//! - [`TcpReader`] and [`TcpWriter`]: its two directions, for two threads;
//! - Unix-domain sockets, by [`connect_path`](TcpSocket::connect_path) and [`listen_path`](TcpSocket::listen_path):
//!   only the address differs;
//! - `WebSocket`: whole messages over a socket (feature `websocket`; compressed ones with `websocket-deflate`);
//! - [`SocketHandle`]: ends a socket from elsewhere;
//! - [`ShutdownRegistry`]: ends them all, at once or gracefully;
//! - [`SocketEventQueue`]: one wait for ten thousand sockets, ended by the closing of any of them, and by its
//!   [`QueueHandle`]; [`SocketWaitEvent`] is U++'s way to do that;
//! - TLS inside a socket (feature `tls`): the same calls, with the same limits and ends, on what is encrypted below;
//! - [`IpAddrInfo`]: a look-up of a host's addresses, which runs while the program does something else;
//! - [`net`]: `TcpListener` and `TcpStream` by the standard library's names and methods, for programs that have them already;
//! - [`RawWait`]: the plug for what operations block in; [`MioWait`] is the default, [`ThreadWait`] takes fewer
//!   descriptors.
//!
//! For socket options that have no method here, use `SockRef::from(&socket)` of the crate
//! [socket2](https://docs.rs/socket2), which is here as `wakesock::socket2`: see [`as_fd`](TcpSocket#method.as_fd). Those that have to be set before a socket
//! connects or listens are set by [`ConnectOptions::prepare`] and [`ListenOptions::prepare`].
//!
//! [`from_std`] is the guide for those who have a program on `std::net`, or on tungstenite. [`porting`] has a line for every member of U++'s classes. [`promises`] says how each promise is tested, and
//! [`architecture`] how the crate is built.
//!
//! # A server that ends gracefully
//!
//! ```no_run
//! use std::{thread, time::Duration};
//! use wakesock::{Error, ShutdownLevel, ShutdownRegistry, TcpSocket};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let registry = ShutdownRegistry::global();
//!     registry.on_signal(libc::SIGINT, ShutdownLevel::Accepting)?;
//!     let mut listener = TcpSocket::new();
//!     listener.listen_on("127.0.0.1:3214", &Default::default())?;
//!     thread::scope(|scope| {
//!         scope.spawn(|| {
//!             registry.wait_stop(None);
//!             println!("{:?}", registry.drain(Duration::from_secs(5)));
//!         });
//!         listener.serve(1000, |mut client| {
//!             answer(&mut client).unwrap_or_else(|error| eprintln!("{error}"));
//!         });
//!     });
//!     Ok(())
//! }
//!
//! /// Answers line by line, until the client or this server has no more to say.
//! fn answer(client: &mut TcpSocket) -> Result<(), Error> {
//!     client.timeout(Duration::from_secs(60));
//!     while let Some(line) = client.get_line()? {
//!         client.put_all(format!("you said {line}\n").as_bytes())?;
//!         if !client.wait_request()? {
//!             break; // there is no next request, or this server stops
//!         }
//!     }
//!     let _ = client.finish(Duration::from_millis(200)); // lets the last answer arrive, whatever the client still sends
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! | feature | what it adds | what it needs |
//! |---|---|---|
//! | `signal` (default) | `ShutdownRegistry::on_signal` | the crate `signal-hook`, on Unix |
//! | `tls` | `TcpSocket::start_tls`, `start_tls_server` and what belongs to them; rustls as `wakesock::rustls` | rustls without a provider of cryptography, which the program's configuration brings: pure Rust |
//! | `tls-ring` | `tls::client_config`, `tls::client_config_trusting`, `tls::server_config`: a provider, and whom the system trusts | a C compiler |
//! | `websocket` | `WebSocket` | the crates `tungstenite`, `http` and `getrandom`: pure Rust |
//! | `websocket-deflate` | permessage-deflate for it | `flate2` with `zlib-rs`: pure Rust |
//!
//! Without them the crate depends on nothing that only they need, and a socket that isn't under TLS makes the same system calls
//! with them and without.
//!
//! # Platforms
//!
//! What is promised holds on every platform, except for what this table names.
//!
//! ## Not guaranteed everywhere
//!
//! | promise | where it doesn't hold |
//! |---|---|
//! | [`SocketHandle`], [`QueueHandle`] and [`ShutdownRegistry`] may be used in a signal handler | Windows has no such handlers: a console control handler is a thread. See [`on_signal`](ShutdownRegistry#method.on_signal) |
//! | a closed listener's port is free at once, and clients are turned away | a listener that was borrowed as a descriptor, or is one of [`net`], on Windows. Its port is free when its owner opens it again, or it and its clones are dropped |
//! | a closed connection's peer is told at once | one that was made elsewhere and borrowed as a descriptor, or is one of [`net`], on Windows: it is told when its owner opens it again, or it and its clones are dropped |
//! | a limit is kept to a part of a millisecond | where mio waits in poll(2) or event ports, and on Windows and illumos: it is rounded up to milliseconds |
//! | urgent data is reported as an exception | on all systems but Linux and Android |
//! | a connection that both ends have ended is reported as an exception | Windows reports it as something to read, and only a reset as an exception |
//! | a wait of a queue costs the same, however many sockets are idle | on systems that have nothing better than poll(2) |
//! | a `get` that has waited makes two system calls, and one that finds data makes one | counted on Linux; above poll(2) and on Windows mio makes more for a wait |
//! | a connection to a port without a listener is refused at once | Windows tries again, for some two seconds |
//! | [`connect_abstract`](TcpSocket::connect_abstract) and [`listen_abstract`](TcpSocket::listen_abstract) | on all systems but Linux and Android: `Unsupported` |
//! | [`peer_pid`](TcpSocket::peer_pid) | on all systems but Linux, Android and Apple's: `Unsupported` |
//! | a program that is executed at the same moment inherits no socket | Apple's systems mark a socket a moment after it is made, Windows one that was accepted |
//! | data that came before a reset can be read | Windows drops what was not read yet when the reset comes |
//! | a port has only one listener | Windows lets the same user listen on all addresses and on a single one, on the same port: see [`reuse_address`](ListenOptions::reuse_address) |
//!
//! The crate's README says which platforms the tests were run on, and which were type-checked only.
//!
//! ## fork(2)
//!
//! A child of fork(2) that goes on without exec(3) shares epoll and eventfd descriptors with its parent. From then on
//! neither of them may use the sockets and queues that were in use at the fork. A look-up that was under way then is
//! never over in the child; one that is begun there is. `std::process::Command` is fine: the program that it executes
//! inherits none of them. (Until it executes that, the child has them all: a listener that is closed meanwhile keeps
//! its port so long. Code in `pre_exec` should be quick, and leave them alone.)
//!
//! # Logging
//!
//! The crate logs through [`log`], under the target `wakesock`: opening and closing at `debug`, waits at `trace`. It
//! never logs data, and never logs from a signal handler. The logger is called without a lock of this crate. (mio has a
//! feature `log`, which is off here: a program that turns it on gets mio's records while a queue is locked.)

// Has docs.rs, which sets this, show which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("from_std.md")]
pub mod from_std {}

#[doc = include_str!("porting.md")]
pub mod porting {}

#[doc = include_str!("promises.md")]
pub mod promises {}

mod connect;
mod deadline;
mod error;
mod events;
#[allow(unsafe_code, reason = "the name in an argument of any type")]
mod host;
#[cfg(all(test, wakesock_loom))]
#[allow(unsafe_code, reason = "memory whose use loom looks at")]
mod models;
pub mod net;
#[allow(unsafe_code, reason = "the descriptor's life: see the module")]
mod opening;
mod park;
mod queue;
mod raw_wait;
mod registry;
mod socket;
mod sync;
#[allow(unsafe_code, reason = "system calls that no library has")]
mod sys;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
mod tls;
mod wait_event;
#[allow(unsafe_code, reason = "what a signal handler can walk and add to: see the modules")]
mod wake;
#[cfg(feature = "websocket")]
mod websocket;

pub use crate::connect::{ConnectOptions, IpAddrFamily, IpAddrInfo, host_name};
pub use crate::deadline::Waiting;
pub use crate::error::{Error, Result};
pub use crate::events::WaitEvents;
pub use crate::opening::SocketId;
pub use crate::queue::{QueueHandle, SocketEvent, SocketEventQueue};
pub use crate::raw_wait::{MioWait, RawWait, ThreadWait, WaitSource, Waiter};
pub use crate::registry::{Drained, ShutdownLevel, ShutdownRegistry};
pub use crate::socket::{
    AsTcpSocket, Incoming, ListenOptions, Served, SocketHandle, TcpReader, TcpSocket, TcpWriter, UnsplitError,
};
#[cfg(feature = "tls")]
pub use crate::tls::TlsInfo;
pub use crate::wait_event::SocketWaitEvent;
pub use crate::wake::Wake;
#[cfg(feature = "websocket")]
pub use crate::websocket::{Message, Role, Upgrade, WebSocket, WebSocketReader, WebSocketWriter};
/// The crate whose types requests and responses of a WebSocket's handshake come in: [`Upgrade`].
#[cfg(feature = "websocket")]
pub use http;
/// The crate whose configurations TLS takes: [`TcpSocket::start_tls`], [`TcpSocket::start_tls_server`].
#[cfg(feature = "tls")]
pub use rustls;
/// The crate whose types the options of sockets come in: [`ConnectOptions::prepare`], [`ListenOptions::prepare`],
/// [`TcpSocket::attach`].
pub use socket2;

/// [`WaitEvents::READ`], by its name in U++.
///
/// ```
/// use wakesock::WAIT_READ;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// peer.put_all(b"!")?;
/// assert_eq!(socket.wait(WAIT_READ)?, WAIT_READ);
/// # Ok::<(), wakesock::Error>(())
/// ```
pub const WAIT_READ: WaitEvents = WaitEvents::READ;
/// [`WaitEvents::WRITE`], by its name in U++.
///
/// ```
/// use wakesock::{WAIT_READ, WAIT_WRITE};
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// // A connection with nothing to read.
/// assert_eq!(socket.wait(WAIT_READ | WAIT_WRITE)?, WAIT_WRITE);
/// # Ok::<(), wakesock::Error>(())
/// ```
pub const WAIT_WRITE: WaitEvents = WaitEvents::WRITE;
/// [`WaitEvents::EXCEPTION`], by its name in U++.
///
/// ```
/// use std::time::Duration;
/// use wakesock::WAIT_IS_EXCEPTION;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// // The peer resets the connection.
/// peer.linger(Duration::ZERO)?;
/// peer.close();
/// assert_eq!(socket.wait(WAIT_IS_EXCEPTION)?, WAIT_IS_EXCEPTION);
/// # Ok::<(), wakesock::Error>(())
/// ```
pub const WAIT_IS_EXCEPTION: WaitEvents = WaitEvents::EXCEPTION;
/// [`WaitEvents::ALL`], by its name in U++.
///
/// ```
/// use wakesock::{WAIT_ALL, WAIT_IS_EXCEPTION, WAIT_READ, WAIT_WRITE};
///
/// assert_eq!(WAIT_ALL, WAIT_READ | WAIT_WRITE | WAIT_IS_EXCEPTION);
/// ```
pub const WAIT_ALL: WaitEvents = WaitEvents::ALL;

// Its examples need the feature.
#[cfg(all(doctest, feature = "tls-ring", feature = "websocket"))]
#[doc = include_str!("../README.md")]
struct Readme;
