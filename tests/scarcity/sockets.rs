//! Sockets where there are no descriptors left, or only high numbers, and what a socket costs.

// Limits of descriptors are Unix's, and /proc counts them.
#![allow(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, TcpSocket, WaitEvents};

use crate::support::full::{MUCH, wait_for_room};
use crate::support::operations::{Stuck, is_shut_down, operations};
use crate::support::scarce::{HighNumbers, assert_new_are_close_on_exec, lowest_free, open_numbers, scarce};
use crate::support::{
    BlackHole, Blocked, NoDescriptors, PARKER, PATIENCE, POLL_REFUSES, POLLED, assert_sees_end, begin, block, cpu_time,
    descriptors, ends_at_limit, eventually, is_refused, listener, listener_in, own_cpu_time, pair, timed,
};

const SHORT: Duration = Duration::from_millis(30);

fn all_operations(hole: &BlackHole, registry: &ShutdownRegistry) -> Vec<Stuck> {
    let raw_wait: Arc<dyn RawWait> = Arc::new(MioWait::default());
    operations(hole, registry, &raw_wait)
}

/// Whether the operation makes a descriptor before it waits: without any, it fails at once.
fn needs_one(name: &str) -> bool {
    matches!(name, "accept" | "accept_new" | "connect")
}

/// All operations, with as few free descriptors as they can wait with: none at all, or too few for a poll and its
/// waker.
fn with_few(registry: &ShutdownRegistry, hole: &BlackHole) -> Vec<(libc::rlim_t, Stuck)> {
    let none = all_operations(hole, registry)
        .into_iter()
        .filter(|stuck| !needs_one(stuck.name))
        .map(|stuck| (0, stuck));
    let one = all_operations(hole, registry).into_iter().map(|stuck| (1, stuck));
    none.chain(one).collect()
}

/// A thread that is about to begin, and can be watched without making a descriptor.
struct Ready<T> {
    thread: Blocked<T>,
    stat: File,
    go: Arc<AtomicBool>,
}

fn ready<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> Ready<T> {
    let go = Arc::new(AtomicBool::new(false));
    let may_go = Arc::clone(&go);
    let thread = block(move || {
        // Not asleep, so that it counts as blocked only in the operation.
        while !may_go.load(SeqCst) {
            thread::yield_now();
        }
        operation()
    });
    let stat = File::open(format!("/proc/self/task/{}/stat", thread.task())).unwrap();
    Ready { thread, stat, go }
}

impl<T> Ready<T> {
    /// Lets it begin.
    fn go(self) -> Going<T> {
        self.go.store(true, SeqCst);
        Going {
            thread: self.thread,
            _stat: self.stat,
        }
    }

    /// Lets it begin, and returns when it blocks.
    fn until_blocked(self) -> Going<T> {
        self.go.store(true, SeqCst);
        eventually(
            || "it blocks".to_owned(),
            || {
                let mut text = [0; 512];
                let len = self.stat.read_at(&mut text, 0).unwrap_or(0);
                let text = String::from_utf8_lossy(&text[..len]);
                let sleeps = text
                    .rsplit_once(')')
                    .is_some_and(|(_, rest)| rest.trim_start().starts_with('S'));
                (sleeps || self.thread.is_finished())
                    .then_some(())
                    .ok_or_else(|| text.into_owned())
            },
        );
        assert!(!self.thread.is_finished(), "it returned instead of blocking");
        self.go()
    }
}

struct Going<T> {
    thread: Blocked<T>,
    /// Kept, so that its number does not become free.
    _stat: File,
}

impl<T> Going<T> {
    fn result(self) -> T {
        self.thread.result()
    }
}

/// A connection, in blocking mode at the other end.
fn client_without_connection() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

#[test]
fn listening_without_descriptors_is_a_named_error() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let mut listener = TcpSocket::with_registry(&registry);
    let none = scarce(0);
    for _ in 0..100 {
        let error = listener.listen_on("127.0.0.1:0", &Default::default()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_eq!(error.code(), libc::EMFILE);
        assert_eq!(error.to_string(), "listen on 127.0.0.1:0: too many open files");
    }
    assert!(listener.is_error() && !listener.is_open());
    assert_eq!(registry.len(), 0);
    none.allow_all();
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    assert_eq!(registry.len(), 1);
}

