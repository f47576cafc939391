//! `wait_at_most`: what a thread doesn't take is left to others, and the sockets take turns.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use parking_lot::Mutex;
use wakesock::{Error, ShutdownRegistry, SocketEvent, SocketEventQueue, TcpSocket};

use crate::support::queues::{READ, WRITE, block_in, queue};
use crate::support::{Blocked, PATIENCE, Stream, begin, block, eventually, unix_pair};

/// Connections with something to read each, whose tokens are their numbers.
fn readable(queue: &SocketEventQueue<usize>, count: usize) -> Vec<(TcpSocket, Stream)> {
    let pairs = (0..count).map(|number| {
        let (mut socket, mut peer) = unix_pair();
        socket.timeout(Duration::ZERO);
        peer.write_all(b"x").unwrap();
        queue.subscribe(&socket, READ, number).unwrap();
        (socket, peer)
    });
    pairs.collect()
}

fn numbered() -> Arc<SocketEventQueue<usize>> {
    Arc::new(SocketEventQueue::new().unwrap())
}

fn tokens(events: &[SocketEvent<usize>]) -> Vec<usize> {
    events.iter().map(|event| *event.token()).collect()
}

/// Starts threads that wait once for no more than `max` events. None of them ends before all have got some.
fn takers(
    count: usize,
    queue: &Arc<SocketEventQueue<usize>>,
    max: usize,
    limit: Option<Duration>,
) -> Vec<Blocked<Vec<usize>>> {
    let all_have_some = Arc::new(Barrier::new(count));
    let takers = (0..count).map(|_| {
        let (queue, all_have_some) = (Arc::clone(queue), Arc::clone(&all_have_some));
        block(move || {
            let events = queue.wait_at_most(max, limit).unwrap();
            assert!(!events.is_empty());
            all_have_some.wait();
            tokens(&events)
        })
    });
    takers.collect()
}

#[test]
fn what_is_ready_is_dealt_out_to_all_that_wait() {
    let _test = begin();
    for (threads, max, limit) in [
        (8, 2, None),
        (5, 3, Some(PATIENCE)),
        (16, 1, None),
        (2, 100, Some(PATIENCE)),
    ] {
        let queue = numbered();
        let ready = if max == 100 { 101 } else { threads * max };
        let _pairs = readable(&queue, ready);
        let given: Vec<Vec<usize>> = takers(threads, &queue, max, limit)
            .into_iter()
            .map(Blocked::result)
            .collect();
        let all: BTreeSet<usize> = given.iter().flatten().copied().collect();
        let count: usize = given.iter().map(Vec::len).sum();
        assert!(given.iter().all(|events| events.len() <= max), "{given:?}");
        assert_eq!((count, all.len()), (ready, ready), "lost or given twice: {given:?}");
    }
}

#[test]
fn threads_that_blocked_before_are_woken_for_the_rest() {
    const THREADS: usize = 8;
    let _test = begin();
    for round in 0..20 {
        let queue = numbered();
        let pairs: Vec<_> = (0..2 * THREADS).map(|_| unix_pair()).collect();
        for (number, (socket, _)) in pairs.iter().enumerate() {
            queue.subscribe(socket, READ, number).unwrap();
        }
        let takers = takers(THREADS, &queue, 2, None);
        let takers: Vec<_> = takers.into_iter().map(Blocked::until_blocked).collect();
        for (_, peer) in &pairs {
            (&*peer).write_all(b"x").unwrap();
        }
        let given: Vec<usize> = takers.into_iter().flat_map(Blocked::result).collect();
        let all: BTreeSet<usize> = given.iter().copied().collect();
        assert_eq!(all.len(), given.len(), "round {round}: given twice: {given:?}");
    }
}

#[test]
fn a_thread_that_takes_all_gets_what_another_has_left() {
    let _test = begin();
    let queue = numbered();
    let _pairs = readable(&queue, 5);
    let own = tokens(&queue.wait_at_most(2, None).unwrap());
    let others = block_in(&queue).result().unwrap();
    let all: BTreeSet<usize> = own.iter().copied().chain(tokens(&others)).collect();
    assert_eq!((own.len(), others.len(), all.len()), (2, 3, 5), "{own:?}, {others:?}");
}

