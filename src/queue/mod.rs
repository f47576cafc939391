//! [`SocketEventQueue`]: many sockets, one wait.
//!
//! # How it is level-triggered above edges
//!
//! The system reports changes (mio, epoll(7) `EPOLLET`). What was reported is written down at the socket
//! ([`readiness`](crate::opening::readiness)) and the subscription is *listed*. Each wait goes through the list: what its socket
//! still is ready for is reported again, without asking the system; what was drained meanwhile is struck out. Only
//! where the socket can't know is the system asked about that one. So a wait costs one system call, and what it does
//! besides grows with the sockets that are ready, not with those that are subscribed.
//!
//! # How closing reaches it
//!
//! A socket keeps a list of its subscriptions, the same lock-free list that holds the wakers of its waits. Whoever
//! closes it walks the list, puts each subscription into its queue's [`inbox`](crate::wake) and wakes the thread that
//! polls, if one does. That takes no lock and no memory, so a signal handler may do it.

mod assignment;
mod control;
mod event;
mod handle;
mod poller;
mod slot;
mod subscribe;
mod subscription;
mod table;
mod wait;

use std::fmt;
use std::sync::Arc;

use mio::Poll;

use self::control::Control;
pub use self::event::SocketEvent;
pub use self::handle::QueueHandle;
use self::poller::Poller;
use self::slot::Slot;
pub(crate) use self::subscribe::Wanted;
use self::subscribe::take_out;
use self::table::Table;
use crate::error::{Error, Result};
use crate::opening::SocketId;
use crate::registry::{Membership, ShutdownRegistry};
use crate::sync::Mutex;

/// Waits for many sockets at once, any of which, and the queue itself, can be ended from anywhere.
///
/// - It is *level-triggered*, as select(2) is: what was not read yet is reported again. Bytes that a socket has read
///   ahead count as readable, but for those of a line, or of a `get_all`, that has run out of time: they count when
///   more has come.
/// - Closing a subscribed socket, from any thread or signal handler, ends the wait with an event that says so. A socket
///   may be in any number of queues; all are told.
/// - Subscribing, disabling and removing may happen while another thread waits, and take effect in that wait.
/// - Several threads may wait in one queue. Each event goes to one of them, and stays with that thread until it waits
///   again, ends, or the socket was drained.
/// - Its [`ShutdownRegistry`] ends it: waits return [`Error::Shutdown`]. [`ShutdownRegistry::stop_accepting`] wakes it.
///
/// Any number of sockets may be subscribed; what a wait costs does not grow with the idle ones. The queue holds three
/// descriptors on Linux, and none for a subscription. On systems where mio has nothing but poll(2), a wait does cost
/// more with each socket, and the queue holds four; and a subscribed socket that is ended through a handle keeps its
/// descriptor's number until its owner closes it, opens it again or drops it.
///
/// Subscriptions come with a token of the user's, which events bring along: the [`SocketId`], unless chosen otherwise.
/// Sockets are read and written as ever, best with a [`timeout`](crate::TcpSocket::timeout) of zero. What is read through the
/// descriptor, behind the back of the [`TcpSocket`](crate::TcpSocket), is not noticed: such a socket may be reported when nothing is
/// there.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
/// use std::time::Duration;
/// use wakesock::{Error, SocketEventQueue, TcpSocket};
///
/// /// Answers each line, on one thread for all clients, until the queue is closed.
/// fn serve(queue: &SocketEventQueue, listener: &mut TcpSocket) -> Result<(), Error> {
///     let mut clients = HashMap::new();
///     listener.timeout(Duration::ZERO);
///     queue.subscribe_read(listener)?;
///     loop {
///         for event in queue.wait(None)? {
///             if event.socket_id() == listener.id() {
///                 while let Ok(mut client) = listener.accept_new() {
///                     client.timeout(Duration::ZERO);
///                     queue.subscribe_read(&client)?;
///                     clients.insert(client.id(), client);
///                 }
///             } else if let Some(client) = clients.get_mut(event.token()) {
///                 match client.get_line() {
///                     Ok(Some(line)) => client.put_all(format!("you said {line}\n").as_bytes())?,
///                     Err(Error::Timeout) => client.clear_error(), // the rest of the line is still to come
///                     _ => drop(clients.remove(event.token())),
///                 }
///             }
///         }
///     }
/// }
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let port = listener.local_addr()?.port();
/// let queue = SocketEventQueue::new()?;
/// let handle = queue.handle();
/// let server = std::thread::spawn(move || serve(&queue, &mut listener));
///
/// let mut client = TcpSocket::new();
/// client.connect("127.0.0.1", port)?;
/// client.put_all(b"hello\n")?;
/// assert_eq!(client.get_line()?.as_deref(), Some("you said hello"));
/// handle.close();
/// assert!(matches!(server.join().unwrap(), Err(Error::Closed)));
/// # Ok::<(), Error>(())
/// ```
pub struct SocketEventQueue<T = SocketId> {
    control: Arc<Control>,
    /// Locked by the thread that waits. The others queue for it.
    poller: Mutex<Poller>,
    /// Never locked while something blocks, or with the `poller` still to be locked.
    table: Mutex<Table<T>>,
    membership: Membership,
}

