//! [`UnixListener`] and [`UnixStream`] as in [`std::os::unix::net`], which something else can end.
//!
//! What the page of [`net`](super) says holds for them.

#![cfg(unix)]

mod incoming;
mod listener;
mod own;
mod stream;

#[doc(no_inline)]
pub use std::os::unix::net::{SocketAddr, UnixDatagram};

pub use self::incoming::Incoming;
pub use self::listener::UnixListener;
pub use self::stream::UnixStream;
