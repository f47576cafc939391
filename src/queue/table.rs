//! The subscriptions of a queue, each at a place of its own.

use std::collections::HashMap;
use std::sync::Arc;

use mio::Token;

use super::subscription::Subscription;
use crate::opening::{Follower, SocketId};
use crate::wake::Key;

/// Where a subscription stands. A place that was given back and is given again has another name, so that a late report
/// for the one is not taken for one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    index: usize,
    generation: usize,
}

/// How many bits of a token are the index: a million sockets where a token has 32 bits.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const GENERATIONS: usize = 1 << (usize::BITS - INDEX_BITS);

impl Slot {
    pub(super) fn token(self) -> Token {
        Token(self.generation << INDEX_BITS | self.index)
    }

    pub(super) fn of(token: Token) -> Slot {
        Slot {
            index: token.0 & ((1 << INDEX_BITS) - 1),
            generation: token.0 >> INDEX_BITS,
        }
    }

    /// Whether it could be mistaken for `token`, or has no token at all.
    fn is_taken_by(self, token: Token) -> bool {
        self.index >= 1 << INDEX_BITS || self.token() == token
    }
}

/// A subscription as its queue sees it.
pub(super) struct Entry<T> {
    pub(super) subscription: Arc<Subscription>,
    /// Where it stands among the followers of its socket.
    pub(super) key: Key<Arc<dyn Follower>>,
    pub(super) token: T,
}

pub(super) struct Table<T> {
    slots: Vec<Cell<T>>,
    free: Vec<usize>,
    by_socket: HashMap<SocketId, Slot>,
}

struct Cell<T> {
    generation: usize,
    entry: Option<Entry<T>>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            by_socket: HashMap::new(),
        }
    }

    /// A place that is free, and stays so until it is [filled](Table::fill) or another is asked for. Its token is not
    /// `reserved`. None if there are too many.
    pub(super) fn free_slot(&mut self, reserved: Token) -> Option<Slot> {
        let index = match self.free.last() {
            Some(index) => *index,
            None => {
                let index = self.slots.len();
                self.slots.push(Cell {
                    generation: 0,
                    entry: None,
                });
                self.free.push(index);
                index
            }
        };
        let place = Slot {
            index,
            generation: self.slots[index].generation,
        };
        (!place.is_taken_by(reserved)).then_some(place)
    }

    pub(super) fn fill(&mut self, place: Slot, entry: Entry<T>) {
        debug_assert_eq!(self.free.last(), Some(&place.index));
        self.free.pop();
        self.by_socket.insert(entry.subscription.opening().id(), place);
        self.slots[place.index].entry = Some(entry);
    }

    /// The subscription of a socket.
    pub(super) fn find(&self, socket: SocketId) -> Option<&Arc<Subscription>> {
        let place = self.by_socket.get(&socket)?;
        self.get(*place).map(|entry| &entry.subscription)
    }

    pub(super) fn get(&self, place: Slot) -> Option<&Entry<T>> {
        let slot = self.slots.get(place.index)?;
        slot.entry.as_ref().filter(|_| slot.generation == place.generation)
    }

    pub(super) fn get_mut(&mut self, place: Slot) -> Option<&mut Entry<T>> {
        let slot = self.slots.get_mut(place.index)?;
        slot.entry.as_mut().filter(|_| slot.generation == place.generation)
    }

    pub(super) fn take(&mut self, place: Slot) -> Option<Entry<T>> {
        let slot = self.slots.get_mut(place.index)?;
        if slot.generation != place.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.by_socket.remove(&entry.subscription.opening().id());
        self.free.push(place.index);
        Some(entry)
    }

    /// Where those stand whose tokens `are_meant`.
    pub(super) fn places(&self, are_meant: impl Fn(&T) -> bool) -> impl Iterator<Item = Slot> {
        let entries = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        let meant = entries.filter(move |entry| are_meant(&entry.token));
        meant.map(|entry| entry.subscription.place())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
