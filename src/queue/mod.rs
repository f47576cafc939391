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

mod center;
mod event;
mod given;
mod poller;
mod subscription;
mod table;

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use mio::Poll;
use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::center::Center;
pub use self::center::QueueHandle;
pub use self::event::SocketEvent;
use self::given::{ThreadNumber, this_thread};
use self::poller::{Poller, WAKER};
pub(crate) use self::subscription::Subscription;
use self::table::{Entry, Place, Table};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Follower, Shared, SocketId};
use crate::registry::{Membership, ShutdownRegistry};
use crate::socket::{TcpReader, TcpSocket, TcpWriter};

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
/// Sockets are read and written as ever, best with a [`timeout`](TcpSocket::timeout) of zero. What is read through the
/// descriptor, behind the back of the [`TcpSocket`], is not noticed: such a socket may be reported when nothing is
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
    center: Arc<Center>,
    /// Locked by the thread that waits. The others queue for it.
    poller: Mutex<Poller>,
    /// Never locked while something blocks, or with the `poller` still to be locked.
    table: Mutex<Table<T>>,
    membership: Membership,
    /// What has made waiting impossible.
    error: Mutex<Option<Error>>,
}

/// What a subscription is to be.
pub(crate) struct Wanted<T> {
    pub(crate) subscribed: WaitEvents,
    /// What of that is not to be reported for the time being.
    pub(crate) disabled: WaitEvents,
    pub(crate) token: T,
}

