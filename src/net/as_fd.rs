//! On Unix, the types lend, give and take descriptors.

#![cfg(unix)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::shared::Shared;
use super::unix::{UnixListener, UnixStream};
use super::{TcpListener, TcpStream};

macro_rules! descriptors {
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
                $Type::of(Shared::given(fd))
            }
        }

        impl From<$Type> for OwnedFd {
            /// Gives the descriptor away, with its limits and its mode, or a duplicate if there are clones. If the
            /// socket was ended, it is one that every call refuses.
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

descriptors!(TcpListener);
descriptors!(TcpStream);
descriptors!(UnixListener);
descriptors!(UnixStream);
