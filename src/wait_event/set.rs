//! What a thread keeps from one `SocketWaitEvent` for the next.
//!
//! Programs make a `SocketWaitEvent` in every turn of their loop, fill it and wait. So the thread, not the value, owns
//! what waiting needs: a queue in which the sockets are registered. The value borrows that while it lives. Sockets that
//! the next value adds again are registered already. Those that it doesn't add are silenced when they report something,
//! and forgotten in the end. Only what the first value of a thread had goes with it: it may be the last.
//!
//! Mostly the same sockets are added again in the same order, for the same events. So the thread remembers what stood
//! at each index. Where that is the same again, the queue need not be told.

use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Opening, SocketId};
use crate::queue::{SocketEvent, SocketEventQueue, Wanted};

/// What a thread keeps for one `SocketWaitEvent` after the other.
#[derive(Default)]
pub(super) struct Set {
    /// Made for the first socket that is open, or the first wait.
    queue: Option<SocketEventQueue<Mark>>,
    /// The number of this filling.
    turn: u64,
    members: Vec<Member>,
    /// How many members are of this filling. Those behind them are left from earlier ones.
    count: usize,
    /// Members with a socket that another member has, too: each with the index of the first.
    doubles: Vec<(usize, usize)>,
    /// Members whose socket was closed before it could be watched. The next wait tells, if its thread doesn't know.
    ended: Vec<usize>,
    /// Members that the last wait has found ready.
    ready: Vec<usize>,
    events: Vec<SocketEvent<Mark>>,
    /// Why a socket could not be added.
    error: Option<Error>,
}

pub(super) struct Member {
    /// The socket whose queue events carry this index. May be left from an earlier filling: then the subscription is
    /// used again if the same socket is added here with the same `wanted`. None: no subscription points here.
    socket: Option<SocketId>,
    /// The member's own, whether or not it could be watched.
    opening: Weak<Opening>,
    wanted: WaitEvents,
    pub(super) found: WaitEvents,
    /// Another member with the same socket, in the order in which they were added, the newest first.
    double: Option<usize>,
}

impl Member {
    /// Adds to what is found for it. True if there was nothing before.
    fn find(&mut self, events: WaitEvents) -> bool {
        let is_first = self.found.is_empty();
        self.found |= events & self.wanted;
        is_first && !self.found.is_empty()
    }

    /// Whether its socket, which is closed, is news to the thread. If it was dropped since, nobody knows.
    fn has_untold_end(&self) -> bool {
        self.opening.upgrade().is_none_or(|opening| opening.has_untold_end())
    }

    /// Its socket is closed, and the thread is told now: there is no subscription, and other waits need not tell it.
    fn end(&mut self) {
        self.socket = None;
        if let Some(opening) = self.opening.upgrade() {
            opening.end_is_told();
        }
    }
}

/// In which filling, and as which member, a socket was last put into the queue.
#[derive(Clone, Copy)]
struct Mark {
    turn: u64,
    index: usize,
}

/// How many sets a thread keeps at most, if it has used that many at once.
const MOST_KEPT: usize = 4;

/// In how many fillings in a row a socket is not added before it is forgotten.
const TURNS_KEPT: u64 = 16;

/// What a thread keeps.
struct Kept {
    sets: Vec<Set>,
    /// The thread has used a set before. Only who does that again is likely to want a third one.
    is_used_again: bool,
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { sets: Vec::new(), is_used_again: false }) };
}

impl Set {
    /// Takes a set that the thread keeps, or makes one.
    pub(super) fn have() -> Set {
        while let Ok(Some(set)) = KEPT.try_with(|kept| kept.borrow_mut().sets.pop()) {
            if let Some(set) = set.emptied() {
                return set;
            }
        }
        Set::default()
    }