/// What is, or holds, a socket that can be waited for.
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
    /// The socket.
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
            let center = Center::new(poll.registry().try_clone()?, WAKER)?;
            Ok((poll, center))
        };
        let (poll, center) = made().map_err(|error| Error::io("create queue", error))?;
        let center = Arc::new(center);
        let queue = SocketEventQueue {
            membership: registry.join(center.clone()),
            center,
            poller: Mutex::new(Poller::new(poll)),
            table: Mutex::new(Table::new()),
            error: Mutex::new(None),
        };
        if registry.is_shutdown() {
            return Err(Error::Shutdown);
        }
        Ok(queue)
    }

    /// Reports `events` of `socket` from now on, with `token`.
    ///
    /// It adds to what the socket is subscribed to already, and enables again what was disabled. The token takes the
    /// place of the one before; it is cloned with the queue locked, so cloning it must not call back. Doesn't block.
    ///
    /// A connection that [`connect`](TcpSocket::connect) has only begun, with a limit of zero, isn't open yet:
    /// [`wait_connect`](TcpSocket::wait_connect) first.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Shutdown`] if the socket isn't open, or the queue not any more; [`Error::Io`] of
    /// the kind `InvalidInput` for no events, and if the system can't watch one more.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe(&listener, WaitEvents::READ, "clients")?;
    /// let _client = std::net::TcpStream::connect(listener.local_addr()?).unwrap();
    /// assert_eq!(*queue.wait(None)?[0].token(), "clients");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn subscribe(&self, socket: &impl AsTcpSocket, events: WaitEvents, token: T) -> Result<()> {
        if events.is_empty() {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "no events");
            return Err(Error::io("subscribe", why));
        }
        self.put(socket.as_tcp_socket().shared(), |subscription, _| Wanted {
            subscribed: subscription.subscribed() | events,
            disabled: subscription.disabled() - events,
            token,
        })
    }

    /// Reports nothing readable of `socket` until it is subscribed again. It stays subscribed, and silent.
    ///
    /// Waiting threads heed it at once. Doesn't block.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the kind `NotFound` if the socket isn't subscribed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{SocketEventQueue, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// queue.disable_read(&listener)?;
    /// let _client = std::net::TcpStream::connect(listener.local_addr()?).unwrap();
    /// assert!(queue.wait(Duration::from_millis(5))?.is_empty());
    /// queue.subscribe_read(&listener)?;
    /// assert!(queue.wait(None)?[0].is_triggered_read());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn disable_read(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.disable(socket, WaitEvents::READ)
    }

    /// The same for what is writable. See [`disable_read`](SocketEventQueue::disable_read).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_write(&socket)?;
    /// queue.disable_write(&socket)?;
    /// assert!(queue.wait(Duration::ZERO)?.is_empty());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn disable_write(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.disable(socket, WaitEvents::WRITE)
    }

    /// The same for both. See [`disable_read`](SocketEventQueue::disable_read).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read_write(&socket)?;
    /// queue.disable_read_write(&socket)?;
    /// assert!(queue.wait(Duration::ZERO)?.is_empty());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn disable_read_write(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.disable(socket, WaitEvents::READ | WaitEvents::WRITE)
    }

    fn disable(&self, socket: &impl AsTcpSocket, events: WaitEvents) -> Result<()> {
        match self.table.lock().find(socket.as_tcp_socket().id()) {
            Some(subscription) => subscription.disable(events),
            None => return Err(not_found("disable")),
        }
        Ok(())
    }

    /// Ends the subscription of `socket`. When it has returned, no wait begins to report the socket any more.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the kind `NotFound` if the socket isn't subscribed: so, too, once its closing was reported.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// queue.remove(&listener)?;
    /// assert!(queue.remove(&listener).is_err());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn remove(&self, socket: &impl AsTcpSocket) -> Result<()> {
        let token = {
            let mut table = self.table.lock();
            let found = table.find(socket.as_tcp_socket().id());
            let place = found.map(|subscription| subscription.place());
            place.and_then(|place| take_out(&mut table, place))
        };
        token.map(drop).ok_or_else(|| not_found("remove"))
    }

    /// Whether readiness to read is subscribed to, disabled or not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&socket)?;
    /// queue.disable_read(&socket)?;
    /// assert!(queue.is_subscribed_read(&socket));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_subscribed_read(&self, socket: &impl AsTcpSocket) -> bool {
        self.subscribed(socket).contains(WaitEvents::READ)
    }

    /// Whether readiness to write is subscribed to, disabled or not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&socket)?;
    /// assert!(!queue.is_subscribed_write(&socket));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_subscribed_write(&self, socket: &impl AsTcpSocket) -> bool {
        self.subscribed(socket).contains(WaitEvents::WRITE)
    }

    /// Whether readiness to read is subscribed to, and disabled.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&socket)?;
    /// assert!(!queue.is_disabled_read(&socket));
    /// queue.disable_read(&socket)?;
    /// assert!(queue.is_disabled_read(&socket));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_disabled_read(&self, socket: &impl AsTcpSocket) -> bool {
        self.disabled(socket).contains(WaitEvents::READ)
    }

    /// Whether readiness to write is subscribed to, and disabled.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read_write(&socket)?;
    /// queue.disable_write(&socket)?;
    /// assert!(queue.is_disabled_write(&socket) && !queue.is_disabled_read(&socket));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_disabled_write(&self, socket: &impl AsTcpSocket) -> bool {
        self.disabled(socket).contains(WaitEvents::WRITE)
    }

    fn subscribed(&self, socket: &impl AsTcpSocket) -> WaitEvents {
        let table = self.table.lock();
        let found = table.find(socket.as_tcp_socket().id());
        found.map(|subscription| subscription.subscribed()).unwrap_or_default()
    }

    fn disabled(&self, socket: &impl AsTcpSocket) -> WaitEvents {
        let table = self.table.lock();
        let found = table.find(socket.as_tcp_socket().id());
        found.map(|subscription| subscription.disabled()).unwrap_or_default()
    }

    /// Blocks until something is ready, and gives all that is.
    ///
    /// It returns with nothing when `timeout` is over (`None`: never; zero: at once) and when it was
    /// [woken](QueueHandle::wake) or its registry stops accepting.
    ///
    /// A socket that is dropped while it is subscribed is closed, which is reported: there may be an event for a token
    /// that the program has forgotten. [`remove`](SocketEventQueue::remove) it before, and there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the queue is closed, [`Error::Shutdown`] once its registry is shut down, [`Error::Io`] if
    /// the system can't wait. All of these last.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = wakesock::SocketEventQueue::<u32>::new()?;
    /// assert!(queue.wait(Duration::from_millis(5))?.is_empty());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Result<Vec<SocketEvent<T>>> {
        let mut events = Vec::new();
        self.wait_into(&mut events, timeout)?;
        Ok(events)
    }

    /// The same into `events`, whose former content goes. Gives their number.
    ///
    /// It allocates nothing once `events` has grown.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = wakesock::SocketEventQueue::<u32>::new()?;
    /// let mut events = Vec::new();
    /// for _ in 0..3 {
    ///     assert_eq!(queue.wait_into(&mut events, Duration::from_millis(1))?, 0);
    /// }
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_into(&self, events: &mut Vec<SocketEvent<T>>, timeout: impl Into<Option<Duration>>) -> Result<usize> {
        self.wait_as(Poller::enter, events, timeout.into())
    }

    /// The same where just one thread at a time ever waits, if not always the same.
    pub(crate) fn wait_alone_into(&self, events: &mut Vec<SocketEvent<T>>, timeout: Option<Duration>) -> Result<usize> {
        self.wait_as(|_, _| None, events, timeout)
    }

    fn wait_as(
        &self,
        thread: impl FnOnce(&mut Poller, &Arc<Center>) -> Option<ThreadNumber>,
        events: &mut Vec<SocketEvent<T>>,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        events.clear();
        let mut deadline = Deadline::after(timeout);
        self.check()?;
        let Some(mut poller) = self.take_turn(&mut deadline) else {
            return self.check().map(|()| 0);
        };
        let thread = thread(&mut poller, &self.center);
        loop {
            self.check()?;
            poller.list_told(&self.center);
            poller.arm();
            let has_events = poller.has_events(&self.table.lock(), thread);
            let left = deadline.left();
            let is_over = left.is_err();
            let nothing = Some(Duration::ZERO);
            let left = if has_events { nothing } else { left.unwrap_or(nothing) };
            let polled = self
                .center
                .while_polling(|may_block| poller.poll(&self.center, if may_block { left } else { nothing }));
            if let Err(error) = polled {
                let error = Error::io("wait", error);
                *self.error.lock() = Some(error.clone());
                return Err(error);
            }
            poller.list_told(&self.center);
            let more = {
                let mut table = self.table.lock();
                let more = poller.list_reported(&table);
                poller.give(&mut table, thread, events);
                more
            };
            let was_woken = self.center.take_wake();
            if !events.is_empty() {
                return Ok(events.len());
            }
            self.check()?;
            // Something that is ready may be behind many that are silent.
            if was_woken || is_over && !more {
                return Ok(0);
            }
        }
    }

    /// Queues for the poll. None if the time is up before.
    fn take_turn(&self, deadline: &mut Deadline) -> Option<MutexGuard<'_, Poller>> {
        self.poller.try_lock().or_else(|| {
            // Whoever has the poll reports what this thread has left of its events.
            if let Some(thread) = this_thread() {
                self.center.give_back(thread);
            }
            match deadline.instant() {
                None => Some(self.poller.lock()),
                Some(moment) => self.poller.try_lock_until(moment),
            }
        })
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

    /// Ends all subscriptions.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// queue.clear()?;
    /// assert_eq!(queue.len(), 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.retain(|_| false);
        Ok(())
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
        self.check().is_err()
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
        self.check().err()
    }

    /// What other threads and signal handlers wake and close it with. See [`QueueHandle`] for an example.
    pub fn handle(&self) -> QueueHandle {
        QueueHandle::new(&self.center)
    }

    fn check(&self) -> Result<()> {
        self.center.check()?;
        match &*self.error.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Subscribes a socket, or changes its subscription: `decide` is shown that, and its token if it had one.
    pub(crate) fn put(
        &self,
        shared: &Arc<Shared>,
        decide: impl FnOnce(&Subscription, Option<&T>) -> Wanted<T>,
    ) -> Result<()> {
        self.check()?;
        // Nobody closes the descriptor meanwhile, and gives its number to another.
        let inside = shared.enter_even_aborted()?;
        let failed = |error| Error::io("subscribe", error);
        let mut table = self.table.lock();
        let (subscription, former_token) = match table.find(shared.id()).map(Arc::clone) {
            Some(subscription) => {
                let place = subscription.place();
                let wanted = decide(&subscription, table.get(place).map(|entry| &entry.token));
                if let Err(error) = subscription.want(wanted.subscribed, wanted.disabled, inside.socket()) {
                    // The token, which is the user's, is dropped without the lock.
                    drop(table);
                    return Err(failed(error));
                }
                subscription.renew();
                let entry = table.get_mut(place);
                let former = entry.map(|entry| mem::replace(&mut entry.token, wanted.token));
                (subscription, former)
            }
            None => {
                let full = || failed(io::Error::new(io::ErrorKind::OutOfMemory, "too many sockets"));
                let place = table.free_place(WAKER).ok_or_else(full)?;
                shared.becomes_watched();
                let subscription = Subscription::new(&self.center, shared, place);
                // From now on the socket's operations say what they find.
                shared.readiness().report(WaitEvents::empty(), false);
                let wanted = decide(&subscription, None);
                if let Err(error) = subscription.want(wanted.subscribed, wanted.disabled, inside.socket()) {
                    drop(table);
                    return Err(failed(error));
                }
                let entry = Entry {
                    key: shared.followers().insert(subscription.clone()),
                    subscription: Arc::clone(&subscription),
                    token: wanted.token,
                };
                table.fill(place, entry);
                (subscription, None)
            }
        };
        drop(table);
        drop(former_token);
        subscription.tell_if_ready();
        Ok(())
    }

    /// Reports no more of what `event` was of, until it is wanted again.
    pub(crate) fn silence(&self, event: &SocketEvent<T>) {
        if let Some(entry) = self.table.lock().get(event.place) {
            entry.subscription.disable(WaitEvents::ALL);
        }
    }

    /// Ends the subscriptions for whose tokens `keep` says no.
    pub(crate) fn retain(&self, keep: impl Fn(&T) -> bool) {
        let mut table = self.table.lock();
        let gone: Vec<Place> = table.places(|token| !keep(token)).collect();
        let gone: Vec<T> = gone
            .into_iter()
            .filter_map(|place| take_out(&mut table, place))
            .collect();
        drop(table);
        drop(gone);
    }
}

