//! The subscriptions of a queue, by their slots and by their sockets.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use super::event::SocketEvent;
use super::slot::{GENERATIONS, Slot};
use super::subscription::Subscription;
use crate::opening::{Follower, SocketId};
use crate::wake::Key;

/// The subscriptions of one queue.
pub(super) struct Table<T> {
    cells: Vec<Cell<T>>,
    /// Indices of empty cells.
    free: Vec<usize>,
    by_socket: HashMap<SocketId, Slot>,
    /// Events of closed sockets that could not be returned. Their subscriptions are gone.
    pub(super) undelivered: Vec<SocketEvent<T>>,
    /// A candidate was passed over because its token was being cloned.
    passed_over: bool,
}

struct Cell<T> {
    generation: usize,
    entry: Option<Entry<T>>,
}

/// A subscription as its queue sees it.
pub(super) struct Entry<T> {
    pub(super) subscription: Arc<Subscription>,
    /// Where it stands among the followers of its socket.
    pub(super) key: Key<Arc<dyn Follower>>,
    /// None while a thread clones it: `clone` is the program's code, so it runs without a lock.
    pub(super) token: Option<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table {
            cells: Vec::new(),
            free: Vec::new(),
            by_socket: HashMap::new(),
            undelivered: Vec::new(),
            passed_over: false,
        }
    }

    /// Finds a free slot, which stays free until it is [filled](Table::fill) or another one is asked for. None if there
    /// are too many.
    pub(super) fn free_slot(&mut self) -> Option<Slot> {
        let index = match self.free.last() {
            Some(index) => *index,
            None => {
                let index = self.cells.len();
                self.cells.push(Cell {
                    generation: 0,
                    entry: None,
                });
                self.free.push(index);
                index
            }
        };
        let slot = Slot {
            index,
            generation: self.cells[index].generation,
        };
        slot.fits_a_token().then_some(slot)
    }

    pub(super) fn fill(&mut self, slot: Slot, entry: Entry<T>) {
        debug_assert_eq!(self.free.last(), Some(&slot.index));
        self.free.pop();
        self.by_socket.insert(entry.subscription.opening().id(), slot);
        self.cells[slot.index].entry = Some(entry);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry<T>> {
        let cell = self.cells.get(slot.index)?;
        cell.entry.as_ref().filter(|_| cell.generation == slot.generation)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        let cell = self.cells.get_mut(slot.index)?;
        cell.entry.as_mut().filter(|_| cell.generation == slot.generation)
    }

    /// The subscription of a socket.
    pub(super) fn find(&self, socket: SocketId) -> Option<&Arc<Subscription>> {
        let slot = self.by_socket.get(&socket)?;
        self.get(*slot).map(|entry| &entry.subscription)
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Entry<T>> {
        let cell = self.cells.get_mut(slot.index)?;
        if cell.generation != slot.generation {
            return None;
        }
        let entry = cell.entry.take()?;
        cell.generation = (cell.generation + 1) % GENERATIONS;
        self.free.push(slot.index);
        self.by_socket.remove(&entry.subscription.opening().id());
        Some(entry)
    }

    /// Whether the token of a subscription is here, and not being cloned. If it is being cloned,
    /// [`restore`](Table::restore) will say that a candidate was passed over.
    pub(super) fn has_its_token(&mut self, slot: Slot) -> bool {
        let entry = self.get(slot);
        let is_out = entry.is_some_and(|entry| entry.token.is_none());
        self.passed_over |= is_out;
        !is_out
    }

    /// Puts a token back. Returns a token that is not wanted any more, to be dropped without the lock, and whether a
    /// candidate was passed over meanwhile.
    pub(super) fn restore(&mut self, slot: Slot, token: T) -> (Option<T>, bool) {
        let unwanted = match self.get_mut(slot) {
            Some(entry) if entry.token.is_none() => entry.token.replace(token),
            _ => Some(token),
        };
        (unwanted, mem::take(&mut self.passed_over))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.cells.iter().filter_map(|cell| cell.entry.as_ref())
    }

    /// How many sockets are subscribed, or were closed without that being returned yet.
    pub(super) fn len(&self) -> usize {
        self.cells.len() - self.free.len() + self.undelivered.len()
    }
}
