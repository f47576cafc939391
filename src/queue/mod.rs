//! [`SocketEventQueue`]: many sockets, one wait.
//!
//! # How it is level-triggered above edges
//!
//! The system reports changes only (mio, epoll(7) `EPOLLET`). A report is recorded at the socket
//! (`opening/readiness.rs`), and the subscription becomes a *candidate*. Each wait goes through the candidates: it
//! reports again what a socket is still ready for, without asking the system, and strikes out what was drained a wait
//! ago. It asks the system about a socket only where the record of what is wanted is not certain. So a wait costs one
//! system call, and its other work grows with the sockets that are ready, not with those that are subscribed.
//!
//! # How closing reaches it
//!
//! A socket keeps its subscriptions in a lock-free list, of the kind that holds the wakers of its waits. A thread that
//! closes the socket walks the list, puts each subscription into its queue's [`inbox`](crate::wake) and wakes the
//! thread that polls, if there is one. That takes no lock and allocates nothing, so a signal handler may do it.

mod alarms;
mod assignment;
mod candidates;
mod control;
mod event;
mod handle;
mod poller;
mod slot;
mod subscribe;
mod subscription;
mod table;
mod underway;
mod wait;

use std::fmt;
use std::sync::Arc;

use mio::Poll;

pub use self::event::SocketEvent;
pub use self::handle::QueueHandle;
use self::poller::Poller;
use self::slot::Slot;
pub(crate) use self::subscribe::Wanted;
use self::subscribe::take_out;
use self::subscription::Control;
use self::table::Table;
use crate::error::{Error, Result};
use crate::opening::SocketId;
use crate::registry::{Membership, ShutdownRegistry};
use crate::sync::Mutex;

