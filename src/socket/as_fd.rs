//! On Unix, sockets own a descriptor and convert to and from the standard library's Unix-domain sockets.

#![cfg(unix)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::convert::conversions;
use super::{TcpReader, TcpSocket, TcpWriter};

impl AsFd for TcpSocket {
    /// Borrows the descriptor, for what this crate doesn't offer.
    ///
    /// `SockRef::from(&socket)` of the crate [socket2](crate::socket2), re-exported here, has every socket option there is, those
    /// of `std::net` among them: the time to live, keep-alive, the sizes of the buffers, and whether
    /// [`no_delay`](TcpSocket::no_delay) is set.
    ///
    /// The descriptor is in non-blocking mode and must stay so. Don't close it. While the socket isn't open, every call
    /// on it fails with `EBADF`. If the socket is closed while the descriptor is borrowed, the connection ends but the
    /// number is kept, so that it can't come to mean another file.
    ///
    /// ```
    /// use wakesock::socket2::{SockRef, TcpKeepalive};
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.no_delay()?;
    /// let options = SockRef::from(&socket);
    /// assert!(options.tcp_nodelay()?);
    ///
    /// options.set_ttl_v4(32)?;
    /// assert_eq!(options.ttl_v4()?, 32);
    ///
    /// // A peer that is silent for a minute is asked whether it is still there, every ten seconds from then on.
    /// let keepalive = TcpKeepalive::new()
    ///     .with_time(Duration::from_secs(60))
    ///     .with_interval(Duration::from_secs(10));
    /// options.set_tcp_keepalive(&keepalive)?;
    /// assert!(options.keepalive()?);
    ///
    /// options.set_recv_buffer_size(64 * 1024)?;
    /// options.set_send_buffer_size(64 * 1024)?;
    /// assert!(options.send_buffer_size()? >= 64 * 1024); // Linux doubles what it is told, socket(7).
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lend()
    }
}

impl AsRawFd for TcpSocket {
    /// The descriptor's number, -1 if the socket isn't open.
    ///
    /// When the socket is closed, the system may give the number to another file. [`as_fd`](TcpSocket::as_fd) prevents
    /// that.
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert!(socket.as_raw_fd() >= 0);
    /// socket.close();
    /// assert_eq!(socket.as_raw_fd(), -1);
    /// ```
    fn as_raw_fd(&self) -> RawFd {
        self.raw_socket()
    }
}

macro_rules! as_the_socket {
    ($($Half:ident)*) => {$(
        impl AsFd for $Half {
            /// Borrows the connection's descriptor: see `impl AsFd for TcpSocket`.
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.half().lend()
            }
        }

        impl AsRawFd for $Half {
            /// The number of the connection's descriptor: see `impl AsRawFd for TcpSocket`.
            fn as_raw_fd(&self) -> RawFd {
                self.half().raw_socket()
            }
        }
    )*};
}

as_the_socket!(TcpReader TcpWriter);

conversions! {
    UnixStream: listener false, unix true;
    UnixListener: listener true, unix true;
}
