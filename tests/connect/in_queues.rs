//! A connection that is being made can be waited for in queues: it is writable when another `wait_connect` gets on.

use std::io::{ErrorKind, Write};
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::net::{SocketAddr, TcpStream};
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use wakesock::{Error, Result, ShutdownRegistry, SocketEventQueue, SocketHandle, SocketWaitEvent, TcpSocket};

#[cfg(target_os = "linux")]
use crate::names::{HOST, Lookups};
#[cfg(target_os = "linux")]
use crate::several_addresses::without_watches;
use crate::support::every::assert_failed;
use crate::support::queues::{
    BOTH, EXCEPTION, READ, WRITE, assert_only, assert_only_closed, assert_silent, block_in, queue,
};
use crate::support::races::{DELAY, assert_connected, attempts, takes};
use crate::support::{BlackHole, PATIENCE, QUEUE, Refusing, begin, block, descriptors, ends_at_limit, server, timed};
#[cfg(target_os = "linux")]
use crate::support::{Blocked, POLLED, Random, eventually};

#[cfg(target_os = "linux")]
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A socket that has begun to connect.
fn begun(addrs: &[SocketAddr]) -> TcpSocket {
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(addrs).unwrap();
    assert!(!socket.is_open());
    socket
}

fn addrs_of(holes: &[BlackHole]) -> Vec<SocketAddr> {
    holes.iter().map(BlackHole::addr).collect()
}

/// Waits in the queue, and goes on with the connection whenever that is told to get on, until it is decided. Returns how
/// often that was.
fn finish(queue: &SocketEventQueue, socket: &mut TcpSocket) -> (Result<()>, usize) {
    for turn in 1.. {
        let ((), took) = timed(|| assert_only(queue, socket, WRITE));
        assert!(took < PATIENCE, "it was seen at the end of the wait only");
        match socket.wait_connect() {
            Err(Error::Timeout) => {}
            result => return (result, turn),
        }
    }
    unreachable!()
}

// One address.

#[test]
fn it_is_writable_when_it_stands_and_the_subscription_goes_on() {
    let _test = begin();
    for addresses in [1, 2] {
        let holes: Vec<_> = (0..addresses).map(|_| BlackHole::new()).collect();
        let queue = queue();
        let mut socket = begun(&addrs_of(&holes));
        queue.subscribe_write(&socket).unwrap();
        assert!(queue.is_subscribed_write(&socket) && queue.len() == 1);
        holes[0].relieve();
        let (result, turns) = finish(&queue, &mut socket);
        result.unwrap();
        assert_eq!(turns, addresses, "a turn for each start, and one for the answer");
        // It is the connection's now.
        assert_only(&queue, &socket, WRITE);
        queue.disable_write(&socket).unwrap();
        queue.subscribe_read(&socket).unwrap();
        assert_silent(&queue);
        queue.subscribe_write(&socket).unwrap();
        assert_only(&queue, &socket, WRITE);
        socket.close();
        assert_only_closed(&queue, socket.id());
    }
}

#[test]
fn it_is_writable_when_it_has_failed_and_may_be_tried_again() {
    let _test = begin();
    let (server, live) = server();
    let queue = queue();
    let mut socket = TcpSocket::new();
    for round in 0..2 {
        let hole = BlackHole::new();
        socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
        if round == 0 {
            queue.subscribe(&socket, BOTH, socket.id()).unwrap();
        }
        assert_silent(&queue);
        // From now on it refuses.
        let addr = hole.addr();
        drop(hole);
        let (result, turns) = finish(&queue, &mut socket);
        assert_eq!(attempts(&result.unwrap_err()), [(addr, ErrorKind::ConnectionRefused)]);
        assert_eq!(turns, 1);
        // There is nothing to wait for.
        assert_silent(&queue);
        assert_eq!(queue.len(), 1);
    }
    // Begun while a thread waits that has nothing to wait for: it is told when the next address is due.
    let hole = BlackHole::new();
    let waiting = block_in(&queue);
    socket.connect_to(&[hole.addr(), live]).unwrap();
    assert_eq!(waiting.result().unwrap()[0].events(), WRITE);
    finish(&queue, &mut socket).0.unwrap();
    let _peer = server.accept().unwrap();
    assert_only(&queue, &socket, WRITE);
}

