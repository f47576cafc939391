//! [`SocketEvent`], which a queue reports.

use std::fmt;

use super::slot::Slot;
use crate::events::WaitEvents;
use crate::opening::SocketId;

/// An event of one socket, as [`SocketEventQueue::wait`](crate::SocketEventQueue::wait) reports it.
///
/// ```
/// use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};
/// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let mut socket = TcpSocket::new();
/// # socket.connect_to(&[server.local_addr().unwrap()])?;
///
/// let queue = SocketEventQueue::new()?;
/// queue.subscribe(&socket, WaitEvents::WRITE, "the client")?;
/// let events = queue.wait(None)?;
/// assert_eq!(*events[0].token(), "the client");
/// assert_eq!(events[0].socket_id(), socket.id());
/// assert!(events[0].is_triggered_write() && !events[0].is_triggered_read());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone)]
pub struct SocketEvent<T> {
    pub(super) token: T,
    pub(super) slot: Slot,
    pub(super) socket_id: SocketId,
    pub(super) events: WaitEvents,
    pub(super) closed: bool,
}

impl<T> SocketEvent<T> {
    /// The token that the socket was subscribed with.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe(&socket, WaitEvents::WRITE, 7)?;
    /// assert_eq!(*queue.wait(None)?[0].token(), 7);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn token(&self) -> &T {
        &self.token
    }

    /// The socket's id, which tells sockets apart even if they share a token.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe(&socket, WaitEvents::WRITE, "one of many")?;
    /// assert_eq!(queue.wait(None)?[0].socket_id(), socket.id());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn socket_id(&self) -> SocketId {
        self.socket_id
    }

    /// What the socket is ready for. Nothing if it [is closed](SocketEvent::is_closed).
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// use wakesock::WaitEvents;
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read_write(&socket)?;
    /// assert_eq!(queue.wait(None)?[0].events(), WaitEvents::WRITE);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn events(&self) -> WaitEvents {
        self.events
    }

    /// Whether a read, or an accept, would not block.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let mut listener = TcpSocket::new();
    /// # listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// # let _client = std::net::TcpStream::connect(listener.local_addr()?).unwrap();
    /// if queue.wait(None)?[0].is_triggered_read() {
    ///     listener.accept_new()?;
    /// }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_triggered_read(&self) -> bool {
        self.events.contains(WaitEvents::READ)
    }

    /// Whether a write would not block.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_write(&socket)?;
    /// if queue.wait(None)?[0].is_triggered_write() {
    ///     socket.put(b"hello")?;
    /// }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_triggered_write(&self) -> bool {
        self.events.contains(WaitEvents::WRITE)
    }

    /// Whether there is an error, a hang-up or, where the platform tells, urgent data.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let (peer, _) = server.accept().unwrap();
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&socket)?;
    /// // The peer resets the connection.
    /// # socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    /// # drop(peer);
    /// assert!(queue.wait(None)?[0].is_triggered_exception());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_triggered_exception(&self) -> bool {
        self.events.contains(WaitEvents::EXCEPTION)
    }

    /// Whether this program has closed the socket, or has aborted a connection that was being made. Then the subscription is
    /// gone.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// listener.handle().close();
    /// assert!(queue.wait(None)?[0].is_closed());
    /// assert_eq!(queue.len(), 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

impl<T: fmt::Debug> fmt::Debug for SocketEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketEvent")
            .field("token", &self.token)
            .field("socket_id", &self.socket_id)
            .field("events", &self.events)
            .field("closed", &self.closed)
            .finish()
    }
}
