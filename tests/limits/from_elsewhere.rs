//! Deadlines that handles set, and aborts that are lifted at once: they end or prolong what is blocked already.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, MioWait, RawWait, ShutdownRegistry, SocketHandle, TcpReader, TcpSocket, ThreadWait};

use crate::support::every::{assert_failed, every_operation, every_operation_in};
use crate::support::full::MUCH;
use crate::support::{
    BlackHole, PATIENCE, begin, block, ends_at_limit, eventually, listener, pair, thread_id, timed, until_sleeping,
};
#[cfg(target_os = "linux")]
use crate::support::{Handler, send_signal};

type Set = fn(&SocketHandle, Option<Instant>);

const READ: Set = |handle, at| handle.read_deadline(at);
const WRITE: Set = |handle, at| handle.write_deadline(at);

fn writes(name: &str) -> bool {
    ["put", "put_all", "Write::", "wait_write"]
        .iter()
        .any(|writing| name.starts_with(writing))
}

/// What sets the deadline of an operation, and what that of the other direction.
fn setters(name: &str) -> (Set, Set) {
    if writes(name) { (WRITE, READ) } else { (READ, WRITE) }
}

fn past() -> Option<Instant> {
    Some(Instant::now())
}

fn raw_waits() -> [Arc<dyn RawWait>; 2] {
    [Arc::new(MioWait::default()), Arc::new(ThreadWait::default())]
}

/// Checks that `end`, which is called when an operation blocks, ends it so.
fn ends_what_blocks(end: impl Fn(&str, &SocketHandle), expected: &Error) {
    for raw_wait in raw_waits() {
        // That one puts again when the first time has come to something.
        let all =
            every_operation_in(ShutdownRegistry::global(), raw_wait).filter(|(operation, ..)| operation.name != "put");
        for (operation, mut socket, _peer) in all {
            let handle = socket.handle();
            let blocked = block(move || ((operation.run)(&mut socket), socket)).until_blocked();
            end(operation.name, &handle);
            let (result, socket) = blocked.result();
            assert_failed(&result, expected, operation.name);
            assert!(socket.is_open(), "{}", operation.name);
        }
    }
}

#[test]
fn a_deadline_in_the_past_ends_every_operation_that_blocks() {
    let _test = begin();
    ends_what_blocks(|name, handle| setters(name).0(handle, past()), &Error::Timeout);
}

#[test]
fn one_that_is_lifted_at_once_ends_what_was_blocked() {
    let _test = begin();
    let end = |name: &str, handle: &SocketHandle| {
        let (own, other) = setters(name);
        other(handle, past());
        own(handle, past());
        own(handle, None);
    };
    ends_what_blocks(end, &Error::Timeout);
}

#[test]
fn an_abort_that_is_lifted_at_once_ends_what_was_blocked() {
    let _test = begin();
    type Reading = fn(&mut TcpReader) -> Result<(), Error>;
    let readings: [Reading; 5] = [
        |reader| reader.get(&mut [0; 8]).map(drop),
        |reader| reader.get_all(&mut [0; 8]),
        |reader| reader.get_line().map(drop),
        |reader| reader.wait_read(),
        |reader| reader.wait_request().map(drop),
    ];
    for reading in readings {
        let (socket, _peer) = pair();
        let (mut reader, mut writer) = socket.split();
        let reading = block(move || reading(&mut reader)).until_blocked();
        writer.abort();
        writer.clear_abort();
        assert_failed(&reading.result(), &Error::Aborted, "a reader");
        writer.put_all(b"goes on").unwrap();
    }
    let (socket, _peer) = pair();
    let (reader, mut writer) = socket.split();
    let writing = block(move || writer.put_all(&MUCH)).until_blocked();
    reader.abort();
    reader.clear_abort();
    assert_failed(&writing.result(), &Error::Aborted, "a writer");
}

