//! Stopping, shutting down and draining the sockets of a registry.

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use support::every::{LIMITS, OF_LISTENERS, assert_failed, every_operation};
use support::{
    BlackHole, Blocked, PATIENCE, Stream, assert_sees_end, begin, block, ends_at_limit, eventually, is_refused,
    listener_in, pair_of, race, reset, timed, unix_pair, unix_pair_in, unopened_in,
};
use wakesock::{Drained, Error, MioWait, RawWait, ShutdownRegistry, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

/// A grace that is not used up.
const LONG: Duration = Duration::from_secs(300);

/// Checks the counts of a drain, and that it didn't take the whole of a long grace.
#[track_caller]
fn assert_drained(drained: Drained, finished: usize, forced: usize) {
    assert_eq!((drained.finished, drained.forced), (finished, forced), "{drained:?}");
    assert!(drained.elapsed < PATIENCE, "{drained:?}");
}

fn until_stopping(registry: &ShutdownRegistry) {
    eventually(
        || "the registry stops accepting".to_owned(),
        || {
            registry
                .is_stopping()
                .then_some(())
                .ok_or_else(|| format!("{registry:?}"))
        },
    );
}

#[test]
fn shutdown_ends_every_operation_that_blocks() {
    let _test = begin();
    for limit in LIMITS {
        let registry = ShutdownRegistry::new();
        let mut peers = Vec::new();
        let blocked: Vec<_> = every_operation(&registry)
            .map(|(operation, mut socket, peer)| {
                peers.push(peer);
                socket.timeout(limit);
                let blocked = block(move || ((operation.run)(&mut socket), socket));
                (operation.name, blocked.until_blocked())
            })
            .collect();
        for (name, one) in &blocked {
            assert!(!one.is_finished(), "{name} doesn't block");
        }
        registry.shutdown();
        for (name, one) in blocked {
            let (result, mut socket) = one.result();
            assert_failed(&result, &Error::Shutdown, (name, limit));
            assert!(!socket.is_open(), "{name}");
            socket.clear_error();
            assert_failed(&socket.get_byte(), &Error::Shutdown, (name, "afterwards"));
        }
        assert_eq!(registry.len(), 0, "{registry:?}");
    }
}

#[test]
fn shutdown_before_the_operation_ends_it_at_once() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let all: Vec<_> = every_operation(&registry).collect();
    registry.shutdown();
    for (operation, mut socket, _peer) in all {
        let result = (operation.run)(&mut socket);
        assert_failed(&result, &Error::Shutdown, operation.name);
    }
}

#[test]
fn shutdown_right_after_the_start_ends_all() {
    let _test = begin();
    for round in 0..100 {
        let registry = ShutdownRegistry::new();
        let (listener, addr) = listener_in(&registry);
        let (mut connection, mut peer) = unix_pair_in(&registry);
        let mut unopened = TcpSocket::with_registry(&registry);
        let accept = block(move || listener.accept_new().map(drop));
        let get = block(move || connection.get_byte());
        let open = block(move || {
            unopened.listen_on("127.0.0.1:0", &Default::default())?;
            unopened.accept_new()
        });
        if round % 2 == 0 {
            thread::yield_now();
        }
        registry.shutdown();
        assert_failed(&accept.result(), &Error::Shutdown, ("accept", round));
        assert_failed(&get.result(), &Error::Shutdown, ("get", round));
        assert_failed(&open.result(), &Error::Shutdown, ("listen", round));
        assert_sees_end(&mut peer);
        assert!(is_refused(addr), "round {round}");
        assert_eq!(registry.len(), 0, "{registry:?}");
    }
}

