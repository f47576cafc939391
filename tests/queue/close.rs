//! What closing does to a queue, whatever closes, and how a queue itself is ended.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{
    Error, MioWait, RawWait, ShutdownRegistry, SocketEventQueue, SocketHandle, SocketId, TcpSocket, WaitEvents,
    WaitSource, Waiter, Wake,
};

use crate::support::queues::{READ, WRITE, assert_only, assert_only_closed, assert_silent, block_in, queue};
use crate::support::{
    PATIENCE, begin, block, eventually, in_handler, listener, listener_in, pair, pair_of, thread_id, unix_pair,
    unix_pair_in, unopened_in,
};

/// How this program closes a socket.
#[derive(Clone, Copy, Debug)]
enum CloseBy {
    Handle,
    Owner,
    Drop,
    AnotherThread,
    HandlerHere,
}

const CLOSES: [CloseBy; 5] = [
    CloseBy::Handle,
    CloseBy::Owner,
    CloseBy::Drop,
    CloseBy::AnotherThread,
    CloseBy::HandlerHere,
];

impl CloseBy {
    /// Closes it. What is left of it is not open.
    fn run(self, socket: TcpSocket) -> Option<TcpSocket> {
        let handle = socket.handle();
        match self {
            CloseBy::Handle => handle.close(),
            CloseBy::Owner => socket.close(),
            CloseBy::Drop => {
                drop(socket);
                return None;
            }
            CloseBy::AnotherThread => block(move || handle.close()).result(),
            CloseBy::HandlerHere => in_handler(thread_id(), &|| handle.close()),
        }
        assert!(!socket.is_open());
        Some(socket)
    }
}

#[test]
fn a_close_before_the_wait_is_reported_once() {
    let _test = begin();
    for close in CLOSES {
        for silent in [false, true] {
            let queue = queue();
            let (other, mut other_peer) = pair();
            let (socket, mut peer) = pair();
            let id = socket.id();
            queue.subscribe_read(&other).unwrap();
            queue.subscribe_read(&socket).unwrap();
            if silent {
                queue.disable_read(&socket).unwrap();
            }
            peer.write_all(b"x").unwrap();
            assert_eq!(queue.len(), 2);
            let closed = close.run(socket);
            assert_only_closed(&queue, id);
            assert_eq!(queue.len(), 1, "{close:?}: the subscription is gone");
            assert_silent(&queue);
            if let Some(closed) = closed {
                assert!(!queue.is_subscribed_read(&closed));
                assert!(queue.remove(&closed).is_err());
            }
            other_peer.write_all(b"x").unwrap();
            assert_only(&queue, &other, READ);
        }
    }
}

#[test]
fn a_close_during_the_wait_ends_it() {
    let _test = begin();
    for close in CLOSES {
        for reported in [false, true] {
            let queue = queue();
            let (socket, mut peer) = pair();
            let id = socket.id();
            queue.subscribe_read(&socket).unwrap();
            if reported {
                peer.write_all(b"x").unwrap();
                assert_only(&queue, &socket, READ);
                queue.disable_read(&socket).unwrap();
            }
            let waiting = block_in(&queue);
            close.run(socket);
            let events = waiting.result().unwrap();
            assert!(events.len() == 1 && events[0].is_closed(), "{close:?}: {events:?}");
            assert_eq!(events[0].socket_id(), id);
            assert_silent(&queue);
            assert_eq!(queue.len(), 0);
        }
    }
}

#[test]
fn a_handler_on_the_waiting_thread_or_another_closes_a_socket() {
    let _test = begin();
    for here in [false, true] {
        for _ in 0..20 {
            let queue = queue();
            let (socket, _peer) = pair();
            queue.subscribe_read(&socket).unwrap();
            let waiting = block_in(&queue);
            let task = if here { thread_id() } else { waiting.task() };
            let handle = socket.handle();
            in_handler(task, &|| handle.close());
            let events = waiting.result().unwrap();
            assert!(events.len() == 1 && events[0].is_closed(), "{events:?}");
        }
    }
}

