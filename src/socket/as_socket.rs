//! On Windows, sockets own a `SOCKET`.

#![cfg(windows)]

use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};

use super::{TcpReader, TcpSocket, TcpWriter};

impl AsSocket for TcpSocket {
    /// The system's socket, for what this crate doesn't offer.
    ///
    /// `SockRef::from(&socket)` of the crate [socket2](https://docs.rs/socket2) has every socket option there is.
    ///
    /// It is in non-blocking mode and has to stay so. Where the socket isn't open, every call refuses what this gives
    /// with `WSAENOTSOCK`. It is not to be closed. While it is borrowed, closing a connection shuts it down in both
    /// directions and keeps the handle, so that it can't come to mean another; it goes when the `TcpSocket` is opened
    /// again or dropped. The port of a *listener* that was ever borrowed is free from then on only.
    ///
    /// ```
    /// use socket2::SockRef;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.no_delay()?;
    /// assert!(SockRef::from(&socket).tcp_nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.lend()
    }
}

impl AsRawSocket for TcpSocket {
    /// The handle's number, `INVALID_SOCKET` if the socket isn't open.
    ///
    /// Nothing keeps the number from being closed and used again when the socket is; [`as_socket`](AsSocket) does.
    fn as_raw_socket(&self) -> RawSocket {
        self.raw_socket()
    }
}

macro_rules! as_the_socket {
    ($($Half:ident)*) => {$(
        impl AsSocket for $Half {
            /// As the socket's: see `impl AsSocket for TcpSocket`.
            fn as_socket(&self) -> BorrowedSocket<'_> {
                self.half().lend()
            }
        }

        impl AsRawSocket for $Half {
            /// As the socket's: see `impl AsRawSocket for TcpSocket`.
            fn as_raw_socket(&self) -> RawSocket {
                self.half().raw_socket()
            }
        }
    )*};
}

as_the_socket!(TcpReader TcpWriter);
