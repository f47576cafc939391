//! On Windows, the types lend, give and take the system's sockets.

#![cfg(windows)]

use std::os::windows::io::{
    AsRawSocket, AsSocket, BorrowedSocket, FromRawSocket, IntoRawSocket, OwnedSocket, RawSocket,
};

use super::shared::Shared;
use super::{TcpListener, TcpStream};

macro_rules! sockets {
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
                $Type::of(Shared::given(socket))
            }
        }

        impl From<$Type> for OwnedSocket {
            /// Gives the handle away, with its limits and its mode, or a duplicate if there are clones. If the
            /// socket was ended, it is one that every call refuses.
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

sockets!(TcpListener);
sockets!(TcpStream);