#[test]
fn shutdown_ends_openings() {
    let _test = begin();
    let hole = BlackHole::new();
    let registry = ShutdownRegistry::new();
    let mut started = TcpSocket::with_registry(&registry);
    let start = started.timeout(Duration::ZERO).connect_to(&[hole.addr()]);
    start.unwrap();
    let mut connecting = TcpSocket::with_registry(&registry);
    let addr = hole.addr();
    let connect = block(move || connecting.connect_to(&[addr])).until_blocked();
    assert!(!connect.is_finished());
    registry.shutdown();
    assert_failed(&connect.result(), &Error::Shutdown, "connect");
    let finish = started.blocking().wait_connect();
    assert_failed(&finish, &Error::Shutdown, "wait_connect");
}

#[test]
fn shutdown_may_come_twice_and_from_many_threads() {
    let _test = begin();
    for round in 0..50 {
        let registry = ShutdownRegistry::new();
        let (listener, _) = listener_in(&registry);
        let (mut connection, mut peer) = unix_pair_in(&registry);
        let accept = block(move || listener.accept_new().map(drop));
        let get = block(move || connection.get_byte());
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    registry.shutdown();
                    registry.stop_accepting();
                    registry.shutdown();
                    assert!(registry.is_shutdown() && registry.is_stopping());
                });
            }
        });
        assert_failed(&accept.result(), &Error::Shutdown, ("accept", round));
        assert_failed(&get.result(), &Error::Shutdown, ("get", round));
        assert_sees_end(&mut peer);
        assert_eq!(registry.len(), 0, "{registry:?}");
    }
}

#[test]
fn a_worker_may_shut_down_its_own_registry() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let listener = Arc::new(listener);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (listener, registry) = (Arc::clone(&listener), registry.clone());
            block(move || {
                for client in listener.incoming() {
                    let mut client = client?;
                    if client.get_line()?.as_deref() == Some("stop") {
                        registry.shutdown();
                        return client.get_line().map(drop);
                    }
                }
                listener.accept_new().map(drop)
            })
        })
        .collect();
    let workers: Vec<_> = workers.into_iter().map(|one| one.until_blocked()).collect();
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"stop\n").unwrap();
    for (index, worker) in workers.into_iter().enumerate() {
        assert_failed(&worker.result(), &Error::Shutdown, index);
    }
    assert_sees_end(&mut client);
}

#[test]
fn wait_stop_without_a_limit_returns_when_it_stops() {
    let _test = begin();
    for stop in [ShutdownRegistry::stop_accepting, ShutdownRegistry::shutdown] {
        let registry = ShutdownRegistry::new();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let registry = registry.clone();
                block(move || registry.wait_stop(None)).until_blocked()
            })
            .collect();
        let waiting: Vec<_> = waiting.into_iter().map(Blocked::still_blocks).collect();
        stop(&registry);
        assert!(waiting.into_iter().all(Blocked::result));
        assert!(registry.wait_stop(None), "afterwards");
        assert!(registry.wait_stop(Duration::ZERO), "afterwards, at once");
    }
}

#[test]
fn wait_stop_ends_at_its_limit() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    assert!(!registry.wait_stop(Duration::ZERO));
    ends_at_limit(Duration::from_millis(5), |limit| {
        let (stopped, took) = timed(|| registry.wait_stop(limit));
        assert!(!stopped);
        took
    });
}

#[test]
fn a_stop_just_as_wait_stop_begins_is_not_missed() {
    let _test = begin();
    for round in 0..300 {
        let registry = ShutdownRegistry::new();
        let waits = registry.clone();
        let waiting = race(move || waits.wait_stop(None), round * 4, || registry.stop_accepting());
        assert!(waiting.result(), "round {round}");
    }
}

// Stopping