#[test]
fn a_silent_address_is_waited_for_without_a_turn() {
    let _test = begin();
    let hole = BlackHole::new();
    let queue = queue();
    let mut socket = begun(&[hole.addr()]);
    queue.subscribe_write(&socket).unwrap();
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (events, took) = timed(|| queue.wait(limit).unwrap());
        assert!(events.is_empty(), "{events:?}");
        took
    });
    let waiting = block_in(&queue).still_blocks();
    hole.relieve();
    let events = waiting.result().unwrap();
    assert_eq!((events.len(), events[0].events()), (1, WRITE));
    socket.wait_connect().unwrap();
}

#[test]
fn what_is_subscribed_to_read_is_silent_until_it_stands() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let queue = queue();
    let mut socket = begun(&[hole.addr(), live]);
    queue.subscribe_read(&socket).unwrap();
    assert!(
        queue.wait(DELAY * 2).unwrap().is_empty(),
        "though the next address is due"
    );
    socket.wait_connect().unwrap();
    assert_silent(&queue);
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"x").unwrap();
    assert_only(&queue, &socket, READ);
}

#[test]
fn what_is_not_being_made_is_not_open() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let queue = queue();
    let mut failed = TcpSocket::new();
    failed.connect_to(&[refusing.addr()]).unwrap_err();
    let mut out_of_time = TcpSocket::new();
    let limit = Duration::from_millis(1);
    out_of_time.timeout(limit).connect_to(&[hole.addr()]).unwrap_err();
    for socket in [TcpSocket::new(), failed, out_of_time] {
        assert_failed(&queue.subscribe_write(&socket), &Error::Closed, &socket);
        block(move || {
            let mut set = SocketWaitEvent::new();
            set.add(&socket, WRITE);
            assert_eq!(set.wait(Duration::ZERO).unwrap(), 0);
        })
        .result();
    }
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_socket_that_becomes_a_listener_instead_is_followed() {
    let _test = begin();
    let hole = BlackHole::new();
    let queue = queue();
    let mut socket = begun(&[hole.addr()]);
    queue.subscribe(&socket, BOTH, socket.id()).unwrap();
    drop(hole);
    finish(&queue, &mut socket).0.unwrap_err();
    socket.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    assert_silent(&queue);
    let _client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    assert_only(&queue, &socket, READ);
}

// Several addresses.

#[test]
fn the_next_address_is_tried_in_time_and_nothing_spins() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    for silent in 1..3 {
        let addrs = [vec![hole.addr(); silent], vec![live]].concat();
        let delays = DELAY * silent as u32;
        takes(delays, delays + DELAY, || {
            let queue = queue();
            let mut socket = begun(&addrs);
            queue.subscribe_write(&socket).unwrap();
            let (result, turns) = finish(&queue, &mut socket);
            result.unwrap();
            assert_connected(&socket, &server);
            // For each start, and the answer.
            assert!(turns <= silent + 1, "{turns} turns");
        });
    }
}

#[test]
fn addresses_that_refuse_are_passed_over_at_once() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    let addrs = [hole.addr(), refusing.addr(), refusing.addr(), live];
    takes(DELAY, DELAY * 3 / 2, || {
        let queue = queue();
        let mut socket = begun(&addrs);
        queue.subscribe_write(&socket).unwrap();
        let (result, turns) = finish(&queue, &mut socket);
        result.unwrap();
        assert_connected(&socket, &server);
        assert!(turns <= 4, "{turns} turns");
    });
}

