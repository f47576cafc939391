//! What `crate::sync` makes of loom.

use super::*;

/// Each thread writes one variable and reads the other's: whether there is an execution in which neither sees the
/// other.
fn may_miss_each_other(store: Ordering, load: Ordering) -> bool {
    let missed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let result = Arc::clone(&missed);
    check(ALL, move || {
        let words = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let other = Arc::clone(&words);
        let thread = thread::spawn(move || {
            other[1].store(1, store);
            other[0].load(load)
        });
        words[0].store(1, SeqCst);
        let seen = words[1].load(SeqCst);
        if thread.join().unwrap() + seen == 0 {
            missed.store(true, Relaxed);
        }
    });
    result.load(Relaxed)
}

#[test]
fn sequentially_consistent_accesses_have_one_order() {
    assert!(!may_miss_each_other(SeqCst, SeqCst));
    assert!(may_miss_each_other(Release, SeqCst));
    assert!(may_miss_each_other(SeqCst, Acquire));
}

/// Both threads store the first word, and the other word is a flag that orders nothing.
#[test]
#[should_panic(expected = "Causality violation")]
fn sequentially_consistent_accesses_order_nothing_beside_them() {
    check(ALL, || {
        let words = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let value = Arc::new(Probe::new());
        let (words_too, value_too) = (Arc::clone(&words), Arc::clone(&value));
        let thread = thread::spawn(move || {
            value_too.write();
            words_too[0].store(1, SeqCst);
            words_too[1].store(1, Relaxed);
        });
        words[0].store(2, SeqCst);
        if words[1].load(Relaxed) == 1 {
            value.read();
        }
        thread.join().unwrap();
    });
}
