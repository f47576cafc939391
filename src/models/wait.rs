//! `opening/turn.rs`: blocking and being woken. loom calls it a deadlock if a wake is lost.

use super::*;

/// A first wait, which makes its waiter, and a handler that aborts.
// broken: relaxed src/opening/state.rs self.0.fetch_update(SeqCst, SeqCst, next)
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn no_abort_is_lost() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let aborted = Arc::clone(&opening);
        let handler = handler(move || aborted.abort());
        if let Ok(in_use) = opening.enter() {
            assert!(matches!(block(&in_use), Error::Aborted));
        }
        handler.join().unwrap();
        opening.close();
        assert!(is_closed(number));
    });
}

/// One blocks, a handler ends the socket, and its owner closes it. The handler may be the last to leave, and keeps the
/// number for the waiter then.
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
// broken: dropped src/opening/in_use.rs self.opening.state.set(NUMBER_NEEDED_BY_WAITERS)
#[test]
fn no_end_is_lost() {
    check(4, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let (blocked, ended) = (Arc::clone(&opening), Arc::clone(&opening));
        let blocked = thread::spawn(move || {
            if let Ok(in_use) = blocked.enter() {
                assert!(matches!(block(&in_use), Error::Closed | Error::Shutdown));
            }
        });
        let handler = handler(move || ended.end(EndedBy::Registry));
        opening.close();
        assert!(is_closed(number));
        join([blocked, handler]);
    });
}

/// Two that take turns at one waiter: the end reaches the one behind the other, too.
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn an_end_reaches_those_who_queue() {
    check(4, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let blocked = [(); 2].map(|()| {
            let opening = Arc::clone(&opening);
            thread::spawn(move || {
                if let Ok(in_use) = opening.enter() {
                    assert!(matches!(block(&in_use), Error::Closed));
                }
            })
        });
        opening.close();
        assert!(is_closed(number));
        join(blocked);
    });
}