#[test]
fn every_byte_is_read_by_threads_that_take_one_event_at_a_time() {
    const SOCKETS: usize = 50;
    const ROUNDS: usize = 40;
    let _test = begin();
    let queue = numbered();
    let pairs = readable(&queue, SOCKETS);
    let (sockets, peers): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .map(|(socket, peer)| (Mutex::new(socket), peer))
        .unzip();
    let sockets = Arc::new(sockets);
    let total = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let (queue, sockets, total) = (Arc::clone(&queue), Arc::clone(&sockets), Arc::clone(&total));
            block(move || {
                while let Ok(events) = queue.wait_at_most(1 + number % 2, None) {
                    for event in events {
                        let mut socket = sockets[*event.token()]
                            .try_lock()
                            .expect("another thread is at the same socket");
                        total.fetch_add(socket.get(&mut [0; 8]).unwrap(), SeqCst);
                    }
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        eventually(
            || format!("round {round}"),
            || match total.load(SeqCst) {
                count if count == round * SOCKETS => Ok(()),
                count => Err(count.to_string()),
            },
        );
        if round < ROUNDS {
            peers.iter().for_each(|peer| (&*peer).write_all(b"x").unwrap());
        }
    }
    queue.handle().close();
    workers.into_iter().for_each(|worker| worker.result());
}

#[test]
fn sockets_that_stay_ready_take_turns() {
    const SOCKETS: usize = 30;
    let _test = begin();
    for max in [1, 3, 10] {
        let queue = numbered();
        let pairs: Vec<_> = (0..SOCKETS).map(|_| unix_pair()).collect();
        for (number, (socket, _)) in pairs.iter().enumerate() {
            queue.subscribe(socket, WRITE, number).unwrap();
        }
        for round in 0..4 {
            let mut told = BTreeSet::new();
            for _ in 0..SOCKETS / max {
                let events = queue.wait_at_most(max, None).unwrap();
                assert_eq!(events.len(), max);
                told.extend(tokens(&events));
            }
            assert_eq!(told.len(), SOCKETS, "round {round}, {max} at most: {told:?}");
        }
    }
}

#[test]
fn closings_are_told_once_each_and_no_more_at_a_time() {
    const SOCKETS: usize = 20;
    let _test = begin();
    let queue = numbered();
    let pairs = readable(&queue, SOCKETS);
    pairs.iter().for_each(|(socket, _)| socket.close());
    let mut told = BTreeSet::new();
    for left in (0..SOCKETS).rev().step_by(3).map(|left| left.saturating_sub(2)) {
        let events = queue.wait_at_most(3, None).unwrap();
        assert!(
            events.len() <= 3 && events.iter().all(SocketEvent::is_closed),
            "{events:?}"
        );
        told.extend(tokens(&events));
        assert_eq!(queue.len(), left);
    }
    assert_eq!(told.len(), SOCKETS);
    assert!(queue.wait_at_most(3, Duration::ZERO).unwrap().is_empty());
}

/// A token whose `clone` panics once.
struct PanicsOnce(Arc<AtomicBool>);

impl Clone for PanicsOnce {
    fn clone(&self) -> PanicsOnce {
        assert!(!self.0.swap(false, SeqCst), "as it should");
        PanicsOnce(Arc::clone(&self.0))
    }
}

#[test]
fn closings_that_a_panic_has_kept_are_told_a_few_at_a_time() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::new().unwrap());
    let panics = Arc::new(AtomicBool::new(true));
    let closed: Vec<_> = (0..3).map(|_| unix_pair()).collect();
    for (socket, _) in &closed {
        queue.subscribe(socket, READ, PanicsOnce(Arc::clone(&panics))).unwrap();
        socket.close();
    }
    let (writable, _peer) = unix_pair();
    queue
        .subscribe(&writable, WRITE, PanicsOnce(Arc::clone(&panics)))
        .unwrap();
    catch_unwind(AssertUnwindSafe(|| queue.wait(None).map(drop))).unwrap_err();
    queue.disable_write(&writable).unwrap();
    let waiting = Arc::clone(&queue);
    let waits = block(move || [2, 2].map(|max| waiting.wait_at_most(max, None).unwrap())).result();
    assert_eq!(waits.each_ref().map(Vec::len), [2, 1]);
    let told = waits
        .iter()
        .flatten()
        .map(|event| (event.socket_id(), event.is_closed()));
    let expected = closed.iter().map(|(socket, _)| (socket.id(), true));
    assert_eq!(told.collect::<BTreeSet<_>>(), expected.collect());
}

#[test]
fn at_most_none_is_an_answer_at_once() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let queue = SocketEventQueue::<usize>::in_registry(&registry).unwrap();
    let _pairs = readable(&queue, 2);
    for limit in [None, Some(Duration::ZERO), Some(PATIENCE)] {
        assert!(queue.wait_at_most(0, limit).unwrap().is_empty(), "{limit:?}");
    }
    assert_eq!(
        queue.wait_at_most(5, None).unwrap().len(),
        2,
        "nothing was lost by that"
    );
    registry.shutdown();
    assert!(matches!(queue.wait_at_most(0, None), Err(Error::Shutdown)));
}

#[test]
fn at_most_none_leaves_a_wake_and_a_threads_events_to_others() {
    let _test = begin();
    let queue = numbered();
    queue.handle().wake();
    assert!(queue.wait_at_most(0, None).unwrap().is_empty());
    assert!(queue.wait_at_most(1, None).unwrap().is_empty(), "the wake was lost");
    let _pairs = readable(&queue, 1);
    assert_eq!(queue.wait_at_most(1, None).unwrap().len(), 1);
    let other = block_in(&queue).still_blocks();
    assert!(queue.wait_at_most(0, None).unwrap().is_empty());
    assert_eq!(other.result().unwrap().len(), 1);
}

#[test]
fn it_is_woken_limited_and_ended_as_a_wait_is() {
    let _test = begin();
    let queue = queue();
    let waiting = |queue: &Arc<SocketEventQueue>| {
        let queue = Arc::clone(queue);
        block(move || queue.wait_at_most(1, None)).until_blocked()
    };
    assert!(queue.wait_at_most(1, Duration::from_millis(2)).unwrap().is_empty());
    let woken = waiting(&queue);
    queue.handle().wake();
    assert!(woken.result().unwrap().is_empty());
    let closed = waiting(&queue);
    queue.handle().close();
    assert!(matches!(closed.result(), Err(Error::Closed)));
}
