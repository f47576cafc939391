//! `wake/list.rs`.

use super::*;
use crate::wake::Revocable;

/// A list of numbers, each the name of a probe: what is done to the number is done to the probe.
struct Probed {
    list: List<usize>,
    probes: [Probe; 4],
}

impl Probed {
    fn new() -> Arc<Probed> {
        Arc::new(Probed {
            list: List::new(),
            probes: array::from_fn(|_| Probe::new()),
        })
    }

    /// How many values there were.
    fn walk(&self) -> usize {
        let mut visited = 0;
        self.list.for_each(|number| {
            self.probes[*number].read();
            visited += 1;
        });
        visited
    }

    fn remove(&self, key: crate::wake::Key<usize>) {
        let number = self.list.remove(key);
        self.probes[number].write();
    }
}

/// A walk beside removals, the use again of a node, and the freeing of the nodes when the last value is gone.
// broken: relaxed src/wake/list.rs while node.pins.load(SeqCst) != 0
// broken: relaxed src/wake/list.rs count.fetch_add(1, SeqCst)
// broken: relaxed src/wake/list.rs self.0.fetch_sub(1, SeqCst)
// broken: relaxed src/wake/list.rs if !writer.unlinked.is_empty() && self.walkers.load(SeqCst) == 0
#[test]
fn no_walk_uses_what_was_removed() {
    check(6, || {
        let probed = Probed::new();
        let keys = [0, 1].map(|number| probed.list.insert(number));
        let walker = Arc::clone(&probed);
        let walker = handler(move || walker.walk());
        let [first, second] = keys;
        probed.remove(first);
        let third = probed.list.insert(2);
        probed.remove(second);
        probed.remove(third);
        let last = probed.list.insert(3);
        walker.join().unwrap();
        assert_eq!(probed.walk(), 1);
        probed.remove(last);
    });
}

/// Nodes before and behind a value are unlinked and freed: every walk finds the value, and none uses what was freed.
// broken: relaxed src/wake/list.rs if !writer.unlinked.is_empty() && self.walkers.load(SeqCst) == 0
#[test]
fn a_value_among_nodes_that_are_freed_is_found() {
    check(4, || {
        let probed = Probed::new();
        let [before, _value, behind] = [0, 1, 2].map(|number| probed.list.insert(number));
        let walker = Arc::clone(&probed);
        let walker = handler(move || {
            assert!(walker.walk() >= 1);
        });
        probed.remove(before);
        probed.remove(behind);
        assert_eq!(probed.walk(), 1);
        walker.join().unwrap();
    });
}

/// A handler uses a value while its owner takes it away, and frees it.
// broken: relaxed src/wake/list.rs while node.pins.load(SeqCst) != 0
// broken: relaxed src/wake/list.rs count.fetch_add(1, SeqCst)
#[test]
fn what_was_taken_away_is_used_no_more() {
    check(ALL, || {
        let place = Arc::new(Revocable::new(Probe::new()));
        let using = Arc::clone(&place);
        let handler = handler(move || using.with(Probe::read));
        let taken = place.take().unwrap();
        taken.write();
        assert!(place.with(Probe::read).is_none() && place.take().is_none());
        handler.join().unwrap();
    });
}

/// Two threads insert and remove, each a value of its own, while a third walks.
// broken: relaxed src/wake/list.rs let value = node.value.swap(ptr::null_mut(), SeqCst)
#[test]
fn threads_that_change_the_list_at_once_leave_each_others_values() {
    check(4, || {
        let probed = Probed::new();
        let threads = [0, 1].map(|number| {
            let probed = Arc::clone(&probed);
            thread::spawn(move || {
                let key = probed.list.insert(number);
                assert!(probed.walk() >= 1);
                probed.remove(key);
            })
        });
        probed.walk();
        join(threads);
        assert_eq!(probed.walk(), 0);
    });
}

/// One thread puts a value in and then looks, another writes and then walks: one of the two sees the other. Both where a node
/// is linked and where one is used again.
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
// broken: relaxed src/wake/list.rs .value.store(value, SeqCst)
#[test]
fn who_inserts_and_then_looks_or_writes_and_then_walks_sees_the_other() {
    for reused in [false, true] {
        check(ALL, move || {
            let probed = Probed::new();
            let ended = Arc::new(AtomicUsize::new(0));
            if reused {
                let key = probed.list.insert(0);
                probed.remove(key);
            }
            let (walker, end) = (Arc::clone(&probed), Arc::clone(&ended));
            let handler = handler(move || {
                end.store(1, SeqCst);
                walker.walk()
            });
            let _key = probed.list.insert(1);
            let seen = ended.load(SeqCst);
            let visited = handler.join().unwrap();
            assert_ne!((seen, visited), (0, 0), "neither has seen the other");
        });
    }
}
