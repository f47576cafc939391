//! On Windows, sockets own a `SOCKET`.

#![cfg(windows)]

use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};

use super::{TcpReader, TcpSocket, TcpWriter};

impl AsSocket for TcpSocket {
    /// Borrows the system's socket, for what this crate doesn't offer.
    ///
    /// `SockRef::from(&socket)` of the crate [socket2](crate::socket2), re-exported here, has every socket option there is.
    ///
    /// The socket is in non-blocking mode and must stay so. Don't close it. While the `TcpSocket` isn't open, every
    /// call on it fails with `WSAENOTSOCK`. If a connection is closed while it is borrowed, it is shut down in both
    /// directions, but the handle is kept, so that it can't come to mean another socket. The handle is closed when the
    /// `TcpSocket` is opened again or dropped. Until then, a *listener* that was ever borrowed keeps its port, and a
    /// connection that was made elsewhere (see [`attach`](TcpSocket::attach)) isn't shut down: others may have it, too.
    ///
    /// ```
    /// use wakesock::socket2::SockRef;
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
    /// When the socket is closed, the system may use the number again. [`as_socket`](AsSocket) prevents that.
    fn as_raw_socket(&self) -> RawSocket {
        self.raw_socket()
    }
}

macro_rules! as_the_socket {
    ($($Half:ident)*) => {$(
        impl AsSocket for $Half {
            /// Borrows the connection's socket: see `impl AsSocket for TcpSocket`.
            fn as_socket(&self) -> BorrowedSocket<'_> {
                self.half().lend()
            }
        }

        impl AsRawSocket for $Half {
            /// The number of the connection's handle: see `impl AsRawSocket for TcpSocket`.
            fn as_raw_socket(&self) -> RawSocket {
                self.half().raw_socket()
            }
        }
    )*};
}

as_the_socket!(TcpReader TcpWriter);