#[test]
fn an_answer_to_any_attempt_is_told_in_every_queue() {
    let _test = begin();
    for answering in 0..2 {
        let holes = [BlackHole::new(), BlackHole::new()];
        let before = descriptors();
        let mut socket = begun(&addrs_of(&holes));
        // One is subscribed before the second attempt begins, and one when both are under way.
        let early = queue();
        early.subscribe_write(&socket).unwrap();
        assert_only(&early, &socket, WRITE);
        assert_failed(&socket.wait_connect(), &Error::Timeout, "both are silent");
        assert_eq!(descriptors(), before + 2 + QUEUE);
        let late = queue();
        late.subscribe_write(&socket).unwrap();
        let waiting = [&early, &late].map(|queue| block_in(queue).still_blocks());
        holes[answering].relieve();
        for waiting in waiting {
            let events = waiting.result().unwrap();
            assert_eq!((events.len(), events[0].events()), (1, WRITE));
        }
        socket.wait_connect().unwrap();
        assert_eq!(socket.peer_addr().unwrap(), holes[answering].addr());
        assert_only(&early, &socket, WRITE);
        assert_only(&late, &socket, WRITE);
    }
}

// The end of it.

/// Ways to end a connection that is being made, between two calls.
type End = fn(&TcpSocket, &SocketHandle, &ShutdownRegistry);

const ENDS: [(&str, End, Error); 4] = [
    ("handle", |_, handle, _| handle.close(), Error::Closed),
    ("owner", |socket, _, _| socket.close(), Error::Closed),
    ("abort", |_, handle, _| handle.abort(), Error::Aborted),
    ("shutdown", |_, _, registry| registry.shutdown(), Error::Shutdown),
];

#[test]
fn what_ends_it_is_told_once_in_every_queue() {
    let _test = begin();
    let hole = BlackHole::new();
    for addresses in [1, 3] {
        for (name, end, error) in ENDS {
            for during in [false, true] {
                let before = descriptors();
                let registry = ShutdownRegistry::new();
                let mut socket = TcpSocket::with_registry(&registry);
                let addrs = vec![hole.addr(); addresses];
                socket.timeout(Duration::ZERO).connect_to(&addrs).unwrap();
                let queues = [queue(), queue()];
                queues.iter().for_each(|queue| queue.subscribe_write(&socket).unwrap());
                let (id, handle) = (socket.id(), socket.handle());
                let waiting = during.then(|| block_in(&queues[0]));
                end(&socket, &handle, &registry);
                if let Some(waiting) = waiting {
                    let events = waiting.result().unwrap();
                    assert!(events.len() == 1 && events[0].is_closed(), "{name}: {events:?}");
                } else {
                    assert_only_closed(&queues[0], id);
                }
                assert_only_closed(&queues[1], id);
                for queue in &queues {
                    assert_silent(queue);
                    assert_eq!(queue.len(), 0);
                }
                assert_failed(&socket.wait_connect(), &error, name);
                drop((socket, queues));
                assert_eq!(descriptors(), before, "{name}, {addresses} addresses");
            }
        }
    }
}

#[test]
fn dropping_removing_and_leaving_it_in_any_order_leaves_nothing() {
    let _test = begin();
    let hole = BlackHole::new();
    let before = descriptors();
    for addresses in [1, 3] {
        let addrs = vec![hole.addr(); addresses];
        for order in 0..5 {
            let queue = queue();
            let mut socket = begun(&addrs);
            queue.subscribe_write(&socket).unwrap();
            let id = socket.id();
            match order {
                0 => {
                    drop(socket);
                    assert_only_closed(&queue, id);
                }
                1 => {
                    drop(queue);
                    assert_failed(&socket.wait_connect(), &Error::Timeout, "it goes on");
                }
                2 => {
                    queue.remove(&socket).unwrap();
                    hole_is_silent_to(&queue);
                    queue.subscribe_write(&socket).unwrap();
                    hole_is_silent_to(&queue);
                }
                3 => {
                    // The attempts are dropped, and their numbers are other sockets' next.
                    let (server, live) = server();
                    socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
                    assert_connected(&socket, &server);
                    let others: Vec<_> = (0..4).map(|_| crate::support::pair()).collect();
                    others
                        .iter()
                        .for_each(|(other, _)| queue.subscribe_read(other).unwrap());
                    queue.disable_write(&socket).unwrap_or_default();
                    let closed: Vec<_> = queue.wait(Duration::ZERO).unwrap();
                    assert!(closed.iter().all(|event| event.socket_id() == id), "{closed:?}");
                    for (other, peer) in &others {
                        (&*peer).write_all(b"x").unwrap();
                        let events = queue.wait(PATIENCE).unwrap();
                        assert!(events.iter().any(|event| event.socket_id() == other.id()), "{events:?}");
                    }
                }
                _ => {
                    let (reader, writer) = socket.split();
                    drop((reader, writer));
                    assert_only_closed(&queue, id);
                }
            }
        }
        assert_eq!(descriptors(), before, "{addresses} addresses");
    }
}

