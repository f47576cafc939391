//! What is done to many sockets costs each of them the same, however many there are.

// The processor time of one thread is the system's to tell. Above poll(2) a wait costs more with each socket.
#![cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]

use std::os::unix::net::UnixStream;
use std::time::Duration;

use wakesock::{SocketEventQueue, SocketWaitEvent, TcpSocket, WaitEvents};

use crate::support::queues::{READ, WRITE};
use crate::support::{Random, begin, in_a_thread, own_cpu_time};

const FEW: usize = 1_000;
const TIMES: usize = 4;

struct Many {
    queue: SocketEventQueue<usize>,
    sockets: Vec<TcpSocket>,
    _peers: Vec<UnixStream>,
    /// Their numbers, in another order.
    order: Vec<usize>,
}

impl Many {
    /// So many sockets, which can be written to.
    fn new(count: usize) -> Many {
        let (sockets, peers) = (0..count)
            .map(|_| UnixStream::pair().unwrap())
            .map(|(socket, peer)| (TcpSocket::from(socket), peer))
            .unzip();
        let mut order: Vec<usize> = (0..count).collect();
        let mut random = Random::new(count as u64);
        for place in 0..count {
            order.swap(place, place + random.below(count - place));
        }
        let queue = SocketEventQueue::new().unwrap();
        Many {
            queue,
            sockets,
            _peers: peers,
            order,
        }
    }

    /// So many that are subscribed, and have nothing to report.
    fn idle(count: usize) -> Many {
        let many = Many::new(count);
        many.subscribe(READ);
        many
    }

    /// So many that are subscribed, and were reported.
    fn ready(count: usize) -> Many {
        let many = Many::new(count);
        many.subscribe(WRITE);
        // The system tells of a thousand at a time.
        while many.wait() < count {}
        many
    }

    fn subscribe(&self, events: WaitEvents) {
        for number in &self.order {
            self.queue.subscribe(&self.sockets[*number], events, *number).unwrap();
        }
    }

    fn disable(&self) {
        self.in_order()
            .for_each(|socket| self.queue.disable_write(socket).unwrap());
    }

    fn in_order(&self) -> impl Iterator<Item = &TcpSocket> {
        self.order.iter().map(|number| &self.sockets[*number])
    }

    fn wait(&self) -> usize {
        self.queue.wait(Duration::ZERO).unwrap().len()
    }
}

/// What is done, and what is measured of it.
type Work = fn(Many, &mut dyn FnMut(&mut dyn FnMut()));

/// How much processor time `work` takes with so many sockets.
fn cost(work: Work, prepare: fn(usize) -> Many, count: usize) -> Duration {
    let mut cost = Duration::ZERO;
    work(prepare(count), &mut |measured| {
        let before = own_cpu_time();
        measured();
        cost += own_cpu_time() - before;
    });
    cost
}

#[track_caller]
fn assert_linear(name: &str, prepare: fn(usize) -> Many, work: Work) {
    let mut seen = Vec::new();
    // Other programs disturb it: then it is tried again.
    for _ in 0..5 {
        let (few, many) = (cost(work, prepare, FEW), cost(work, prepare, TIMES * FEW));
        seen.push((few, many));
        // Twice as much for each of them is far from four times as much.
        if many < few * 2 * TIMES as u32 {
            eprintln!("{name}: {few:?}, {many:?}");
            return;
        }
    }
    panic!("{name}: for {FEW} sockets, and {TIMES} times as many: {seen:?}");
}

#[test]
fn subscribing_and_removing_in_any_order() {
    let _test = begin();
    assert_linear("subscribe", Many::new, |many, measure| {
        measure(&mut || many.subscribe(READ));
        assert_eq!(many.queue.len(), many.sockets.len());
    });
    let remove: Work = |many, measure| {
        measure(&mut || many.in_order().for_each(|socket| many.queue.remove(socket).unwrap()));
        assert_eq!(many.queue.len(), 0);
    };
    assert_linear("remove idle ones", Many::idle, remove);
    assert_linear("remove ready ones", Many::ready, remove);
    assert_linear("remove them all", Many::ready, |many, measure| {
        measure(&mut || many.queue.clear().unwrap());
    });
    assert_linear("drop the queue", Many::ready, |many, measure| {
        let mut queue = Some(many.queue);
        measure(&mut || drop(queue.take()));
    });
}

#[test]
fn disabling_and_enabling() {
    let _test = begin();
    assert_linear("all of them", Many::ready, |many, measure| {
        measure(&mut || {
            for _ in 0..3 {
                many.disable();
                assert_eq!(many.wait(), 0);
                many.subscribe(WRITE);
                assert_eq!(many.wait(), many.sockets.len());
            }
        });
    });
    assert_linear("one after the other", Many::ready, |many, measure| {
        many.disable();
        measure(&mut || {
            for number in &many.order {
                let socket = &many.sockets[*number];
                many.queue.subscribe(socket, WRITE, *number).unwrap();
                assert_eq!(many.wait(), 1);
                many.queue.disable_write(socket).unwrap();
            }
        });
    });
}

#[test]
fn closing() {
    let _test = begin();
    let close_all: Work = |many, measure| {
        measure(&mut || {
            many.in_order().for_each(|socket| socket.handle().close());
            assert_eq!(many.wait(), many.sockets.len());
        });
        assert_eq!(many.queue.len(), 0);
    };
    assert_linear("idle ones at once", Many::idle, close_all);
    assert_linear("ready ones at once", Many::ready, close_all);
    assert_linear("one after the other", Many::idle, |many, measure| {
        measure(&mut || {
            for socket in many.in_order() {
                socket.close();
                assert_eq!(many.wait(), 1);
            }
        });
        assert_eq!(many.queue.len(), 0);
    });
}

#[test]
fn taking_a_few_at_a_time() {
    let _test = begin();
    assert_linear("ready ones", Many::ready, |many, measure| {
        measure(&mut || {
            for _ in 0..2 * many.sockets.len() {
                assert_eq!(many.queue.wait_at_most(1, None).unwrap().len(), 1);
            }
        });
    });
    assert_linear("closed ones", Many::ready, |many, measure| {
        many.sockets.iter().for_each(TcpSocket::close);
        measure(&mut || while many.queue.wait_at_most(2, Duration::ZERO).unwrap().len() == 2 {});
        assert_eq!(many.queue.len(), 0);
    });
}

#[test]
fn filling_sets_with_each_socket_twice() {
    let _test = begin();
    in_a_thread(|| {
        assert_linear("made anew", Many::new, |many, measure| {
            let _first = filled(&many);
            let mut second = filled(&many);
            while second.wait(None).unwrap() < 2 * many.sockets.len() {}
            drop(second);
            measure(&mut || {
                let mut again = filled(&many);
                assert_eq!(again.wait(None).unwrap(), 2 * many.sockets.len());
            });
        });
    });
}

fn filled(many: &Many) -> SocketWaitEvent {
    let mut set = SocketWaitEvent::new();
    for _ in 0..2 {
        many.in_order().for_each(|socket| set.add(socket, WRITE));
    }
    set
}
