//! `opening/turn.rs`: blocking and being woken. loom calls it a deadlock if a wake is lost.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;
use crate::deadline::AtomicMoment;
use crate::socket::TcpSocket;

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
    check(3, || {
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

/// A listener's wait beside a stop that finds clients waiting, which are still to be handed out.
// broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
#[test]
fn a_wait_for_clients_ends_when_those_that_wait_are_the_last() {
    check(ALL, || {
        let registry = ShutdownRegistry::new();
        let opening = Opening::new();
        let mut opened = opening.enter_opening(true).unwrap();
        let membership = opened.join(&registry, &opening).unwrap();
        opened.install(readable_descriptor());
        opened.opened(membership).unwrap();
        let stopped = registry.clone();
        let handler = handler(move || stopped.stop_accepting());
        let in_use = opening.enter().unwrap();
        let mut deadline = Deadline::after(None);
        deadline.note_ends(opening.side(Direction::Read).ends());
        while !opening.hands_out_last() {
            let mut turn = WaitTurn::take(&in_use, Direction::Read, &mut deadline)
                .unwrap()
                .unwrap();
            turn.wait(&ModelWait, WaitEvents::READ, &mut deadline, None, || false)
                .unwrap();
        }
        drop(in_use);
        handler.join().unwrap();
        opening.close();
    });
}

fn readable_descriptor() -> OwnedFd {
    static PAIR: LazyLock<[UnixDatagram; 2]> = LazyLock::new(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        other.send(&[1]).unwrap();
        [one, other]
    });
    PAIR[0].try_clone().unwrap().into()
}

/// A peer that sends a byte when a waiter is made, and then no more.
#[derive(Debug)]
struct OneByte(UnixStream);

struct OneByteWaiter(ModelWaiter);

impl RawWait for OneByte {
    fn waiter(&self, source: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = ModelWaiter::new(source);
        (&self.0).write_all(&[1])?;
        waiter.waker.wake();
        Ok(Box::new(OneByteWaiter(waiter)))
    }
}

impl Waiter for OneByteWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        match timeout {
            None => self.0.wait(events, None),
            Some(_) => Ok(WaitEvents::empty()),
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}

/// A socket whose next read waits at once, in the short way: it has a waiter, and has asked the system in vain when it was known
/// to have nothing.
fn drained(registry: &ShutdownRegistry) -> TcpSocket {
    let (end, peer) = UnixStream::pair().unwrap();
    let mut socket = TcpSocket::with_registry(registry);
    socket.set_raw_wait(Arc::new(OneByte(peer)));
    socket.attach(end).unwrap();
    assert_eq!(socket.get(&mut [0]).unwrap(), 1);
    socket.timeout(Duration::from_nanos(1));
    for _ in 0..2 {
        assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
        socket.clear_error();
    }
    socket.blocking();
    socket
}

/// A read waits in the short way, and a handler aborts it, or sets a deadline that has passed.
// broken: blind src/opening/state.rs fn enter_if_open: self.0.compare_exchange_weak(state, state + USER, SeqCst, SeqCst)
#[test]
fn nothing_that_ends_a_wait_is_lost_in_the_short_way() {
    AtomicMoment::prepare();
    let past = Instant::now();
    for aborts in [true, false] {
        check(ALL, move || {
            let registry = ShutdownRegistry::new();
            let mut socket = drained(&registry);
            let ended = Arc::clone(socket.opening());
            let handler = handler(move || match aborts {
                true => ended.abort(),
                false => ended.set_deadline(Direction::Read, Some(past)),
            });
            let error = socket.get(&mut [0]).unwrap_err();
            let is_right = match aborts {
                true => matches!(error, Error::Aborted),
                false => error.is_timeout(),
            };
            assert!(is_right, "{error:?}");
            handler.join().unwrap();
            drop(socket);
            assert_eq!(registry.len(), 0);
        });
    }
}