#[test]
fn connecting_without_descriptors_is_a_named_error() {
    let _test = begin();
    let (_listener, addr) = listener();
    let registry = ShutdownRegistry::new();
    let mut socket = TcpSocket::with_registry(&registry);
    let none = scarce(0);
    for _ in 0..100 {
        let error = socket.connect_to(&[addr, addr]).unwrap_err();
        let Error::Connect { attempts } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(attempts.len(), 2, "{error:?}");
        for (tried, cause) in attempts {
            assert_eq!(*tried, addr);
            assert_eq!(cause.raw_os_error(), Some(libc::EMFILE));
        }
        assert_eq!(error.code(), libc::EMFILE);
    }
    assert_eq!(registry.len(), 0);
    none.allow_all();
    socket.connect_to(&[addr]).unwrap();
}

#[test]
fn accepting_without_descriptors_is_a_named_error_and_the_client_is_not_lost() {
    let _test = begin();
    let (mut listener, addr) = listener();
    let client = TcpStream::connect(addr).unwrap();
    let mut connection = TcpSocket::new();
    let none = scarce(0);
    for _ in 0..100 {
        for error in [
            listener.accept_new().unwrap_err(),
            connection.accept(&listener).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
            assert_eq!(error.code(), libc::EMFILE);
            assert_eq!(error.to_string(), format!("accept on {addr}: too many open files"));
        }
    }
    assert!(!listener.is_error(), "it is not the listener's fault");
    none.allow_all();
    listener.timeout(PATIENCE);
    let accepted = listener.accept_new().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
}

/// A listener with one client, which has waited before or has no poll yet.
fn listener_with_client(waited: bool) -> (TcpSocket, TcpStream) {
    let (mut listener, addr) = listener();
    if waited {
        listener.timeout(Duration::from_millis(1));
        assert!(listener.accept_new().unwrap_err().is_timeout());
        listener.blocking();
    }
    (listener, TcpStream::connect(addr).unwrap())
}

fn incoming_does_not_spin(waited: bool) {
    let (listener, client) = listener_with_client(waited);
    let errors = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&errors);
    let accepting = ready(move || {
        let before = own_cpu_time();
        for item in listener.incoming() {
            match item {
                Ok(connection) => return (connection, own_cpu_time() - before),
                Err(error) => {
                    assert_eq!(error.code(), libc::EMFILE, "{error:?}");
                    counted.fetch_add(1, SeqCst);
                }
            }
        }
        panic!("the listener was closed");
    });
    let none = scarce(0);
    let accepting = accepting.go();
    thread::sleep(Duration::from_millis(200));
    let errors = errors.load(SeqCst);
    none.allow_all();
    let (connection, used) = accepting.result();
    let peer = connection.peer_addr().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert!((1..=20).contains(&errors), "{errors} errors in 200 ms");
    assert!(
        used < Duration::from_millis(40),
        "{used:?} of processor time for {errors} errors"
    );
}

#[test]
fn incoming_without_descriptors_does_not_spin_and_goes_on_afterwards() {
    let _test = begin();
    incoming_does_not_spin(true);
}

#[test]
fn incoming_that_never_had_a_poll_does_not_spin_either() {
    let _test = begin();
    incoming_does_not_spin(false);
}

#[test]
fn incoming_without_descriptors_is_ended_by_a_close() {
    let _test = begin();
    for waited in [false, true] {
        let (listener, _client) = listener_with_client(waited);
        let handle = listener.handle();
        let errors = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&errors);
        let accepting = ready(move || {
            for item in listener.incoming() {
                assert_eq!(item.unwrap_err().code(), libc::EMFILE);
                counted.fetch_add(1, SeqCst);
            }
        });
        let _none = scarce(0);
        let accepting = accepting.go();
        // By now it pauses for 40 ms or longer.
        eventually(
            || "errors are items".to_owned(),
            || match errors.load(SeqCst) {
                count @ ..4 => Err(count.to_string()),
                _ => Ok(()),
            },
        );
        handle.close();
        accepting.result();
    }
}

#[test]
fn limits_hold_without_a_poll() {
    let _test = begin();
    let hole = BlackHole::new();
    for (free, mut stuck) in with_few(ShutdownRegistry::global(), &hole) {
        let _none = scarce(free);
        ends_at_limit(SHORT, |limit| stuck.times_out(limit));
    }
}