#[test]
fn accepts_end_when_accepting_stops() {
    let _test = begin();
    for limit in LIMITS {
        let registry = ShutdownRegistry::new();
        let mut addrs = Vec::new();
        let mut listener = || {
            let (mut listener, addr) = listener_in(&registry);
            addrs.push(addr);
            listener.timeout(limit);
            listener
        };
        let blocked = OF_LISTENERS.map(|operation| {
            let mut listener = listener();
            let blocked = block(move || {
                let first = (operation.run)(&mut listener);
                (first, (operation.run)(&mut listener))
            });
            (operation.name, blocked.until_blocked())
        });
        let mut idle = listener();
        assert!(!blocked.iter().any(|(_, one)| one.is_finished()));
        registry.stop_accepting();
        for addr in addrs {
            eventually(
                || "clients are refused".to_owned(),
                || is_refused(addr).then_some(()).ok_or_else(|| addr.to_string()),
            );
        }
        for (name, one) in blocked {
            let (first, second) = one.result();
            assert_failed(&first, &Error::Shutdown, (name, limit));
            assert_failed(&second, &Error::Shutdown, (name, limit, "again"));
        }
        for operation in OF_LISTENERS {
            let result = (operation.run)(&mut idle);
            assert_failed(&result, &Error::Shutdown, (operation.name, "idle"));
        }
        assert!(idle.incoming().next().is_none());
    }
}

#[test]
fn an_idle_listener_refuses_clients_at_once_when_accepting_stops() {
    let _test = begin();
    for waited in [false, true] {
        let registry = ShutdownRegistry::new();
        let (mut listener, addr) = listener_in(&registry);
        if waited {
            let nobody = listener.timeout(Duration::from_micros(1)).accept_new();
            assert_failed(&nobody, &Error::Timeout, "no client");
        }
        registry.stop_accepting();
        assert!(is_refused(addr), "waited: {waited}");
    }
}

#[test]
fn connections_go_on_when_accepting_stops() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = listener.accept_new().unwrap();
    let get = block(move || (connection.get_line(), connection)).until_blocked();
    registry.stop_accepting();
    assert!(registry.is_stopping() && !registry.is_shutdown());
    let get = get.still_blocks();
    client.write_all(b"ping\n").unwrap();
    let (line, mut connection) = get.result();
    assert_eq!(line.unwrap().as_deref(), Some("ping"));
    connection.put_all(b"pong").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
    assert_eq!(registry.len(), 1, "{registry:?}");

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut new = TcpSocket::with_registry(&registry);
    new.connect_to(&[server.local_addr().unwrap()]).unwrap();
    assert!(new.is_open());
}

/// A connection that waits for a request, and its peer.
fn waiting_for_a_request(
    registry: &ShutdownRegistry,
    limit: Option<Duration>,
) -> (Blocked<Result<bool, Error>>, Stream) {
    let (mut connection, peer) = unix_pair_in(registry);
    connection.timeout(limit);
    (block(move || connection.wait_request()), peer)
}

#[test]
fn a_wait_for_a_request_ends_when_accepting_stops() {
    let _test = begin();
    for stop in [ShutdownRegistry::stop_accepting, |registry: &_| {
        ShutdownRegistry::drain(registry, LONG);
    }] {
        for limit in LIMITS {
            let registry = ShutdownRegistry::new();
            let (waiting, _peer) = waiting_for_a_request(&registry, limit);
            let waiting = waiting.still_blocks();
            stop(&registry);
            assert!(!waiting.result().unwrap(), "{limit:?}");
        }
    }
}

#[test]
fn a_wait_for_a_request_that_is_just_beginning_ends_when_accepting_stops() {
    let _test = begin();
    for had_one in [false, true] {
        for round in 0..250 {
            let registry = ShutdownRegistry::new();
            let (mut connection, mut peer) = unix_pair_in(&registry);
            if had_one {
                peer.write_all(b"one\n").unwrap();
                assert_eq!(connection.get_line().unwrap().as_deref(), Some("one"));
            }
            let waiting = race(
                move || connection.wait_request(),
                round * 5,
                || registry.stop_accepting(),
            );
            assert!(!waiting.result().unwrap(), "round {round}");
        }
    }
}

/// A raw wait that counts how often its waits are woken.
#[derive(Debug, Default)]
struct Counting(Arc<AtomicUsize>);

