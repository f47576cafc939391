//! From and to the standard library's types, socket2's and [`TcpSocket`](crate::socket::TcpSocket).

/// The conversions of `$Type`, which stands for `$Std`.
macro_rules! conversions {
    ($Type:ident: $Std:path, listener $listener:literal, unix $unix:literal) => {
        impl From<$Std> for $Type {
            /// Takes the socket over, into the global registry, with its limits and, on Unix, its blocking or non-blocking mode. If the
            /// registry is shut down, every operation says so.
            fn from(socket: $Std) -> $Type {
                $Type::of(crate::net::shared::Shared::given(socket))
            }
        }

        impl From<$Type> for $Std {
            /// Gives the system's socket away, with its limits and its mode, or a duplicate of it if there are clones.
            fn from(socket: $Type) -> $Std {
                socket.shared.into_number().into()
            }
        }

        impl From<socket2::Socket> for $Type {
            /// Takes the socket over, which may have been made with any options, as one of the standard library's.
            fn from(socket: socket2::Socket) -> $Type {
                $Type::of(crate::net::shared::Shared::given(socket))
            }
        }

        impl From<$Type> for socket2::Socket {
            /// Gives the system's socket away, with its limits and its mode, or a duplicate of it if there are clones.
            fn from(socket: $Type) -> socket2::Socket {
                socket.shared.into_number().into()
            }
        }

        impl TryFrom<crate::socket::TcpSocket> for $Type {
            type Error = crate::error::Error;

            /// Goes on with the connection or listener, in its registry and with its handles. Its limit holds for each direction; one
            /// of zero becomes non-blocking mode.
            ///
            /// Fails, and closes the socket, if it isn't open, is in the error state, is of another kind, or holds bytes that were
            /// read ahead and not taken.
            fn try_from(socket: crate::socket::TcpSocket) -> crate::error::Result<$Type> {
                socket.check_plain(concat!("conversion to ", stringify!($Type)), $listener, $unix)?;
                Ok($Type::of(crate::net::shared::Shared::new(socket)))
            }
        }

        impl From<$Type> for crate::socket::TcpSocket {
            /// Goes on with the connection or listener, in its registry and with its handles. The limit of reads holds for each
            /// operation; non-blocking mode becomes one of zero.
            ///
            /// If there are clones, the result is a duplicate, which doesn't end with them. If that can't be made, it is in the
            /// error state.
            fn from(socket: $Type) -> crate::socket::TcpSocket {
                socket.shared.into_socket()
            }
        }
    };
}
pub(super) use conversions;