#[track_caller]
fn hole_is_silent_to(queue: &SocketEventQueue) {
    let events = queue.wait(Duration::from_millis(5)).unwrap();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_run_of_operations_that_is_out_of_time_is_told() {
    let _test = begin();
    let hole = BlackHole::new();
    for (addresses, is_set_before) in [(1, true), (2, true), (1, false), (2, false)] {
        ends_at_limit(Duration::from_millis(60), |limit| {
            let queue = queue();
            let mut socket = TcpSocket::new();
            let begin = Instant::now();
            socket.timeout(Duration::ZERO);
            if is_set_before {
                socket.global_timeout(limit);
            }
            socket.connect_to(&vec![hole.addr(); addresses]).unwrap();
            queue.subscribe_write(&socket).unwrap();
            if !is_set_before {
                socket.global_timeout(limit);
            }
            let (result, turns) = finish(&queue, &mut socket);
            let took = begin.elapsed();
            assert_failed(&result, &Error::GlobalTimeout, limit);
            assert!(turns <= 2, "{turns} turns");
            took
        });
    }
}

#[test]
fn a_limit_of_a_run_that_is_lifted_is_not_told() {
    let _test = begin();
    let hole = BlackHole::new();
    let queue = queue();
    let mut limit = Duration::from_millis(1);
    let mut socket = loop {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).global_timeout(limit);
        match socket.connect_to(&[hole.addr()]) {
            // The machine is slower than that.
            Err(Error::GlobalTimeout) => limit *= 2,
            begun => {
                begun.unwrap();
                break socket;
            }
        }
    };
    queue.subscribe_write(&socket).unwrap();
    socket.no_global_timeout();
    assert!(queue.wait(5 * limit).unwrap().is_empty());
    assert!(matches!(socket.wait_connect(), Err(Error::Timeout)));
}

#[cfg(target_os = "linux")]
#[test]
fn whatever_happens_to_it_in_whatever_order_nothing_is_left() {
    const ROUNDS: usize = 1_500;
    let _test = begin();
    let (server, live) = server();
    let holes = [BlackHole::new(), BlackHole::new()];
    let refusing = Refusing::new();
    let accepting = Accepting::all_of(server);
    let lookups = Lookups::finding(&[LOOPBACK]);
    let before = descriptors();
    let queues = [queue(), queue()];
    let waiting = [0, 0, 1].map(|number| {
        let queue = Arc::clone(&queues[number]);
        block(move || while queue.wait_at_most(2, None).is_ok() {})
    });
    let addrs = [live, holes[0].addr(), holes[1].addr(), refusing.addr()];
    let owners = [1, 2].map(|seed| {
        let queues = queues.clone();
        block(move || {
            let mut random = Random::new(seed);
            let mut socket = TcpSocket::new();
            for _ in 0..ROUNDS {
                socket.timeout(Duration::ZERO);
                let _ = match random.below(4) {
                    0 => socket.connect(HOST, addrs[3 * random.below(2)].port()),
                    _ => {
                        let some: Vec<_> = (0..1 + random.below(3)).map(|_| addrs[random.below(4)]).collect();
                        socket.connect_to(&some)
                    }
                };
                let handle = socket.handle();
                for _ in 0..1 + random.below(6) {
                    match random.below(9) {
                        0..=2 => drop(queues[random.below(2)].subscribe_write(&socket)),
                        3 => drop(queues[random.below(2)].subscribe_read(&socket)),
                        4 => drop(queues[random.below(2)].remove(&socket)),
                        5 => drop(socket.wait_connect()),
                        6 => drop(socket.timeout(Duration::from_millis(1)).wait_connect()),
                        7 => block({
                            let handle = handle.clone();
                            move || handle.close()
                        })
                        .result(),
                        _ => {
                            handle.abort();
                            let _ = socket.wait_connect();
                            socket.clear_abort();
                        }
                    }
                }
                match random.below(4) {
                    0 => socket = TcpSocket::new(),
                    1 => socket.clear(),
                    2 => {
                        drop(socket.split());
                        socket = TcpSocket::new();
                    }
                    _ => {}
                }
            }
        })
    });
    owners.into_iter().for_each(|owner| owner.result());
    for queue in &queues {
        eventually(
            || "all closings are told".to_owned(),
            || match queue.len() {
                0 => Ok(()),
                left => Err(format!("{left} are left")),
            },
        );
        queue.handle().close();
    }
    waiting.into_iter().for_each(|waiting| waiting.result());
    drop((queues, lookups));
    assert_eq!(descriptors(), before);
    accepting.stop();
}