struct CountingWaiter(Box<dyn Waiter>, Arc<AtomicUsize>);

struct CountingWake(Arc<dyn Wake>, Arc<AtomicUsize>);

impl RawWait for Counting {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let waiter = MioWait::default().waiter(socket, events)?;
        Ok(Box::new(CountingWaiter(waiter, Arc::clone(&self.0))))
    }
}

impl Waiter for CountingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(CountingWake(self.0.waker(), Arc::clone(&self.1)))
    }
}

impl Wake for CountingWake {
    fn wake(&self) {
        self.1.fetch_add(1, SeqCst);
        self.0.wake();
    }
}

#[test]
fn stop_accepting_wakes_only_those_whom_it_concerns() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let connection = || {
        let wakes = Arc::new(AtomicUsize::new(0));
        let raw_wait: Arc<dyn RawWait> = Arc::new(Counting(Arc::clone(&wakes)));
        let (socket, peer) = pair_of(unopened_in(&registry, &raw_wait));
        (socket, peer, wakes)
    };
    let (mut reading, mut peer, reads) = connection();
    let (mut serving, _silent_peer, requests) = connection();
    let (mut served, mut served_peer, between) = connection();
    // One that has waited for a request, and is in the middle of it now.
    served_peer.write_all(b"one").unwrap();
    assert!(served.wait_request().unwrap());
    let reading = block(move || reading.get_line()).until_blocked();
    let serving = block(move || serving.wait_request()).until_blocked();
    let served = block(move || served.get_line()).until_blocked();
    registry.stop_accepting();
    assert!(!serving.result().unwrap());
    // That one may have been about to block, and have seen the stop by itself.
    assert!(requests.load(SeqCst) <= 1);
    assert_eq!((reads.load(SeqCst), between.load(SeqCst)), (0, 0));
    for (peer, blocked) in [(&mut peer, reading), (&mut served_peer, served)] {
        peer.write_all(b" line\n").unwrap();
        assert!(blocked.result().unwrap().is_some(), "it goes on");
    }
}

#[test]
fn a_request_that_had_come_when_accepting_stopped_is_served() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut buffered, mut buffered_peer) = unix_pair_in(&registry);
    let (mut pending, mut pending_peer) = unix_pair_in(&registry);
    let (mut silent, _silent_peer) = unix_pair_in(&registry);
    buffered_peer.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(buffered.get_line().unwrap().as_deref(), Some("one"));
    pending_peer.write_all(b"three\nfour\n").unwrap();
    registry.stop_accepting();
    for (name, socket, requests) in [
        ("buffered", &mut buffered, &["two"][..]),
        ("pending", &mut pending, &["three", "four"]),
        ("silent", &mut silent, &[]),
    ] {
        for limit in [Some(Duration::ZERO), None] {
            socket.timeout(limit);
            for request in if limit.is_some() { requests } else { &[] } {
                let comes = socket.wait_request();
                assert!(matches!(comes, Ok(true)), "{name}, {request}: {comes:?}");
                assert_eq!(socket.get_line().unwrap().as_deref(), Some(*request));
            }
            let comes = socket.wait_request();
            assert!(matches!(comes, Ok(false)), "{name}: {comes:?}");
        }
    }
}

#[test]
fn a_request_that_was_read_ahead_is_not_waited_for() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut connection, mut peer) = unix_pair_in(&registry);
    peer.write_all(b"one\ntwo\n").unwrap();
    for line in ["one", "two"] {
        let comes = connection.timeout(Duration::ZERO).wait_request();
        assert!(matches!(comes, Ok(true)), "{line}: {comes:?}");
        assert_eq!(connection.get_line().unwrap().as_deref(), Some(line));
    }
    let comes = connection.wait_request();
    assert_failed(&comes, &Error::Timeout, "nothing more");
    drop(peer);
    assert!(!connection.timeout(PATIENCE).wait_request().unwrap());
}