#[test]
fn a_handler_on_the_waiting_thread_or_another_wakes_and_closes_a_queue() {
    let _test = begin();
    for here in [false, true] {
        let queue = queue();
        let handle = queue.handle();
        for _ in 0..20 {
            let waiting = block_in(&queue);
            let task = if here { thread_id() } else { waiting.task() };
            in_handler(task, &|| handle.wake());
            assert!(waiting.result().unwrap().is_empty());
        }
        in_handler(thread_id(), &|| handle.wake());
        assert!(queue.wait(None).unwrap().is_empty());
        let waiting = block_in(&queue);
        let task = if here { thread_id() } else { waiting.task() };
        in_handler(task, &|| handle.close());
        let result = waiting.result();
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    }
}

#[test]
fn hundreds_are_closed_at_once_and_each_queue_reports_each_once() {
    const COUNT: usize = 300;
    const QUEUES: usize = 3;
    let _test = begin();
    for in_a_handler in [false, true] {
        let queues: Vec<_> = (0..QUEUES).map(|_| queue()).collect();
        let (bystander, _bystander_peer) = pair();
        let pairs: Vec<_> = (0..COUNT).map(|_| unix_pair()).collect();
        for queue in &queues {
            queue.subscribe_read(&bystander).unwrap();
            for (socket, _) in &pairs {
                queue.subscribe_read(socket).unwrap();
            }
        }
        let waiting: Vec<_> = queues
            .iter()
            .map(|queue| {
                let queue = Arc::clone(queue);
                block(move || {
                    let mut closed: HashMap<SocketId, usize> = HashMap::new();
                    while closed.len() < COUNT {
                        for event in queue.wait(None).unwrap() {
                            assert!(event.is_closed(), "{event:?}");
                            *closed.entry(event.socket_id()).or_default() += 1;
                        }
                    }
                    assert_silent(&queue);
                    closed
                })
                .until_blocked()
            })
            .collect();
        if in_a_handler {
            let handles: Vec<_> = pairs.iter().map(|(socket, _)| socket.handle()).collect();
            in_handler(waiting[0].task(), &|| handles.iter().for_each(SocketHandle::close));
        } else {
            thread::scope(|scope| {
                for part in pairs.chunks(COUNT / 4) {
                    scope.spawn(|| part.iter().for_each(|(socket, _)| socket.close()));
                }
            });
        }
        for waiting in waiting {
            let closed = waiting.result();
            assert!(closed.values().all(|count| *count == 1), "{closed:?}");
            assert!(pairs.iter().all(|(socket, _)| closed.contains_key(&socket.id())));
        }
        for queue in &queues {
            assert_eq!(queue.len(), 1);
            assert!(queue.is_subscribed_read(&bystander));
        }
    }
}

#[test]
fn a_close_is_told_whoever_was_given_the_last_event() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"x").unwrap();
    // This thread's from now on, and never dealt with.
    assert_only(&queue, &socket, READ);
    let waiting = block_in(&queue).still_blocks();
    socket.close();
    let events = waiting.result().unwrap();
    assert!(events.len() == 1 && events[0].is_closed(), "{events:?}");
}

#[test]
fn a_close_is_reported_to_one_of_several_threads() {
    const COUNT: usize = 200;
    let _test = begin();
    let queue = queue();
    let pairs: Vec<_> = (0..COUNT).map(|_| unix_pair()).collect();
    pairs
        .iter()
        .for_each(|(socket, _)| queue.subscribe_read(socket).unwrap());
    let reported = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let (queue, reported) = (Arc::clone(&queue), Arc::clone(&reported));
            block(move || {
                while let Ok(events) = queue.wait(None) {
                    assert!(events.iter().all(|event| event.is_closed()), "{events:?}");
                    reported.fetch_add(events.len(), SeqCst);
                }
            })
        })
        .collect();
    drop(pairs);
    eventually(
        || "all are reported".to_owned(),
        || match reported.load(SeqCst) {
            COUNT => Ok(()),
            count => Err(count.to_string()),
        },
    );
    queue.handle().close();
    waiting.into_iter().for_each(|thread| thread.result());
    assert_eq!(reported.load(SeqCst), COUNT);
}

#[test]
fn a_registry_closes_its_sockets_in_the_queues_of_others() {
    let _test = begin();
    let queue = queue();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let (socket, _peer) = unix_pair_in(&registry);
    let (bystander, mut bystander_peer) = pair();
    queue.subscribe_read(&listener).unwrap();
    queue.subscribe_read(&socket).unwrap();
    queue.subscribe_read(&bystander).unwrap();
    let waiting = block_in(&queue);
    registry.stop_accepting();
    let events = waiting.result().unwrap();
    assert!(events.len() == 1 && events[0].is_closed(), "{events:?}");
    assert_eq!(events[0].socket_id(), listener.id());
    assert!(crate::support::is_refused(addr));
    let waiting = block_in(&queue);
    in_handler(waiting.task(), &|| registry.shutdown());
    let events = waiting.result().unwrap();
    assert!(events.len() == 1 && events[0].is_closed(), "{events:?}");
    assert_eq!(events[0].socket_id(), socket.id());
    bystander_peer.write_all(b"x").unwrap();
    assert_only(&queue, &bystander, READ);
}

