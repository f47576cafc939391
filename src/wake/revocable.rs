//! A value that a signal handler may use until its owner takes it away.
//!
//! Others may hold on to the place for as long as they like: the value goes when its owner says so. It is a list of one: see
//! [`List`], which has the proof.

use super::list::{KeyCell, List};

/// The place of a value that its owner can take away.
pub(crate) struct Revocable<T> {
    list: List<T>,
    key: KeyCell<T>,
}

impl<T> Revocable<T> {
    pub(crate) fn new(value: T) -> Revocable<T> {
        let list = List::new();
        let key = KeyCell::new(list.insert(value));
        Revocable { list, key }
    }

    /// Uses the value, unless it was taken away. Async-signal-safe if `using` is.
    pub(crate) fn with<R>(&self, using: impl FnOnce(&T) -> R) -> Option<R> {
        let (mut using, mut result) = (Some(using), None);
        self.list
            .for_each(|value| result = using.take().map(|using| using(value)));
        result
    }

    /// Takes the value away, and returns when nobody uses it any more. Not for signal handlers.
    pub(crate) fn take(&self) -> Option<T> {
        self.key.take().map(|key| self.list.remove(key))
    }
}