#[test]
fn a_wait_for_a_request_tells_requests_from_the_end() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (waiting, mut peer) = waiting_for_a_request(&registry, None);
    let waiting = waiting.until_blocked();
    peer.write_all(b"!").unwrap();
    assert!(waiting.result().unwrap());
    let (waiting, peer) = waiting_for_a_request(&registry, None);
    let waiting = waiting.until_blocked();
    drop(peer);
    assert!(!waiting.result().unwrap());
    ends_at_limit(Duration::from_millis(5), |limit| {
        let (mut connection, _peer) = unix_pair_in(&registry);
        connection.timeout(limit);
        let (result, took) = timed(|| connection.wait_request());
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
}

#[test]
fn idle_connections_end_at_once_in_a_drain() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let mut client = TcpStream::connect(addr).unwrap();
    let mut connection = listener.accept_new().unwrap();
    let idle = block(move || {
        while connection.wait_request()? {
            connection.get_line()?;
        }
        Ok::<(), Error>(())
    });
    client.write_all(b"one\n").unwrap();
    let idle = idle.still_blocks();
    let drained = registry.drain(Duration::from_secs(30));
    assert_eq!((drained.finished, drained.forced), (1, 0), "{drained:?}");
    assert!(drained.elapsed < Duration::from_secs(10), "{drained:?}");
    idle.result().unwrap();
}

#[test]
fn a_drain_of_nothing_takes_no_time() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    assert_drained(registry.drain(LONG), 0, 0);
    assert!(registry.is_shutdown());
    registry.reset();
    let (_listener, addr) = listener_in(&registry);
    assert_drained(registry.drain(LONG), 0, 0);
    assert!(is_refused(addr));
}

/// A server of one connection, which does each request it gets only when told to.
struct Busy {
    client: TcpStream,
    addr: SocketAddr,
    go_on: mpsc::Sender<()>,
    server: Blocked<Result<usize, Error>>,
}

impl Busy {
    /// One that is in the middle of its first request.
    fn new(registry: &ShutdownRegistry) -> Busy {
        let (listener, addr) = listener_in(registry);
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (go_on, told) = mpsc::channel();
        let (begun, until_begun) = mpsc::channel();
        let server = block(move || {
            let mut connection = listener.accept_new()?;
            let mut requests = 0;
            while connection.wait_request()? {
                let Some(line) = connection.get_line()? else {
                    break;
                };
                let _ = begun.send(());
                let _ = told.recv();
                connection.put_all(line.as_bytes())?;
                requests += 1;
            }
            // The listener is open still, as far as its owner goes.
            drop(connection);
            drop(listener);
            Ok(requests)
        });
        client.write_all(b"one\ntwo\n").unwrap();
        until_begun.recv_timeout(PATIENCE).unwrap();
        Busy {
            client,
            addr,
            go_on,
            server,
        }
    }
}

#[test]
fn a_running_request_is_finished_in_a_drain_while_listeners_have_stopped() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut busy = Busy::new(&registry);
    let drains = registry.clone();
    let drain = block(move || drains.drain(LONG));
    until_stopping(&registry);
    eventually(
        || "clients are refused".to_owned(),
        || {
            is_refused(busy.addr)
                .then_some(())
                .ok_or_else(|| format!("{registry:?}"))
        },
    );
    let drain = drain.still_blocks();
    assert!(!registry.is_shutdown());
    drop(busy.go_on);
    let mut answer = String::new();
    busy.client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "onetwo", "both had come before");
    assert_eq!(busy.server.result().unwrap(), 2);
    assert_drained(drain.result(), 1, 0);
    assert!(registry.is_shutdown());
}

