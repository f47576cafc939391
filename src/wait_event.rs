//! [`SocketWaitEvent`]: U++'s way to wait for several sockets, without its limits.
//!
//! Programs make one anew in every turn of their loop, fill it and wait. So it is not the value that owns what waiting
//! needs, a queue in which the sockets are registered, but the thread: the value borrows the queue while it lives.
//! Sockets that the next one adds again are registered already, and those that it doesn't add are silenced when they
//! report something, and in the end forgotten.

use std::cell::RefCell;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::queue::{AsTcpSocket, SocketEvent, SocketEventQueue, Wanted};
use crate::raw_wait::WaitEvents;
use crate::shared::Shared;

/// Waits for several sockets, by their order: U++'s class of that name.
///
/// As in U++, sockets are added with what is to be waited for, and have the index of their adding; exceptions are
/// always watched; what was not read yet is reported again. Other than there, there may be any number of them, with
/// whatever descriptors; closing one of them, from any thread or signal handler, ends the wait; and bytes that a socket
/// has read ahead count as readable.
///
/// It may be made anew and filled in every turn of a loop, or kept. It doesn't borrow the sockets. For more than a few
/// hundred of them, [`SocketEventQueue`](crate::SocketEventQueue) is the better choice: there is nothing to fill.
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
pub struct SocketWaitEvent {
    /// Had from the first socket, or wait, on.
    queue: Option<Kept>,
    members: Vec<Member>,
    /// Members that are another's socket once more, and which.
    doubles: Vec<(usize, usize)>,
    /// Members that the last wait has found ready.
    ready: Vec<usize>,
    events: Vec<SocketEvent<Mark>>,
    /// Why a socket could not be added.
    error: Option<Error>,
}

struct Member {
    wanted: WaitEvents,
    found: WaitEvents,
}

/// For which filling, and as which member, a socket was added last.
#[derive(Clone, Copy)]
struct Mark {
    turn: u64,
    index: usize,
}

impl SocketWaitEvent {
    /// One without sockets. Takes no descriptor.
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

    /// Forgets all sockets, and with them what was found.
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
        self.members.clear();
        self.doubles.clear();
        self.ready.clear();
        self.error = None;
        // One that its registry has ended is of no use any more.
        self.queue = self.queue.take().filter(|kept| !kept.queue.is_error());
        if let Some(kept) = &mut self.queue {
            kept.begin_turn();
        }
    }

    /// Adds a socket, at the next index, to be waited for.
    ///
    /// One that is not open keeps its place, and nothing is found for it: neither for one that was closed before, nor
    /// for a connection that was only begun, until [`wait_connect`](crate::TcpSocket::wait_connect). One that can't be
    /// watched because the system has no room for it makes the next wait fail.
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
        let index = self.members.len();
        self.members.push(Member {
            wanted: events | WaitEvents::EXCEPTION,
            found: WaitEvents::empty(),
        });
        let shared = socket.as_tcp_socket().shared();
        if shared.is_open()
            && let Err(error) = self.watch(shared, index)
            && !shared.is_closed()
        {
            self.error.get_or_insert(error);
        }
    }

    fn watch(&mut self, shared: &Arc<Shared>, index: usize) -> Result<()> {
        let Kept { queue, turn } = Kept::ensure(&mut self.queue)?;
        let turn = *turn;
        let events = self.members[index].wanted;
        let mut first = index;
        queue.put(shared, |subscription, former: Option<&Mark>| {
            let mut subscribed = events;
            if let Some(mark) = former.filter(|mark| mark.turn == turn) {
                first = mark.index;
                subscribed |= subscription.subscribed();
            }
            Wanted {
                subscribed,
                disabled: WaitEvents::empty(),
                token: Mark { turn, index: first },
            }
        })?;
        if first != index {
            self.doubles.push((index, first));
        }
        Ok(())
    }

    /// Blocks until some socket is ready, and gives the number of indices for which something was found.
    ///
    /// None when `timeout` is over (`None`: never; zero: at once), and when the global registry stops accepting. A
    /// socket that this program closes meanwhile counts as ready for all, once: operations on it return at once.
    ///
    /// # Errors
    ///
    /// [`Error::Shutdown`] once the global registry is shut down; [`Error::Io`] if the system can't wait, or has had no
    /// room for a socket.
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
        let mut deadline = Deadline::after(timeout.into());
        for index in self.ready.drain(..) {
            self.members[index].found = WaitEvents::empty();
        }
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let kept = Kept::ensure(&mut self.queue)?;
        loop {
            let left = deadline.left().unwrap_or(Some(Duration::ZERO));
            let count = kept.queue.wait_alone_into(&mut self.events, left)?;
            for event in &self.events {
                let Mark { turn, index } = *event.token();
                if turn != kept.turn {
                    kept.queue.silence(event);
                    continue;
                }
                let found = if event.is_closed() {
                    WaitEvents::ALL
                } else {
                    event.events()
                };
                let doubles = self.doubles.iter().filter(|(_, first)| *first == index);
                for index in doubles.map(|(double, _)| *double).chain([index]) {
                    let member = &mut self.members[index];
                    member.found = found & member.wanted;
                    if !member.found.is_empty() {
                        self.ready.push(index);
                    }
                }
            }
            // Nothing at all: time is over, or somebody has woken it. Something, but of no member: go on.
            if !self.ready.is_empty() || count == 0 {
                return Ok(self.ready.len());
            }
        }
    }

    /// What the last wait has found for the socket at `index`; nothing for an index that there is not.
    ///
    /// ```
    /// use wakesock::{SocketWaitEvent, WaitEvents};
    ///
    /// assert_eq!(SocketWaitEvent::new().get(7), WaitEvents::empty());
    /// ```
    pub fn get(&self, index: usize) -> WaitEvents {
        self.members.get(index).map(|member| member.found).unwrap_or_default()
    }
}