#[test]
fn an_abort_of_a_shared_listener_that_is_lifted_at_once_ends_all_who_wait() {
    let _test = begin();
    for raw_wait in raw_waits() {
        let mut listener = TcpSocket::new();
        listener.set_raw_wait(raw_wait);
        listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
        let listener = Arc::new(listener);
        let blocked: Vec<_> = (0..4)
            .map(|_| {
                let listener = Arc::clone(&listener);
                block(move || listener.accept_new().map(drop)).until_blocked()
            })
            .collect();
        listener.abort();
        listener.clear_abort();
        for blocked in blocked {
            assert_failed(&blocked.result(), &Error::Aborted, "accept_new");
        }
        assert!(!listener.is_abort());
    }
}

#[test]
fn a_deadline_ends_all_threads_that_share_a_listener_and_the_next_one() {
    let _test = begin();
    let (listener, _) = listener();
    let listener = Arc::new(listener);
    let blocked: Vec<_> = (0..4)
        .map(|_| {
            let listener = Arc::clone(&listener);
            block(move || listener.accept_new().map(drop)).until_blocked()
        })
        .collect();
    listener
        .handle()
        .read_deadline(Instant::now() + Duration::from_millis(20));
    for blocked in blocked {
        assert_failed(&blocked.result(), &Error::Timeout, "accept_new");
    }
    assert_failed(&listener.accept_new().map(drop), &Error::Timeout, "accept_new, later");
    listener.handle().read_deadline(None);
    let handle = listener.handle();
    let accepted = block(move || listener.accept_new().map(drop)).still_blocks_until(|| handle.close());
    assert_failed(&accepted, &Error::Closed, "accept_new, without a deadline");
}

#[test]
fn no_operation_ends_before_its_deadline_or_long_after() {
    let _test = begin();
    for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
        let handle = socket.handle();
        let (own, other) = setters(operation.name);
        other(&handle, past());
        ends_at_limit(Duration::from_millis(3), |limit| {
            socket.clear_error();
            let (result, took) = timed(|| {
                own(&handle, Some(Instant::now() + limit));
                (operation.run)(&mut socket)
            });
            assert_failed(&result, &Error::Timeout, operation.name);
            took
        });
    }
}

#[test]
fn what_is_blocked_gets_more_time_or_less() {
    let _test = begin();
    let soon = || Instant::now() + Duration::from_millis(30);
    let late = || Instant::now() + Duration::from_secs(600);
    type Change = fn(&SocketHandle, Instant);
    let more: [Change; 2] = [
        |handle, late| handle.read_deadline(late),
        |handle, _| handle.read_deadline(None),
    ];
    for change in more {
        let (mut socket, mut peer) = pair();
        let handle = socket.handle();
        handle.read_deadline(soon());
        let blocked = block(move || socket.get_byte());
        change(&handle, late());
        let blocked = blocked.still_blocks();
        peer.write_all(b"x").unwrap();
        assert_eq!(blocked.result().unwrap(), Some(b'x'));
    }
    let (mut socket, _peer) = pair();
    let handle = socket.handle();
    handle.read_deadline(late());
    let blocked = block(move || socket.get_byte()).until_blocked();
    let at = soon();
    handle.read_deadline(at);
    let (result, ended) = blocked.result_and_time();
    assert_failed(&result, &Error::Timeout, "sooner");
    assert!(ended >= at);
}

#[test]
fn it_leaves_the_other_direction_alone_and_loses_nothing() {
    let _test = begin();
    let (socket, mut peer) = pair();
    let (mut reader, mut writer) = socket.split();
    let handle = reader.handle();
    let sending = MUCH.len();
    let writing = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
    peer.write_all(b"half").unwrap();
    let reading = block(move || (reader.get_all_bytes(8), reader)).until_blocked();
    handle.read_deadline(Instant::now());
    let (result, mut reader) = reading.result();
    assert_failed(&result, &Error::Timeout, "get_all_bytes");
    // What is there may be taken.
    reader.clear_error();
    assert_eq!(reader.get_bytes(8).unwrap(), b"half");
    assert_failed(&reader.get_byte(), &Error::Timeout, "get_byte");
    assert!(!reader.is_error(), "it is not sticky");
    let writing = writing.still_blocks();
    let mut received = 0;
    let mut buf = vec![0; 1 << 20];
    while received < sending {
        received += peer.read(&mut buf).unwrap();
    }
    let (result, mut writer) = writing.result();
    result.unwrap();
    handle.write_deadline(Instant::now());
    handle.read_deadline(None);
    assert_eq!(writer.put(b"room").unwrap(), 4, "it need not wait");
    let cut = block(move || (writer.put(&MUCH), writer)).result().0;
    assert!(cut.unwrap() < MUCH.len());
    peer.write_all(b"x").unwrap();
    assert_eq!(reader.get_byte().unwrap(), Some(b'x'));
}