#[test]
fn stop_accepting_wakes_the_queues_of_its_registry() {
    let _test = begin();
    for during in [false, true] {
        let registry = ShutdownRegistry::new();
        let queue = Arc::new(SocketEventQueue::<SocketId>::in_registry(&registry).unwrap());
        let (socket, mut peer) = unix_pair_in(&registry);
        queue.subscribe_read(&socket).unwrap();
        if during {
            let waiting = block_in(&queue);
            in_handler(waiting.task(), &|| registry.stop_accepting());
            assert!(waiting.result().unwrap().is_empty());
        } else {
            registry.stop_accepting();
            assert!(queue.wait(None).unwrap().is_empty());
        }
        peer.write_all(b"x").unwrap();
        assert_only(&queue, &socket, READ);
        // Connections go on, and so do queues.
        drop(SocketEventQueue::<u32>::in_registry(&registry).unwrap());
    }
}

#[test]
fn a_shutdown_ends_the_queues_of_its_registry() {
    let _test = begin();
    let global = ShutdownRegistry::global().clone();
    for registry in [global, ShutdownRegistry::new()] {
        for (during, handler) in [(false, false), (true, false), (true, true)] {
            let queue = Arc::new(SocketEventQueue::<SocketId>::in_registry(&registry).unwrap());
            let others = ShutdownRegistry::new();
            let other = Arc::new(SocketEventQueue::<SocketId>::in_registry(&others).unwrap());
            let (socket, mut peer) = unix_pair_in(&others);
            queue.subscribe_read_write(&socket).unwrap();
            assert_only(&queue, &socket, WRITE);
            queue.disable_write(&socket).unwrap();
            other.subscribe_read(&socket).unwrap();
            let undisturbed = block_in(&other);
            if during {
                let waiting: Vec<_> = (0..3).map(|_| block_in(&queue)).collect();
                if handler {
                    in_handler(waiting[0].task(), &|| registry.shutdown());
                } else {
                    registry.shutdown();
                }
                for waiting in waiting {
                    let result = waiting.result();
                    assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
                }
            } else {
                registry.shutdown();
            }
            for _ in 0..2 {
                let result = queue.wait(None);
                assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
            }
            assert!(queue.is_error() && matches!(queue.error(), Some(Error::Shutdown)));
            let result = queue.subscribe_read(&socket);
            assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
            let result = SocketEventQueue::<u32>::in_registry(&registry);
            assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
            // The first to end it gives the reason.
            queue.handle().close();
            assert!(matches!(queue.wait(None), Err(Error::Shutdown)));
            peer.write_all(b"x").unwrap();
            assert_eq!(undisturbed.result().unwrap()[0].events(), READ);
            registry.reset();
            assert!(matches!(queue.wait(None), Err(Error::Shutdown)));
            let fresh = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
            fresh.subscribe_read(&socket).unwrap();
            assert_only(&fresh, &socket, READ);
        }
    }
}

#[test]
fn a_shutdown_comes_before_all_events_and_loses_none() {
    let _test = begin();
    for during in [false, true] {
        let registry = ShutdownRegistry::new();
        let (older, _older_peer) = unix_pair_in(&registry);
        let tokens = Arc::new(SocketEventQueue::in_registry(&registry).unwrap());
        let (newer, _newer_peer) = unix_pair_in(&registry);
        let (mut bystander, peer) = pair();
        let token = Arc::new("kept");
        for socket in [&older, &newer, &bystander] {
            tokens.subscribe(socket, READ, Arc::clone(&token)).unwrap();
        }
        let others = queue();
        others.subscribe_read(&newer).unwrap();
        let end = || {
            (&peer).write_all(b"x").unwrap();
            registry.shutdown();
        };
        let result = if during {
            let waiting = block_in(&tokens);
            in_handler(waiting.task(), &end);
            waiting.result()
        } else {
            end();
            tokens.wait(None)
        };
        assert!(matches!(result, Err(Error::Shutdown)), "during: {during}, {result:?}");
        let result = tokens.wait_at_most(1, Duration::ZERO);
        assert!(matches!(result, Err(Error::Shutdown)), "during: {during}, {result:?}");
        assert_eq!((tokens.len(), Arc::strong_count(&token)), (3, 4), "during: {during}");
        assert_only_closed(&others, newer.id());
        assert_eq!(bystander.get_byte().unwrap(), Some(b'x'));
    }
}

