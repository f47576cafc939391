//! From and to the system's descriptors, the standard library's types, and [`TcpSocket`].

use socket2::Socket;

use super::shared::Shared;
use super::{TcpListener, TcpStream};
use crate::error::{Error, Result};
use crate::registry::ShutdownRegistry;
use crate::socket::TcpSocket;

/// What `Debug` calls a descriptor's number.
pub(super) const NUMBER: &str = if cfg!(windows) { "socket" } else { "fd" };

macro_rules! conversions {
    ($Type:ident: $Std:path, listener $listener:literal, unix $unix:literal) => {
        impl From<$Std> for $Type {
            /// Takes the socket over, into the global registry, with its limits and, on Unix, its mode. If the registry is shut down,
            /// every operation says so.
            fn from(socket: $Std) -> $Type {
                $Type::of(Shared::take_over(ShutdownRegistry::global(), socket, true))
            }
        }

        impl From<$Type> for $Std {
            /// Gives the system's socket away, with its limits and its mode, or a duplicate of it if there are clones.
            fn from(socket: $Type) -> $Std {
                socket.shared.into_number().into()
            }
        }

        impl From<Socket> for $Type {
            /// Takes the socket over as the standard library's is: what socket2 has made, with whatever options.
            fn from(socket: Socket) -> $Type {
                $Type::of(Shared::take_over(ShutdownRegistry::global(), socket, true))
            }
        }

        impl From<$Type> for Socket {
            /// Gives the system's socket away, as the standard library's is.
            fn from(socket: $Type) -> Socket {
                socket.shared.into_number().into()
            }
        }

        impl TryFrom<TcpSocket> for $Type {
            type Error = Error;

            /// Goes on with the connection or listener, in its registry and with its handles. Its limit holds for each direction; one
            /// of zero becomes non-blocking mode.
            ///
            /// Fails, and closes the socket, if it isn't open, is in the error state, is of another kind, or holds bytes that were
            /// read ahead and not taken.
            fn try_from(socket: TcpSocket) -> Result<$Type> {
                socket.check_plain(concat!("conversion to ", stringify!($Type)), $listener, $unix)?;
                Ok($Type::of(Shared::new(socket)))
            }
        }

        impl From<$Type> for TcpSocket {
            /// Goes on with the connection or listener, in its registry and with its handles. The limit of reads holds for each
            /// operation; non-blocking mode becomes one of zero.
            ///
            /// If there are clones, the result is a duplicate, which doesn't end with them. If that can't be made, it is in the
            /// error state.
            fn from(socket: $Type) -> TcpSocket {
                socket.shared.into_socket()
            }
        }

        numbers!($Type);
    };
}

/// Implements a trait that lends or gives the system's socket.
#[cfg(unix)]
macro_rules! numbers {
    ($Type:ident) => {
        impl AsFd for $Type {
            /// Borrows the descriptor. It is in non-blocking mode, and must stay so.
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.shared.socket().lend()
            }
        }

        impl AsRawFd for $Type {
            /// The descriptor's number, which means no other file for as long as this, or a clone, is there.
            fn as_raw_fd(&self) -> RawFd {
                self.shared.socket().raw_socket()
            }
        }

        impl From<OwnedFd> for $Type {
            /// Takes the socket over, into the global registry, with its limits and its mode.
            fn from(fd: OwnedFd) -> $Type {
                $Type::of(Shared::take_over(ShutdownRegistry::global(), fd, true))
            }
        }

        impl From<$Type> for OwnedFd {
            /// Gives the descriptor away, with its limits and its mode, or a duplicate if there are clones. Of what was ended it is
            /// something dead.
            fn from(socket: $Type) -> OwnedFd {
                socket.shared.into_number()
            }
        }

        impl FromRawFd for $Type {
            unsafe fn from_raw_fd(fd: RawFd) -> $Type {
                // SAFETY: as the caller says.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }

        impl IntoRawFd for $Type {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }
    };
}

#[cfg(windows)]
macro_rules! numbers {
    ($Type:ident) => {
        impl AsSocket for $Type {
            /// Borrows the system's socket. It is in non-blocking mode, and must stay so.
            fn as_socket(&self) -> BorrowedSocket<'_> {
                self.shared.socket().lend()
            }
        }

        impl AsRawSocket for $Type {
            /// The handle's number, which means no other one for as long as this, or a clone, is there.
            fn as_raw_socket(&self) -> RawSocket {
                self.shared.socket().raw_socket()
            }
        }

        impl From<OwnedSocket> for $Type {
            /// Takes the socket over, into the global registry, with its limits.
            fn from(socket: OwnedSocket) -> $Type {
                $Type::of(Shared::take_over(ShutdownRegistry::global(), socket, true))
            }
        }

        impl From<$Type> for OwnedSocket {
            /// Gives the handle away, with its limits and its mode, or a duplicate if there are clones. Of what was ended it is
            /// something dead.
            fn from(socket: $Type) -> OwnedSocket {
                socket.shared.into_number()
            }
        }

        impl FromRawSocket for $Type {
            unsafe fn from_raw_socket(socket: RawSocket) -> $Type {
                // SAFETY: as the caller says.
                unsafe { OwnedSocket::from_raw_socket(socket) }.into()
            }
        }

        impl IntoRawSocket for $Type {
            fn into_raw_socket(self) -> RawSocket {
                OwnedSocket::from(self).into_raw_socket()
            }
        }
    };
}

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
#[cfg(windows)]
use std::os::windows::io::{
    AsRawSocket, AsSocket, BorrowedSocket, FromRawSocket, IntoRawSocket, OwnedSocket, RawSocket,
};

conversions!(TcpListener: std::net::TcpListener, listener true, unix false);
conversions!(TcpStream: std::net::TcpStream, listener false, unix false);
#[cfg(unix)]
mod of_unix {
    use super::*;
    use crate::net::unix::{UnixListener, UnixStream};

    conversions!(UnixListener: std::os::unix::net::UnixListener, listener true, unix true);
    conversions!(UnixStream: std::os::unix::net::UnixStream, listener false, unix true);
}