// Calls beside a wait.

#[test]
fn a_thread_in_a_queue_is_told_of_a_connection_that_another_has_finished() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let queue = queue();
    let mut socket = begun(&[hole.addr(), live]);
    queue.subscribe_read(&socket).unwrap();
    let waiting = block_in(&queue);
    socket.timeout(PATIENCE).wait_connect().unwrap();
    let waiting = waiting.still_blocks();
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"x").unwrap();
    let events = waiting.result().unwrap();
    assert_eq!((events.len(), events[0].events()), (1, READ));
}

#[cfg(target_os = "linux")]
#[test]
fn many_at_once_are_made_in_one_queue() {
    const COUNT: usize = 200;
    let _test = begin();
    let (server, live) = server();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let lookups = Lookups::held();
    let queue = SocketEventQueue::<usize>::new().unwrap();
    let mut random = Random::new(20);
    let mut sockets: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut socket = TcpSocket::new();
            socket.timeout(Duration::ZERO);
            let kind = random.below(3);
            match kind {
                0 => socket.connect(HOST, live.port()),
                1 => socket.connect(HOST, refusing.addr().port()),
                _ => socket.connect_to(&[hole.addr(), refusing.addr(), live]),
            }
            .unwrap();
            queue.subscribe(&socket, WRITE, number).unwrap();
            (socket, kind != 1)
        })
        .collect();
    let accepting = Accepting::all_of(server);
    assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
    lookups.answer(&[LOOPBACK]);
    let mut left = COUNT;
    let mut turns = 0;
    while left > 0 {
        let events = queue.wait(PATIENCE).unwrap();
        assert!(!events.is_empty(), "{left} of {COUNT} are left");
        for event in events {
            turns += 1;
            let (socket, connects) = &mut sockets[*event.token()];
            assert_eq!((event.socket_id(), event.events()), (socket.id(), WRITE));
            match socket.wait_connect() {
                Err(Error::Timeout) => continue,
                Ok(()) => {
                    assert!(*connects);
                    queue.disable_write(socket).unwrap();
                }
                Err(Error::Connect { .. }) => assert!(!*connects),
                Err(error) => panic!("{error:?}"),
            }
            left -= 1;
        }
    }
    assert!(turns <= 4 * COUNT, "{turns} turns for {COUNT} connections");
    drop(sockets);
    accepting.stop();
}

/// A server that accepts clients and lets go of them, until it is stopped.
#[cfg(target_os = "linux")]
struct Accepting(Blocked<()>, SocketAddr, Arc<AtomicBool>);

#[cfg(target_os = "linux")]
impl Accepting {
    fn all_of(server: TcpListener) -> Accepting {
        let addr = server.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let to_stop = Arc::clone(&is_over);
        let accepting = block(move || {
            while !to_stop.load(SeqCst) {
                server.accept().unwrap();
            }
        });
        Accepting(accepting, addr, is_over)
    }