    pub(super) fn give_back(self) {
        let mut set = Some(self).filter(|set| set.queue.is_some());
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if set.is_some() && mem::replace(&mut kept.is_used_again, true) && kept.sets.len() < MOST_KEPT {
                kept.sets.extend(set.take());
            }
        });
    }

    /// Empties the set, to be filled again. None if its registry has ended the queue.
    pub(super) fn emptied(mut self) -> Option<Set> {
        if self.queue.as_ref().is_some_and(SocketEventQueue::is_error) {
            return None;
        }
        self.forget_found();
        self.ended.clear();
        // The queue reports more of their sockets than each of them wants.
        for index in self.doubles.drain(..).flat_map(|(double, first)| [double, first]) {
            self.members[index].socket = None;
            self.members[index].double = None;
        }
        self.error = None;
        self.count = 0;
        self.turn += 1;
        if let Some(queue) = &self.queue
            && self.turn.is_multiple_of(TURNS_KEPT)
        {
            let oldest = self.turn - TURNS_KEPT;
            queue.retain(|mark| mark.turn >= oldest);
            // So that all sockets added from now on are put into the queue again, with new marks.
            self.members.clear();
        }
        Some(self)
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members[..self.count]
    }

    fn forget_found(&mut self) {
        for index in self.ready.drain(..) {
            self.members[index].found = WaitEvents::empty();
        }
    }

    pub(super) fn add(&mut self, opening: &Arc<Opening>, wanted: WaitEvents) {
        let index = self.count;
        let can_be_watched = opening.is_open() || opening.is_underway();
        let mut socket = can_be_watched.then(|| opening.id());
        let former = self.members.get(index);
        let is_as_before = former.is_some_and(|former| {
            former.socket == socket && former.wanted == wanted && former.opening.as_ptr() == Arc::as_ptr(opening)
        });
        if !is_as_before {
            let first = match socket {
                Some(_) => self.watch(opening, index, wanted),
                None => Ok(index),
            };
            let mut double = None;
            match first {
                Ok(first) if first != index => {
                    self.doubles.push((index, first));
                    double = self.members[first].double.replace(index);
                }
                Ok(_) => {}
                Err(error) => {
                    socket = None;
                    if !opening.is_closed() {
                        self.error.get_or_insert(error);
                    }
                }
            }
            let member = Member {
                socket,
                opening: Arc::downgrade(opening),
                wanted,
                found: WaitEvents::empty(),
                double,
            };
            match self.members.get_mut(index) {
                Some(place) => *place = member,
                None => self.members.push(member),
            }
        }
        if opening.is_closed() {
            self.ended.push(index);
        }
        self.count += 1;
    }

    /// Puts the socket of the member at `index` into the queue. Returns the index of the first member with that socket.
    fn watch(&mut self, opening: &Arc<Opening>, index: usize, wanted: WaitEvents) -> Result<usize> {
        let queue = ensure(&mut self.queue)?;
        let (turn, members) = (self.turn, &mut self.members);
        let socket = Some(opening.id());
        let mut first = index;
        queue.put(opening, |subscription, former: Option<&Mark>| {
            let mut subscribed = wanted;
            let former = former.map(|mark| mark.index);
            let stands_at = |place: &usize| members.get(*place).is_some_and(|member| member.socket == socket);
            match former.filter(stands_at) {
                Some(place) if place < index => {
                    first = place;
                    subscribed |= subscription.subscribed();
                }
                // Left from an earlier filling; the socket stands elsewhere now.
                Some(place) => members[place].socket = None,
                None => {}
            }
            Wanted {
                subscribed,
                disabled: WaitEvents::empty(),
                token: Mark { turn, index: first },
            }
        })?;
        Ok(first)
    }

    pub(super) fn wait(&mut self, mut deadline: Deadline) -> Result<usize> {
        self.forget_found();
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.ended.retain(|index| self.members[*index].has_untold_end());
        let queue = ensure(&mut self.queue)?;
        loop {
            let at_once = Some(Duration::ZERO);
            let left = match self.ended.is_empty() {
                true => deadline.left().unwrap_or(at_once),
                false => at_once,
            };
            let count = queue.wait_alone_into(&mut self.events, left)?;
            for index in self.ended.drain(..) {
                let member = &mut self.members[index];
                member.end();
                if member.find(WaitEvents::ALL) {
                    self.ready.push(index);
                }
            }
            for event in &self.events {
                let index = event.token().index;
                let member = self.members.get_mut(index);
                match member.filter(|member| member.socket == Some(event.socket_id())) {
                    Some(_) if index < self.count => {}
                    // Not of a member of this filling.
                    left => {
                        queue.silence(event);
                        if let Some(left) = left {
                            left.socket = None;
                        }
                        continue;
                    }
                }
                let found = if event.is_closed() {
                    // The subscription is gone. A connection that was aborted while it was being made may come again.
                    self.members[index].end();
                    WaitEvents::ALL
                } else {
                    event.events()
                };
                let mut next = Some(index);
                while let Some(index) = next {
                    let member = &mut self.members[index];
                    if member.find(found) {
                        self.ready.push(index);
                    }
                    next = member.double;
                }
            }
            // No event: the time is up, or the queue was woken. Events, but of no member: go on.
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

/// Models: see `models/`. They cover a socket that is ended while it is added, or kept from the filling before.
#[cfg(all(test, wakesock_loom))]
mod models {
    use super::*;
    use crate::models::{check, handler, opened};
    use crate::registry::{EndedBy, ShutdownRegistry};

    fn set(registry: &ShutdownRegistry) -> Set {
        Set {
            // Of this registry: the global one has no place in a model.
            queue: Some(SocketEventQueue::in_registry(registry).unwrap()),
            ..Set::default()
        }
    }

    /// A handler ends a socket that is added, after `fillings` in which it was added, too: the next wait tells, and no other.
    fn its_end_is_told_once(fillings: usize) {
        check(4, move || {
            let registry = ShutdownRegistry::new();
            let mut set = set(&registry);
            let (opening, _) = opened(&registry);
            for _ in 0..fillings {
                set.add(&opening, WaitEvents::READ);
                set = set.emptied().unwrap();
            }
            let ended = Arc::clone(&opening);
            let handler = handler(move || ended.end(EndedBy::Owner));
            set.add(&opening, WaitEvents::READ);
            assert_eq!(set.wait(Deadline::after(None)).unwrap(), 1);
            assert_eq!(set.members()[0].found, WaitEvents::READ);
            handler.join().unwrap();
            // In the same filling, and in another one.
            assert_eq!(set.wait(Deadline::after(Some(Duration::ZERO))).unwrap(), 0);
            let mut set = set.emptied().unwrap();
            set.add(&opening, WaitEvents::READ);
            assert_eq!(set.wait(Deadline::after(Some(Duration::ZERO))).unwrap(), 0);
            opening.close();
        });
    }

    // broken: dropped src/queue/control.rs self.changed.store(true, SeqCst)
    // broken: relaxed src/queue/control.rs self.polling.store(true, SeqCst)
    #[test]
    fn the_end_of_a_socket_that_is_added_is_told_once() {
        its_end_is_told_once(0);
    }

    // broken: dropped src/queue/control.rs self.changed.store(true, SeqCst)
    // broken: relaxed src/queue/control.rs self.polling.store(true, SeqCst)
    #[test]
    fn the_end_of_a_socket_that_is_kept_is_told_once() {
        its_end_is_told_once(1);
    }
}
