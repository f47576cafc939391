//! [`SocketWaitEvent`]: U++'s way to wait for several sockets, without its limits.

mod set;

use std::fmt;
use std::ops::Index;
use std::time::Duration;

use self::set::{Member, Set};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::events::WaitEvents;
use crate::socket::AsTcpSocket;

/// Waits for several sockets, by their order: U++'s class of that name.
///
/// As in U++, each socket is added with the events to wait for, and gets the next index; exceptions are always watched;
/// what was not read yet is reported again. Unlike in U++, there may be any number of sockets, with any descriptor
/// number; closing one of them, from any thread or signal handler, ends the wait; bytes that a socket has read ahead
/// count as readable; and a listener whose accept has failed is held back for a while, as in a
/// [`SocketEventQueue`](crate::SocketEventQueue).
///
/// It may be made anew and filled in every turn of a loop, or kept. It doesn't borrow the sockets. For more than a few
/// hundred of them, [`SocketEventQueue`](crate::SocketEventQueue) is the better choice: there is nothing to fill.
///
/// So that making it anew is cheap, a thread that has dropped a second one keeps what that had for the next: three
/// descriptors on Linux, and a little memory for each socket of the last few fillings. That keeps no socket open. What is
/// kept goes with the thread.
///
/// # Examples
///
/// ```
/// use wakesock::{SocketWaitEvent, TcpSocket, WAIT_READ, WAIT_WRITE};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let mut client = TcpSocket::new();
/// client.connect_to(&[listener.local_addr()?])?;
///
/// let mut waiting = SocketWaitEvent::new();
/// waiting.add(&listener, WAIT_READ);
/// waiting.add(&client, WAIT_READ | WAIT_WRITE);
/// assert_eq!(waiting.wait(None)?, 2);
/// if waiting[0].contains(WAIT_READ) {
///     listener.accept_new()?;
/// }
/// assert_eq!(waiting[1], WAIT_WRITE);
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Default)]
#[doc(alias = "select")]
pub struct SocketWaitEvent {
    /// Made for the first socket, or the first wait.
    set: Option<Set>,
}

impl SocketWaitEvent {
    /// Makes a `SocketWaitEvent` without sockets. Takes no descriptor.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut waiting = wakesock::SocketWaitEvent::new();
    /// assert_eq!(waiting.wait(Duration::from_millis(1))?, 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn new() -> SocketWaitEvent {
        SocketWaitEvent::default()
    }

    /// Removes all sockets, and what was found for them.
    ///
    /// ```
    /// use wakesock::{SocketWaitEvent, TcpSocket, WAIT_READ};
    ///
    /// let mut waiting = SocketWaitEvent::new();
    /// waiting.add(&TcpSocket::new(), WAIT_READ);
    /// waiting.clear();
    /// waiting.add(&TcpSocket::new(), WAIT_READ); // the first one again
    /// ```
    pub fn clear(&mut self) {
        self.set = self.set.take().and_then(Set::emptied);
    }

    /// Adds `socket` at the next index, to wait for `events` and for exceptions.
    ///
    /// A socket that is not open keeps its index, but nothing is found for it.
    ///
    /// One that its [handle](crate::SocketHandle::close), its registry or another thread has closed counts as ready for
    /// everything in the next wait, if no wait has told this thread so yet. So of any number of threads that add their sockets
    /// anew in every turn, none misses a closing. A thread is not told of what it has closed itself, by
    /// [`TcpSocket::close`](crate::TcpSocket::close), before it adds it.
    ///
    /// A connection that was only begun is found to be writable when [`wait_connect`](crate::TcpSocket::wait_connect) gets
    /// on, as [`SocketEventQueue::subscribe`](crate::SocketEventQueue::subscribe) says. If the system has no room to watch
    /// the socket, the next wait fails.
    ///
    /// ```
    /// use wakesock::{SocketWaitEvent, TcpSocket, WAIT_READ};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let mut waiting = SocketWaitEvent::new();
    /// waiting.add(&TcpSocket::new(), WAIT_READ);
    /// waiting.add(&listener, WAIT_READ);
    /// # let _client = std::net::TcpStream::connect(listener.local_addr()?).unwrap();
    /// assert_eq!(waiting.wait(None)?, 1);
    /// assert!(waiting[0].is_empty() && waiting[1].contains(WAIT_READ));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn add(&mut self, socket: &impl AsTcpSocket, events: WaitEvents) {
        let opening = socket.as_tcp_socket().opening();
        let set = self.set.get_or_insert_with(Set::have);
        set.add(opening, events | WaitEvents::EXCEPTION);
    }

    /// Blocks until some socket is ready, and returns for how many indices something was found.
    ///
    /// It returns zero when `timeout` is over (`None`: never; zero: at once), and when the global registry stops
    /// accepting. A socket that this program closes meanwhile counts as ready for everything, once: operations on it
    /// return at once.
    ///
    /// # Errors
    ///
    /// [`Error::Shutdown`](crate::Error::Shutdown) once the global registry is shut down;
    /// [`Error::Io`](crate::Error::Io) if the system can't wait, or has had no room for a socket.
    ///
    /// ```
    /// use wakesock::{SocketWaitEvent, TcpSocket, WAIT_READ};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let mut waiting = SocketWaitEvent::new();
    /// waiting.add(&listener, WAIT_READ);
    /// listener.handle().close();
    /// assert_eq!(waiting.wait(None)?, 1);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait(&mut self, timeout: impl Into<Option<Duration>>) -> Result<usize> {
        let set = self.set.get_or_insert_with(Set::have);
        set.wait(Deadline::after(timeout.into()))
    }

    /// What the last wait has found for the socket at `index`; nothing if there is no such index.
    ///
    /// ```
    /// use wakesock::{SocketWaitEvent, WaitEvents};
    ///
    /// assert_eq!(SocketWaitEvent::new().get(7), WaitEvents::empty());
    /// ```
    pub fn get(&self, index: usize) -> WaitEvents {
        self[index]
    }

    fn members(&self) -> &[Member] {
        self.set.as_ref().map_or(&[], Set::members)
    }
}

impl Index<usize> for SocketWaitEvent {
    type Output = WaitEvents;

    /// What the last wait has found for the socket at `index`: [`get`](SocketWaitEvent::get).
    fn index(&self, index: usize) -> &WaitEvents {
        static NOTHING: WaitEvents = WaitEvents::empty();
        self.members().get(index).map_or(&NOTHING, |member| &member.found)
    }
}

impl fmt::Debug for SocketWaitEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<WaitEvents> = self.members().iter().map(|member| member.found).collect();
        f.debug_struct("SocketWaitEvent")
            .field("found", &found)
            .finish_non_exhaustive()
    }
}

impl Drop for SocketWaitEvent {
    fn drop(&mut self) {
        if let Some(set) = self.set.take() {
            set.give_back();
        }
    }
}
