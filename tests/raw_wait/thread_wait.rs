//! `ThreadWait`: everything holds that holds with the default, for two descriptors a thread.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, TcpSocket, ThreadWait, WaitEvents, WaitSource, Waiter};

use crate::any::{self, assert_ended};
#[cfg(target_os = "linux")]
use crate::support::NoDescriptors;
use crate::support::every::{ENDS, End, LIMITS, Operation, assert_failed, every_operation_in};
use crate::support::full::wait_for_room;
use crate::support::operations::operations;
use crate::support::{
    BlackHole, Blocked, PARKER, PATIENCE, STILL_BLOCKS, begin, block, cpu_time, descriptors, ends_at_limit, in_handler,
    pair_of, pattern, race, thread_id, timed, unopened_in, until_sleeping,
};

const SHORT: Duration = Duration::from_millis(20);

fn thread_wait() -> Arc<dyn RawWait> {
    Arc::new(ThreadWait::default())
}

fn unopened() -> TcpSocket {
    unopened_in(ShutdownRegistry::global(), &thread_wait())
}

fn listener() -> TcpSocket {
    let mut listener = unopened();
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    listener
}

/// A connection that waits in its threads, and its peer.
fn waiting_pair() -> (TcpSocket, TcpStream) {
    pair_of(unopened())
}

// Every operation.

#[test]
fn every_limit_holds() {
    let _test = begin();
    let hole = BlackHole::new();
    any::limits_hold("ThreadWait", &thread_wait(), &hole, &[Duration::from_nanos(1), SHORT]);
    let every = every_operation_in(ShutdownRegistry::global(), thread_wait()).map(|(operation, mut socket, peer)| {
        block(move || {
            ends_at_limit(SHORT, |limit| {
                socket.clear_error();
                let (result, took) = timed(|| (operation.run)(socket.timeout(limit)));
                // `put` may have sent a bit more.
                if result.is_err() {
                    assert_failed(&result, &Error::Timeout, operation.name);
                }
                took
            });
            drop(peer);
        })
    });
    let threads: Vec<Blocked<()>> = every.collect();
    threads.into_iter().for_each(Blocked::result);
}

/// Ends by `end` each of `every` operation, once `wait` has seen that it blocks.
fn end_blocked(
    every: impl Iterator<Item = (Operation, TcpSocket, Option<TcpStream>)>,
    limit: Option<Duration>,
    wait: impl Fn(Blocked<Result<(), Error>>) -> Blocked<Result<(), Error>>,
    end: End,
    expected: &Error,
    registry: &ShutdownRegistry,
) {
    let blocked: Vec<_> = every
        .map(|(operation, mut socket, peer)| {
            let handle = socket.handle();
            let thread = block(move || {
                let result = (operation.run)(socket.timeout(limit));
                drop(peer);
                result
            });
            (operation.name, handle, thread)
        })
        .collect();
    let blocked: Vec<_> = blocked
        .into_iter()
        .map(|(name, handle, thread)| (name, handle, wait(thread)))
        .collect();
    for (name, handle, thread) in blocked {
        assert!(!thread.is_finished() || registry.is_shutdown(), "{name} doesn't block");
        end(&handle, registry);
        assert_ended(&thread.result(), expected, name, name);
    }
}

#[test]
fn every_operation_is_ended() {
    let _test = begin();
    let hole = BlackHole::new();
    for limit in LIMITS {
        any::is_ended("ThreadWait", &thread_wait(), &hole, limit);
        for (end, expected) in &ENDS {
            let registry = ShutdownRegistry::new();
            let every = every_operation_in(&registry, thread_wait());
            end_blocked(every, limit, Blocked::until_blocked, *end, expected, &registry);
        }
    }
}

#[test]
fn an_end_just_as_the_operation_begins_is_not_missed() {
    let _test = begin();
    for (end, expected) in &ENDS {
        for round in 0..8 {
            let registry = ShutdownRegistry::new();
            for (operation, mut socket, peer) in every_operation_in(&registry, thread_wait()) {
                let handle = socket.handle();
                let beginning = race(
                    move || {
                        let result = (operation.run)(&mut socket);
                        drop(peer);
                        result
                    },
                    round * 115,
                    || end(&handle, &registry),
                );
                assert_ended(&beginning.result(), expected, operation.name, operation.name);
                registry.reset();
            }
        }
    }
}

