//! Which sockets a queue waits for, and for what.

use std::io;
use std::sync::Arc;

use super::slot::Slot;
use super::subscription::Subscription;
use super::table::{Entry, Table};
use super::{SocketEvent, SocketEventQueue};
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Opening, SocketId, Unreleased};
use crate::socket::AsTcpSocket;

/// The wanted state of a subscription.
pub(crate) struct Wanted<T> {
    pub(crate) subscribed: WaitEvents,
    /// Which of `subscribed` are not reported for now.
    pub(crate) disabled: WaitEvents,
    pub(crate) token: T,
}

impl<T: Clone + Send> SocketEventQueue<T> {
    /// Reports `events` of `socket` from now on, with `token`.
    ///
    /// It adds to what the socket is subscribed to already, and enables again what was disabled. The token replaces the
    /// one before; each event carries a clone of it. Doesn't block.
    ///
    /// A connection that [`connect`](crate::TcpSocket::connect) has only begun, with a limit of zero, is reported as writable
    /// when [`wait_connect`](crate::TcpSocket::wait_connect) gets on: the connection stands, or has failed, or the next
    /// address is to be tried. So after a report, call `wait_connect` with a limit of zero, and wait again if it returns
    /// [`Error::Timeout`]. Until the connection stands nothing else is reported, but that it was ended, by `abort`, too:
    /// then the subscription is gone. When it stands, the subscription goes on as the connection's.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Shutdown`] if the socket is neither open nor being connected, or the queue has ended;
    /// [`Error::Io`] of the kind `InvalidInput` for no events, and if the system can't watch one more.
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
    ///
    /// To connect without blocking:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, SocketEventQueue, TcpSocket, WaitEvents};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let port = server.local_addr().unwrap().port();
    ///
    /// let mut socket = TcpSocket::new();
    /// socket.timeout(Duration::ZERO).connect("localhost", port)?;
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe(&socket, WaitEvents::WRITE, "connecting")?;
    /// // In the loop that waits for everything else, too:
    /// while !socket.is_open() {
    ///     assert_eq!(*queue.wait(None)?[0].token(), "connecting");
    ///     match socket.wait_connect() {
    ///         Ok(()) | Err(Error::Timeout) => {} // it stands, or is still being made
    ///         Err(error) => return Err(error),
    ///     }
    /// }
    /// queue.disable_write(&socket)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn subscribe(&self, socket: &impl AsTcpSocket, events: WaitEvents, token: T) -> Result<()> {
        if events.is_empty() {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "no events");
            return Err(Error::io("subscribe", why));
        }
        self.put(socket.as_tcp_socket().opening(), |subscription, _| Wanted {
            subscribed: subscription.subscribed() | events,
            disabled: subscription.disabled() - events,
            token,
        })
    }

    /// Stops reporting `socket` as readable until it is subscribed to read again. It stays subscribed, but silent.
    ///
    /// Takes effect at once, in threads that wait, too. Doesn't block.
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

    /// Stops reporting `socket` as writable until it is subscribed to write again. See
    /// [`disable_read`](SocketEventQueue::disable_read).
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

    /// Stops reporting `socket` as readable and writable until it is subscribed again. See
    /// [`disable_read`](SocketEventQueue::disable_read).
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

    /// Ends the subscription of `socket`. Once it has returned, no wait picks up an event of the socket.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the kind `NotFound` if the socket isn't subscribed, or not any more because its closing was
    /// reported.
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
        let taken_out = {
            let mut table = self.table.lock();
            let found = table.find(socket.as_tcp_socket().id());
            let slot = found.map(|subscription| subscription.slot());
            slot.and_then(|slot| take_out(&mut table, slot))
        };
        taken_out.map(drop).ok_or_else(|| not_found("remove"))
    }

    /// Whether `socket` is subscribed to read, disabled or not.
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

    /// Whether `socket` is subscribed to write, disabled or not.
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

    /// Whether `socket` is subscribed to read, and disabled.
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

    /// Whether `socket` is subscribed to write, and disabled.
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

    /// Subscribes a socket, or changes its subscription. `decide` gets the subscription and, if it had one, its token.
    ///
    /// Code that may drop a token, or be the last to leave the socket, comes after the lock.
    pub(crate) fn put(
        &self,
        opening: &Arc<Opening>,
        decide: impl FnOnce(&Subscription, Option<&T>) -> Wanted<T>,
    ) -> Result<()> {
        self.control.check()?;
        // So that the descriptor isn't closed meanwhile, and its number doesn't become another file's.
        let in_use = match opening.enter_even_aborted() {
            Ok(in_use) => in_use,
            Err(error) => opening.enter_underway().ok_or(error)?,
        };
        let failed = |error| Error::io("subscribe", error);
        let mut table = self.table.lock();
        let Some(subscription) = self.find_or_make(&mut table, opening) else {
            drop(table);
            drop(in_use);
            return Err(failed(io::Error::new(io::ErrorKind::OutOfMemory, "too many sockets")));
        };
        let slot = subscription.slot();
        let entry = table.get(slot);
        let is_new = entry.is_none();
        let wanted = decide(&subscription, entry.and_then(|entry| entry.token.as_ref()));
        if let Err(error) = subscription.want(wanted.subscribed, wanted.disabled, in_use.socket_if_any()) {
            drop(table);
            drop(in_use);
            return Err(failed(error));
        }
        let former = match table.get_mut(slot) {
            Some(entry) => {
                subscription.note_resubscribed();
                entry.token.replace(wanted.token)
            }
            None => {
                let entry = Entry {
                    key: opening.followers().insert(subscription.clone()),
                    subscription: Arc::clone(&subscription),
                    token: Some(wanted.token),
                };
                table.fill(slot, entry);
                None
            }
        };
        if is_new
            && !opening.is_open()
            && let Err(error) = subscription.begin_with_attempts()
        {
            let taken_out = take_out(&mut table, slot);
            drop(table);
            drop(in_use);
            drop(taken_out);
            return Err(failed(error));
        }
        if is_new {
            opening.tell_alarm(&subscription);
        }
        drop(table);
        subscription.notify_if_ready();
        // What follows may run code of the program's, and may be the last to leave the socket before a token that owns it.
        drop(in_use);
        drop(former);
        Ok(())
    }

    /// Finds the subscription of a socket, or makes one, which is not in the table yet. None if there are too many.
    fn find_or_make(&self, table: &mut Table<T>, opening: &Arc<Opening>) -> Option<Arc<Subscription>> {
        if let Some(found) = table.find(opening.id()) {
            return Some(Arc::clone(found));
        }
        let slot = table.free_slot()?;
        opening.becomes_followed();
        Some(Subscription::new(&self.control, opening, slot))
    }

    /// Stops reporting the socket of `event` until it is wanted again.
    pub(crate) fn silence(&self, event: &SocketEvent<T>) {
        if let Some(entry) = self.table.lock().get(event.slot) {
            entry.subscription.disable(WaitEvents::ALL);
        }
    }

    /// Ends the subscriptions whose tokens `keep` refuses. It is called under a lock, so it must not be the program's
    /// code.
    pub(crate) fn retain(&self, keep: impl Fn(&T) -> bool) {
        let mut table = self.table.lock();
        let gone = table
            .entries()
            .filter(|entry| entry.token.as_ref().is_none_or(|token| !keep(token)));
        let gone: Vec<Slot> = gone.map(|entry| entry.subscription.slot()).collect();
        let gone = gone.into_iter().filter_map(|slot| take_out(&mut table, slot));
        let (unreleased, tokens): (Vec<_>, Vec<_>) = gone.unzip();
        drop(table);
        drop(unreleased);
        drop(tokens);
    }
}

/// What is left of a subscription. To be dropped without a lock, and in this order: the token may own the socket, and closing
/// that waits for its release.
pub(super) type TakenOut<T> = (Option<Unreleased>, Option<T>);

/// Ends a subscription.
///
/// The order matters: the socket leaves the poll first, while its descriptor is still its own. The subscription leaves
/// the socket's followers last, so that it is in no list any more when this returns.
pub(super) fn take_out<T>(table: &mut Table<T>, slot: Slot) -> Option<TakenOut<T>> {
    let Entry {
        subscription,
        key,
        token,
    } = table.take(slot)?;
    let unreleased = subscription.end();
    drop(subscription.opening().followers().remove(key));
    Some((unreleased, token))
}

impl SocketEventQueue<SocketId> {
    /// Subscribes `socket` to read, or to accept, with its id for the token. A queue with tokens of another type hasn't this
    /// method, but [`subscribe`](SocketEventQueue::subscribe).
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

    /// Subscribes `socket` to write, with its id for the token: [`subscribe`](SocketEventQueue::subscribe).
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

    /// Subscribes `socket` to read and write, with its id for the token: [`subscribe`](SocketEventQueue::subscribe).
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