#[test]
fn what_runs_longer_than_the_grace_is_ended() {
    let _test = begin();
    ends_at_limit(Duration::from_millis(10), |grace| {
        let registry = ShutdownRegistry::new();
        let (mut connection, mut peer) = unix_pair_in(&registry);
        let get = block(move || connection.get_byte()).until_blocked();
        let (idle, _peers) = unix_pair_in(&registry);
        let (drained, took) = timed(|| registry.drain(grace));
        assert_eq!((drained.finished, drained.forced), (0, 2), "{drained:?}");
        assert!(
            drained.elapsed >= grace && drained.elapsed <= took,
            "{drained:?} in {took:?}"
        );
        assert_failed(&get.result(), &Error::Shutdown, grace);
        assert_sees_end(&mut peer);
        assert!(!idle.is_open() && registry.len() == 0, "{registry:?}");
        took
    });
}

#[test]
fn a_drain_without_grace_ends_all_at_once() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let busy = Busy::new(&registry);
    assert_drained(registry.drain(Duration::ZERO), 0, 1);
    busy.go_on.send(()).unwrap();
    assert_failed(&busy.server.result(), &Error::Shutdown, "the running request");
}

#[test]
fn a_drain_from_the_callback_of_an_accept_ends() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    let drained = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&drained);
    listener.when_wait(move |_| *noted.lock().unwrap() = Some(registry.drain(Duration::ZERO)));
    let ended = block(move || listener.accept_new().map(drop)).result();
    assert!(matches!(ended, Err(Error::Shutdown)), "{ended:?}");
    assert_drained(drained.lock().unwrap().take().unwrap(), 0, 0);
}

#[test]
fn a_drain_counts_who_finished_and_who_was_forced() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (_listener, _) = listener_in(&registry);
    let closed_before = unix_pair_in(&registry);
    drop(closed_before);
    let mut peers = Vec::new();
    let mut connection = || {
        let (connection, peer) = unix_pair_in(&registry);
        peers.push(peer);
        connection
    };
    let idle: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = connection();
            block(move || connection.wait_request()).until_blocked()
        })
        .collect();
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let mut connection = connection();
            block(move || connection.get_byte()).until_blocked()
        })
        .collect();
    let (by_handle, dropped) = (connection(), connection());
    let drains = registry.clone();
    let drain = block(move || drains.drain(LONG));
    for one in idle {
        assert!(!one.result().unwrap());
    }
    by_handle.handle().close();
    drop(dropped);
    eventually(
        || "two connections are left".to_owned(),
        || {
            (registry.len() == 2)
                .then_some(())
                .ok_or_else(|| registry.len().to_string())
        },
    );
    let drain = drain.still_blocks();
    registry.shutdown();
    assert_drained(drain.result(), 5, 2);
    for one in stuck {
        assert_failed(&one.result(), &Error::Shutdown, "past the grace");
    }
}

#[test]
fn shutdown_cuts_a_drain_short() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (mut connection, _peer) = unix_pair_in(&registry);
    let get = block(move || connection.get_byte()).until_blocked();
    let drains: Vec<_> = (0..2)
        .map(|_| {
            let drains = registry.clone();
            block(move || drains.drain(LONG)).until_blocked()
        })
        .collect();
    let drains: Vec<_> = drains.into_iter().map(Blocked::still_blocks).collect();
    registry.shutdown();
    for drain in drains {
        assert_drained(drain.result(), 0, 1);
    }
    assert_failed(&get.result(), &Error::Shutdown, "cut short");
}

#[test]
fn a_drain_counts_from_the_stop_that_came_before_it() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let connections: Vec<_> = (0..4).map(|_| unix_pair_in(&registry)).collect();
    let mut connections = connections.into_iter();
    drop(connections.next());
    registry.stop_accepting();
    drop(connections.next());
    assert_drained(registry.drain(Duration::ZERO), 1, 2);
    registry.reset();
    let (connection, _peer) = unix_pair_in(&registry);
    let drains = registry.clone();
    let drain = block(move || drains.drain(LONG));
    until_stopping(&registry);
    drop(connection);
    assert_drained(drain.result(), 1, 0);
}

