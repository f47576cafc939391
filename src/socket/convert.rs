//! From and to the standard library's sockets.

use std::io;
use std::net::{TcpListener, TcpStream};

use socket2::Domain;

use super::{Directions, TcpSocket};
use crate::error::{Error, Result};

impl TcpSocket {
    /// Takes `socket` over. If that fails, the result is in the error state.
    pub(crate) fn from_socket(socket: impl Into<socket2::Socket>) -> TcpSocket {
        let mut taken = TcpSocket::new();
        if let Err(error) = taken.attach(socket) {
            taken.special.set_error(Directions::all(), &error);
        }
        taken
    }

    /// Fails unless the socket is open, of the wanted kind, and all that there is of it is the system's.
    pub(crate) fn check_plain(&self, name: &'static str, listener: bool, unix: bool) -> Result<()> {
        self.ready(Directions::all())?;
        let refuse = |why| Err(Error::io(name, io::Error::new(io::ErrorKind::InvalidInput, why)));
        if self.opening.hands_out_last() {
            return Err(Error::Shutdown);
        }
        if self.opening.is_listener() != listener {
            return refuse(if listener { "not a listener" } else { "not a stream" });
        }
        let domain = {
            let in_use = self.opening.enter()?;
            let addr = socket2::SockRef::from(&in_use.socket()).local_addr();
            addr.map_err(|error| Error::io(name, error))?.domain()
        };
        if unix != (domain == Domain::UNIX) {
            return refuse("another address family");
        }
        if self.special.session().is_some() {
            return refuse("what is under TLS can't be had without it");
        }
        if !self.input.buffer.is_empty() {
            return refuse("bytes that were read ahead would be lost");
        }
        Ok(())
    }

    /// Returns the system's socket, in blocking mode, if it is of the wanted kind and has nothing unread.
    pub(crate) fn into_socket(self, name: &'static str, listener: bool, unix: bool) -> Result<socket2::Socket> {
        self.check_plain(name, listener, unix)?;
        let Some(socket) = self.opening.take() else {
            return Err(Error::Closed);
        };
        let socket = socket2::Socket::from(socket);
        socket.set_nonblocking(false).map_err(|error| Error::io(name, error))?;
        Ok(socket)
    }
}

/// Makes the standard library's sockets convertible.
macro_rules! conversions {
    ($($std:ident: listener $listener:literal, unix $unix:literal;)*) => {$(
        impl From<$std> for $crate::TcpSocket {
            /// Takes the socket over, into the global registry.
            ///
            /// If that fails, the result is in the error state.
            fn from(socket: $std) -> $crate::TcpSocket {
                $crate::TcpSocket::from_socket(socket)
            }
        }

        impl TryFrom<$crate::TcpSocket> for $std {
            type Error = $crate::Error;

            /// Returns the system's socket, in blocking mode. The handles do nothing from then on.
            ///
            /// Fails, and closes the socket, if it isn't open, is in the error state, is of another kind, is under TLS, or holds
            /// bytes that were read ahead and not taken.
            fn try_from(socket: $crate::TcpSocket) -> $crate::Result<$std> {
                let name = concat!("conversion to ", stringify!($std));
                socket.into_socket(name, $listener, $unix).map(Into::into)
            }
        }
    )*};
}
#[allow(unused_imports, reason = "the standard library has Unix-domain sockets on Unix only")]
pub(super) use conversions;

conversions! {
    TcpStream: listener false, unix false;
    TcpListener: listener true, unix false;
}