    fn stop(self) {
        self.2.store(true, SeqCst);
        // It fails if the server has seen that already.
        let _ = TcpStream::connect(self.1);
        self.0.result();
    }
}

// Sets.

#[test]
fn a_set_finds_it_writable_made_anew_or_kept() {
    let _test = begin();
    let (server, live) = server();
    block(move || {
        for fails in [false, true] {
            for anew in [false, true] {
                let hole = BlackHole::new();
                let addrs = [hole.addr(), live];
                let mut socket = begun(if fails { &addrs[..1] } else { &addrs });
                if fails {
                    drop(hole);
                }
                let mut set = SocketWaitEvent::new();
                set.add(&socket, WRITE);
                let result = loop {
                    assert_eq!(set.wait(PATIENCE).unwrap(), 1);
                    assert_eq!(set[0], WRITE);
                    match socket.wait_connect() {
                        Err(Error::Timeout) => {}
                        result => break result,
                    }
                    if anew {
                        drop(set);
                        set = SocketWaitEvent::new();
                        set.add(&socket, WRITE);
                    }
                };
                if fails {
                    result.unwrap_err();
                    assert_eq!(set.wait(Duration::ZERO).unwrap(), 0);
                    continue;
                }
                result.unwrap();
                assert_eq!(set.wait(PATIENCE).unwrap(), 1);
                let (mut peer, _) = server.accept().unwrap();
                peer.write_all(b"x").unwrap();
                set.clear();
                set.add(&socket, READ);
                assert_eq!(set.wait(PATIENCE).unwrap(), 1);
            }
        }
    })
    .result();
}

#[test]
fn a_set_is_ended_by_a_close_and_an_abort() {
    let _test = begin();
    let hole = BlackHole::new();
    for end in [SocketHandle::close, SocketHandle::abort] {
        let socket = begun(&[hole.addr(), hole.addr()]);
        let handle = socket.handle();
        let waiting = block(move || {
            let mut set = SocketWaitEvent::new();
            set.add(&socket, WRITE);
            (set.wait(None).unwrap(), set[0])
        })
        .until_blocked();
        end(&handle);
        assert_eq!(waiting.result(), (1, WRITE | EXCEPTION));
    }
}

#[test]
fn a_set_goes_on_with_what_was_aborted_when_that_is_lifted() {
    let _test = begin();
    let hole = BlackHole::new();
    // Its second address is soon due.
    let addrs = [hole.addr(), hole.addr()];
    block(move || {
        for connects_anew in [false, true] {
            let mut socket = begun(&addrs);
            let mut set = SocketWaitEvent::new();
            set.add(&socket, WRITE);
            socket.abort();
            assert_eq!((set.wait(PATIENCE).unwrap(), set[0]), (1, WRITE | EXCEPTION));
            socket.clear_abort();
            if connects_anew {
                socket.connect_to(&addrs).unwrap();
            }
            set.clear();
            set.add(&socket, WRITE);
            assert_eq!((set.wait(PATIENCE).unwrap(), set[0]), (1, WRITE), "{connects_anew}");
        }
    })
    .result();
}