impl<T: Clone + Send> SocketEventQueue<T> {
    /// A queue in the global registry.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when descriptors have run out, [`Error::Shutdown`] when the registry has been shut down.
    ///
    /// ```
    /// let queue = wakesock::SocketEventQueue::<u32>::new()?;
    /// assert_eq!(queue.len(), 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn new() -> Result<Self> {
        SocketEventQueue::in_registry(ShutdownRegistry::global())
    }

    /// A queue that `registry` ends. The sockets in it may be of others.
    ///
    /// ```
    /// use wakesock::{Error, ShutdownRegistry, SocketEventQueue};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let queue = SocketEventQueue::<u32>::in_registry(&registry)?;
    /// registry.shutdown();
    /// assert!(matches!(queue.wait(None), Err(Error::Shutdown)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn in_registry(registry: &ShutdownRegistry) -> Result<Self> {
        let made = || {
            let poll = Poll::new()?;
            let control = Control::new(poll.registry().try_clone()?)?;
            Ok((poll, control))
        };
        let (poll, control) = made().map_err(|error| Error::io("create queue", error))?;
        let control = Arc::new(control);
        let queue = SocketEventQueue {
            membership: registry.join(control.clone()),
            control,
            poller: Mutex::new(Poller::new(poll)),
            table: Mutex::new(Table::new()),
        };
        if registry.is_shutdown() {
            return Err(Error::Shutdown);
        }
        Ok(queue)
    }

    /// How many sockets are subscribed. One whose closing was not reported yet counts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&socket)?;
    /// assert_eq!(queue.len(), 1);
    /// socket.close();
    /// queue.wait(Duration::ZERO)?;
    /// assert_eq!(queue.len(), 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[allow(
        clippy::len_without_is_empty,
        reason = "it is a count of what is subscribed, not of events that wait"
    )]
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether waiting is of no use any more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// # queue.subscribe_read(&socket)?;
    /// assert!(!queue.is_error());
    /// queue.handle().close();
    /// assert!(queue.is_error());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_error(&self) -> bool {
        self.control.check().is_err()
    }

    /// Why waiting is of no use any more: what [`wait`](SocketEventQueue::wait) returns.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// # queue.subscribe_read(&socket)?;
    /// queue.handle().close();
    /// assert!(matches!(queue.error(), Some(wakesock::Error::Closed)));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn error(&self) -> Option<Error> {
        self.control.check().err()
    }

    /// What other threads and signal handlers wake and close it with. See [`QueueHandle`] for an example.
    pub fn handle(&self) -> QueueHandle {
        QueueHandle::new(&self.control)
    }
}

impl<T> Drop for SocketEventQueue<T> {
    fn drop(&mut self) {
        let table = self.table.get_mut();
        let slots: Vec<Slot> = table.entries().map(|entry| entry.subscription.slot()).collect();
        for slot in slots {
            drop(take_out(table, slot));
        }
        // What is pending still holds on to the control that holds on to it.
        drop(self.control.take_pending());
        self.membership.leave();
    }
}

impl<T> fmt::Debug for SocketEventQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketEventQueue")
            .field("sockets", &self.table.lock().len())
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}