/// Waits as the default does. Who wakes its waiters is held up.
#[derive(Debug, Default)]
struct HoldsUp {
    wait: MioWait,
    hold: Arc<Hold>,
}

#[derive(Debug, Default)]
struct Hold {
    is_held: AtomicBool,
    may_go_on: AtomicBool,
}

struct HoldingWaiter(Box<dyn Waiter>, Arc<Hold>);

struct HoldingWake(Arc<dyn Wake>, Arc<Hold>);

impl RawWait for HoldsUp {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = self.wait.waiter(socket, events)?;
        Ok(Box::new(HoldingWaiter(waiter, Arc::clone(&self.hold))))
    }
}

impl Waiter for HoldingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(HoldingWake(self.0.waker(), Arc::clone(&self.1)))
    }
}

impl Wake for HoldingWake {
    fn wake(&self) {
        self.1.is_held.store(true, SeqCst);
        while !self.1.may_go_on.load(SeqCst) {
            thread::yield_now();
        }
        self.0.wake();
    }
}

#[test]
fn a_shutdown_that_has_come_to_a_socket_and_not_to_the_queue_is_a_shutdown() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let queue = SocketEventQueue::<SocketId>::in_registry(&registry).unwrap();
    // The newest is ended first.
    let holds_up = HoldsUp::default();
    let hold = Arc::clone(&holds_up.hold);
    let (mut blocked, _peer) = pair_of(unopened_in(&registry, &(Arc::new(holds_up) as Arc<dyn RawWait>)));
    let (ended, _ended_peer) = unix_pair_in(&registry);
    queue.subscribe_read(&ended).unwrap();
    let reading = block(move || blocked.get_byte()).until_blocked();
    let ending = {
        let registry = registry.clone();
        block(move || registry.shutdown())
    };
    eventually(
        || "the shutdown is at the socket that holds it up".to_owned(),
        || hold.is_held.load(SeqCst).then_some(()).ok_or_else(String::new),
    );
    assert!(!ended.is_open());
    for _ in 0..2 {
        let result = queue.wait(None);
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
    }
    hold.may_go_on.store(true, SeqCst);
    ending.result();
    assert!(matches!(reading.result(), Err(Error::Shutdown)));
    assert!(matches!(queue.wait(None), Err(Error::Shutdown)));
}

#[test]
fn a_closed_queue_says_so_and_leaves_its_sockets_alone() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    let handle = queue.handle();
    let waiting: Vec<_> = (0..3).map(|_| block_in(&queue)).collect();
    handle.close();
    for waiting in waiting {
        let result = waiting.result();
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    }
    handle.close();
    handle.wake();
    assert!(matches!(queue.wait(None), Err(Error::Closed)));
    assert!(matches!(queue.wait(Duration::ZERO), Err(Error::Closed)));
    assert!(queue.is_error() && matches!(queue.error(), Some(Error::Closed)));
    assert!(matches!(queue.subscribe_write(&socket), Err(Error::Closed)));
    assert!(queue.is_subscribed_read(&socket));
    queue.remove(&socket).unwrap();
    queue.clear().unwrap();
    drop(queue);
    handle.wake();
    handle.close();
    peer.write_all(b"x").unwrap();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
}

#[test]
fn a_conversion_is_reported_as_a_close_and_nothing_after_it() {
    let _test = begin();
    for during in [false, true] {
        let queue = queue();
        let (socket, mut peer) = pair();
        let id = socket.id();
        queue.subscribe_read(&socket).unwrap();
        let waiting = during.then(|| block_in(&queue));
        let stream = TcpStream::try_from(socket).unwrap();
        match waiting {
            None => assert_only_closed(&queue, id),
            Some(waiting) => assert!(waiting.result().unwrap()[0].is_closed()),
        }
        peer.write_all(b"x").unwrap();
        assert_silent(&queue);
        // The same descriptor, as another socket.
        let socket = TcpSocket::from(stream);
        queue.subscribe_read(&socket).unwrap();
        assert_only(&queue, &socket, READ);
        let (listener, addr) = listener();
        let id = listener.id();
        queue.remove(&socket).unwrap();
        queue.subscribe_read(&listener).unwrap();
        let listener = std::net::TcpListener::try_from(listener).unwrap();
        assert_only_closed(&queue, id);
        let _client = TcpStream::connect(addr).unwrap();
        assert_silent(&queue);
        drop(listener);
    }
}