#[test]
fn a_handler_ends_every_operation() {
    let _test = begin();
    let hole = BlackHole::new();
    for on_the_blocked_thread in [true, false] {
        for (end, expected) in &ENDS {
            let count = operations(&hole, &ShutdownRegistry::new(), &thread_wait()).len();
            for index in 0..count {
                let registry = ShutdownRegistry::new();
                let stuck = operations(&hole, &registry, &thread_wait()).swap_remove(index);
                let (name, socket) = (stuck.name, stuck.handle.clone());
                let blocked = stuck.block(None).until_blocked();
                assert!(!blocked.is_finished(), "{name} doesn't block");
                let task = if on_the_blocked_thread {
                    blocked.task()
                } else {
                    thread_id()
                };
                in_handler(task, &|| end(&socket, &registry));
                assert_ended(&blocked.result(), expected, name, name);
            }
        }
    }
}

#[test]
fn work_is_done() {
    let _test = begin();
    any::work_is_done("ThreadWait", &thread_wait());
}

#[test]
fn two_halves_work_in_two_threads() {
    let _test = begin();
    let (ours, peer) = waiting_pair();
    let mut theirs = unopened();
    theirs.attach(peer).unwrap();
    let data = pattern(4 << 20);
    let before = descriptors();
    let echo = block(move || {
        let mut buf = vec![0; 100_000];
        loop {
            match theirs.get(&mut buf).unwrap() {
                0 => return,
                count => theirs.put_all(&buf[..count]).unwrap(),
            }
        }
    });
    let (mut reader, mut writer) = ours.split();
    let sent = data.clone();
    let writing = block(move || {
        writer.put_all(&sent).unwrap();
        writer.shutdown().unwrap();
    });
    let reading = block(move || (reader.get_bytes(usize::MAX).unwrap(), descriptors()));
    let (came, at_the_end) = reading.result();
    assert!(came == data);
    assert!(
        at_the_end <= before + 6,
        "more than two a thread: {at_the_end}, {before} before"
    );
    writing.result();
    echo.result();
}

// What it costs.

/// Waits at both sides for a moment.
fn wait_a_little(socket: &mut TcpSocket) {
    socket.timeout(Duration::from_micros(10));
    assert!(socket.wait_read().unwrap_err().is_timeout());
    wait_for_room(socket, WaitEvents::WRITE, Duration::from_micros(10));
    assert!(socket.get(&mut [0]).unwrap_err().is_timeout());
}

#[test]
fn a_thread_has_the_descriptors_of_one_poll_however_many_sockets_wait_in_it() {
    let _test = begin();
    let mut sockets: Vec<_> = (0..100).map(|_| waiting_pair()).collect();
    let before = descriptors();
    let (tell, told) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let waiting = block(move || {
        let unwaited = descriptors();
        for _ in 0..2 {
            for (socket, _) in &mut sockets {
                wait_a_little(socket);
                assert_eq!(descriptors(), unwaited + PARKER);
            }
        }
        tell.send(()).unwrap();
        may_go_on.recv().unwrap();
        sockets
    });
    told.recv().unwrap();
    assert_eq!(descriptors(), before + PARKER);
    go_on.send(()).unwrap();
    let sockets = waiting.result();
    assert_eq!(
        descriptors(),
        before,
        "they are gone with the thread, and the sockets are there"
    );
    drop(sockets);
}

#[test]
fn sockets_that_are_dropped_in_a_thread_leave_it_its_poll() {
    let _test = begin();
    let thread = block(|| {
        let before = descriptors();
        for round in 0..300 {
            let (mut socket, peer) = waiting_pair();
            socket.timeout(Duration::from_micros(10));
            assert!(socket.wait_read().unwrap_err().is_timeout());
            match round % 3 {
                0 => socket.handle().close(),
                1 => socket.close(),
                _ => {}
            }
            drop((socket, peer));
            assert_eq!(descriptors(), before + PARKER);
        }
    });
    thread.result();
}

#[test]
fn accepted_sockets_take_it_over() {
    let _test = begin();
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let thread = block(move || {
        let before = descriptors();
        let mut sockets = Vec::new();
        for round in 0..10 {
            let client = TcpStream::connect(addr).unwrap();
            let mut accepted = if round % 2 == 0 {
                listener.accept_new().unwrap()
            } else {
                let mut accepted = TcpSocket::new();
                accepted.accept(&listener).unwrap();
                accepted
            };
            wait_a_little(&mut accepted);
            sockets.push((client, accepted));
        }
        assert_eq!(descriptors(), before + 20 + PARKER);
    });
    thread.result();
}