impl Index<usize> for SocketWaitEvent {
    type Output = WaitEvents;

    /// As [`get`](SocketWaitEvent::get).
    fn index(&self, index: usize) -> &WaitEvents {
        static NOTHING: WaitEvents = WaitEvents::empty();
        self.members.get(index).map_or(&NOTHING, |member| &member.found)
    }
}

impl fmt::Debug for SocketWaitEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<WaitEvents> = self.members.iter().map(|member| member.found).collect();
        f.debug_struct("SocketWaitEvent")
            .field("found", &found)
            .finish_non_exhaustive()
    }
}

impl Drop for SocketWaitEvent {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.give_back();
        }
    }
}

/// A queue that a thread keeps for one `SocketWaitEvent` after the other.
struct Kept {
    queue: SocketEventQueue<Mark>,
    /// Counts the fillings.
    turn: u64,
}

/// So many queues are kept, if so many were in use at once.
const MOST_KEPT: usize = 4;

/// A socket that was not added so many times in a row is forgotten.
const TURNS_KEPT: u64 = 16;

thread_local! {
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

impl Kept {
    /// What is in `place` or, if that is empty, one that the thread keeps, or a new one.
    fn ensure(place: &mut Option<Kept>) -> Result<&mut Kept> {
        match place {
            Some(kept) => Ok(kept),
            none => Ok(none.insert(Kept::have()?)),
        }
    }

    fn have() -> Result<Kept> {
        while let Ok(Some(mut kept)) = KEPT.try_with(|all| all.borrow_mut().pop()) {
            // One that its registry has ended is of no use any more.
            if !kept.queue.is_error() {
                kept.begin_turn();
                return Ok(kept);
            }
        }
        let queue = SocketEventQueue::new()?;
        Ok(Kept { queue, turn: 0 })
    }

    fn begin_turn(&mut self) {
        self.turn += 1;
        if self.turn.is_multiple_of(TURNS_KEPT) {
            let oldest = self.turn - TURNS_KEPT;
            self.queue.retain(|mark| mark.turn >= oldest);
        }
    }

    fn give_back(self) {
        let mut kept = Some(self);
        let _ = KEPT.try_with(|all| {
            let mut all = all.borrow_mut();
            if all.len() < MOST_KEPT {
                all.extend(kept.take());
            }
        });
    }
}