/// Ends a subscription. Gives its token, which is the user's: to be dropped without the lock.
fn take_out<T>(table: &mut Table<T>, place: Place) -> Option<T> {
    let Entry {
        subscription,
        key,
        token,
    } = table.take(place)?;
    let shared = subscription.shared();
    subscription.unwatch();
    drop(shared.followers().remove(key));
    Some(token)
}

impl SocketEventQueue<SocketId> {
    /// [`subscribe`](SocketEventQueue::subscribe) to readiness to read, or to accept, by the socket's id.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read(&listener)?;
    /// assert!(queue.is_subscribed_read(&listener) && !queue.is_subscribed_write(&listener));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn subscribe_read(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.subscribe_by_id(socket, WaitEvents::READ)
    }

    /// The same to readiness to write. See [`subscribe_read`](SocketEventQueue::subscribe_read).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_write(&socket)?;
    /// assert!(queue.wait(None)?[0].is_triggered_write());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn subscribe_write(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.subscribe_by_id(socket, WaitEvents::WRITE)
    }

    /// The same to both. See [`subscribe_read`](SocketEventQueue::subscribe_read).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wakesock::{SocketEventQueue, TcpSocket};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut socket = TcpSocket::new();
    /// # socket.connect_to(&[server.local_addr().unwrap()])?;
    /// # let queue = SocketEventQueue::new()?;
    /// queue.subscribe_read_write(&socket)?;
    /// assert!(queue.is_subscribed_read(&socket) && queue.is_subscribed_write(&socket));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn subscribe_read_write(&self, socket: &impl AsTcpSocket) -> Result<()> {
        self.subscribe_by_id(socket, WaitEvents::READ | WaitEvents::WRITE)
    }

    fn subscribe_by_id(&self, socket: &impl AsTcpSocket, events: WaitEvents) -> Result<()> {
        self.subscribe(socket, events, socket.as_tcp_socket().id())
    }
}

fn not_found(operation: &'static str) -> Error {
    let why = io::Error::new(io::ErrorKind::NotFound, "socket is not subscribed");
    Error::io(operation, why)
}

impl<T> Drop for SocketEventQueue<T> {
    fn drop(&mut self) {
        let places: Vec<Place> = self.table.get_mut().places(|_| true).collect();
        for place in places {
            drop(take_out(self.table.get_mut(), place));
        }
        // What was told and not looked at any more holds on to the center that holds on to it.
        drop(self.center.told());
        self.membership.leave();
    }
}

impl<T> fmt::Debug for SocketEventQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketEventQueue")
            .field("sockets", &self.table.lock().len())
            .field("center", &self.center)
            .finish_non_exhaustive()
    }
}