/// As a process does that locks itself in: poll(2) then refuses to look at even one descriptor.
#[test]
fn where_no_descriptor_is_allowed_at_all_what_waits_waits() {
    let test = begin();
    if test.skip_if(POLLED, POLL_REFUSES) {
        return;
    }
    // With a part of a millisecond, which is waited out in a way of its own.
    let short = SHORT + Duration::from_micros(300);
    for waited in [false, true] {
        let connection = || {
            let (mut socket, peer) = pair();
            if waited {
                wait_a_little(&mut socket, WaitEvents::READ);
            }
            (socket, peer)
        };
        let (mut socket, mut peer) = connection();
        let none = NoDescriptors::new();
        ends_at_limit(short, |limit| {
            timed(|| socket.timeout(limit).get(&mut [0]).unwrap_err()).1
        });
        ends_at_limit(short, |limit| {
            timed(|| socket.timeout(limit).wait_read().unwrap_err()).1
        });
        assert!(!socket.is_error());
        let both = WaitEvents::READ | WaitEvents::WRITE;
        assert_eq!(socket.wait(both).unwrap(), WaitEvents::WRITE);
        peer.write_all(b"data").unwrap();
        socket.timeout(PATIENCE).wait_read().unwrap();
        assert_eq!(socket.wait(both).unwrap(), both);
        assert_eq!(socket.get_bytes(4).unwrap(), b"data");
        drop(none);

        let (mut socket, _peer) = connection();
        let handle = socket.handle();
        let reading = ready(move || socket.get_bytes(4));
        let none = NoDescriptors::new();
        let reading = reading.until_blocked();
        handle.close();
        assert!(matches!(reading.result(), Err(Error::Closed)));
        drop(none);
    }
}

#[test]
fn what_blocks_without_a_poll_is_ended_by_close_abort_and_shutdown() {
    let _test = begin();
    let hole = BlackHole::new();
    for end in ["close", "abort", "shutdown"] {
        let registry = ShutdownRegistry::new();
        for (free, mut stuck) in with_few(&registry, &hole) {
            let own = ShutdownRegistry::new();
            if end == "shutdown" {
                let name = stuck.name;
                stuck = all_operations(&hole, &own)
                    .into_iter()
                    .find(|stuck| stuck.name == name)
                    .unwrap();
            }
            let (name, handle) = (stuck.name, stuck.handle.clone());
            let blocked = ready(move || stuck.run(None));
            let _none = scarce(free);
            let blocked = blocked.until_blocked();
            match end {
                "close" => handle.close(),
                "abort" => handle.abort(),
                _ => own.shutdown(),
            }
            let result = blocked.result();
            let good = match end {
                "close" => matches!(result, Err(Error::Closed)),
                "abort" => matches!(result, Err(Error::Aborted)),
                _ => is_shut_down(name, &result),
            };
            assert!(good, "{name}, {end}, {free} free: {result:?}");
        }
    }
}

#[test]
fn accepting_without_a_poll_gets_its_client() {
    let _test = begin();
    let (listener, addr) = listener();
    let client = client_without_connection();
    let accepting = ready(move || listener.accept_new().unwrap().peer_addr().unwrap());
    let _one = scarce(1);
    let accepting = accepting.until_blocked();
    client.connect(&addr.into()).unwrap();
    let own = client.local_addr().unwrap().as_socket().unwrap();
    assert_eq!(accepting.result(), own);
}

#[test]
fn reading_without_a_poll_gets_its_data() {
    let _test = begin();
    type Reading = fn(&mut TcpSocket) -> Vec<u8>;
    let readings: [Reading; 4] = [
        |socket| socket.get_bytes(4).unwrap(),
        |socket| socket.get_line_bytes(10).unwrap().unwrap(),
        |socket| {
            assert!(socket.wait_request().unwrap());
            socket.get_bytes(4).unwrap()
        },
        |socket| {
            socket.wait_read().unwrap();
            socket.get_bytes(4).unwrap()
        },
    ];
    for reading in readings {
        let (mut socket, mut peer) = pair();
        let blocked = ready(move || reading(&mut socket));
        let _none = scarce(0);
        let blocked = blocked.until_blocked();
        peer.write_all(b"data\n").unwrap();
        assert_eq!(blocked.result(), b"data");
    }
}