#[test]
fn a_connection_is_counted_once_however_it_and_the_drain_end() {
    const CONNECTIONS: usize = 24;
    let _test = begin();
    for round in 0..150 {
        let registry = ShutdownRegistry::new();
        let mut peers = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let (connection, peer) = unix_pair_in(&registry);
            peers.push(peer);
            connections.push(connection);
        }
        let drained = thread::scope(|scope| {
            let grace = Duration::from_micros(10 * (round % 20));
            let grace = if round % 2 == 0 { grace } else { LONG };
            let drains = &registry;
            let drain = scope.spawn(move || drains.drain(grace));
            scope.spawn(|| {
                until_stopping(&registry);
                for connection in connections.iter().step_by(2) {
                    connection.handle().close();
                }
            });
            scope.spawn(|| {
                until_stopping(&registry);
                registry.shutdown();
            });
            drain.join().unwrap()
        });
        assert_eq!(
            drained.finished + drained.forced,
            CONNECTIONS,
            "round {round}: {drained:?}"
        );
        assert!(drained.forced >= CONNECTIONS / 2, "round {round}: {drained:?}");
    }
}

#[test]
fn sockets_born_after_a_shutdown_fail_until_reset() {
    let _test = begin();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    type Open<'a> = &'a dyn Fn(&mut TcpSocket) -> Result<(), Error>;
    let ways: [(&str, Open<'_>); 5] = [
        ("listen", &|socket| socket.listen(0, 8)),
        ("connect", &|socket| socket.connect("127.0.0.1", addr.port())),
        ("connect_to", &|socket| socket.connect_to(&[addr])),
        ("start", &|socket| socket.timeout(Duration::ZERO).connect_to(&[addr])),
        ("attach", &|socket| socket.attach(support::stream_pair().unwrap().0)),
    ];
    let registry = ShutdownRegistry::new();
    let mut before = TcpSocket::with_registry(&registry);
    before.attach(support::stream_pair().unwrap().0).unwrap();
    for (name, open) in ways {
        registry.shutdown();
        let mut socket = TcpSocket::with_registry(&registry);
        assert_failed(&open(&mut socket), &Error::Shutdown, name);
        assert!(!socket.is_open() && !socket.is_error(), "{name}");
        assert_failed(&open(&mut socket), &Error::Shutdown, (name, "again"));
        assert_eq!(registry.len(), 0, "{name}: {registry:?}");
        registry.reset();
        assert!(!registry.is_stopping() && !registry.is_shutdown());
        open(&mut socket).unwrap();
        assert_failed(&before.get_byte(), &Error::Shutdown, "what was ended");
    }
    before.attach(support::stream_pair().unwrap().0).unwrap();
    assert!(before.is_open());
}

#[test]
fn listeners_born_after_accepting_stopped_fail_until_reset() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    for _ in 0..2 {
        registry.stop_accepting();
        let listens = listener.listen_on("127.0.0.1:0", &Default::default());
        assert_failed(&listens, &Error::Shutdown, "listen_on");
        let attached = listener.attach(TcpListener::bind("127.0.0.1:0").unwrap());
        assert_failed(&attached, &Error::Shutdown, "attach");
        registry.reset();
        assert!(!registry.wait_stop(Duration::ZERO));
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    }
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(listener.timeout(PATIENCE).accept_new().is_ok());
}

