//! [`SocketWaitEvent`]: U++'s way to wait for several sockets, without its limits.
//!
//! Programs make one anew in every turn of their loop, fill it and wait. So it is not the value that owns what waiting
//! needs, a queue in which the sockets are registered, but the thread: the value borrows that while it lives. Sockets
//! that the next one adds again are registered already, and those that it doesn't add are silenced when they report
//! something, and in the end forgotten.
//!
//! Mostly the same sockets are added again in the same order, for the same events. So what stood at each index is
//! remembered, and where it is the same once more there is nothing to tell the queue.

use std::cell::RefCell;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Shared, SocketId};
use crate::queue::{AsTcpSocket, SocketEvent, SocketEventQueue, Wanted};

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
    set: Option<Set>,
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
        self.set = self.set.take().and_then(Set::emptied);
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
        let shared = socket.as_tcp_socket().shared();
        let set = self.set.get_or_insert_with(Set::have);
        set.add(shared, events | WaitEvents::EXCEPTION);
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
        let set = self.set.get_or_insert_with(Set::have);
        set.wait(Deadline::after(timeout.into()))
    }

    /// What the last wait has found for the socket at `index`; nothing for an index that there is not.
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
        self.set.as_ref().map_or(&[], |set| &set.members[..set.count])
    }
}

impl Index<usize> for SocketWaitEvent {
    type Output = WaitEvents;

    /// As [`get`](SocketWaitEvent::get).
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

/// What a thread keeps for one `SocketWaitEvent` after the other.
#[derive(Default)]
struct Set {
    /// Made for the first socket that is open, or the first wait.
    queue: Option<SocketEventQueue<Mark>>,
    /// Counts the fillings.
    turn: u64,
    members: Vec<Member>,
    /// So many members are of this filling. Those behind them are left of earlier ones.
    count: usize,
    /// Members that are another's socket once more, and which.
    doubles: Vec<(usize, usize)>,
    /// Members that the last wait has found ready.
    ready: Vec<usize>,
    events: Vec<SocketEvent<Mark>>,
    /// Why a socket could not be added.
    error: Option<Error>,
}

struct Member {
    /// Whose events the queue reports by this index, and, doubles aside, for just what is `wanted`: also where this is
    /// left of an earlier filling. None if it reports none.
    socket: Option<SocketId>,
    wanted: WaitEvents,
    found: WaitEvents,
}

/// In which filling, and as which member, the queue was told of a socket last.
#[derive(Clone, Copy)]
struct Mark {
    turn: u64,
    index: usize,
}

/// So many sets are kept, if so many were in use at once.
const MOST_KEPT: usize = 4;

/// A socket that was not added so many times in a row is forgotten.
const TURNS_KEPT: u64 = 16;

thread_local! {
    static KEPT: RefCell<Vec<Set>> = const { RefCell::new(Vec::new()) };
}

impl Set {
    /// One that the thread keeps, or a new one.
    fn have() -> Set {
        while let Ok(Some(set)) = KEPT.try_with(|all| all.borrow_mut().pop()) {
            if let Some(set) = set.emptied() {
                return set;
            }
        }
        Set::default()
    }

    fn give_back(self) {
        let mut set = Some(self).filter(|set| set.queue.is_some());
        let _ = KEPT.try_with(|all| {
            let mut all = all.borrow_mut();
            if all.len() < MOST_KEPT {
                all.extend(set.take());
            }
        });
    }

    /// The same to be filled anew. None if its registry has ended the queue, which is of no use any more.
    fn emptied(mut self) -> Option<Set> {
        if self.queue.as_ref().is_some_and(SocketEventQueue::is_error) {
            return None;
        }
        self.forget_found();
        // The queue reports their sockets for more than each of them wants.
        for index in self.doubles.drain(..).flat_map(|(double, first)| [double, first]) {
            self.members[index].socket = None;
        }
        self.error = None;
        self.count = 0;
        self.turn += 1;
        if let Some(queue) = &self.queue
            && self.turn.is_multiple_of(TURNS_KEPT)
        {
            let oldest = self.turn - TURNS_KEPT;
            queue.retain(|mark| mark.turn >= oldest);
            // So that the queue is told of all that are added now, and their marks say so.
            self.members.clear();
        }
        Some(self)
    }

    fn forget_found(&mut self) {
        for index in self.ready.drain(..) {
            self.members[index].found = WaitEvents::empty();
        }
    }

    fn add(&mut self, shared: &Arc<Shared>, wanted: WaitEvents) {
        let index = self.count;
        let mut socket = shared.is_open().then(|| shared.id());
        let former = self.members.get(index);
        let is_as_before = former.is_some_and(|former| former.socket == socket && former.wanted == wanted);
        if !is_as_before {
            if socket.is_some()
                && let Err(error) = self.watch(shared, index, wanted)
            {
                socket = None;
                if !shared.is_closed() {
                    self.error.get_or_insert(error);
                }
            }
            let member = Member {
                socket,
                wanted,
                found: WaitEvents::empty(),
            };
            match self.members.get_mut(index) {
                Some(place) => *place = member,
                None => self.members.push(member),
            }
        }
        self.count += 1;
    }

    fn watch(&mut self, shared: &Arc<Shared>, index: usize, wanted: WaitEvents) -> Result<()> {
        let queue = ensure(&mut self.queue)?;
        let (turn, members) = (self.turn, &mut self.members);
        let socket = Some(shared.id());
        let mut first = index;
        queue.put(shared, |subscription, former: Option<&Mark>| {
            let mut subscribed = wanted;
            let former = former.map(|mark| mark.index);
            let stands_at = |place: &usize| members.get(*place).is_some_and(|member| member.socket == socket);
            match former.filter(stands_at) {
                Some(place) if place < index => {
                    first = place;
                    subscribed |= subscription.subscribed();
                }
                // Left of an earlier filling, and not its place any more.
                Some(place) => members[place].socket = None,
                None => {}
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

    fn wait(&mut self, mut deadline: Deadline) -> Result<usize> {
        self.forget_found();
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let queue = ensure(&mut self.queue)?;
        loop {
            let left = deadline.left().unwrap_or(Some(Duration::ZERO));
            let count = queue.wait_alone_into(&mut self.events, left)?;
            for event in &self.events {
                let index = event.token().index;
                let member = self.members.get_mut(index);
                match member.filter(|member| member.socket == Some(event.socket_id())) {
                    Some(_) if index < self.count => {}
                    // Of no member of this filling.
                    left => {
                        queue.silence(event);
                        if let Some(left) = left {
                            left.socket = None;
                        }
                        continue;
                    }
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
}

/// What is in `place` or, if that is empty, a new queue.
fn ensure(place: &mut Option<SocketEventQueue<Mark>>) -> Result<&SocketEventQueue<Mark>> {
    match place {
        Some(queue) => Ok(queue),
        none => Ok(none.insert(SocketEventQueue::new()?)),
    }
}