/// Waits for many sockets at once. Any thread or signal handler can end a socket, or the queue.
///
/// - It is *level-triggered*, as select(2) is: what was not read yet is reported again. Bytes that a socket has read
///   ahead count as readable. Exception: after `get_line` or `get_all` timed out, the incomplete part is not reported
///   until more data arrives, so that a server is not woken for the same half line again and again.
/// - Closing a subscribed socket, from any thread or signal handler, ends the wait with an event that says so. A socket
///   may be in any number of queues; all report it.
/// - Subscribing, disabling and removing may happen while another thread waits, and take effect in that wait.
/// - Several threads may wait in one queue. Each event goes to one of them, and stays with that thread until the thread
///   waits again or ends, or the socket was drained. By [`wait_at_most`](SocketEventQueue::wait_at_most) they share what is
///   ready.
/// - After an accept that failed, for want of descriptors mostly, the listener is held back: it is reported again after
///   5 ms, and twice as long after each further failure, up to a second. So a loop that goes on after the error doesn't
///   spin. An accept that works ends that.
/// - A limit that is over between two calls is told by the next one, so the socket is reported as readable then. It is that of a
///   handshake under TLS (`tls_limit`), and of a WebSocket's answer to a close frame (`close_limit`).
/// - Its [`ShutdownRegistry`] ends it: waits return [`Error::Shutdown`]. [`ShutdownRegistry::stop_accepting`] makes one
///   wait return.
///
/// Any number of sockets may be subscribed; the cost of a wait does not grow with the idle ones. The queue holds three
/// descriptors on Linux, and none for a subscription. On systems where mio has nothing but poll(2), a wait costs more
/// with each socket, the queue holds four descriptors, and a subscribed socket that a handle has ended keeps its
/// descriptor's number until its owner closes it, opens it again or drops it.
///
/// Each subscription has a token of the program's choice, which its events carry: by default the [`SocketId`]. Read and
/// write the sockets as usual, best with a [`timeout`](crate::TcpSocket::timeout) of zero. The queue doesn't notice
/// what is read through the descriptor instead of the [`TcpSocket`](crate::TcpSocket): it may report such a socket when
/// nothing is there.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
/// use std::time::Duration;
/// use wakesock::{Error, SocketEventQueue, TcpSocket, WaitEvents};
///
/// /// A client, and the answers that it has not made room for.
/// struct Client {
///     socket: TcpSocket,
///     unsent: Vec<u8>,
/// }
///
/// impl Client {
///     /// Answers a line that has come, as far as the client takes it. It fails when there will be no more.
///     fn serve(&mut self, queue: &SocketEventQueue) -> Result<(), Error> {
///         // Of a client that doesn't read its answers, nothing more is read.
///         if self.unsent.is_empty() {
///             // One line: if there are more, it is reported again, and the other clients have their turn before.
///             match self.socket.get_line() {
///                 Ok(Some(line)) => self.unsent = format!("you said {line}\n").into_bytes(),
///                 Ok(None) => return Err(Error::UnexpectedEof),
///                 Err(Error::Timeout) => self.socket.clear_error(), // the rest of the line is still to come
///                 Err(error) => return Err(error),
///             }
///         }
///         match self.socket.put(&self.unsent) {
///             Ok(count) => drop(self.unsent.drain(..count)),
///             Err(Error::Timeout) => {}
///             Err(error) => return Err(error),
///         }
///         let events = match self.unsent.is_empty() {
///             true => WaitEvents::READ | self.socket.wants(),
///             false => WaitEvents::WRITE,
///         };
///         queue.disable_read_write(&self.socket)?;
///         queue.subscribe(&self.socket, events, self.socket.id())
///     }
/// }
///
/// /// Serves all clients on one thread, until the queue is closed.
/// fn serve(queue: &SocketEventQueue, listener: &mut TcpSocket) -> Result<(), Error> {
///     let mut clients = HashMap::new();
///     listener.timeout(Duration::ZERO);
///     queue.subscribe_read(listener)?;
///     loop {
///         for event in queue.wait(None)? {
///             if event.socket_id() != listener.id() {
///                 let client = clients.get_mut(event.token());
///                 if client.is_some_and(|client: &mut Client| client.serve(queue).is_err()) {
///                     clients.remove(event.token());
///                 }
///                 continue;
///             }
///             match listener.accept_new() {
///                 Ok(mut socket) => {
///                     socket.timeout(Duration::ZERO);
///                     match queue.subscribe_read(&socket) {
///                         Ok(()) => drop(clients.insert(socket.id(), Client { socket, unsent: Vec::new() })),
///                         Err(error) => eprintln!("{error}"),
///                     }
///                 }
///                 Err(Error::Timeout) => {}
///                 // The queue holds the listener back for a while.
///                 Err(error) => eprintln!("{error}"),
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
#[doc(alias = "epoll")]
#[doc(alias = "kqueue")]
#[doc(alias = "mio")]
#[doc(alias = "select")]
#[doc(alias = "Poll")]
pub struct SocketEventQueue<T = SocketId> {
    control: Arc<Control>,
    /// Locked by the thread that polls. Other threads that wait block on this lock.
    poller: Mutex<Poller>,
    /// Never locked while a thread blocks in the poll. The `poller` is locked first, if both are.
    table: Mutex<Table<T>>,
    membership: Membership,
}

impl<T: Clone + Send> SocketEventQueue<T> {
    /// Makes a queue in the global registry.
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

    /// Makes a queue that `registry` ends. Its sockets may belong to other registries.
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

    /// How many sockets are subscribed, including those whose closing was not reported yet.
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

    /// Whether the queue has ended, so that every wait fails.
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

    /// Why the queue has ended: the error that [`wait`](SocketEventQueue::wait) returns.
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

    /// Gives a handle by which other threads and signal handlers wake and close the queue. See [`QueueHandle`] for an
    /// example.
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
        // The control and the subscriptions in its inbox hold each other: this ends that.
        drop(self.control.take_pending());
        self.membership.leave();
        self.control.close_descriptors();
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