// Names.

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_a_look_up_is_told() {
    let _test = begin();
    let (server, live) = server();
    for subscribed in [WRITE, BOTH] {
        let lookups = Lookups::held();
        let queue = queue();
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect(HOST, live.port()).unwrap();
        queue.subscribe(&socket, subscribed, socket.id()).unwrap();
        let waiting = block_in(&queue).still_blocks();
        lookups.answer(&[LOOPBACK]);
        assert_eq!(waiting.result().unwrap()[0].events(), WRITE);
        while let Err(error) = socket.wait_connect() {
            assert_failed(&Err::<(), _>(error), &Error::Timeout, "early");
            assert_only(&queue, &socket, WRITE);
        }
        assert_connected(&socket, &server);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_nobody_knows_is_told() {
    let _test = begin();
    let lookups = Lookups::held();
    let queue = queue();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect(HOST, 1).unwrap();
    queue.subscribe_write(&socket).unwrap();
    assert_silent(&queue);
    lookups.answer(&[]);
    let (result, turns) = finish(&queue, &mut socket);
    assert!(matches!(result, Err(Error::Resolve { .. })), "{result:?}");
    assert_eq!(turns, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_look_up_is_ended_in_a_queue() {
    let _test = begin();
    for (name, end, error) in ENDS {
        let lookups = Lookups::held();
        let registry = ShutdownRegistry::new();
        let queue = queue();
        let mut socket = TcpSocket::with_registry(&registry);
        // A name of its own: who asks for one whose look-up is not over yet shares its answer.
        socket
            .timeout(Duration::ZERO)
            .connect(&format!("{name}.{HOST}"), 1)
            .unwrap();
        queue.subscribe_write(&socket).unwrap();
        let waiting = block_in(&queue);
        end(&socket, &socket.handle(), &registry);
        let events = waiting.result().unwrap();
        assert!(events.len() == 1 && events[0].is_closed(), "{name}: {events:?}");
        assert_failed(&socket.wait_connect(), &error, name);
        // Nobody is told of its end any more.
        lookups.answer(&[LOOPBACK]);
        assert_silent(&queue);
    }
}

// What the system can't watch.

#[cfg(target_os = "linux")]
#[test]
fn what_can_not_be_watched_is_refused_when_it_is_subscribed() {
    let test = begin();
    if test.skip_if(POLLED, "poll(2) can watch anything") {
        return;
    }
    let holes = [BlackHole::new(), BlackHole::new()];
    for addresses in [1, 2] {
        let socket = begun(&addrs_of(&holes[..addresses]));
        let queue = queue();
        let refused = without_watches(|| queue.subscribe_write(&socket)).unwrap_err();
        assert_eq!(refused.code(), libc::ENOSPC);
        assert_eq!(queue.len(), 0);
        queue.subscribe_write(&socket).unwrap();
        assert_eq!(queue.len(), 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_can_not_be_watched_later_is_looked_at() {
    let test = begin();
    if test.skip_if(POLLED, "poll(2) can watch anything") {
        return;
    }
    let (server, live) = server();
    let at = |ip: [u8; 4]| SocketAddr::new(IpAddr::from(ip), live.port());
    let holes = [at([127, 0, 0, 9]), at([127, 0, 0, 10])].map(|addr| BlackHole::at(addr).unwrap());
    // A race that the second address wins by its start, and one that the first wins by its answer.
    for answers in [false, true] {
        let lookups = Lookups::held();
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect(HOST, live.port()).unwrap();
        let queue = queue();
        queue.subscribe(&socket, BOTH, socket.id()).unwrap();
        let second = if answers { holes[1].addr().ip() } else { LOOPBACK };
        lookups.answer(&[holes[0].addr().ip(), second]);
        without_watches(|| {
            if answers {
                for _ in ["looked up", "the second begins"] {
                    assert_only(&queue, &socket, WRITE);
                    assert_failed(&socket.wait_connect(), &Error::Timeout, "both are silent");
                }
                holes[0].relieve();
            }
            finish(&queue, &mut socket).0.unwrap();
            queue.disable_write(&socket).unwrap();
            assert_silent(&queue);
        });
        if answers {
            assert_eq!(socket.peer_addr().unwrap(), holes[0].addr());
            continue;
        }
        let (mut peer, _) = server.accept().unwrap();
        without_watches(|| {
            for byte in [b"x", b"y"] {
                peer.write_all(byte).unwrap();
                assert_only(&queue, &socket, READ);
                assert_eq!(socket.get_byte().unwrap(), Some(byte[0]));
                assert_silent(&queue);
            }
        });
        // And watched again, when that can be done.
        peer.write_all(b"z").unwrap();
        assert_only(&queue, &socket, READ);
        assert_eq!(socket.get_byte().unwrap(), Some(b'z'));
        let waiting = block_in(&queue).still_blocks();
        peer.write_all(b"!").unwrap();
        assert_eq!(waiting.result().unwrap()[0].events(), READ);
    }
}
