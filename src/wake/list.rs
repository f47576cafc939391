//! The list of things to wake, which a signal handler may walk.
//!
//! # The problem
//!
//! `close`, `abort`, `stop_accepting` and `shutdown` have to reach everything that blocks in a socket, and every socket
//! of a registry. They may be called from a signal handler, which may have interrupted a thread anywhere: inside the
//! allocator, inside this very list, halfway through adding or removing the entry that is to be woken. So a walk takes
//! no lock, allocates nothing, frees nothing and doesn't wait.
//!
//! # How
//!
//! The list is singly linked and grows at its head. A node that holds a value stays where it is; what changes is the value
//! it points to, null while the node is free.
//!
//! - A *walker* pins a node, looks at its value, uses it, and takes the pin away.
//! - An *inserter*, holding the lock that only inserters and removers take, puts the value into a free node or links a
//!   new one.
//! - A *remover* takes the value out of the node and then waits until the node has no pin. A walker that pins it after
//!   that finds no value. So the remover waits for walkers, never the other way round. It waits for one node's walkers
//!   only: for the time of one wake, not of one walk.
//!
//! A list that was long once doesn't stay long: when most nodes are free, the remover unlinks these. A walker may still be on
//! one of them, from where it finds its way back to the list. So what was unlinked is freed when no walk is under way: the
//! remover doesn't wait for that, a later removal tries again.
//!
//! # Orderings
//!
//! Two pairs are of the form "each side writes one variable and then reads the other's": pin and value, walker count
//! and links. Both need sequential consistency. The same holds for what surrounds the list: a thread that blocks inserts
//! its waker and then reads the state; a thread that ends it writes the state and then walks. One of the two sees the
//! other.

use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, Mutex, back_off, const_fn};

/// A list that a signal handler may walk: see the module's description.
pub(crate) struct List<T> {
    head: AtomicPtr<Node<T>>,
    /// Walks under way. Read only to learn whether nodes can be freed.
    walkers: AtomicUsize,
    writer: Mutex<Writer<T>>,
}

struct Node<T> {
    /// Walkers that may be using `value`.
    pins: AtomicUsize,
    /// From `Box::into_raw`, or null while the node is free.
    value: AtomicPtr<T>,
    /// Changes only where the nodes behind this one are unlinked.
    next: AtomicPtr<Node<T>>,
    /// It is among those that an inserter may take: looked at and changed with the lock held.
    is_free: AtomicBool,
}

/// What inserters and removers know.
struct Writer<T> {
    /// Linked nodes without a value.
    free: Vec<NonNull<Node<T>>>,
    /// How many nodes are linked.
    nodes: usize,
    /// Nodes that are linked no more, for walkers that may still be on them.
    unlinked: Vec<NonNull<Node<T>>>,
}

/// The place of a value in its list, for [`List::remove`].
pub(crate) struct Key<T>(NonNull<Node<T>>);

/// A key that one thread takes, of those that may.
pub(crate) struct KeyCell<T>(AtomicPtr<Node<T>>);

impl<T> KeyCell<T> {
    pub(crate) fn new(Key(node): Key<T>) -> KeyCell<T> {
        KeyCell(AtomicPtr::new(node.as_ptr()))
    }

    /// Takes the key, if it is still there.
    pub(crate) fn take(&self) -> Option<Key<T>> {
        if self.0.load(SeqCst).is_null() {
            return None;
        }
        NonNull::new(self.0.swap(ptr::null_mut(), SeqCst)).map(Key)
    }
}

// SAFETY: a list owns its values, hands out `&T` to walks on any thread, and gives back the `T` on the thread that
// removes it; so it may be sent and shared where `T` is both. The raw pointers are to nodes that the list itself owns,
// and are changed under its lock or atomically.
unsafe impl<T: Send + Sync> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for List<T> {}
// SAFETY: a key is a mere name; it is followed only inside `remove` of the list it came from.
unsafe impl<T: Send + Sync> Send for Key<T> {}
// SAFETY: as above; `&Key` offers nothing at all.
unsafe impl<T: Send + Sync> Sync for Key<T> {}

/// This many free nodes are not worth freeing. In the models it is one, since they have few threads.
const KEPT_NODES: usize = if cfg!(all(test, wakesock_loom)) { 1 } else { 64 };

