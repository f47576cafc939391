//! `opening/turn.rs`: blocking and being woken. loom calls it a deadlock if a wake is lost.

use std::time::Instant;

use super::*;
use crate::deadline::AtomicMoment;

/// A first wait, which makes its waiter, and a handler that aborts.
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

/// What was about to wait when a handler aborted it ends, though that is lifted at once.
// broken: dropped src/opening/side.rs self.ends.fetch_add(Ends::ABORT, SeqCst)
#[test]
fn no_abort_that_is_lifted_is_lost() {
    ends_though_lifted(
        |opening| {
            opening.abort();
            opening.clear_abort();
        },
        |error| matches!(error, Error::Aborted),
    );
}

/// What was about to wait when a handler set a deadline that had passed ends, though that is lifted at once.
// broken: dropped src/opening/side.rs self.ends.fetch_add(Ends::EXPIRATION, SeqCst)
#[test]
fn no_deadline_that_is_lifted_is_lost() {
    let past = Instant::now();
    AtomicMoment::prepare();
    ends_though_lifted(
        move |opening| {
            opening.set_deadline(Direction::Read, Some(past));
            opening.set_deadline(Direction::Read, None);
        },
        |error| matches!(error, Error::Timeout),
    );
}

fn ends_though_lifted(end: impl Fn(&Opening) + Clone + Send + Sync + 'static, is_ended: fn(&Error) -> bool) {
    check(ALL, move || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let in_use = opening.enter().unwrap();
        let mut deadline = Deadline::after(None);
        deadline.note_ends(opening.side(Direction::Read).ends());
        let (ended, end) = (Arc::clone(&opening), end.clone());
        let handler = handler(move || end(&ended));
        let error = block_within(&in_use, &mut deadline);
        assert!(is_ended(&error), "{error:?}");
        drop(in_use);
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

/// A wait that is to end when the registry stops accepting, as that for a request.
// broken: dropped src/opening/mod.rs self.state.set(ENDS_WITH_ACCEPTING)
// broken: relaxed src/registry/mod.rs inner.level.fetch_max(level as u8, SeqCst)
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn no_stop_is_lost_that_ends_a_wait() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let (opening, number) = opened(&registry);
        let stopped = registry.clone();
        let handler = handler(move || stopped.stop_accepting());
        let in_use = opening.enter().unwrap();
        let mut deadline = Deadline::after(None);
        deadline.note_ends(opening.side(Direction::Read).ends());
        while !registry.is_stopping() {
            let mut turn = WaitTurn::take(&in_use, Direction::Read, &mut deadline)
                .unwrap()
                .unwrap();
            let mut wait = || {
                turn.wait(&ModelWait, WaitEvents::READ, &mut deadline, None, || {
                    registry.is_stopping()
                })
            };
            opening.while_ending_with_accepting(&mut wait).unwrap();
        }
        drop(in_use);
        handler.join().unwrap();
        opening.close();
        assert!(is_closed(number));
    });
}
