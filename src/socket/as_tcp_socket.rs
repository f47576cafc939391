//! [`AsTcpSocket`].

use std::sync::Arc;

use super::{TcpReader, TcpSocket, TcpWriter};

/// A type that is, or holds, a socket that queues and wait events can wait for.
///
/// ```
/// use wakesock::{AsTcpSocket, SocketEventQueue, TcpSocket};
///
/// struct Session {
///     socket: TcpSocket,
///     name: String,
/// }
///
/// impl AsTcpSocket for Session {
///     fn as_tcp_socket(&self) -> &TcpSocket {
///         &self.socket
///     }
/// }
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let mut socket = TcpSocket::new();
/// # socket.connect_to(&[server.local_addr().unwrap()])?;
/// let session = Session { socket, name: "client".to_owned() };
/// let queue = SocketEventQueue::new()?;
/// queue.subscribe_write(&session)?;
/// assert_eq!(queue.wait(None)?.len(), 1);
/// # assert_eq!(session.name, "client");
/// # Ok::<(), wakesock::Error>(())
/// ```
pub trait AsTcpSocket {
    /// Returns the socket.
    fn as_tcp_socket(&self) -> &TcpSocket;
}

impl AsTcpSocket for TcpSocket {
    fn as_tcp_socket(&self) -> &TcpSocket {
        self
    }
}

impl AsTcpSocket for TcpReader {
    fn as_tcp_socket(&self) -> &TcpSocket {
        self.half()
    }
}

impl AsTcpSocket for TcpWriter {
    fn as_tcp_socket(&self) -> &TcpSocket {
        self.half()
    }
}

macro_rules! as_what_it_holds {
    ($($Holder:ty),*) => {$(
        impl<S: AsTcpSocket + ?Sized> AsTcpSocket for $Holder {
            fn as_tcp_socket(&self) -> &TcpSocket {
                (**self).as_tcp_socket()
            }
        }
    )*};
}

as_what_it_holds!(&S, &mut S, Arc<S>, Box<S>);