impl<T> List<T> {
    const_fn! {
        pub(crate) fn new() -> List<T> {
            List {
                head: AtomicPtr::new(ptr::null_mut()),
                walkers: AtomicUsize::new(0),
                writer: Mutex::new(Writer {
                    free: Vec::new(),
                    nodes: 0,
                    unlinked: Vec::new(),
                }),
            }
        }
    }

    /// Puts `value` where walks that begin from now on find it.
    pub(crate) fn insert(&self, value: T) -> Key<T> {
        let value = Box::into_raw(Box::new(value));
        let mut writer = self.writer.lock();
        if let Some(node) = writer.free.pop() {
            // SAFETY: nodes in `free` are linked, and linked nodes live until the list gives them back, which happens
            // under the lock held here.
            let linked = unsafe { node.as_ref() };
            linked.is_free.store(false, Relaxed);
            linked.value.store(value, SeqCst);
            return Key(node);
        }
        let node = NonNull::from(Box::leak(Box::new(Node {
            pins: AtomicUsize::new(0),
            value: AtomicPtr::new(value),
            next: AtomicPtr::new(self.head.load(SeqCst)),
            is_free: AtomicBool::new(false),
        })));
        self.head.store(node.as_ptr(), SeqCst);
        writer.nodes += 1;
        Key(node)
    }

    /// Takes out what `insert` put in, and returns when no walk can be using it any more.
    ///
    /// `key` must come from this list.
    pub(crate) fn remove(&self, key: Key<T>) -> T {
        let Key(pointer) = key;
        // SAFETY: a node with a value is linked, and the key, of which there is only one, says that it has one.
        let node = unsafe { pointer.as_ref() };
        let value = node.value.swap(ptr::null_mut(), SeqCst);
        let mut spins = 0;
        while node.pins.load(SeqCst) != 0 {
            back_off(&mut spins);
        }
        // SAFETY: the pointer came from `Box::into_raw` in `insert`, and was taken out by the swap, once. Walkers that
        // loaded it before the swap had pinned the node before they loaded it, and have all left.
        let value = unsafe { Box::from_raw(value) };
        let mut writer = self.writer.lock();
        node.is_free.store(true, Relaxed);
        writer.free.push(pointer);
        if writer.free.len() > KEPT_NODES && writer.free.len() > writer.nodes / 2 {
            self.unlink_free(&mut writer);
        }
        if !writer.unlinked.is_empty() && self.walkers.load(SeqCst) == 0 {
            // A walk that begins now doesn't find them.
            free_nodes(&mut writer.unlinked);
        }
        *value
    }

    /// Unlinks the free nodes.
    fn unlink_free(&self, writer: &mut Writer<T>) {
        let mut link = &self.head;
        // SAFETY: linked nodes are freed only by `remove`, after they were unlinked here, under the lock held here.
        while let Some(node) = unsafe { link.load(SeqCst).as_ref() } {
            if node.is_free.load(Relaxed) {
                link.store(node.next.load(SeqCst), SeqCst);
            } else {
                link = &node.next;
            }
        }
        writer.nodes -= writer.free.len();
        writer.unlinked.append(&mut writer.free);
        writer.free = Vec::new();
    }

    /// Calls `visit` with every value. Async-signal-safe if `visit` is.
    ///
    /// Values inserted before the walk and not removed meanwhile are all visited.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&T)) {
        if self.head.load(SeqCst).is_null() {
            return;
        }
        let _walk = Counted::new(&self.walkers);
        let mut next = self.head.load(SeqCst);
        // SAFETY: nodes are freed only by `remove`, which sees this walk's mark or, if it looked before the mark was made,
        // had unlinked them before this walk read a link; and by `drop`, which has the list to itself.
        while let Some(node) = unsafe { next.as_ref() } {
            let _pin = Counted::new(&node.pins);
            let value = node.value.load(SeqCst);
            // SAFETY: a value that could be loaded after the pin was set is freed only after the pin is gone.
            if let Some(value) = unsafe { value.as_ref() } {
                visit(value);
            }
            next = node.next.load(SeqCst);
        }
    }
}