#[test]
fn a_thread_that_blocks_uses_no_processor_time() {
    let _test = begin();
    for limit in [None, Some(PATIENCE)] {
        let (mut socket, _peer) = waiting_pair();
        let handle = socket.handle();
        let (tell, told) = mpsc::channel();
        let blocked = block(move || {
            // What earlier waits have left behind ends none early.
            for _ in 0..3 {
                assert_failed(&socket.timeout(SHORT).get(&mut [0]), &Error::Timeout, "get");
            }
            tell.send(()).unwrap();
            socket.timeout(limit).get(&mut [0])
        });
        told.recv().unwrap();
        let blocked = blocked.until_blocked();
        let before = cpu_time(blocked.task());
        let blocked = blocked.still_blocks();
        let used = cpu_time(blocked.task()) - before;
        assert!(used < STILL_BLOCKS / 20, "{limit:?}: {used:?}");
        handle.close();
        assert_failed(&blocked.result(), &Error::Closed, "get");
    }
}

// Threads.

#[test]
fn many_threads_share_a_listener() {
    const THREADS: usize = 8;
    const CLIENTS: usize = 200;
    let _test = begin();
    let listener = Arc::new(listener());
    let addr = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (listener, served) = (Arc::clone(&listener), Arc::clone(&served));
            block(move || {
                for client in listener.incoming() {
                    let mut client = client.unwrap();
                    assert_eq!(client.get_line().unwrap().as_deref(), Some("hello"));
                    client.put_all(b"x").unwrap();
                    served.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let clients = block(move || {
        for _ in 0..CLIENTS {
            let mut client = unopened();
            client.timeout(PATIENCE).connect_to(&[addr]).unwrap();
            client.put_all(b"hello\n").unwrap();
            assert_eq!(client.get_bytes(2).unwrap(), b"x", "one answer");
        }
    });
    clients.result();
    let threads: Vec<_> = threads.into_iter().map(Blocked::until_blocked).collect();
    assert_eq!(served.load(SeqCst), CLIENTS);
    listener.close();
    threads.into_iter().for_each(Blocked::result);

    // Each with a limit of its own.
    let listener = Arc::new(self::listener());
    let threads: Vec<_> = (1..=THREADS as u32)
        .map(|count| {
            let listener = Arc::clone(&listener);
            block(move || {
                let mut socket = TcpSocket::new();
                let limit = SHORT * count;
                let (result, took) = timed(|| socket.timeout(limit).accept(&listener));
                assert_failed(&result, &Error::Timeout, limit);
                assert!(took >= limit, "{limit:?}: {took:?}");
            })
        })
        .collect();
    threads.into_iter().for_each(Blocked::result);
}

#[test]
fn a_socket_waits_now_in_one_thread_and_now_in_another() {
    let _test = begin();
    let (socket, mut peer) = waiting_pair();
    let handle = socket.handle();
    let socket = Arc::new(Mutex::new(socket));
    let (send, receive): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<u8>()).unzip();
    let (done, is_done) = mpsc::channel();
    let threads: Vec<_> = receive
        .into_iter()
        .map(|receive| {
            let (socket, done) = (Arc::clone(&socket), done.clone());
            block(move || {
                for expected in receive {
                    let mut socket = socket.lock().unwrap();
                    assert!(
                        socket
                            .timeout(Duration::from_micros(10))
                            .wait_read()
                            .unwrap_err()
                            .is_timeout()
                    );
                    done.send(thread_id()).unwrap();
                    assert_eq!(socket.blocking().get_byte().unwrap(), Some(expected));
                    done.send(0).unwrap();
                }
            })
        })
        .collect();
    for round in 0..50_u8 {
        send[usize::from(round) % 2].send(round).unwrap();
        let task = is_done.recv().unwrap();
        if round % 5 == 0 {
            until_sleeping(task);
        }
        peer.write_all(&[round]).unwrap();
        is_done.recv().unwrap();
    }
    drop(send);
    threads.into_iter().for_each(Blocked::result);
    let blocked = block(move || socket.lock().unwrap().get_byte()).until_blocked();
    handle.close();
    assert_failed(&blocked.result(), &Error::Closed, "in a third");
}

#[test]
fn a_callback_may_wait_too() {
    let _test = begin();
    let (mut outer, mut peer) = waiting_pair();
    let (mut inner, _silent) = waiting_pair();
    let (send, receive) = mpsc::channel();
    let thread = block(move || {
        let before = descriptors();
        inner.timeout(Duration::from_micros(10));
        let inner = Mutex::new(inner);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        outer.wait_step(Duration::from_millis(1)).when_wait(move |_| {
            assert!(inner.lock().unwrap().wait_read().unwrap_err().is_timeout());
            counted.fetch_add(1, SeqCst);
        });
        ends_at_limit(SHORT, |limit| {
            let (result, took) = timed(|| outer.timeout(limit).get_byte());
            assert_failed(&result, &Error::Timeout, limit);
            took
        });
        assert!(calls.load(SeqCst) > 0);
        assert_eq!(descriptors(), before + PARKER);
        send.send(()).unwrap();
        outer.blocking().get_byte().unwrap()
    });
    receive.recv().unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(thread.result(), Some(b'x'));
}

/// A socket that waits when its thread is ending.
struct WaitsAtTheEnd(TcpSocket, mpsc::Sender<Result<(), Error>>);

impl Drop for WaitsAtTheEnd {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.timeout(Duration::from_millis(1)).wait_read());
    }
}