#[test]
fn writing_without_a_poll_sends_its_data() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let blocked = ready(move || socket.put(&MUCH).unwrap());
    let _none = scarce(0);
    let blocked = blocked.until_blocked();
    let mut came = vec![0; MUCH.len()];
    peer.read_exact(&mut came).unwrap();
    assert_eq!(blocked.result(), MUCH.len());
    assert!(came == *MUCH, "other bytes came");
}

#[test]
fn connecting_without_a_poll_connects() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let blocked = ready(move || {
        let mut socket = TcpSocket::new();
        socket.connect_to(&[addr]).unwrap();
        socket.peer_addr().unwrap()
    });
    let _one = scarce(1);
    let blocked = blocked.until_blocked();
    hole.relieve();
    assert_eq!(blocked.result(), addr);
}

#[test]
fn a_wait_begun_without_a_poll_gets_one_when_it_can() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let blocked = ready(move || socket.get_bytes(4));
    let before = descriptors();
    let none = scarce(0);
    let blocked = blocked.until_blocked();
    none.allow_all();
    eventually(
        || "the poll and its waker are made".to_owned(),
        || match descriptors() {
            count if count == before + PARKER => Ok(()),
            count => Err(format!("{before} descriptors at first, {count} now")),
        },
    );
    peer.write_all(b"data").unwrap();
    assert_eq!(blocked.result().unwrap(), b"data");
}

#[test]
fn a_handle_closes_without_descriptors() {
    let _test = begin();
    for waited in [false, true] {
        let (mut socket, mut peer) = pair();
        let (mut listener, addr) = listener();
        if waited {
            socket.timeout(Duration::from_millis(1));
            assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
            listener.timeout(Duration::from_millis(1));
            assert!(listener.accept_new().unwrap_err().is_timeout());
        }
        let client = client_without_connection();
        let none = scarce(0);
        socket.handle().close();
        listener.handle().close();
        assert_sees_end(&mut peer);
        let refused = client.connect(&addr.into()).unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::ConnectionRefused,
            "waited: {waited}: {refused}"
        );
        none.allow_all();
        assert!(is_refused(addr));
        listener.close();
        listener.listen_on(addr, &Default::default()).unwrap();
    }
}

#[test]
fn a_registry_can_be_waited_for_without_descriptors() {
    let _test = begin();
    for shutdown in [false, true] {
        let registry = ShutdownRegistry::new();
        let other = registry.clone();
        let waiting = ready(move || other.wait_stop(None));
        let _none = scarce(0);
        ends_at_limit(SHORT, |limit| {
            let (stopped, took) = timed(|| registry.wait_stop(limit));
            assert!(!stopped);
            took
        });
        let waiting = waiting.until_blocked();
        if shutdown {
            registry.shutdown();
        } else {
            registry.stop_accepting();
        }
        assert!(waiting.result());
    }
}

#[test]
fn a_registry_drains_without_descriptors() {
    let _test = begin();

    let registry = ShutdownRegistry::new();
    let (mut socket, _peer) = crate::support::unix_pair_in(&registry);
    let idle = ready(move || {
        let request = socket.wait_request();
        drop(socket);
        request
    });
    let none = scarce(0);
    let idle = idle.until_blocked();
    let drained = registry.drain(PATIENCE);
    assert_eq!((drained.finished, drained.forced), (1, 0), "{drained:?}");
    assert!(drained.elapsed < PATIENCE, "{drained:?}");
    assert!(!idle.result().unwrap());
    drop(none);

    ends_at_limit(SHORT, |grace| {
        let registry = ShutdownRegistry::new();
        let (mut socket, _peer) = crate::support::unix_pair_in(&registry);
        let busy = ready(move || socket.get(&mut [0]));
        let _none = scarce(0);
        let busy = busy.until_blocked();
        let drained = registry.drain(grace);
        assert_eq!((drained.finished, drained.forced), (0, 1), "{drained:?}");
        let result = busy.result();
        assert!(matches!(result, Err(Error::Shutdown)), "{result:?}");
        drained.elapsed
    });
}

#[test]
fn looking_up_without_descriptors_is_a_named_error() {
    let _test = begin();
    let (_listener, addr) = listener();
    let mut socket = TcpSocket::new();
    let none = scarce(0);
    for _ in 0..10 {
        let error = socket.connect("localhost", addr.port()).unwrap_err();
        match &error {
            Error::Resolve { host, .. } => assert_eq!(host, "localhost"),
            Error::Connect { attempts } => assert!(!attempts.is_empty(), "{error:?}"),
            _ => panic!("{error:?}"),
        }
        assert!(!error.is_timeout() && !error.is_closed());
    }
    none.allow_all();
    socket.connect("localhost", addr.port()).unwrap();
}