/// Adds one to a count as long as it lives, even if a waker panics.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Frees nodes that are out of the list, with no walk on them.
fn free_nodes<T>(nodes: &mut Vec<NonNull<Node<T>>>) {
    for node in mem::take(nodes) {
        // SAFETY: it comes from `Box::leak` in `insert`, and has no value, so no key either.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }
}

fn free_chain<T>(mut next: *mut Node<T>) {
    while !next.is_null() {
        // SAFETY: nodes come from `Box::leak` in `insert`; the caller has unlinked this chain and no walk is in it.
        let node = unsafe { Box::from_raw(next) };
        let value = node.value.load(SeqCst);
        if !value.is_null() {
            // SAFETY: as in `remove`; a node with a value in it still owns that value.
            drop(unsafe { Box::from_raw(value) });
        }
        next = node.next.load(Relaxed);
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        free_chain(self.head.load(Relaxed));
        free_nodes(&mut self.writer.get_mut().unlinked);
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn values(list: &List<u32>) -> Vec<u32> {
        let mut found = Vec::new();
        list.for_each(|value| found.push(*value));
        found.sort_unstable();
        found
    }

    #[test]
    fn walks_find_what_is_in_and_nothing_else() {
        let list = List::new();
        let one = list.insert(1);
        let two = list.insert(2);
        assert_eq!(values(&list), [1, 2]);
        assert_eq!(list.remove(one), 1);
        assert_eq!(values(&list), [2]);
        let three = list.insert(3);
        assert_eq!(values(&list), [2, 3]);
        list.remove(two);
        list.remove(three);
        assert!(values(&list).is_empty());
    }

    #[test]
    fn nodes_are_used_again_and_given_back() {
        let list = List::new();
        for _ in 0..1000 {
            let key = list.insert(7);
            list.remove(key);
        }
        assert_eq!(list.writer.lock().nodes, 1);
        let keys: Vec<_> = (0..1000).map(|n| list.insert(n)).collect();
        assert_eq!(list.writer.lock().nodes, 1000);
        let [kept, keys @ ..] = <[_; 1000]>::try_from(keys).unwrap();
        for key in keys {
            list.remove(key);
        }
        let nodes = list.writer.lock().nodes;
        assert!(nodes <= 2 * KEPT_NODES, "{nodes}");
        assert_eq!(values(&list), [0], "what is left is still found");
        list.remove(kept);
        assert!(list.writer.lock().unlinked.is_empty());
    }

    #[test]
    fn nodes_are_given_back_wherever_they_stand() {
        let list = List::new();
        let keys: Vec<_> = (0..1000).map(|n| Some(list.insert(n))).collect();
        let mut keys = keys;
        let mut left: Vec<u32> = (0..1000).collect();
        for turn in 0..950 {
            let index = turn * 389 % 1000; // no divisor of a thousand: each once
            list.remove(keys[index].take().unwrap());
            left.retain(|value| *value != index as u32);
            if turn % 50 == 0 {
                assert_eq!(values(&list), left);
            }
        }
        let nodes = list.writer.lock().nodes;
        assert!(nodes <= 50 + 2 * KEPT_NODES, "{nodes}");
        let new = list.insert(5000);
        left.push(5000);
        assert_eq!(values(&list), left);
        list.remove(new);
    }

    #[test]
    fn nothing_is_freed_under_a_walker() {
        let list = List::new();
        let keys: Vec<_> = (0..100).map(|n| list.insert(n)).collect();
        let walk = Counted::new(&list.walkers);
        for key in keys {
            list.remove(key);
        }
        assert!(!list.writer.lock().unlinked.is_empty());
        drop(walk);
        let key = list.insert(1);
        list.remove(key);
        assert!(list.writer.lock().unlinked.is_empty());
    }

    #[test]
    fn values_live_as_long_as_walkers_use_them() {
        let list: List<Arc<AtomicUsize>> = List::new();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let key = list.insert(Arc::new(AtomicUsize::new(0)));
                        let value = list.remove(key);
                        assert_eq!(Arc::strong_count(&value), 1);
                        value.store(usize::MAX, SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..20_000 {
                    list.for_each(|value| {
                        assert_eq!(
                            value.load(SeqCst),
                            0,
                            "a walker was shown a value that had been removed"
                        );
                    });
                }
            });
        });
    }
}