#[test]
fn a_conversion_lets_go_of_the_descriptor_however_fast_it_is_reported() {
    let _test = begin();
    let queue = queue();
    let over = Arc::new(AtomicBool::new(false));
    let waiting = {
        let (queue, over) = (Arc::clone(&queue), Arc::clone(&over));
        block(move || {
            while !over.load(SeqCst) {
                queue.wait(Duration::ZERO).unwrap();
            }
        })
    };
    let (mut socket, _peer) = pair();
    for turn in 0..3_000 {
        let subscribed = queue.subscribe_read(&socket);
        assert!(subscribed.is_ok(), "turn {turn}: {subscribed:?}");
        socket = TcpSocket::from(TcpStream::try_from(socket).unwrap());
    }
    over.store(true, SeqCst);
    waiting.result();
}

#[test]
fn a_socket_that_is_opened_again_is_another_one() {
    let _test = begin();
    let queue = queue();
    let (mut socket, _) = listener();
    for _ in 0..50 {
        queue.subscribe_read(&socket).unwrap();
        let before = socket.id();
        socket.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        assert!(!queue.is_subscribed_read(&socket));
        let _client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        assert_only_closed(&queue, before);
        queue.subscribe_read(&socket).unwrap();
        assert_only(&queue, &socket, READ);
        queue.remove(&socket).unwrap();
        assert_silent(&queue);
    }
}

/// A connection whose descriptor has this number. None if another got it.
#[cfg(target_os = "linux")]
fn pair_at(number: RawFd) -> Option<(TcpSocket, std::os::unix::net::UnixStream)> {
    let (own, peer) = std::os::unix::net::UnixStream::pair().unwrap();
    match (own.as_raw_fd(), peer.as_raw_fd()) {
        (own_number, _) if own_number == number => Some((TcpSocket::from(own), peer)),
        (_, peer_number) if peer_number == number => Some((TcpSocket::from(peer), own)),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_number_that_comes_back_gives_no_stale_event() {
    let _test = begin();
    let queue = queue();
    let mut came_back = 0;
    for turn in 0..1_000 {
        let (old, mut old_peer) = unix_pair();
        let number = old.as_raw_fd();
        queue.subscribe_read_write(&old).unwrap();
        old_peer.write_all(b"x").unwrap();
        // Reported and kept, reported to the system only, or removed.
        match turn % 3 {
            0 => assert_only(&queue, &old, READ | WRITE),
            1 => queue.remove(&old).unwrap(),
            _ => {}
        }
        let old_id = old.id();
        drop(old);
        let Some((new, mut new_peer)) = pair_at(number) else {
            queue.clear().unwrap();
            continue;
        };
        came_back += 1;
        queue.subscribe_read(&new).unwrap();
        if turn % 3 != 1 {
            assert_only_closed(&queue, old_id);
        }
        assert_silent(&queue);
        new_peer.write_all(b"y").unwrap();
        assert_only(&queue, &new, READ);
        queue.remove(&new).unwrap();
    }
    assert!(came_back > 300, "only {came_back} numbers came back");
}

#[test]
fn a_socket_is_closed_by_the_thread_that_was_told_of_it() {
    let _test = begin();
    let queue = queue();
    let mut pairs: HashMap<SocketId, _> = (0..50)
        .map(|_| unix_pair())
        .map(|(socket, peer)| (socket.id(), (socket, peer)))
        .collect();
    for (socket, _) in pairs.values() {
        queue.subscribe_read_write(socket).unwrap();
    }
    let mut closed = 0;
    while closed < 50 {
        for event in queue.wait(PATIENCE).unwrap() {
            if event.is_closed() {
                closed += 1;
                assert!(!pairs.contains_key(event.token()));
            } else {
                assert!(pairs.remove(event.token()).is_some(), "an event of a closed socket");
            }
        }
    }
    assert_eq!(queue.len(), 0);
}