#[test]
fn high_descriptor_numbers_are_as_good_as_others() {
    let _test = begin();
    let _high = HighNumbers::new();
    let (listener, addr) = listener();
    assert!(listener.as_raw_fd() > 1024);
    let accepting = block(move || listener.accept_new().unwrap()).until_blocked();
    let mut client = TcpSocket::new();
    client.connect("localhost", addr.port()).unwrap();
    assert!(client.as_raw_fd() > 1024);
    let mut connection = accepting.result();
    assert!(connection.as_raw_fd() > 1024);

    let data = crate::support::pattern(8 << 20);
    let sent = data.clone();
    let sending = block(move || {
        connection.put_all(&sent).unwrap();
        connection
    })
    .until_blocked();
    client.wait_read().unwrap();
    assert!(client.get_bytes(data.len()).unwrap() == data, "other bytes came");
    let mut connection = sending.result();

    let waiting = block(move || {
        connection.wait_read().unwrap();
        connection
    })
    .until_blocked();
    client.put_all(b"line\n").unwrap();
    let mut connection = waiting.result();
    assert_eq!(connection.get_line().unwrap().as_deref(), Some("line"));
}

#[test]
fn high_descriptor_numbers_keep_limits_and_are_closed() {
    let _test = begin();
    let _high = HighNumbers::new();
    let hole = BlackHole::new();
    for mut stuck in all_operations(&hole, ShutdownRegistry::global()) {
        ends_at_limit(Duration::from_millis(5), |limit| stuck.times_out(limit));
        let (name, handle) = (stuck.name, stuck.handle.clone());
        let blocked = stuck.block(None).until_blocked();
        handle.close();
        let result = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "{name}: {result:?}");
    }
}

/// A connection of which both ends are this crate's.
fn connected() -> (TcpSocket, TcpSocket) {
    let (listener, addr) = listener();
    let mut client = TcpSocket::new();
    client.connect_to(&[addr]).unwrap();
    let mut connection = TcpSocket::new();
    connection.timeout(PATIENCE).accept(&listener).unwrap();
    connection.blocking();
    (client, connection)
}

/// Makes both sides of a connection wait, or one of a listener.
fn wait_a_little(socket: &mut TcpSocket, events: WaitEvents) {
    socket.timeout(Duration::from_millis(1));
    if events.contains(WaitEvents::READ) {
        assert!(socket.wait_read().unwrap_err().is_timeout());
    }
    if events.contains(WaitEvents::WRITE) {
        wait_for_room(socket, WaitEvents::WRITE, Duration::from_millis(1));
    }
    socket.blocking();
}

#[test]
fn every_descriptor_is_close_on_exec() {
    let _test = begin();
    let hole = BlackHole::new();
    let before = open_numbers();
    let (mut client, mut connection) = connected();
    let (mut listener, _) = listener();
    assert_new_are_close_on_exec(&before, 3);
    wait_a_little(&mut client, WaitEvents::READ | WaitEvents::WRITE);
    wait_a_little(&mut listener, WaitEvents::READ);
    assert_new_are_close_on_exec(&before, 3 + 3 * PARKER);
    let mut connecting = TcpSocket::new();
    connecting.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
    let ended = connecting.timeout(Duration::from_millis(1)).wait_connect();
    assert!(ended.unwrap_err().is_timeout());
    assert_new_are_close_on_exec(&before, 3 + 3 * PARKER + 1 + PARKER);
    // What stays of a socket with waiters that a handle has closed is close-on-exec, too.
    client.handle().close();
    listener.handle().close();
    connecting.handle().close();
    assert_new_are_close_on_exec(&before, 3 + 3 * PARKER + 1 + PARKER);
    connection.blocking();
}