thread_local! {
    static LAST: RefCell<Option<WaitsAtTheEnd>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_that_is_ending_can_still_wait() {
    let _test = begin();
    for waits_before in [false, true] {
        let (mut socket, _peer) = waiting_pair();
        let (send, receive) = mpsc::channel();
        let thread = block(move || {
            // First, so that it goes last.
            LAST.with(|_| {});
            if waits_before {
                assert!(
                    socket
                        .timeout(Duration::from_micros(10))
                        .wait_read()
                        .unwrap_err()
                        .is_timeout()
                );
            }
            LAST.set(Some(WaitsAtTheEnd(socket, send)));
        });
        thread.result();
        assert_failed(&receive.recv().unwrap(), &Error::Timeout, waits_before);
    }
}

// Scarcity.

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_it_still_waits_and_later_has_its_poll() {
    let _test = begin();
    for free in [0, 1] {
        let (mut socket, peer) = waiting_pair();
        let thread = block(move || {
            let before = descriptors();
            let none = NoDescriptors::but(free);
            ends_at_limit(SHORT, |limit| {
                let (result, took) = timed(|| socket.timeout(limit).get_byte());
                assert_failed(&result, &Error::Timeout, limit);
                took
            });
            (&peer).write_all(b"x").unwrap();
            assert_eq!(socket.timeout(PATIENCE).get_byte().unwrap(), Some(b'x'));
            none.allow_all();
            assert_eq!(descriptors(), before, "{free} free");
            assert!(
                socket
                    .timeout(Duration::from_micros(10))
                    .wait_read()
                    .unwrap_err()
                    .is_timeout()
            );
            assert_eq!(descriptors(), before + PARKER, "{free} free");
            drop(none);
        });
        thread.result();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_what_blocks_is_ended() {
    let _test = begin();
    for (end, expected) in &ENDS {
        let registry = ShutdownRegistry::new();
        let mut every: Vec<_> = every_operation_in(&registry, thread_wait()).collect();
        // Those of listeners make a descriptor before they wait.
        every.retain(|(operation, ..)| !operation.name.starts_with("accept") && operation.name != "incoming");
        let none = NoDescriptors::but(0);
        let goes_on = |blocked: Blocked<_>| blocked.goes_on_for(STILL_BLOCKS / 10);
        end_blocked(every.into_iter(), None, goes_on, *end, expected, &registry);
        drop(none);
    }
}

// The plug itself, through what everybody can call.

/// Hands its test the source of a socket that is silent.
struct Probe<T>(Mutex<Option<T>>);

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl<T: FnOnce(WaitSource<'_>) + Send> RawWait for Probe<T> {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        if let Some(test) = self.0.lock().unwrap().take() {
            test(socket);
        }
        MioWait::default().waiter(socket, events)
    }
}

/// Runs `test` in a thread of its own, with the source of a silent socket, and with its peer.
fn probe(test: impl FnOnce(WaitSource<'_>, &mut TcpStream) + Send + 'static) {
    let (socket, mut peer) = waiting_pair();
    let std_socket = TcpStream::try_from(socket).unwrap();
    let thread = block(move || {
        let mut socket = TcpSocket::new();
        let probe = Probe(Mutex::new(Some(move |source: WaitSource<'_>| test(source, &mut peer))));
        let probe = Arc::new(probe);
        socket.set_raw_wait(probe.clone());
        socket.attach(std_socket).unwrap();
        let _ = socket.timeout(Duration::from_millis(1)).wait_read();
        assert!(probe.0.lock().unwrap().is_none(), "it has run");
    });
    thread.result();
}

fn both_kinds() -> [Arc<dyn RawWait>; 2] {
    [Arc::new(MioWait::default()), thread_wait()]
}

const READ: WaitEvents = WaitEvents::READ;

#[test]
fn a_wake_that_came_before_the_wait_ends_it() {
    let _test = begin();
    for raw_wait in both_kinds() {
        probe(move |source, _| {
            let mut waiter = raw_wait.waiter(source, READ).unwrap();
            let waker = waiter.waker();
            for wakes in 1..4 {
                (0..wakes).for_each(|_| waker.wake());
                assert_eq!(waiter.wait(READ, None).unwrap(), WaitEvents::empty(), "{raw_wait:?}");
                // Many are one.
                let (reported, took) = timed(|| waiter.wait(READ, Some(SHORT)).unwrap());
                assert!(
                    reported.is_empty() && took >= SHORT,
                    "{raw_wait:?}: {reported:?}, {took:?}"
                );
            }
        });
    }
}

#[test]
fn a_wake_for_one_is_kept_while_the_thread_waits_for_another() {
    let _test = begin();
    for raw_wait in both_kinds() {
        probe(move |source, _| {
            let mut first = raw_wait.waiter(source, READ).unwrap();
            let mut second = raw_wait.waiter(source, WaitEvents::EXCEPTION).unwrap();
            first.waker().wake();
            // It may return early, but not for ever.
            let begun = Instant::now();
            while begun.elapsed() < SHORT {
                second.wait(WaitEvents::EXCEPTION, Some(SHORT)).unwrap();
            }
            first.wait(READ, None).unwrap();
        });
    }
}

#[test]
fn a_wake_in_one_thread_ends_the_wait_in_another() {
    let _test = begin();
    for raw_wait in both_kinds() {
        probe(move |source, _| {
            let mut waiter = raw_wait.waiter(source, READ).unwrap();
            let waker = waiter.waker();
            // Before it moves there, and while it is there.
            for while_it_waits in [false, true] {
                thread::scope(|scope| {
                    if !while_it_waits {
                        waker.wake();
                    }
                    let (send, receive) = mpsc::channel();
                    let waiter = &mut waiter;
                    let waiting = scope.spawn(move || {
                        send.send(thread_id()).unwrap();
                        waiter.wait(READ, None).unwrap()
                    });
                    let task = receive.recv().unwrap();
                    if while_it_waits {
                        until_sleeping(task);
                        waker.wake();
                    }
                    assert!(waiting.join().unwrap().is_empty());
                });
            }
        });
    }
}

#[test]
fn a_wake_just_as_the_wait_begins_is_not_slept_through() {
    let _test = begin();
    for raw_wait in both_kinds() {
        probe(move |source, _| {
            let mut waiter = raw_wait.waiter(source, READ).unwrap();
            let waker = waiter.waker();
            let (send, receive) = mpsc::channel::<u32>();
            thread::scope(|scope| {
                scope.spawn(move || {
                    for delay in receive {
                        (0..delay).for_each(|_| std::hint::spin_loop());
                        waker.wake();
                    }
                });
                for round in 0..3000 {
                    send.send(round % 300).unwrap();
                    waiter.wait(READ, None).unwrap();
                }
                drop(send);
            });
        });
    }
}

#[test]
fn what_is_ready_is_reported() {
    let _test = begin();
    for raw_wait in both_kinds() {
        probe(move |source, peer| {
            let mut waiter = raw_wait.waiter(source, READ).unwrap();
            assert!(waiter.wait(READ, Some(Duration::ZERO)).unwrap().is_empty());
            peer.write_all(b"x").unwrap();
            let reported = waiter.wait(READ, None).unwrap();
            assert!(
                reported.contains(READ) && !reported.contains(WaitEvents::EXCEPTION),
                "{reported:?}"
            );
            // Of a change while it waits for something else, too.
            let both = READ | WaitEvents::WRITE;
            assert!(
                waiter.wait(both, None).unwrap().contains(WaitEvents::WRITE),
                "{raw_wait:?}"
            );
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let reported = waiter.wait(READ, None).unwrap();
            assert!(reported.contains(READ), "{reported:?}");
        });
    }
}
