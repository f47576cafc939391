//! The standard library's names: [`TcpListener`] and [`TcpStream`] as in [`std::net`], which something else can end.
//!
//! A program that says `use wakesock::net::…` where it said `use std::net::…` compiles, does what it did, and can be ended: by
//! the [`ShutdownRegistry`](crate::ShutdownRegistry) that its sockets are in, which is the [global](crate::ShutdownRegistry::global)
//! one unless [`bind_in`](TcpListener::bind_in) or [`connect_in`](TcpStream::connect_in) says another, and by the
//! [`handle`](TcpStream::handle) of each. For `std::os::unix::net` there is `unix`.
//!
//! The [guide](crate::from_std) has the whole way: what becomes of each call, four loops before and after, and what differs.
//!
//! # Errors
//!
//! They are the system's, as from the standard library: a limit has the kind that it has there (`WouldBlock` on Unix, `TimedOut` on
//! Windows), and [`raw_os_error`](std::io::Error::raw_os_error) tells the number. What this program has *ended* returns an error that has
//! an [`Error`] inside, [`Closed`](Error::Closed), [`Aborted`](Error::Aborted), [`Shutdown`](Error::Shutdown) or, by a
//! [deadline](crate::SocketHandle::read_deadline) of a handle, [`Timeout`](Error::Timeout):
//!
//! ```
//! use std::io::Read;
//! use std::thread;
//! use wakesock::Error;
//! use wakesock::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut stream = TcpStream::connect(listener.local_addr()?)?;
//! let handle = stream.handle();
//! let blocked = thread::spawn(move || stream.read(&mut [0; 64]));
//! handle.close();
//! let error = blocked.join().unwrap().unwrap_err();
//! let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
//! assert!(matches!(inner, Some(Error::Closed)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Clones
//!
//! [`try_clone`](TcpStream::try_clone) gives another owner of the same socket, as in the standard library. To close one by a handle
//! ends all of them. All have one descriptor. One that is converted to an owned descriptor, `OwnedFd` or on Windows `OwnedSocket`, while
//! others are left gives a duplicate, whose limits and mode are its own from then on.
//!
//! The descriptor is in non-blocking mode, and its number is taken for as long as there is one of them, whatever ends the
//! socket: it never comes to mean another file. Limits and [`set_nonblocking`](TcpStream::set_nonblocking) are this crate's doing,
//! so that they hold in calls of these types. A descriptor that is given away is as the standard library would have left it.
//!
//! A direction that has waited keeps two descriptors more, until the socket is closed. A server with many clients takes
//! [`ThreadWait`](crate::ThreadWait), which keeps two for each thread:
//!
//! ```
//! use std::sync::Arc;
//! use wakesock::net::TcpListener;
//! use wakesock::{TcpSocket, ThreadWait};
//!
//! let mut socket = TcpSocket::new();
//! socket.set_raw_wait(Arc::new(ThreadWait::default()));
//! socket.listen_on("127.0.0.1:0", &Default::default())?;
//! let listener = TcpListener::try_from(socket)?; // so will its connections wait
//! # drop(listener);
//! # Ok::<(), wakesock::Error>(())
//! ```
//!
//! # Signal handlers
//!
//! None of these types may be used or dropped in a signal handler. A [`handle`](TcpStream::handle) that was taken before may be used
//! there, and so may the registry.

mod addr;
#[allow(unsafe_code, reason = "`FromRawFd` has an unsafe function")]
mod as_fd;
#[allow(unsafe_code, reason = "`FromRawSocket` has an unsafe function")]
mod as_socket;
mod convert;
mod errors;
mod incoming;
mod listener;
mod methods;
mod shared;
mod stream;
pub mod unix;

#[doc(no_inline)]
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs,
    UdpSocket,
};

pub use self::incoming::Incoming;
pub use self::listener::TcpListener;
pub use self::stream::TcpStream;
#[cfg(doc)]
use crate::error::Error;