#[test]
fn a_handle_that_closes_makes_no_descriptor_that_could_be_inherited() {
    let _test = begin();
    static SEEN: AtomicI32 = AtomicI32::new(0);
    SEEN.store(0, SeqCst);
    let sockets: Vec<_> = (0..300)
        .map(|_| {
            let (mut socket, peer) = pair();
            wait_a_little(&mut socket, WaitEvents::READ);
            (socket, peer)
        })
        .collect();
    // Whatever closing makes for a moment gets this number.
    let number = lowest_free();
    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let over = Arc::clone(&over);
        block(move || {
            while !over.load(SeqCst) {
                // SAFETY: a plain system call, which says so where the number is none.
                let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
                if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                    SEEN.fetch_add(1, SeqCst);
                }
            }
        })
    };
    for (socket, _) in &sockets {
        socket.handle().close();
    }
    over.store(true, SeqCst);
    watching.result();
    let seen = SEEN.load(SeqCst);
    assert_eq!(seen, 0, "a descriptor without FD_CLOEXEC was seen so often");
}

#[test]
fn a_socket_costs_one_descriptor_and_a_poll_for_each_side_that_has_waited() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"there").unwrap();
    socket.wait_read().unwrap();
    drop(socket);

    let (mut socket, mut peer) = pair();
    let without = descriptors() - 1;
    socket.put_all(b"at once").unwrap();
    socket.timeout(Duration::ZERO);
    assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
    assert_eq!(descriptors() - without, 1, "it has not blocked");
    for _ in 0..3 {
        wait_a_little(&mut socket, WaitEvents::READ);
        assert_eq!(descriptors() - without, 1 + PARKER, "one side has");
    }
    peer.write_all(b"x").unwrap();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    for _ in 0..3 {
        wait_a_little(&mut socket, WaitEvents::WRITE);
        assert_eq!(descriptors() - without, 1 + 2 * PARKER, "both have");
    }
    let both = socket.timeout(Duration::from_millis(1)).wait(WaitEvents::ALL);
    assert!(both.unwrap_err().is_timeout());
    assert_eq!(descriptors() - without, 1 + 2 * PARKER, "both have");
    socket.close();
    assert_eq!(descriptors(), without, "its owner has closed it");
    drop(socket);
    assert_eq!(descriptors(), without);
}

#[test]
fn nothing_is_left_of_a_socket_that_was_dropped() {
    let _test = begin();
    let both = WaitEvents::READ | WaitEvents::WRITE;
    for waited in [WaitEvents::empty(), WaitEvents::READ, both] {
        for by_handle in [false, true] {
            let (mut socket, _peer) = pair();
            let without = descriptors() - 1;
            wait_a_little(&mut socket, waited);
            if by_handle {
                socket.handle().close();
                assert!(!socket.is_open());
            }
            drop(socket);
            assert_eq!(descriptors(), without, "{waited:?}, by handle: {by_handle}");
        }
    }
    let (mut listener, _) = listener();
    let without = descriptors() - 1;
    wait_a_little(&mut listener, WaitEvents::READ);
    assert_eq!(descriptors() - without, 1 + PARKER);
    listener.close();
    assert_eq!(descriptors(), without);
}

#[test]
fn a_blocked_thread_uses_no_processor_time() {
    let _test = begin();
    let hole = BlackHole::new();
    let registry = ShutdownRegistry::new();
    let mut blocked: Vec<_> = Vec::new();
    for limit in [None, Some(Duration::from_secs(600))] {
        for stuck in all_operations(&hole, &registry) {
            blocked.push((stuck.name, stuck.block(limit)));
        }
    }
    // Those that take turns.
    let (listener, _) = listener_in(&registry);
    let listener = Arc::new(listener);
    for _ in 0..3 {
        let listener = Arc::clone(&listener);
        let thread = block(move || listener.accept_new().map(drop));
        blocked.push(("accept_new with others", thread));
    }
    let waiting = {
        let registry = registry.clone();
        block(move || {
            registry.wait_stop(None);
            Err(Error::Shutdown)
        })
    };
    blocked.push(("wait_stop", waiting));
    let blocked: Vec<_> = blocked
        .into_iter()
        .map(|(name, thread)| (name, thread.until_blocked()))
        .collect();
    let before: Vec<_> = blocked.iter().map(|(_, thread)| cpu_time(thread.task())).collect();
    thread::sleep(Duration::from_millis(300));
    for ((name, thread), before) in blocked.iter().zip(before) {
        assert!(!thread.is_finished(), "{name}");
        let used = cpu_time(thread.task()) - before;
        assert!(used < Duration::from_millis(5), "{name}: {used:?} in 300 ms");
    }
    registry.shutdown();
    for (name, thread) in blocked {
        let result = thread.result();
        assert!(is_shut_down(name, &result), "{name}: {result:?}");
    }
}