#[test]
fn the_nearer_of_a_deadline_and_the_limits_of_the_socket_ends_an_operation() {
    let _test = begin();
    let short = Duration::from_millis(5);
    let long = Duration::from_secs(600);
    let (mut socket, _peer) = pair();
    let handle = socket.handle();
    let mut end = |limit: Duration, global: Duration, deadline: Duration| {
        handle.read_deadline(Instant::now() + deadline);
        socket.timeout(limit).global_timeout(global);
        let (result, took) = timed(|| socket.get_byte());
        socket.clear_error();
        assert!(took >= short && took < PATIENCE, "{took:?}");
        result.unwrap_err()
    };
    assert!(matches!(end(short, long, long), Error::Timeout));
    assert!(matches!(end(long, short, long), Error::GlobalTimeout));
    assert!(matches!(end(long, long, short), Error::Timeout));
}

#[test]
fn connecting_counts_as_writing() {
    let _test = begin();
    let hole = BlackHole::new();
    for lifted in [false, true] {
        let mut socket = TcpSocket::new();
        let (handle, addr) = (socket.handle(), hole.addr());
        handle.read_deadline(Instant::now());
        let blocked = block(move || socket.connect_to(&[addr])).until_blocked();
        handle.write_deadline(Instant::now());
        if lifted {
            handle.write_deadline(None);
        }
        assert!(blocked.result().unwrap_err().is_timeout());
    }
}

#[test]
fn a_deadline_of_the_next_opening_and_none_of_the_one_before() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    let handle = socket.handle();
    handle.read_deadline(Instant::now());
    let (own, _peer) = crate::support::std_pair();
    socket.attach(own).unwrap();
    assert_failed(&socket.get_byte(), &Error::Timeout, "set before");
    let (own, _peer) = crate::support::std_pair();
    socket.attach(own).unwrap();
    handle.read_deadline(Instant::now());
    let handle = socket.handle();
    let byte = block(move || socket.get_byte()).still_blocks_until(|| handle.close());
    assert_failed(&byte, &Error::Closed, "without a deadline");
}

#[test]
fn moments_that_are_far_away_are_no_limit_and_those_long_ago_are_past() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    let far = [1_u64 << 30, 1 << 34, 1 << 40, 1 << 60];
    for at in far
        .iter()
        .filter_map(|far| Instant::now().checked_add(Duration::from_secs(*far)))
    {
        handle.read_deadline(at);
        peer.write_all(b"x").unwrap();
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    }
    let blocked = block(move || socket.get_byte()).still_blocks();
    if let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(600)) {
        handle.read_deadline(long_ago);
    } else {
        handle.read_deadline(Instant::now());
    }
    assert_failed(&blocked.result(), &Error::Timeout, "long ago");
}

#[test]
fn deadlines_set_at_random_moments_lose_no_byte() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let setting = thread::spawn(move || {
        let mut sets = 0_u64;
        while !until.load(SeqCst) {
            handle.read_deadline(Instant::now());
            handle.read_deadline(None);
            sets += 1;
            thread::yield_now();
        }
        sets
    });
    let writing = thread::spawn(move || {
        for number in 0..20_000_u32 {
            peer.write_all(&number.to_be_bytes()).unwrap();
        }
    });
    let mut next = 0_u32;
    while next < 20_000 {
        match socket.get_all_bytes(4) {
            Ok(bytes) => {
                assert_eq!(bytes, next.to_be_bytes());
                next += 1;
            }
            Err(Error::Timeout) => socket.clear_error(),
            Err(error) => panic!("{error}"),
        }
    }
    over.store(true, SeqCst);
    writing.join().unwrap();
    assert!(setting.join().unwrap() > 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_handler_may_set_it_even_of_the_thread_that_it_interrupts() {
    static HANDLE: std::sync::Mutex<Option<SocketHandle>> = std::sync::Mutex::new(None);
    static CURRENT: std::sync::atomic::AtomicPtr<SocketHandle> =
        std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
    extern "C" fn end(_: i32) {
        // SAFETY: the handle lives until the end of the test.
        if let Some(handle) = unsafe { CURRENT.load(SeqCst).as_ref() } {
            handle.read_deadline(Instant::now());
            handle.write_deadline(Instant::now());
        }
    }
    let _test = begin();
    let _handler = Handler::install(libc::SIGUSR1, end, libc::SA_RESTART);
    for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
        let mut handle = HANDLE.lock().unwrap();
        CURRENT.store(handle.insert(socket.handle()), SeqCst);
        let blocked = block(move || (operation.run)(&mut socket)).until_blocked();
        send_signal(blocked.task(), libc::SIGUSR1);
        assert_failed(&blocked.result(), &Error::Timeout, operation.name);
        CURRENT.store(std::ptr::null_mut(), SeqCst);
    }
}