#[test]
fn two_registries_do_not_touch_each_other() {
    let _test = begin();
    let registries = [ShutdownRegistry::new(), ShutdownRegistry::new()];
    assert_ne!(registries[0], registries[1]);
    let [ended, lives] = &registries;
    let (listener, addr) = listener_in(lives);
    let (mut connection, mut peer) = unix_pair_in(lives);
    let (mut of_all, _of_alls_peer) = unix_pair();
    let (_listener, ended_addr) = listener_in(ended);
    let accept = block(move || listener.accept_new()).until_blocked();
    let get = block(move || (connection.get_byte(), connection)).until_blocked();
    let drains = ended.clone();
    ended.stop_accepting();
    assert_drained(drains.drain(LONG), 0, 0);
    assert!(is_refused(ended_addr));
    let (accept, get) = (accept.still_blocks(), get.still_blocks());
    assert!(!lives.is_stopping() && !ShutdownRegistry::global().is_stopping());
    assert!(!lives.wait_stop(Duration::ZERO));

    let _client = TcpStream::connect(addr).unwrap();
    let accepted = accept.result().unwrap();
    assert!(accepted.is_open());
    peer.write_all(b"!").unwrap();
    let (byte, mut connection) = get.result();
    assert_eq!(byte.unwrap(), Some(b'!'));
    ShutdownRegistry::global().shutdown();
    assert!(connection.is_open() && accepted.is_open());
    assert_failed(&of_all.get_byte(), &Error::Shutdown, "the global one");
    lives.shutdown();
    assert_failed(&connection.get_byte(), &Error::Shutdown, "the second one");
    ShutdownRegistry::global().reset();
}

#[test]
fn a_clone_names_the_same_registry() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let clone = registry.clone();
    assert_eq!(registry, clone);
    let (_connection, _peer) = unix_pair_in(&registry);
    assert_eq!(clone.len(), 1);
    clone.shutdown();
    assert!(registry.is_shutdown());
    assert_eq!(registry.len(), 0);
}

#[test]
fn the_registry_knows_how_many_are_open() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, _) = listener_in(&registry);
    let (mut one, _peer) = unix_pair_in(&registry);
    let (other, _other_peer) = unix_pair_in(&registry);
    assert_eq!(registry.len(), 3, "{registry:?}");
    other.handle().close();
    assert_eq!(registry.len(), 2, "closed by its handle: {registry:?}");
    drop(other);
    assert_eq!(registry.len(), 2, "and dropped: {registry:?}");
    one.attach(support::stream_pair().unwrap().0).unwrap();
    assert_eq!(registry.len(), 2, "opened again: {registry:?}");
    let refused = one.listen_on(listener.local_addr().unwrap(), &Default::default());
    assert!(refused.is_err());
    assert_eq!(registry.len(), 1, "not opened again: {registry:?}");
    drop(listener);
    assert_eq!(registry.len(), 0, "dropped: {registry:?}");
    one.attach(support::stream_pair().unwrap().0).unwrap();
    drop(Stream::try_from(one).unwrap());
    assert_eq!(registry.len(), 0, "given away: {registry:?}");
}

#[test]
fn connections_that_come_and_go_leave_nothing_in_the_registry() {
    const WAVES: usize = 100;
    const IN_A_WAVE: usize = 200;
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (listener, addr) = listener_in(&registry);
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (send, clients) = mpsc::sync_channel(IN_A_WAVE);
        scope.spawn(move || {
            for _ in 0..WAVES * IN_A_WAVE {
                send.send(TcpStream::connect(addr).unwrap()).unwrap();
            }
        });
        for wave in 0..WAVES {
            let connections: Vec<_> = (0..IN_A_WAVE).map(|_| listener.accept_new().unwrap()).collect();
            assert_eq!(registry.len(), 1 + IN_A_WAVE, "wave {wave}: {registry:?}");
            // Without that, their ports would stay taken for a minute.
            clients.iter().take(IN_A_WAVE).for_each(reset);
            for (index, connection) in connections.into_iter().enumerate() {
                if index % 2 == 0 {
                    connection.handle().close();
                }
                drop(connection);
                served.fetch_add(1, SeqCst);
            }
            assert_eq!(registry.len(), 1, "wave {wave}: {registry:?}");
        }
    });
    assert_eq!(served.into_inner(), 20_000);
    assert_drained(registry.drain(LONG), 0, 0);
}