#[test]
fn threads_that_come_back_at_once_keep_nobody_behind_them() {
    let _test = begin();
    type End = fn(&TcpSocket);
    let ends: [End; 2] = [
        |listener| {
            listener.abort();
            listener.clear_abort();
        },
        |listener| {
            listener.handle().read_deadline(past());
            listener.handle().read_deadline(None);
        },
    ];
    for end in ends {
        let (listener, _) = listener();
        let ended: [AtomicUsize; 4] = Default::default();
        let (send, tasks) = mpsc::channel();
        thread::scope(|scope| {
            for ended in &ended {
                let (listener, send) = (&listener, send.clone());
                scope.spawn(move || {
                    send.send(thread_id()).unwrap();
                    while !listener.accept_new().unwrap_err().is_closed() {
                        ended.fetch_add(1, SeqCst);
                    }
                });
            }
            let tasks: Vec<i32> = ended.iter().map(|_| tasks.recv_timeout(PATIENCE).unwrap()).collect();
            for round in 1..20 {
                tasks.iter().for_each(|task| until_sleeping(*task));
                let before: Vec<usize> = ended.iter().map(|ended| ended.load(SeqCst)).collect();
                end(&listener);
                eventually(
                    || format!("all have ended in round {round}"),
                    || {
                        let now: Vec<usize> = ended.iter().map(|ended| ended.load(SeqCst)).collect();
                        let all = now.iter().zip(&before).all(|(now, before)| now > before);
                        all.then_some(()).ok_or_else(|| format!("{before:?}, then {now:?}"))
                    },
                );
            }
            listener.close();
        });
    }
}

#[test]
fn what_is_there_may_be_taken_after_a_deadline_however_the_socket_was_read_before() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    // It knows by now that there is nothing.
    peer.write_all(b"a").unwrap();
    assert_eq!(socket.read(&mut [0; 100]).unwrap(), 1);
    socket.timeout(Duration::from_micros(200));
    for _ in 0..40 {
        assert_failed(&socket.get_byte(), &Error::Timeout, "nothing is there");
    }
    socket.blocking();
    type Read = fn(&mut TcpSocket);
    let reads: [Read; 4] = [
        |socket| assert_eq!(socket.get_byte().unwrap(), Some(b'x')),
        |socket| {
            assert!(socket.wait_request().unwrap());
            socket.get_byte().unwrap();
        },
        |socket| socket.get_all(&mut [0]).unwrap(),
        |socket| {
            socket.when_wait(|_| {});
            assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        },
    ];
    for read in reads {
        handle.read_deadline(None);
        peer.write_all(b"x").unwrap();
        socket.wait_read().unwrap();
        handle.read_deadline(past());
        read(&mut socket);
        assert_failed(&socket.get_byte(), &Error::Timeout, "then nothing is there");
    }
}

#[test]
fn a_deadline_is_shared_by_the_addresses_of_a_connect() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, good) = crate::support::server();
    let mut socket = TcpSocket::new();
    socket.handle().write_deadline(Instant::now() + Duration::from_secs(2));
    let (connected, took) = timed(|| socket.connect_to(&[hole.addr(), good]));
    connected.unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(server);
}
